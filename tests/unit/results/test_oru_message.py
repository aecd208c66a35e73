"""The HL7 message: what it says, and what it must not say."""

from __future__ import annotations

from typing import Any

import pytest
from hl7apy.parser import parse_message

from dicom_node.core.findings import Zone
from dicom_node.core.phi import Phi
from dicom_node.core.product import DISCLAIMER
from dicom_node.results.hl7_text import escaped, person_name
from dicom_node.results.message_settings import Hl7Settings
from dicom_node.results.outputs import oru_message
from dicom_node.results.settings import ResultsSettings
from tests.factories.deliverables import AWKWARD, analysed, context, refused, request

TWO = (Phi("ACC-1"), Phi("ACC-2"))


def message(**made: Any) -> list[list[str]]:
    """Return segments as lists of fields."""
    text = oru_message.build(context(**made), "").data.decode()
    return [segment.split("|") for segment in text.rstrip("\r").split("\r")]


def segments(name: str, **made: Any) -> list[list[str]]:
    return [fields for fields in message(**made) if fields[0] == name]


def by_sub(**made: Any) -> dict[str, list[str]]:
    return {fields[4]: [*fields, *[""] * 20] for fields in segments("OBX", **made)}


def test_the_message_is_what_an_independent_reading_of_the_standard_expects() -> None:
    """It parses into its groups, and type, version and character set stand in the header."""
    artifact = oru_message.build(context(), "")
    parsed = parse_message(artifact.data.decode(), find_groups=True)
    assert parsed.name == "ORU_R01"
    header = segments("MSH")[0]
    assert header[8:12] == ["ORU^R01^ORU_R01", artifact.identifier, "P", "2.5.1"]
    assert header[17] == "UNICODE UTF-8"
    assert len(artifact.identifier) <= 20


@pytest.mark.parametrize(
    ("made", "status"),
    [({}, "P"), ({"findings": refused()}, "X"), ({"run": request(revision=2)}, "P")],
    ids=["result", "refusal", "re-run"],
)
def test_statuses_are_p_or_x_and_never_final_or_corrected(made: dict[str, Any], status: str) -> None:
    """OBR-25 and OBX-11 are P; X for what is not analysed; F and C never appear."""
    assert {fields[25] for fields in segments("OBR", **made)} == {status}
    assert {fields[11] for fields in segments("OBX", **made)} <= {status, "X"}


def test_the_order_is_not_touched() -> None:
    """No ORC, no placer number; filler number and service are our own; the accession appears only where a setting says so."""
    assert segments("ORC") == []
    (order,) = segments("OBR")
    assert order[2] == ""
    assert order[3].startswith("AI")
    assert order[4].startswith("AI-CXR-RESULT^")
    assert order[4].endswith("^99PACSAI")
    assert "ACC-77001" not in oru_message.build(context(), "").data.decode()
    told = ResultsSettings(hl7=Hl7Settings(accession_field="OBR-18"))
    assert segments("OBR", settings=told)[0][18] == "ACC-77001"


def test_each_requested_procedure_has_its_own_order_group() -> None:
    """Two accessions give two OBR with two filler numbers and the same observations."""
    first, second = segments("OBR", requested_accessions=TWO)
    assert first[3] != second[3]
    observations = segments("OBX", requested_accessions=TWO)
    half = len(observations) // 2
    assert observations[:half] == observations[half:]


def test_a_new_run_keeps_filler_number_and_sub_ids_under_a_new_control_id() -> None:
    """A receiver updates what it has; the same run again is the same message to the byte."""
    later = {"run": request(run_key="rn_" + "2" * 32, revision=2)}
    assert segments("OBR")[0][3] == segments("OBR", **later)[0][3]
    assert list(by_sub()) == list(by_sub(**later))
    assert segments("MSH")[0][9] != segments("MSH", **later)[0][9]
    assert oru_message.build(context(), "").data == oru_message.build(context(), "").data


def test_a_refusal_has_the_reason_as_code_and_as_note() -> None:
    """The decision is empty with X and a note; the reason is coded."""
    rows = by_sub(findings=refused())
    assert rows["RESULT"][5] == ""
    assert rows["REASON"][5].startswith("NOT-FRONTAL^")
    assert "Not analysed" in segments("NTE", findings=refused())[0][3]
    assert oru_message.build(context(findings=refused()), "").refusal


def test_classes_carry_value_threshold_and_flag() -> None:
    """An assessed class has NM, threshold and A; one that is not assessed has X and why; gray is not N."""
    rows = by_sub()
    assert rows["ABNORMAL"][2:9] == ["NM", "263654008^Abnormal^SCT", "ABNORMAL", "0.8700", "1^no units^UCUM", "<0.6200", "A"]
    assert (rows["TUBERCULOSIS"][5], rows["TUBERCULOSIS"][11]) == ("", "X")
    assert by_sub(findings=analysed(Zone.NOT_SUSPECTED, 0.1))["ABNORMAL"][8] == "N"
    assert by_sub(findings=analysed(Zone.GRAY, 0.5))["ABNORMAL"][8] == ""
    assert DISCLAIMER in rows["TEXT"][5]


def test_free_text_cannot_become_a_delimiter() -> None:
    r"""The delimiters | ^ ~ \ & in free text are escaped, and a reader gets the text back."""
    assert escaped(AWKWARD) == "a\\F\\b\\S\\c\\R\\d\\E\\e\\T\\f<g>"
    note = next(fields[3] for fields in segments("NTE") if "Too few" in fields[3])
    assert note == "Too few adults: " + escaped(AWKWARD)
    assert "\n" not in oru_message.build(context(), "").data.decode()


def test_names_keep_every_component_group() -> None:
    """Prefix and suffix change places between DICOM and HL7; ideographic and phonetic groups are repetitions."""
    assert person_name("Doe^Jane^Q^Dr^Jr") == ["Doe^Jane^Q^Jr^Dr"]
    assert segments("PID")[0][5] == "Yamada^Tarou^^^^^^A~山田^太郎^^^^^^I~やまだ^たろう^^^^^^P"


def test_time_stamps_carry_zones() -> None:
    """Acquisition and message time are in the source's offset."""
    assert segments("OBR")[0][7] == "20261101101500+0530"
    assert segments("MSH")[0][6].endswith("+0530")


@pytest.mark.parametrize(
    "header",
    [
        {"patient_id": Phi(AWKWARD), "patient_name": Phi(AWKWARD), "issuer_of_patient_id": Phi(AWKWARD)},
        {"patient_name": Phi(""), "patient_sex": "", "birth_date": Phi("1"), "acquisition_datetime": "", "study_date": ""},
    ],
)
def test_odd_headers_give_a_valid_message(header: dict[str, Any]) -> None:
    """Delimiters in identifiers and missing values do not break the message."""
    (patient,) = segments("PID", **header)
    assert len(patient) == 9
