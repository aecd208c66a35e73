"""Identifying values do not print; a log line has only allowed fields."""

from __future__ import annotations

import io
import json

import pytest

from dicom_node import log
from dicom_node.core.phi import Phi
from dicom_node.core.study import HeaderFacts


def test_phi_prints_as_hidden_everywhere() -> None:
    """str, repr, format and the repr of what holds it show «hidden»; reveal shows the value."""
    name = Phi("Doe^John")
    assert [str(name), repr(name), f"{name}", f"{name:>4}", " ".join([f"{name!s}"])] == ["«hidden»"] * 5
    assert "Doe" not in repr(HeaderFacts(patient_name=name))
    assert name.reveal() == "Doe^John"
    assert name == "Doe^John"


def test_header_facts_survive_json() -> None:
    """Facts are the same after the database, and still hidden."""
    facts = HeaderFacts(patient_name=Phi("Doe^John"), requested_accessions=(Phi("A1"),), image_type=("DERIVED",), rows=3)
    again = HeaderFacts.from_json(json.loads(json.dumps(facts.to_json())))
    assert again == facts
    assert str(again.patient_name) == str(again.requested_accessions[0]) == "«hidden»"


def test_log_refuses_a_field_that_is_not_on_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    """A field outside the list is a defect of the caller, and nothing is printed."""
    with pytest.raises(ValueError, match="patient_name"):
        log.event("x", patient_name="Doe")
    assert capsys.readouterr().out == ""
    log.event("run.finished", study="st_1", seconds=1.5)
    assert json.loads(capsys.readouterr().out)["study"] == "st_1"


def test_a_log_that_cannot_be_written_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disk full, and a reader that is gone: the line is lost, the caller goes on."""

    class Full:
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("sys.stdout", Full())
    log.event("run.finished", study="st_1")
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr("sys.stdout", closed)
    log.event("run.finished", study="st_1")
