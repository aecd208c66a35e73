"""What deploy/ promises is what the command line takes: compose file, image and units are parsed and compared with the program."""

from __future__ import annotations

import argparse
import configparser
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dicom_node.commands import serve
from dicom_node.config.load import load_settings
from dicom_node.engine.process import ROLES

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
OURS = {name: service for name, service in COMPOSE["services"].items() if service["image"].startswith("dicom-node:")}
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
PROGRAM = "/opt/dicom-node/bin/dicom-node"


def options_of(words: list[str]) -> argparse.Namespace:
    """Parse the words after ``dicom-node`` as the command line does; anything unknown ends the test."""
    assert words[0] == "serve"
    parser = argparse.ArgumentParser(exit_on_error=False)
    serve.add_arguments(parser)
    return parser.parse_args(words[1:])


def roles_of(options: argparse.Namespace) -> set[str]:
    """Return the roles that these options run."""
    return set(options.role.split(","))


# --- compose ------------------------------------------------------------------------------------------------------------


def test_compose_runs_every_role_and_two_receivers() -> None:
    """Reception twice, a CPU and a GPU worker, the pages and PostgreSQL."""
    roles = {name: roles_of(options_of(service["command"])) for name, service in OURS.items()}
    assert roles == {
        "receive-1": {"receive"},
        "receive-2": {"receive"},
        "work-cpu": {"work"},
        "work-gpu": {"work"},
        "web": {"web"},
    }
    assert COMPOSE["services"]["postgres"]["image"].startswith("postgres:")


@pytest.mark.parametrize("name", sorted(OURS))
def test_each_service_has_settings_that_the_node_takes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a service over a node.yaml gives valid settings: PostgreSQL, its own port, its own device and queues."""
    secret = tmp_path / "database_url"
    secret.write_text("postgresql+psycopg://dicom_node:x@127.0.0.1/dicom_node\n")
    for variable, value in OURS[name]["environment"].items():
        monkeypatch.setenv(variable, str(secret) if variable.endswith("_FILE") else str(value))
    (tmp_path / "node.yaml").write_text((DEPLOY / "config" / "minimal.yaml").read_text())
    settings = load_settings(tmp_path / "node.yaml")
    assert settings.database_url.startswith("postgresql")
    if name == "work-gpu":
        assert (settings.inference.device, settings.work.queues) == ("cuda", ("runs",))
    if name.startswith("receive"):
        assert settings.reception.port == {"receive-1": 11112, "receive-2": 11113}[name]


def test_services_share_the_home_and_never_the_state() -> None:
    """All mount one home; each has a state volume of its own, which is declared; none runs as root or may gain rights."""
    states = []
    for service in OURS.values():
        home, state = (volume.rsplit(":", 1) for volume in service["volumes"])
        options = options_of(service["command"])
        assert str(options.home) == home[1]
        assert str(options.state) == state[1]
        states.append(state[0])
        assert service["user"].partition(":")[0] not in ("", "0", "root")
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["cap_drop"] == ["ALL"]
    assert len(set(states)) == len(OURS)
    assert set(states) <= set(COMPOSE["volumes"])
    used = {secret for service in COMPOSE["services"].values() for secret in service.get("secrets", [])}
    assert used == set(COMPOSE["secrets"])


def test_compose_builds_from_the_dockerfile() -> None:
    """Context and file of each build exist."""
    for service in OURS.values():
        assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).resolve() == DEPLOY / "Dockerfile"


# --- image --------------------------------------------------------------------------------------------------------------


def instructions() -> Iterator[tuple[str, str]]:
    """Yield the instructions of the Dockerfile, continued lines joined."""
    text = re.sub(r"\\\n", " ", "\n".join(x for x in (DEPLOY / "Dockerfile").read_text().splitlines() if not x.startswith("#")))
    for line in text.splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word, rest.strip()


def test_the_image_is_pinned_copies_what_exists_and_runs_as_nobody_special() -> None:
    """A Python to the patch level, sources that are there and not ignored, a user that is not root, a program that is installed."""
    found = list(instructions())
    known = {"ARG", "FROM", "ENV", "RUN", "WORKDIR", "COPY", "LABEL", "USER", "VOLUME", "STOPSIGNAL", "ENTRYPOINT", "CMD"}
    assert {word for word, _ in found} <= known
    arguments = dict(rest.split("=", 1) for word, rest in found if word == "ARG")
    assert re.fullmatch(r"3\.11\.\d+-slim-\w+", arguments["PYTHON"])
    assert all(rest.startswith("python:${PYTHON}") for word, rest in found if word == "FROM")
    sources = [s for word, rest in found if word == "COPY" and "--from" not in rest for s in rest.split()[:-1]]
    ignored = (ROOT / ".dockerignore").read_text().split()
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignored, source
    extras = set(arguments["EXTRAS"].split(","))
    assert extras <= set(re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE))
    words = [word for word, _ in found]
    assert words.index("USER") < words.index("ENTRYPOINT")
    (user,) = [rest for word, rest in found if word == "USER"]
    assert user.partition(":")[0] not in ("", "0", "root")
    (entry,) = [json.loads(rest) for word, rest in found if word == "ENTRYPOINT"]
    assert f"{entry[0]} = " in (ROOT / "pyproject.toml").read_text()
    (command,) = [json.loads(rest) for word, rest in found if word == "CMD"]
    assert roles_of(options_of(command)) == set(ROLES)


# --- systemd ------------------------------------------------------------------------------------------------------------

HARDENED = {
    "NoNewPrivileges": "true",
    "ProtectSystem": "strict",
    "ProtectHome": "true",
    "PrivateTmp": "true",
    "RestrictSUIDSGID": "true",
    "LockPersonality": "true",
    "ProtectKernelModules": "true",
}


def unit(path: Path) -> Any:
    """Parse a unit file."""
    parser = configparser.ConfigParser(strict=True, interpolation=None, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(path.read_text())
    return parser


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_each_unit_starts_a_role_and_is_hardened(path: Path) -> None:
    """The command's flags exist, the home may be written, nothing else, and the process has no more rights than it needs."""
    parsed = unit(path)
    service = parsed["Service"]
    words = shlex.split(service["ExecStart"])
    assert words[0] == PROGRAM
    options = options_of(words[1:])
    assert roles_of(options) <= set(ROLES)
    assert str(options.home) in service["ReadWritePaths"].split()
    assert {name: service.get(name) for name in HARDENED} == HARDENED
    assert service["User"] not in ("", "root")
    assert service["Restart"] == "always"
    assert int(service["TimeoutStopSec"]) > 30  # the supervisor waits that long for a role
    assert parsed["Install"]["WantedBy"] == "multi-user.target"
    if roles_of(options) != set(ROLES):  # several machines: state on their own disk
        assert str(options.state).startswith("/var/lib/dicom-node/")


