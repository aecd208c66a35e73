"""A patient who opted out is not analysed: said before, while the run waits, before it is sent, under another number."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from dicom_node import journey
from dicom_node.cli import main
from dicom_node.studies import opt_outs
from tests.factories.hl7_messages import merge
from tests.integration.in_process import InProcessNode
from tests.integration.test_orders import hear, state
from tests.integration.test_safety import TWO, chest, events, route


def say_no(node: InProcessNode, patient_id: str, scope: str = "analysis") -> None:
    """The patient says no."""
    with node.rooms.database.begin() as connection:
        opt_outs.add(connection, node.rooms.home, patient_id, scope=scope)


def test_said_before_nothing_is_analysed_and_removal_lets_a_person_go_on(tmp_path: Path) -> None:
    """Held with the reason, no run, nothing sent; another patient is answered; what arrives later waits too."""
    node = InProcessNode(tmp_path, destination=TWO)
    say_no(node, "NO")
    no, yes = chest("no", PatientID="NO"), chest("yes", PatientID="YES")
    node.receive(no, yes)
    node.work()
    assert state(node, no) == ("held", "opted_out")
    assert node.story(str(no.StudyInstanceUID))["runs"] == []
    assert {str(d.PatientID) for d in node.sent_dicom()} == {"YES"}
    assert "study.held" in events(node, no)
    node.receive(chest("no", PatientID="NO", SOPInstanceUID="1.2.3"))
    node.work()
    assert state(node, no) == ("held", "opted_out")
    key = node.story(str(no.StudyInstanceUID))["study_key"]
    node.release(key)
    assert state(node, no) == ("held", "opted_out"), "released, but the opt-out stands"
    with node.rooms.database.begin() as connection:
        opt_outs.remove(connection, node.rooms.home, "no")
    node.release(key)
    assert state(node, no) == ("routed", "")
    assert {str(d.PatientID) for d in node.sent_dicom()} == {"YES", "NO"}


def test_said_while_the_run_waits_it_is_not_analysed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run was requested before: it is cancelled, and the pipeline never sees the image."""
    node = InProcessNode(tmp_path, destination=TWO)
    waiting = chest("waiting", PatientID="NO")
    node.receive(waiting)
    route(node, monkeypatch)
    say_no(node, "NO")
    node.work()
    story = node.story(str(waiting.StudyInstanceUID))
    assert (story["state"], story["hold_reason"]) == ("held", "opted_out")
    assert [run["state"] for run in story["runs"]] == ["cancelled"]
    assert node.sent() == []
    assert not list(node.rooms.home.results.rglob("findings.json"))


def test_said_after_analysis_nothing_unsent_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the result and its delivery: cancelled. What had been delivered stays, and the story says so."""
    node = InProcessNode(tmp_path, destination=TWO)
    late = chest("late", PatientID="NO")
    plan = journey.plan

    def plan_then_no(*arguments: object) -> None:
        plan(*arguments)  # type: ignore[arg-type]
        say_no(node, "NO")

    monkeypatch.setattr(journey, "plan", plan_then_no)
    story = node.answer(late)
    assert (story["state"], story["hold_reason"]) == ("held", "opted_out")
    assert {one["state"] for one in story["deliveries"]} == {"cancelled"}
    assert node.sent() == []
    assert any("what was delivered before stays" in line["text"] for line in story["story"])


def test_no_holds_for_records_that_the_hospital_merged(tmp_path: Path) -> None:
    """Said under the number that is gone, it holds for the one that is left; and the other way round."""
    node = InProcessNode(tmp_path, destination=TWO)
    say_no(node, "GONE")
    say_no(node, "LEFT2")
    hear(node, merge("GONE", "LEFT"), merge("GONE2", "LEFT2"))
    first, second = chest("first", PatientID="LEFT"), chest("second", PatientID="GONE2")
    node.receive(first, second)
    node.work()
    assert state(node, first) == state(node, second) == ("held", "opted_out")


def test_no_to_learning_is_not_no_to_analysis(tmp_path: Path) -> None:
    """The two are apart."""
    node = InProcessNode(tmp_path, destination=TWO)
    say_no(node, "L", scope="learning")
    assert node.answer(chest("learning", PatientID="L"))["state"] == "routed"


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Add from standard input, list, import all or nothing, remove; no answer repeats the number."""
    node = InProcessNode(tmp_path)
    home = ["--home", str(node.rooms.home.path)]
    monkeypatch.setattr("sys.stdin", io.StringIO("SECRET1\n"))
    assert main(["opt-out", "add", "--patient-id", "-", "--scope", "learning", *home]) == 0
    file = tmp_path / "wishes.csv"
    file.write_text("patient_id,issuer,scope\nSECRET2,,both\nSECRET3,,never\n")
    assert main(["opt-out", "import", str(file), *home]) == 2
    assert main(["opt-out", "list", "--patient-id", "SECRET2", *home]) == 0
    said = capsys.readouterr()
    assert "line 3: the scope is not known; write analysis, learning or both; nothing of the file was applied" in said.err
    assert "pt_" not in said.out, "the good line before the bad one was applied"
    file.write_text("patient_id,issuer,scope\nSECRET2,,both\nSECRET3,H,\n")
    assert main(["opt-out", "import", str(file), *home]) == 0
    assert main(["opt-out", "remove", "--patient-id", "SECRET3", "--scope", "analysis", *home]) == 0
    assert main(["opt-out", "remove", "--patient-id", "SECRET4", *home]) == 2
    capsys.readouterr()
    assert main(["opt-out", "list", *home]) == 0
    listed = capsys.readouterr()
    assert [line.split()[3] for line in listed.out.splitlines()].count("learning") == 3
    assert "SECRET" not in listed.out + listed.err + said.out + said.err
