"""The documents name what there is, and link to what exists."""

from __future__ import annotations

import argparse
import re
import shlex
import tomllib
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

from dicom_node.cli import COMMANDS
from dicom_node.core.feedback import Context, Verdict
from dicom_node.learning.deidentify import Person
from dicom_node.learning.export_lines import _COLUMNS, label_line, region_line
from dicom_node.learning.export_rows import Case, Filter
from dicom_node.learning.labels import Label, LabelStatus, Read
from dicom_node.learning.manifest import manifest
from dicom_node.learning.pseudonyms import Pseudonyms
from dicom_node.plugins import known_kinds

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "conformance_statement.md", *sorted((ROOT / "docs").rglob("*.md"))]
ALL_TEXT = "\n".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(document: Path) -> None:
    """Every relative link of a document names a file or folder of the repository."""
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text(encoding="utf-8"))
    missing = [target for target in targets if not (document.parent / target).resolve().exists()]
    assert missing == []


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"schema"}))
def test_every_command_is_documented(command: str) -> None:
    """Each command stands in a document as it is called."""
    assert f"dicom-node {command}" in ALL_TEXT


def calls(text: str) -> list[str]:
    """Return the lines of a document's blocks that call the node, without comments and brackets around what may be left out."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [
        re.sub(r"^sudo -u \S+ |[\[\]]", "", line.partition(" #")[0].strip()) for block in blocks for line in block.splitlines()
    ]
    return [line for line in lines if re.match(r"(\S*/)?dicom-node [a-z]", line)]


@pytest.mark.parametrize(
    "document", [path for path in DOCUMENTS if calls(path.read_text(encoding="utf-8"))], ids=lambda path: path.name
)
def test_every_call_in_a_block_is_one_that_the_command_line_takes(document: Path) -> None:
    """Whoever copies a line gets no usage message."""
    wrong = []
    for line in calls(document.read_text(encoding="utf-8")):
        _, command, *words = shlex.split(line[line.index("dicom-node ") :])
        parser = argparse.ArgumentParser(exit_on_error=False)
        try:
            import_module(f"dicom_node.commands.{command.replace('-', '_')}").add_arguments(parser)
            parser.parse_args(words)
        except (SystemExit, argparse.ArgumentError, ImportError) as error:
            wrong.append(f"{line}: {error}")
    assert wrong == []


@pytest.mark.parametrize("family", ["pipeline", "output", "destination"])
def test_every_kind_is_documented(family: str) -> None:
    """Each kind's word stands in a document."""
    assert [kind for kind in known_kinds(family) if kind not in ALL_TEXT] == []


def test_readme_has_the_two_commands() -> None:
    """make demo and make test stand in the README, and CI calls the test command."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make demo" in readme
    assert "make test" in readme
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_every_library_has_its_licence() -> None:
    """Whoever adds a dependency says under which licence it comes."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [*project["dependencies"], *(line for lines in project["optional-dependencies"].values() for line in lines)]
    names = {re.split(r"[<>=\[; ]", line)[0] for line in needed} - {"dicom-node"}
    said = set(re.findall(r"[\w.-]+", (ROOT / "docs/reference/licences.md").read_text(encoding="utf-8")))
    assert names - said == set()


def test_every_how_to_is_found_from_the_readme() -> None:
    """A page that nothing links to is not read."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in sorted((ROOT / "docs/how-to").glob("*.md")) if f"docs/how-to/{page.name}" not in readme] == []


def test_every_column_of_an_export_is_explained() -> None:
    """Labels, what they were made of, regions, manifest: what stands there stands in the how-to, too."""
    names = Pseudonyms(b"k" * 32)
    answer = Read(1, "fb_1", "rn_1", "st_1", "abnormal", "rd_1", Verdict.ACCEPTED, Context.AFTER_AI, 1.0)
    made = Label("rn_1", "st_1", "abnormal", 1.0, 1, 0.0, LabelStatus.SINGLE_READ, "reads", 0.5, (answer,))
    row = SimpleNamespace(**dict.fromkeys((*_COLUMNS, "strength"), ""), bundle_hash="a")
    case = Case("rn_1", "st_1", "1.2.3", "cxr_tb", {}, (made,), {answer.feedback_id: row}, (), (), "p", False)
    whose, images = Person("pt_1", 3, 40.0), {"1.2.3.4": "images/a.dcm"}
    region = {"sop_instance_uid": "1.2.3.4", "points": [[0, 0], [1, 1]]}
    label = label_line(case, made, whose, images, names)
    columns = {*label, *label["reads"][0], *label["ai"], *region_line(case, answer.feedback_id, region, whose, images, names)}
    columns |= set(manifest([case], [case], {}, {}, Filter(None, "", ()), names, 0))
    told = set(re.findall(r"`(\w+)`", (ROOT / "docs/how-to/export-training-data.md").read_text(encoding="utf-8")))
    assert columns - told == set()