def test_there_is_a_unit_for_each_role_and_one_for_all() -> None:
    """All in one; reception; a worker by instance; the pages."""
    names = {path.name for path in UNITS}
    assert names == {"dicom-node.service", "dicom-node-receive.service", "dicom-node-work@.service", "dicom-node-web.service"}


def test_the_units_start_what_the_how_to_installs() -> None:
    """The program of the units is that of the how-to's virtual environment, and its user and home are those that it makes."""
    page = (ROOT / "docs/how-to/run-the-node.md").read_text(encoding="utf-8")
    (environment,) = re.findall(r"-m venv (\S+)", page)
    assert f"{environment}/bin/dicom-node" == PROGRAM
    service = unit(DEPLOY / "systemd/dicom-node.service")["Service"]
    home = options_of(shlex.split(service["ExecStart"])[1:]).home
    assert f"useradd --system --home-dir {home} --shell /usr/sbin/nologin {service['User']}\n" in page
    assert f"-m 0700 {home}\n" in page
    assert (
        page.count(f"sudo -u {service['User']} dicom-node") == 2
    )  # init and check make files that the service must be able to write


def test_systemd_itself_finds_nothing_wrong(tmp_path: Path) -> None:
    """systemd-analyze verify, where it is installed, says nothing (the program stands in by /bin/true)."""
    program = shutil.which("systemd-analyze")
    if program is None:  # no systemd here: what it would read was read above
        return
    for path in UNITS:
        name = path.name.replace("@.", "@1.")
        (tmp_path / name).write_text(path.read_text().replace(PROGRAM, "/bin/true"))
    files = sorted(tmp_path.glob("*.service"))
    done = subprocess.run([program, "verify", "--man=no", *files], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
