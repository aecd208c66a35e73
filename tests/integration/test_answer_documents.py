"""Documents that answer a result, in one process: noted as they arrive, recorded once; whatever else comes is no verdict."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom import Dataset

from dicom_node.core.identifiers import derived_uid
from dicom_node.stages.answers import documents
from dicom_node.stages.answers.documents import PATIENCE_SECONDS, AnswerDocuments
from dicom_node.store.tables import answer_object, verdict, verdict_private
from models.phantoms.cxr import chest_phantom
from models.phantoms.dicom import as_radiograph
from tests.factories import answer_documents as made
from tests.factories.rejection_notes import rejection_note
from tests.integration.in_process import InProcessNode

IMAGE, _, _ = chest_phantom(seed=3, size=768)
OUTPUTS = {"outputs": ["secondary_capture", "text_report", "structured_report"]}
READERS = [{"name": made.RADIOLOGIST, "role": "radiologist", "experience_years": 9}]


def chest(seed: str) -> Dataset:
    """Return one frontal radiograph of an adult."""
    return as_radiograph(IMAGE, seed=seed, instance="1", modality="CR")


class Answered:
    """A node with one result, and what reads the documents about it."""

    def __init__(self, folder: Path, seed: str) -> None:
        self.node = InProcessNode(folder, destination=OUTPUTS, readers=READERS)
        self.source = chest(seed)
        self.node.answer(self.source)
        made_by = {one.SeriesDescription: one for one in self.node.sent_dicom()}
        self.ours = list(made_by.values())
        self.sr = next(one for name, one in made_by.items() if "measurement" in name)
        self.sc = next(one for one in self.ours if one.Modality == "OT")
        self.ahead = 0.0
        rooms = self.node.rooms
        self.documents = AnswerDocuments(rooms.home, rooms.settings, rooms.database, clock=lambda: time.time() + self.ahead)

    def bring(self, *documents: Dataset) -> list[Any]:
        """Receive and read documents; return the rows of the log that they gave."""
        before = len(self.rows())
        self.node.receive(*documents)
        self.documents.sweep()
        return self.rows()[before:]

    def rows(self) -> list[Any]:
        with self.node.rooms.database.connect() as connection:
            return list(connection.execute(sa.select(verdict).order_by(verdict.c.number)))

    def objects(self, document: Dataset) -> list[Any]:
        """Return what became of a document: a row each time that it came with other bytes."""
        query = sa.select(answer_object).where(answer_object.c.sop_instance_uid == str(document.SOPInstanceUID))
        with self.node.rooms.database.connect() as connection:
            return list(connection.execute(query))

    def state(self, document: Dataset) -> str:
        (row,) = self.objects(document)
        assert "Rao" not in row.text
        assert str(document.SOPInstanceUID) not in row.text
        return str(row.state)

    def story(self) -> list[str]:
        return [line["event"] for line in self.node.story(str(self.source.StudyInstanceUID))["story"]]


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Answered:
    """One node for the tests that leave its result as it is."""
    return Answered(tmp_path_factory.mktemp("answered"), "documents")


@pytest.fixture
def fresh_clock(answered: Answered) -> Iterator[None]:
    """Set the clock back afterwards."""
    yield
    answered.ahead = 0.0


POSITIVE = {
    "key objects": ("rejected", "weak", "", lambda a: made.key_objects([a.sc], "113001", "A nipple.")),
    "verified report": ("accepted", "strong", "", lambda a: made.edited(a.sr)),
    "corrected report": ("amended", "strong", "abnormal", lambda a: made.with_decision(made.edited(a.sr), "abnormal", "NEG")),
    "finding taken out": ("rejected", "strong", "abnormal", lambda a: made.without_group(made.edited(a.sr), "abnormal")),
    "draft": ("amended", "weak", "abnormal", lambda a: made.with_decision(made.edited(a.sr, verified=False), "abnormal", "NEG")),
    "assessment": ("rejected", "weak", "", lambda a: made.assessment([a.sr], [("REJECT", "99PACSAI", "")])),
    "verified assessment": (
        "accepted",
        "strong",
        "",
        lambda a: made.assessment([a.sr], [("AIRA-ACCEPT", "99PACS", "")], verified=True),
    ),
    "content assessment": ("rejected", "weak", "", lambda a: made.content_assessment([a.sr], "FAILED")),
}


@pytest.mark.parametrize("case", POSITIVE)
def test_each_kind_of_answer_gives_one_record_and_again_none(answered: Answered, case: str) -> None:
    """The right verdict, finding and strength; the same bytes again and the same document with another header add nothing."""
    expected, strength, finding, make = POSITIVE[case]
    document = make(answered)
    (row,) = answered.bring(document)
    assert (row.verdict, row.strength, row.finding) == (expected, strength, finding)
    assert answered.state(document) == "read"
    assert answered.story()[-1] == "answer.recorded"
    assert answered.bring(document) == []
    rewritten = copy.deepcopy(document)
    rewritten.InstitutionName = "Coerced"
    assert answered.bring(rewritten) == []
    assert {one.state for one in answered.objects(document)} == {"read"}


def test_shapes_are_evidence_and_no_verdict(answered: Answered) -> None:
    """Kept in the erasable table; saved unasked, without a shape, not even that."""
    square = [(10.0, 20.0), (50.0, 20.0), (50.0, 60.0), (10.0, 20.0)]
    drawn, unasked = made.presentation_state(answered.source, [("POLYLINE", square)]), made.presentation_state(answered.source)
    assert answered.bring(drawn, unasked) == []
    assert (answered.state(drawn), answered.state(unasked)) == ("read", "nothing")
    with answered.node.rooms.database.connect() as connection:
        contents = list(connection.execute(sa.select(verdict_private.c.content)).scalars())
    (regions,) = [one["regions"] for one in contents if one["source"] == drawn.SOPInstanceUID]
    assert regions[0]["points"] == [[10.0, 20.0], [50.0, 20.0], [50.0, 60.0]]


def test_our_own_objects_that_come_back_are_not_even_noted(answered: Answered) -> None:
    """Echoed as they were, and with a header that the archive has changed."""
    changed = [copy.deepcopy(one) for one in answered.ours]
    for one in changed:
        one.InstitutionName = "Coerced"
    assert answered.bring(*answered.ours, *changed) == []
    assert [one for mine in answered.ours for one in answered.objects(mine)] == []


def test_a_report_verified_under_our_own_uid_counts(answered: Answered) -> None:
    """After our own echo; its file is kept beside that one and known to the study; again it adds nothing."""
    answered.bring(answered.sr)
    verified = made.edited(answered.sr, in_place=True)
    (row,) = answered.bring(verified)
    assert (row.verdict, row.strength) == ("accepted", "strong")
    assert answered.bring(verified) == []
    assert answered.state(verified) == "read"
    states = [i["state"] for i in answered.node.story(str(answered.source.StudyInstanceUID))["instances"]]
    assert "ours" in states


def test_taking_our_objects_away_is_no_verdict_unless_there_is_one_to_take_back(tmp_path: Path) -> None:
    """KOS 113038 about our objects alone: no row; after an answer of the same reader, the row that withdraws it."""
    here = Answered(tmp_path, "taken away")
    first, second = (made.key_objects([here.sc, here.sr], "113038") for _ in range(2))
    assert here.bring(first) == []
    assert here.state(first) == "nothing"
    here.bring(made.key_objects([here.sc], "113001", "A nipple."))
    (row,) = here.bring(second)
    assert (row.verdict, row.strength) == ("withdrawn", "weak")


@pytest.mark.parametrize("case", ["key objects", "verified report", "verified assessment", "content assessment"])
def test_a_document_that_names_another_patient_is_no_answer(answered: Answered, case: str) -> None:
    """It stands under the right study and names our object, and somebody else as the patient: shown, and never recorded."""
    document = POSITIVE[case][-1](answered)
    document.PatientID = "SOMEBODY-ELSE"
    assert answered.bring(document) == []
    assert answered.state(document) == "unclear"


NEGATIVE = {
    "whole study": ("nothing", lambda a: made.key_objects([a.source, *a.ours], "113000")),
    "of interest": ("nothing", lambda a: made.key_objects([a.sc], "113000")),
    "nobody's draft": ("nothing", lambda a: made.with_decision(made.edited(a.sr, verified=False, observer=""), "abnormal", "NEG")),
    "unfinished": ("nothing", lambda a: made.edited(a.sr, complete=False)),
    "machine's check": ("nothing", lambda a: made.content_assessment([a.sr], "PASSED", who="")),
    "two verdicts": ("unclear", lambda a: made.assessment([a.sr], [("REJECT", "99PACSAI", ""), ("ACCEPT", "99PACSAI", "")])),
}


@pytest.mark.parametrize("case", NEGATIVE)
def test_what_looks_like_an_answer_and_is_none(answered: Answered, case: str) -> None:
    """No row of the log; the document's row says why."""
    expected, make = NEGATIVE[case]
    document = make(answered)
    assert answered.bring(document) == []
    assert answered.state(document) == expected


