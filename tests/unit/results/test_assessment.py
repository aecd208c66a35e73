"""What tells of an answer: SR, FHIR, HL7. Each under its own numbers, none of them ever final."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message
from pydicom import Dataset, dcmread

from dicom_node.core.artifact import Artifact
from dicom_node.core.feedback import REASONS, Strength, Verdict
from dicom_node.core.phi import Phi
from dicom_node.core.product import DISCLAIMER
from dicom_node.results.assessments import answered as words
from dicom_node.results.assessments import message as assessment_message
from dicom_node.results.assessments import report as assessment
from dicom_node.results.assessments import resources as assessment_report
from dicom_node.results.assessments.resources import ANSWER_EXTENSION
from dicom_node.results.assessments.tell_answer import build_answer
from dicom_node.results.report_text import NOT_REVIEWED
from tests.factories.answered import answer, answered, sent
from tests.factories.deliverables import AWKWARD, refused
from tests.factories.dicom_validators import dciodvfy_errors, dsrdump

ABNORMAL = answer(Verdict.AMENDED, "abnormal", label_after="absent", number=16)
NAMED = answer(reader_name="Bäcker^Jürgen", comment=f"Größe? {AWKWARD}", differs=True)
TAKEN_BACK = answer(None)
CASES = {
    "rejected": (answer(),),
    "accepted": (answer(Verdict.ACCEPTED, reason=""),),
    "two findings": (answer(Verdict.ACCEPTED), ABNORMAL),
    "unknown reader": (answer(strength=Strength.WEAK),),
    "named, with a comment": (NAMED,),
    "taken back": (TAKEN_BACK,),
    "odd label": (answer(Verdict.AMENDED, "abnormal", label_after="40733004^SCT"),),
}


def read(artifact: Artifact) -> Dataset:
    return dcmread(io.BytesIO(artifact.data))


def values(item: Dataset, name: str) -> list[str]:
    """Return what the items under this concept say, anywhere below ``item``."""
    found = []
    for child in item.get("ContentSequence", []):
        names = child.get("ConceptNameCodeSequence")
        if names and names[0].CodeMeaning == name:
            if "ConceptCodeSequence" in child:
                found.append(child.ConceptCodeSequence[0].CodeValue)
            else:
                found += [str(child[key].value) for key in ("TextValue", "PersonName", "DateTime", "UID") if key in child]
        found += values(child, name)
    return found


# ---------------------------------------------------------------- the SR


@pytest.mark.parametrize("answers", CASES.values(), ids=CASES)
def test_the_report_is_valid_and_unverified(tmp_path: Path, answers: tuple[Any, ...]) -> None:
    """No error by dciodvfy, readable by DCMTK; preliminary and unverified whoever answered; research use only."""
    path = tmp_path / "assessment.dcm"
    made = assessment.build(answered(*answers))
    path.write_bytes(made.data)
    assert [line for line in dciodvfy_errors(path) if "Illegal root" not in line] == []  # the factory's short UIDs
    assert "AI result assessment" in dsrdump(path)
    report = read(made)
    assert (report.VerificationFlag, report.PreliminaryFlag, report.CompletionFlag) == ("UNVERIFIED", "PRELIMINARY", "COMPLETE")
    conclusions = values(report, "Conclusion")
    assert conclusions[:2] == [DISCLAIMER, words.NOT_THE_REPORT]
    assert "VerifyingObserverSequence" not in report


def test_the_report_says_what_was_answered() -> None:
    """Codes for the answer, the finding, the label, the reason, who, when and which row; the references of the result."""
    report = read(assessment.build(answered(answer(Verdict.ACCEPTED), ABNORMAL)))
    assert values(report, "Assessment of the AI result") == ["ACCEPT", "MODIFY"]
    assert values(report, "Finding") == ["AI-CXR-RESULT", "263654008"]
    assert values(report, "Finding as the reader has it") == ["121054"]
    assert values(report, "Reason of the answer") == ["R-REGION", "R-REGION"]
    assert values(report, "Who answered") == ["RADIOLOGIST", "RADIOLOGIST"]
    assert values(report, "Number of the answer in the log of the node") == ["17", "16"]
    assert values(report, "Date and time of the answer") == ["20261103140000"] * 2  # of the source's zone, +0530
    assert report.TimezoneOffsetFromUTC == "+0530"
    text = sent()[0]
    named = {
        str(item.ReferencedSOPInstanceUID)
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert named == {"1.2.3.1", text.identifier}
    assert (report.PatientID, report.AccessionNumber) == ("PID-0042", "ACC-77001")


def test_names_and_comments_stay_out_unless_given() -> None:
    """The builder writes a person as observer only where it is told a name, also with letters beyond the source's set."""
    assert values(read(assessment.build(answered())), "Person Observer Name") == []
    report = read(assessment.build(answered(NAMED)))
    assert values(report, "Person Observer Name") == ["Bäcker^Jürgen"]
    assert values(report, "Comment") == [f"Größe? {AWKWARD}"]
    assert values(report, "Readers differ") != []


def test_the_same_row_gives_the_same_bytes_and_a_newer_one_names_it() -> None:
    """Deterministic, so that a crash sends nothing twice; the successor is of the same series and names its predecessor."""
    first = assessment.build(answered(number=17))
    assert assessment.build(answered(number=17)).data == first.data
    second = read(assessment.build(answered(answer(Verdict.ACCEPTED, number=21), number=21, before=first)))
    (study,) = second.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    assert [str(item.ReferencedSOPInstanceUID) for item in series.ReferencedSOPSequence] == [first.identifier]
    assert second.SeriesInstanceUID == read(first).SeriesInstanceUID == series.SeriesInstanceUID
    assert "PredecessorDocumentsSequence" not in read(first)


