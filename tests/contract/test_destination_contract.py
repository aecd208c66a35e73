"""The same questions to every file of delivery/destinations/, and a new file that works without touching another."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import dicom_node
from dicom_node.core.artifact import DICOM, FHIR, HL7
from dicom_node.core.errors import PeerError
from dicom_node.delivery.settings import DestinationSettings
from dicom_node.plugins import known_kinds, load_kind
from tests.factories.deliverables import artifact

KINDS = known_kinds("destination")
ROLES = {DICOM: "text_report", FHIR: "diagnostic_report", HL7: "oru_message"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def unreachable(kind: str, tmp_path: Path) -> Any:
    """Return settings of a destination that is down: every field that a kind requires, pointing at nothing."""
    somewhere = {
        "ae_title": "PACS",
        "host": "127.0.0.1",
        "port": free_port(),
        "base_url": f"http://127.0.0.1:{free_port()}",
        "path": tmp_path / "not-mounted",
    }
    model = load_kind("destination", kind).Settings
    fields = {name: value for name, value in somewhere.items() if name in model.model_fields}
    return model(kind=kind, timeout_seconds=0.5, **fields)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_says_what_it_carries_and_what_can_be_set(kind: str) -> None:
    """Each kind has known media types and settings that extend the common ones, each with a description."""
    module = load_kind("destination", kind)
    assert set(module.MEDIA_TYPES) <= set(ROLES)
    assert module.MEDIA_TYPES
    assert issubclass(module.Settings, DestinationSettings)
    assert all(field.description for field in module.Settings.model_fields.values())
    assert module.Settings.model_config["extra"] == "forbid"


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_describes_where_it_sends_in_one_sentence(kind: str, tmp_path: Path) -> None:
    """The sentence ends with a full stop and is one line."""
    sentence = load_kind("destination", kind).describe(unreachable(kind, tmp_path))
    assert sentence.endswith(".")
    assert "\n" not in sentence


@pytest.mark.parametrize("kind", KINDS)
def test_a_destination_that_is_down_is_a_temporary_peer_error(kind: str, tmp_path: Path) -> None:
    """Sending to nothing raises a temporary PeerError that names no patient; it neither hangs nor raises anything else."""
    module = load_kind("destination", kind)
    for media_type in module.MEDIA_TYPES:
        item = artifact(ROLES[media_type])
        with pytest.raises(PeerError) as caught:
            module.send(item, unreachable(kind, tmp_path))
        assert caught.value.temporary
        assert not any(hidden in str(caught.value) for hidden in ("Doe", "PID-0042", item.identifier))


@pytest.mark.parametrize("kind", KINDS)
def test_check_tells_problems_and_never_raises(kind: str, tmp_path: Path) -> None:
    """A destination that is down gives at least one sentence."""
    problems = load_kind("destination", kind).check(unreachable(kind, tmp_path), ("1.2.840.10008.5.1.4.1.1.7",))
    assert problems
    assert all(problem.endswith(".") for problem in problems)


NEW_KIND = '''
"""Carrier pigeons."""

from pydantic import Field

from dicom_node.core.artifact import DICOM
from dicom_node.core.delivery import Outcome, Receipt
from dicom_node.delivery.settings import DestinationSettings

MEDIA_TYPES = (DICOM,)


class Settings(DestinationSettings):
    """A loft."""

    loft: str = Field(description="Where the pigeons live.")


def send(artifact, settings):
    with open(settings.loft, "ab") as loft:
        loft.write(artifact.data)
    return Receipt(Outcome.DELIVERED, "coo")


def check(settings, sop_class_uids):
    return []


def describe(settings):
    return f"Pigeons to {settings.loft}."
'''

JOURNEY = """
import sys
from pathlib import Path

import dicom_node
from dicom_node.core.delivery import DeliveryState
from dicom_node.delivery import step
from dicom_node.plugins import known_kinds, load_kind
from dicom_node.results.repository import record_artifacts, write_artifacts
from dicom_node.store.connect import default_url, open_database
from tests.factories.deliverables import artifact, record_run, request

home = Path(sys.argv[1])
assert Path(dicom_node.__file__).is_relative_to(home), dicom_node.__file__
assert "carrier_pigeon" in known_kinds("destination")
settings = load_kind("destination", "carrier_pigeon").Settings(kind="carrier_pigeon", loft=str(home / "loft"))
destinations = {"pacs": settings}
assert step.wanted_roles((), destinations) == ("secondary_capture", "text_report")
item, queue = artifact(), []
database = open_database(default_url(home))
write_artifacts(home / "results", [item])
with database.begin() as connection:
    record_run(connection, request())
    record_artifacts(connection, [item])
    step.plan_deliveries(connection, request(), "external", [item], destinations, lambda connection, *job: queue.append(job))
((delivery_id, attempt, *_),) = queue
receipt = step.attempt_delivery(database, delivery_id, attempt, destinations, home / "results")
step.settle_delivery(database, delivery_id, attempt, receipt, destinations, lambda connection, *job: queue.append(job))
with database.begin() as connection:
    (row,) = step.list_deliveries(connection)
assert (row.state, row.detail) == (DeliveryState.DONE, "coo"), row
assert (home / "loft").read_bytes() == item.data
assert step.check_destination(settings) == []
"""


def test_one_new_file_is_a_new_destination_and_no_other_file_is_touched(tmp_path: Path) -> None:
    """A file dropped into a copy of the package is known by its name, planned for, sent to, settled and checked."""
    source = Path(dicom_node.__file__).parent
    ignored = shutil.ignore_patterns("__pycache__")
    copy = shutil.copytree(source, tmp_path / "dicom_node", ignore=ignored)
    shutil.copytree(source.parent / "tests" / "factories", tmp_path / "tests" / "factories", ignore=ignored)
    (tmp_path / "tests" / "__init__.py").touch()
    (copy / "delivery" / "destinations" / "carrier_pigeon.py").write_text(NEW_KIND, encoding="utf-8")
    (tmp_path / "journey_of_one_result.py").write_text(JOURNEY, encoding="utf-8")
    command = [sys.executable, str(tmp_path / "journey_of_one_result.py"), str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 0, done.stderr