def foreign(of: Dataset) -> Dataset:
    """Return an object like this one that nobody here has heard of."""
    other = copy.deepcopy(of)
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = derived_uid("foreign", str(time.time_ns()))
    return other


FOREIGN = {
    "key objects": lambda a: made.key_objects([foreign(a.sc)]),
    "report": lambda a: made.edited(foreign(a.sr)),
    "assessment": lambda a: made.assessment([foreign(a.sr)], [("REJECT", "99PACSAI", "")]),
    "content assessment": lambda a: made.content_assessment([foreign(a.sr)], "FAILED"),
}


@pytest.mark.parametrize("case", FOREIGN)
@pytest.mark.usefixtures("fresh_clock")
def test_an_answer_to_something_foreign_waits_and_is_quarantined(answered: Answered, case: str) -> None:
    """Our result may only be late; after some minutes it is shown, and never guessed."""
    document = FOREIGN[case](answered)
    assert answered.bring(document) == []
    assert answered.state(document) == "waiting"
    answered.ahead = PATIENCE_SECONDS + 1
    answered.documents.sweep()
    assert answered.state(document) == "quarantined"
    assert "answer.quarantined" in answered.story()
    assert "waiting" not in {one.state for one in answered.objects(document)}


@pytest.mark.usefixtures("fresh_clock")
def test_an_answer_that_overtakes_its_result_counts_once_the_result_is_known(tmp_path: Path) -> None:
    """The document came, our rows did not: it is looked at again."""
    first = Answered(tmp_path / "first", "late")
    document = made.assessment([first.sr], [("REJECT", "99PACSAI", "")])
    second = InProcessNode(tmp_path / "second", destination=OUTPUTS, readers=READERS)
    second.receive(first.source, document)
    late = [0.0]
    documents = AnswerDocuments(
        second.rooms.home, second.rooms.settings, second.rooms.database, clock=lambda: time.time() + late[0]
    )
    assert documents.sweep() == 0
    with second.rooms.database.begin() as connection, first.node.rooms.database.connect() as other:
        for name in ("run", "artifact"):
            table = answer_object.metadata.tables[name]
            connection.execute(sa.insert(table), [dict(row._mapping) for row in other.execute(sa.select(table))])
    assert documents.sweep() == 0, "not read at each beat"
    late[0] = 30.0
    assert documents.sweep() == 1
    with second.rooms.database.connect() as connection:
        assert [row.verdict for row in connection.execute(sa.select(verdict))] == ["rejected"]