# ---------------------------------------------------------------- FHIR


def resources(artifact: Artifact) -> list[dict[str, Any]]:
    return [entry["resource"] for entry in json.loads(artifact.data)["entry"]]


@pytest.mark.parametrize("variant", ["", "preliminary"])
@pytest.mark.parametrize("answers", CASES.values(), ids=CASES)
def test_the_same_resources_tell_of_it_and_keep_their_status(answers: tuple[Any, ...], variant: str) -> None:
    """Identifiers, values and statuses stay; an extension, a note and the conclusion tell; no provenance of ours is repeated."""
    said = answered(*answers, variant=variant)
    before, after = said.of("application/fhir+json")[0], assessment_report.build(said, said.of("application/fhir+json")[0])
    assert after.role == "assessment_report:17" + (f":{variant}" if variant else "")
    old = [r for r in resources(before) if r["resourceType"] != "Provenance"]
    new = resources(after)
    kept = ("resourceType", "identifier", "status", "valueQuantity", "interpretation", "result", "code", "conclusionCode")
    assert [{name: r.get(name) for name in kept} for r in new] == [{name: r.get(name) for name in kept} for r in old]
    statuses = {r["status"] for r in new if r["resourceType"] in ("DiagnosticReport", "Observation")}
    assert statuses <= {"partial", "preliminary"}
    (report,) = [r for r in new if r["resourceType"] == "DiagnosticReport"]
    assert "ANSWER: " in report["conclusion"]
    assert NOT_REVIEWED not in report["conclusion"]
    told = [e for r in new for e in r.get("extension", ()) if e["url"] == ANSWER_EXTENSION]
    assert len(told) == sum(1 if a.finding else 2 for a in answers)  # the whole result: on the report and on its Observation


# ---------------------------------------------------------------- HL7


def rows(text: str, segment: str, *fields: int) -> list[tuple[str, ...]]:
    found = [line.split("|") for line in text.split("\r") if line.startswith(segment + "|")]
    return [tuple(line[n] if n < len(line) else "" for n in fields) for line in found]


@pytest.mark.parametrize("made", [{}, {"findings": refused()}], ids=["analysed", "not analysed"])
@pytest.mark.parametrize("answers", CASES.values(), ids=CASES)
def test_the_same_message_again_with_the_answer_beside_it(answers: tuple[Any, ...], made: dict[str, Any]) -> None:
    """Valid HL7 under the same filler number and OBX-4; P or X as before, never F or C; another control id; no order."""
    said = answered(*answers, **made)
    before, after = said.of("x-application/hl7-v2+er7")[0].data.decode(), assessment_message.build(said).data.decode()
    parse_message(after, validation_level=VALIDATION_LEVEL.STRICT)
    assert rows(after, "OBR", 1, 3, 4, 18, 25) == rows(before, "OBR", 1, 3, 4, 18, 25)
    assert rows(after, "PID", 3, 5) == rows(before, "PID", 3, 5)
    old = rows(before, "OBX", 1, 2, 3, 4, 11)
    assert rows(after, "OBX", 1, 2, 3, 4, 11)[: len(old)] == old
    added = rows(after, "OBX", 2, 4, 11)[len(old) :]
    assert added == [("CWE", a.finding.upper() or "RESULT", "P") for a in answers]
    assert not {status for (status,) in rows(after, "OBX", 11)} & {"F", "C"}
    (before_id,), (after_id,) = rows(before, "MSH", 9), rows(after, "MSH", 9)
    assert before_id != after_id
    assert all(a.sentence.replace("&", "\\T\\") in after for a in answers)
    assert "ORC|" not in after


def test_each_order_of_a_grouped_study_is_told() -> None:
    """Two requested procedures, two OBR: the answer stands in both groups."""
    text = assessment_message.build(answered(requested_accessions=(Phi("A1"), Phi("A2")))).data.decode()
    segments = [line.split("|")[0] for line in text.split("\r")]
    groups = " ".join(segments).split("OBR")[1:]
    assert len(groups) == 2
    assert [row for row in rows(text, "OBX", 3) if "ASSESSMENT" in row[0]] == [
        ("ASSESSMENT^Assessment of the AI result^99PACSAI",)
    ] * 2


# ---------------------------------------------------------------- all of them


def test_one_that_cannot_be_built_does_not_keep_the_others() -> None:
    """No HL7 message was sent: the report is made all the same, and the failure has a name without anybody's data."""
    said = answered()
    lacking = dataclasses.replace(said, sent=tuple(a for a in said.sent if a.media_type != "x-application/hl7-v2+er7"))
    built = build_answer(lacking, ["assessment:17", "assessment_message:17", "assessment_report:17"])
    assert [a.role for a in built.artifacts] == ["assessment:17", "assessment_report:17"]
    assert built.failed == ("assessment message (IndexError)",)


def test_every_reason_and_verdict_has_a_code() -> None:
    """The vocabulary of the log is the vocabulary of what goes back; no code value is too long for its VR."""
    assert set(words.REASONS) == set(REASONS)
    assert {code.value for code in words.VERDICTS.values()} == {"ACCEPT", "REJECT", "MODIFY"}
    coded = [*words.REASONS.values(), *words.VERDICTS.values(), *words.LABELS.values(), TAKEN_BACK.verdict_code]
    assert all(len(code.value) <= 16 and len(code.meaning) <= 64 for code in coded)
