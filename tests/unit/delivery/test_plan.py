"""Which artifact goes where, which is withheld, and why."""

from __future__ import annotations

from typing import Any

import pytest

from dicom_node.core.artifact import DICOM, FHIR, HL7
from dicom_node.core.delivery import DeliveryState
from dicom_node.core.run import Release
from dicom_node.delivery.plan import Destination, plan, roles_wanted, words
from dicom_node.delivery.settings import DestinationSettings
from tests.factories.deliverables import artifact, request

ALL_ROLES = ("secondary_capture", "text_report", "diagnostic_report", "oru_message")


def place(*media_types: str, **settings: Any) -> Destination:
    return Destination(DestinationSettings(kind="any", allow_unvalidated=True, **settings), media_types)


def planned(destination: Destination, *, evidence: str = "external", refusal: bool = False, **run: Any) -> dict[str, DeliveryState]:
    items = [artifact(role, refusal=refusal) for role in ALL_ROLES]
    return {p.role: p.state for p in plan(request(**run), evidence, items, {"pacs": destination})}


Q, W = DeliveryState.QUEUED, DeliveryState.WITHHELD


def test_a_pacs_gets_the_overlay_and_one_report_unless_it_names_more() -> None:
    """The default set of a PACS is SC and one SR."""
    assert planned(place(DICOM)) == {"secondary_capture": Q, "text_report": Q}


@pytest.mark.parametrize(
    ("media_type", "role"), [(FHIR, "diagnostic_report"), (HL7, "oru_message")], ids=["FHIR server", "HL7 receiver"]
)
def test_other_destinations_get_what_they_can_carry(media_type: str, role: str) -> None:
    """A destination that names no outputs gets the default of its media type."""
    assert planned(place(media_type)) == {role: Q}


@pytest.mark.parametrize(
    ("release", "state"), [(Release.SILENT, W), (Release.AFTER_ANSWER, W), (Release.AT_ONCE, Q)], ids=lambda value: str(value)
)
def test_release_decides_whether_results_leave(release: Release, state: DeliveryState) -> None:
    """The same study under each release value gives nothing, nothing before an answer, or all objects."""
    assert planned(place(DICOM), release=release) == {"secondary_capture": state, "text_report": state}


@pytest.mark.parametrize("evidence", ["demo", "internal", "", "External"])
def test_a_model_without_external_evidence_is_withheld_where_that_is_not_allowed(evidence: str) -> None:
    """Below external evidence nothing is released to a destination that does not say allow_unvalidated."""
    strict = Destination(DestinationSettings(kind="any"), (DICOM,))
    assert planned(strict, evidence=evidence) == {"secondary_capture": W, "text_report": W}
    assert planned(place(DICOM), evidence=evidence) == {"secondary_capture": Q, "text_report": Q}
    assert planned(strict, evidence="external") == {"secondary_capture": Q, "text_report": Q}


@pytest.mark.parametrize(
    ("refusals", "overlay", "report"), [("none", W, W), ("sr", W, Q), ("all", Q, Q)], ids=["none", "sr", "all"]
)
def test_refusals_go_where_the_destination_wants_them(refusals: str, overlay: DeliveryState, report: DeliveryState) -> None:
    """A refusal never pops up as an image unless the destination says "all"."""
    assert planned(place(DICOM, refusals=refusals), refusal=True) == {"secondary_capture": overlay, "text_report": report}


@pytest.mark.parametrize(("media_type", "role"), [(FHIR, "diagnostic_report"), (HL7, "oru_message")])
def test_a_refusal_message_counts_as_a_report(media_type: str, role: str) -> None:
    """With refusals "sr" a FHIR server and an HL7 receiver are told of the refusal."""
    assert planned(place(media_type), refusal=True) == {role: Q}


def test_an_output_that_the_destination_cannot_carry_is_withheld_with_the_reason() -> None:
    """IT that asks a PACS to take an HL7 message is told, not left in silence."""
    (only,) = plan(request(), "external", [artifact("oru_message")], {"pacs": place(DICOM, outputs=("oru_message",))})
    assert only.state is W
    assert "cannot carry" in only.detail


def test_a_rule_narrows_what_destinations_take_by_kind_or_flavour() -> None:
    """Outputs of a rule never widen a destination's set."""
    pacs = place(DICOM, outputs=("secondary_capture", "structured_report:ohif_text"))
    assert roles_wanted((), [pacs]) == ("secondary_capture", "structured_report:ohif_text")
    assert roles_wanted(("structured_report",), [pacs]) == ("structured_report:ohif_text",)
    assert roles_wanted(("structured_report:ohif_roi", "key_objects"), [pacs]) == ()
    assert planned(pacs, outputs=("text_report",)) == {}


def test_a_flavour_is_its_own_role() -> None:
    """A destination that names a flavour does not get the plain object, nor the other way round."""
    ohif = place(DICOM, outputs=("structured_report:ohif_text",))
    items = [artifact("structured_report"), artifact("structured_report:ohif_text")]
    assert [p.role for p in plan(request(), "external", items, {"ohif": ohif})] == ["structured_report:ohif_text"]


def test_results_that_stay_on_the_node_are_built_all_the_same() -> None:
    """Without a destination the rule's outputs are built, else the overlay and the report."""
    assert roles_wanted((), []) == ("secondary_capture", "text_report")
    assert roles_wanted(("key_objects",), []) == ("key_objects",)


def test_several_objects_of_one_role_go_where_the_role_goes() -> None:
    """The second and third key slice are taken, and narrowed, as the first is; people read them without a sign."""
    items = [artifact(role) for role in ("secondary_capture", "secondary_capture#2", "text_report")]
    slices = {"secondary_capture": Q, "secondary_capture#2": Q}
    for outputs, expected in (
        ((), {**slices, "text_report": Q}),
        (("secondary_capture",), slices),
        (("text_report",), {"text_report": Q}),
    ):
        made = plan(request(outputs=outputs), "external", items, {"pacs": place(DICOM)})
        assert {p.role: p.state for p in made} == expected
    assert words(["secondary_capture#2"]) == "secondary capture 2"
    assert items[1].kind == "secondary_capture"