def test_a_document_that_cannot_be_read_is_told(answered: Answered, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damaged on the disk, gone from it, or too much for the reader: shown, and the next one is read all the same."""
    damaged, gone, fatal = (made.assessment([answered.sr], [("REJECT", "99PACSAI", "")]) for _ in range(3))
    answered.node.receive(damaged, gone, fatal)
    store = answered.node.rooms.home.store
    (store / answered.objects(damaged)[0].storage_key).write_bytes(b"no DICOM")
    (store / answered.objects(gone)[0].storage_key).unlink()
    read = documents.claims_of

    def reader(document: Any) -> Any:
        if document.uid == fatal.SOPInstanceUID:
            raise RecursionError
        return read(document)

    monkeypatch.setattr(documents, "claims_of", reader)
    good = made.assessment([answered.sr], [("ACCEPT", "99PACSAI", "")])
    (row,) = answered.bring(good)
    assert row.verdict == "accepted"
    assert [answered.state(one) for one in (damaged, gone, fatal)] == ["unreadable"] * 3
    assert "answer.unreadable" in answered.story()


def test_a_disk_or_database_that_is_away_loses_no_answer(
    answered: Answered, monkeypatch: pytest.MonkeyPatch, fresh_clock: None
) -> None:
    """The row goes on waiting, and the document is read once it can be."""
    document = made.assessment([answered.sr], [("REJECT", "99PACSAI", "")])

    def away(*_: object, **__: object) -> None:
        raise sa.exc.OperationalError("", {}, Exception())

    with monkeypatch.context() as patch:
        patch.setattr(documents.feedback, "record", away)
        assert answered.bring(document) == []
    assert answered.state(document) == "waiting"
    answered.ahead = 60
    assert answered.documents.sweep() == 1
    assert answered.state(document) == "read"


@pytest.mark.parametrize("when", ["after", "before"])
def test_a_note_that_names_the_source_withdraws_the_result_and_is_no_verdict(tmp_path: Path, when: str) -> None:
    """KOS 113038 about the image: the result is taken back; a note about our objects that follows is about nothing that stands."""
    here = Answered(tmp_path, f"withdrawn {when}")
    note = rejection_note(here.source, [here.source])
    both = rejection_note(here.source, [here.source, *here.ours], number=2)
    assert here.bring(note if when == "after" else both) == []
    here.node.work()
    assert [run["state"] for run in here.node.story(str(here.source.StudyInstanceUID))["runs"]] == ["withdrawn"]
    late = made.key_objects([here.sc])
    assert here.bring(late) == []
    assert here.state(late) == "unclear"


def test_documents_start_nothing_and_change_nothing(tmp_path: Path) -> None:
    """One result before and after, nothing is sent again, and the images that count are the same."""
    here = Answered(tmp_path, "quiet")
    sent = here.node.sent()
    here.bring(*(make(here) for *_, make in POSITIVE.values()), made.presentation_state(here.source))
    here.node.work()
    story = here.node.story(str(here.source.StudyInstanceUID))
    assert [run["state"] for run in story["runs"]] == ["analysed"]
    assert here.node.sent() == sent
    assert len(here.rows()) == len(POSITIVE)
