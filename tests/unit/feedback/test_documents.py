"""Documents that may be answers, kind by kind: what counts, and all that looks like it and does not."""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import io
import re
from collections.abc import Collection, Mapping
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_node.core import codes
from dicom_node.core.feedback import Channel, Claim, Statement, Verdict
from dicom_node.core.findings import Decision, Finding
from dicom_node.feedback.reports.assessment_codes import table
from dicom_node.feedback.reports.kinds import claims_of
from dicom_node.feedback.reports.reading import Document, Nothing, OurObject, Unclear, Unmatched
from dicom_node.feedback.settings import AssessmentCode, FeedbackSettings
from dicom_node.results.context import ResultContext
from dicom_node.results.outputs import secondary_capture, structured_report, text_report
from tests.factories import answer_documents as made
from tests.factories.results_sources import BUNDLE, analysed, context, radiograph, stored

RUN, STUDY = "rn_0123456789abcdef", "st_abcdefghij"
AMENDED, ACCEPTED, REJECTED = Verdict.AMENDED, Verdict.ACCEPTED, Verdict.REJECTED


class Result:
    """A result of two findings with its objects, and what the node knows of them."""

    def __init__(self, source: Dataset, objects: Mapping[str, Dataset], context: ResultContext) -> None:
        self.source, self.context = source, context
        self.made = dict(objects)
        self.sr, self.text, self.sc = (self.made[role] for role in ("structured_report", "text_report", "secondary_capture"))
        self.others: dict[str, OurObject] = {}  # objects of another result
        self.elsewhere: dict[str, tuple[str, ...]] = {str(self.source.SOPInstanceUID): ()}  # received -> predecessors
        self.results_on_image: tuple[str, ...] = (RUN,)
        self.answered = True
        self.lost = False

    def tracking(self, finding: str) -> str:
        return self.context.uid("tracking", finding)

    # --- reading.Known

    def ours(self, sop_instance_uids: Collection[str]) -> Mapping[str, OurObject]:
        mine = {str(one.SOPInstanceUID): OurObject(RUN, role) for role, one in self.made.items()} | self.others
        return {uid: mine[uid] for uid in sop_instance_uids if uid in mine}

    def stored(self, sop_instance_uid: str) -> Dataset | None:
        mine = {} if self.lost else {str(one.SOPInstanceUID): one for one in self.made.values()}
        return copy.deepcopy(mine.get(sop_instance_uid))

    def findings(self, run_key: str) -> Mapping[str, str]:
        return {self.tracking(key): key for key in ("abnormal", "tuberculosis")} if run_key == RUN else {}

    def runs_of_tracking_uids(self, uids: Collection[str], study_key: str) -> frozenset[str]:
        return frozenset() if self.findings(RUN).keys().isdisjoint(uids) else frozenset((RUN,))

    def results_from(self, sop_instance_uid: str) -> Collection[str]:
        return self.results_on_image if sop_instance_uid == self.source.SOPInstanceUID else ()

    def received(self, sop_instance_uids: Collection[str]) -> Collection[str]:
        return [uid for uid in sop_instance_uids if uid in self.elsewhere]

    def made_from(self, sop_instance_uid: str) -> Collection[str]:
        return self.elsewhere.get(sop_instance_uid, ())

    def has_result(self, study_key: str) -> bool:
        return self.answered

    # ---

    def read(self, dataset: Dataset, **settings: Any) -> Claim | Nothing | Unclear | Unmatched:
        """Read a document that was written to a file and came here."""
        buffer = io.BytesIO()
        pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
        buffer.seek(0)
        chosen = FeedbackSettings(**settings)
        return claims_of(
            Document(
                dataset=pydicom.dcmread(buffer),
                known=self,
                study_key=STUDY,
                received=dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC),
                zone=dt.timezone(dt.timedelta(hours=5, minutes=30)),
                digest="blake3:1",
                rejecting_titles=chosen.rejecting_titles,
                codes=table(chosen.assessment_codes),
            )
        )

    def claim(self, dataset: Dataset, **settings: Any) -> Claim:
        """Read a document that must be an answer."""
        found = self.read(dataset, **settings)
        assert isinstance(found, Claim), found
        assert found.source.split()[0] == dataset.SOPInstanceUID
        assert found.digest == "blake3:1"
        return found


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, dict[str, Dataset], ResultContext]:
    """The source, the objects of a result of two findings, and its context."""
    source = radiograph()
    image = stored(source, tmp_path_factory.mktemp("image"))
    found = analysed(image)
    second = Finding("tuberculosis", codes.TUBERCULOSIS, Decision.NEGATIVE, 0.12, 0.5)
    made_of = context(dataclasses.replace(found, findings=(found.findings[0], second), bundles=(BUNDLE,)), image)
    outputs = {"secondary_capture": secondary_capture, "text_report": text_report, "structured_report": structured_report}
    return source, {r: pydicom.dcmread(io.BytesIO(o.build(made_of, "").data)) for r, o in outputs.items()}, made_of


@pytest.fixture
def result(built: tuple[Dataset, dict[str, Dataset], ResultContext]) -> Result:
    """A result of two findings, as nobody has touched it."""
    return Result(*copy.deepcopy(built[:2]), built[2])


def foreign(of: Dataset) -> Dataset:
    """Return an object like this one that nobody here has heard of."""
    other = copy.deepcopy(of)
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.5"
    return other


# --- key objects -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("title", ["113001", "113037"])
def test_a_note_that_names_our_objects_alone_rejects_the_result(result: Result, title: str) -> None:
    """Whole result, with the reason in the person's words and the person's name; nobody vouches for it."""
    claim = result.claim(made.key_objects([result.sc, result.sr], title, "Clavicle taken for an opacity."))
    assert claim.channel is Channel.KEY_OBJECTS
    assert claim.statements == (Statement(REJECTED),)
    assert claim.comment == "Clavicle taken for an opacity."
    assert set(claim.targets.sop_instance_uids) == {result.sc.SOPInstanceUID, result.sr.SOPInstanceUID}
    assert claim.targets.study_key == STUDY
    assert (claim.reader.kind, claim.reader.identity, claim.reader.authenticated) == ("dicom", made.RADIOLOGIST, False)


@pytest.mark.parametrize("title", ["113038", "113039", "130754"])
def test_taking_our_objects_away_is_no_opinion(result: Result, title: str) -> None:
    """A wrong worklist entry, the end of retention, another representation: withdrawn."""
    assert result.claim(made.key_objects([result.sc], title)).statements == (Statement(Verdict.WITHDRAWN),)


@pytest.mark.parametrize("title", ["113000", "113002", "113010"])
def test_other_titles_say_nothing(result: Result, title: str) -> None:
    """Of interest, for referring provider, quality issue."""
    assert isinstance(result.read(made.key_objects([result.sc], title)), Nothing)


def test_a_site_may_choose_the_rejecting_titles(result: Result) -> None:
    """With another list the usual title rejects nothing."""
    note = made.key_objects([result.sc], "113001")
    assert isinstance(result.read(note, rejecting_titles=["113037"]), Nothing)


@pytest.mark.parametrize("title", ["113001", "113037", "113038", "113039"])
def test_a_note_that_names_an_image_is_never_an_answer(result: Result, title: str) -> None:
    """A whole study, or the image alone: images are rejected, which is not said of the result."""
    assert isinstance(result.read(made.key_objects([result.source, result.sc, result.sr], title)), Nothing)
    assert isinstance(result.read(made.key_objects([result.source], title)), Nothing)


def test_a_note_about_unknown_objects(result: Result) -> None:
    """In a study with a result it may be about one that is not known (yet); elsewhere it rejects images that never came."""
    note = made.key_objects([foreign(result.sc)])
    assert isinstance(result.read(note), Unmatched)
    result.answered = False
    assert isinstance(result.read(note), Nothing)


def test_a_note_about_two_results_is_unclear(result: Result) -> None:
    """Which one is meant cannot be told."""
    other = foreign(result.sc)
    result.others[str(other.SOPInstanceUID)] = OurObject("rn_other", "secondary_capture")
    assert isinstance(result.read(made.key_objects([result.sc, other])), Unclear)


def test_a_note_that_names_an_image_in_its_content_only(result: Result) -> None:
    """The evidence says one thing, the content more: both count."""
    note = made.key_objects([result.sc, result.source])
    evidence = note.CurrentRequestedProcedureEvidenceSequence[0]
    evidence.ReferencedSeriesSequence = [
        series
        for series in evidence.ReferencedSeriesSequence
        if series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == result.sc.SOPInstanceUID
    ]
    assert isinstance(result.read(note), Nothing)


def test_our_own_note_is_nothing(result: Result) -> None:
    """Also one that another node of this product wrote, or this one before its database was lost."""
    note = made.key_objects([result.sc])
    note.ManufacturerModelName = "dicom-node"
    assert isinstance(result.read(note), Nothing)


# --- presentation states -----------------------------------------------------------------------------------------------

SQUARE = [(10.0, 20.0), (50.0, 20.0), (50.0, 60.0), (10.0, 60.0), (10.0, 20.0)]


def test_a_closed_shape_is_a_weak_region_and_no_verdict(result: Result) -> None:
    """On the image that was read: its corners as they are drawn."""
    claim = result.claim(made.presentation_state(result.source, [("POLYLINE", SQUARE)]))
    assert claim.channel is Channel.PRESENTATION_STATE
    assert claim.statements == ()
    (region,) = claim.regions
    assert region.sop_instance_uid == result.source.SOPInstanceUID
    assert region.points == tuple(SQUARE[:-1])
    assert claim.targets.run_key == RUN


def test_circles_and_ellipses_become_polygons(result: Result) -> None:
    """Every corner lies on the shape."""
    shapes = [("CIRCLE", [(100.0, 100.0), (100.0, 130.0)]), ("ELLIPSE", [(40.0, 50.0), (80.0, 50.0), (60.0, 40.0), (60.0, 60.0)])]
    circle, ellipse = result.claim(made.presentation_state(result.source, shapes)).regions
    assert len(circle.points) == len(ellipse.points) == 24
    assert all(abs(((x - 100) ** 2 + (y - 100) ** 2) ** 0.5 - 30) < 0.01 for x, y in circle.points)
    assert all(abs(((x - 60) / 20) ** 2 + ((y - 50) / 10) ** 2 - 1) < 0.01 for x, y in ellipse.points)


def test_a_shape_on_our_picture_is_mapped_back_to_the_image(result: Result) -> None:
    """The picture says how its pixels lie on the source's."""
    words = "Picture pixel (x, y) is source pixel ((x - 4) * 2.500000, (y - 100) * 2.000000), counted from the corner."
    result.sc.DerivationDescription = words
    (region,) = result.claim(made.presentation_state(result.sc, [("POLYLINE", [(4, 100), (14, 100), (14, 110), (4, 100)])])).regions
    assert region.sop_instance_uid == result.source.SOPInstanceUID
    assert region.points == ((0.0, 0.0), (25.0, 0.0), (25.0, 20.0))


def test_the_picture_that_we_make_says_its_scale(result: Result) -> None:
    """The sentence that is read here is the one that is written there: the image's corners are where the picture shows them."""
    left, across, top, down = (
        float(number)
        for number in re.findall(r"x - (\d+)\) \* ([0-9.]+), \(y - (\d+)\) \* ([0-9.]+)", result.sc.DerivationDescription)[0]
    )
    corner = (left + result.source.Columns / across, top + result.source.Rows / down)
    claim = result.claim(made.presentation_state(result.sc, [("POLYLINE", [(left, top), (corner[0], top), corner, (left, top)])]))
    (_, right, lower) = claim.regions[0].points
    assert claim.regions[0].points[0] == (0, 0)
    assert right == pytest.approx((result.source.Columns, 0))
    assert lower == pytest.approx((result.source.Columns, result.source.Rows))


def test_what_workstations_save_unasked_is_nothing(result: Result) -> None:
    """No shape at all; a line, an open curve, a point; a shape on an image that was not read."""
    assert isinstance(result.read(made.presentation_state(result.source)), Nothing)
    lines = [("POLYLINE", SQUARE[:2]), ("POLYLINE", SQUARE[:4]), ("POINT", [(3.0, 4.0)])]
    assert isinstance(result.read(made.presentation_state(result.source, lines)), Nothing)
    assert isinstance(result.read(made.presentation_state(foreign(result.source), [("POLYLINE", SQUARE)])), Nothing)


def test_shapes_on_an_image_of_two_results_are_not_kept(result: Result) -> None:
    """Which result they are about cannot be told."""
    result.results_on_image = (RUN, "rn_other")
    assert isinstance(result.read(made.presentation_state(result.source, [("POLYLINE", SQUARE)])), Nothing)


# --- edited reports ----------------------------------------------------------------------------------------------------


def test_a_verified_report_with_the_same_values_accepts(result: Result) -> None:
    """The person is authenticated by the verification; the moment is that of the verification."""
    claim = result.claim(made.edited(result.sr))
    assert claim.channel is Channel.EDITED_REPORT
    assert claim.statements == (Statement(ACCEPTED),)
    assert (claim.reader.identity, claim.reader.authenticated) == (made.RADIOLOGIST, True)
    assert claim.at == dt.datetime(2026, 11, 1, 10, 30, tzinfo=dt.UTC)
    assert claim.targets.sop_instance_uids == (result.sr.SOPInstanceUID,)


def test_verified_by_nobody_is_no_answer(result: Result) -> None:
    """A system that sets VERIFIED on whatever arrives names no person: silence is no acceptance."""
    assert isinstance(result.read(made.edited(result.sr, observer="")), Nothing)


def test_a_verified_text_report_accepts(result: Result) -> None:
    """Every sentence is left as it was."""
    assert result.claim(made.edited(result.text)).statements == (Statement(ACCEPTED),)


@pytest.mark.parametrize(("decision", "label"), [("NEG", "absent"), ("REFER", "unsure")])
def test_a_corrected_decision_amends_its_finding(result: Result, decision: str, label: str) -> None:
    """The other finding was left as it was, and the whole was verified: accepted."""
    claim = result.claim(made.with_decision(made.edited(result.sr), "abnormal", decision))
    assert claim.statements == (
        Statement(AMENDED, "abnormal", label_after=label),
        Statement(ACCEPTED, "tuberculosis"),
    )


@pytest.mark.parametrize(("probability", "label"), [(0.0, "absent"), (1.0, "present"), (0.4, "")])
def test_a_corrected_probability_says_a_label_only_where_it_is_certain(result: Result, probability: float, label: str) -> None:
    """Between nought and one nothing is guessed."""
    claim = result.claim(made.with_probability(made.edited(result.sr), "abnormal", probability))
    assert claim.statements[0] == Statement(AMENDED, "abnormal", label_after=label)


def test_a_finding_that_was_taken_out_is_rejected(result: Result) -> None:
    """The group is missing."""
    claim = result.claim(made.without_group(made.edited(result.sr), "tuberculosis"))
    assert claim.statements == (Statement(REJECTED, "tuberculosis"), Statement(ACCEPTED, "abnormal"))
    both = made.without_group(made.without_group(made.edited(result.sr), "tuberculosis"), "abnormal")
    assert {one.verdict for one in result.claim(both).statements} == {REJECTED}


def test_another_code_of_the_finding_is_its_label(result: Result) -> None:
    """The person names another finding."""
    report = made.edited(result.sr)
    group = made.group_of(report, "abnormal")
    item = next(one for one in group.ContentSequence if one.ConceptNameCodeSequence[0].CodeValue == "121071")
    item.ConceptCodeSequence = [made.coded("233604007", "SCT", "Pneumonia")]
    assert result.claim(report).statements[0].label_after == "233604007^SCT"


def test_a_changed_conclusion_amends_the_result(result: Result) -> None:
    """The groups are the same, the normality is not."""
    report = made.edited(result.sr)
    for item in (child for part in report.ContentSequence for child in part.get("ContentSequence", [])):
        if item.ConceptNameCodeSequence[0].CodeValue == "121402":
            item.ConceptCodeSequence = [made.coded("17621005", "SCT", "Normal")]
    assert result.claim(report).statements == (Statement(AMENDED, label_after="absent"),)


def test_an_unverified_correction_of_a_person_is_weak(result: Result) -> None:
    """Only what was changed is said, and nobody vouches for the person; the same without a change is nothing."""
    draft = made.edited(result.sr, verified=False)
    assert isinstance(result.read(draft), Nothing)
    claim = result.claim(made.with_decision(draft, "abnormal", "NEG"))
    assert claim.statements == (Statement(AMENDED, "abnormal", label_after="absent"),)
    assert (claim.reader.identity, claim.reader.authenticated) == (made.RADIOLOGIST, False)


def test_software_that_rewrites_our_report_says_nothing(result: Result) -> None:
    """Unverified and no person: whatever it changed."""
    report = made.with_decision(made.edited(result.sr, verified=False, observer=""), "abnormal", "NEG")
    assert isinstance(result.read(report), Nothing)


def test_an_unfinished_report_says_nothing(result: Result) -> None:
    """PARTIAL, even verified."""
    assert isinstance(result.read(made.edited(result.sr, complete=False)), Nothing)


def test_what_changes_no_value_is_no_difference(result: Result) -> None:
    """Order of the groups, a comment, digits beyond those that a decimal string holds, the name of the algorithm's family."""
    report = made.edited(result.sr)
    container = next(item for item in report.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "126010")
    container.ContentSequence = list(reversed(list(container.ContentSequence)))
    group = made.group_of(report, "abnormal")
    number = next(item for item in group.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "122157")
    number.MeasuredValueSequence[0].NumericValue = "8.712350e-01"
    group.ContentSequence = [
        item for item in group.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue not in ("111000", "121106")
    ]
    assert result.claim(report).statements == (Statement(ACCEPTED),)


def test_words_alone_are_not_guessed_at(result: Result) -> None:
    """A text report with another sentence, and a report in which nothing of ours is left."""
    report = made.edited(result.text)
    section = next(item for item in report.ContentSequence if "ContentSequence" in item and item.ValueType == "CONTAINER")
    section.ContentSequence[0].TextValue = "No sign of disease."
    assert isinstance(result.read(report), Unclear)
    bare = made.edited(result.sr)
    bare.ContentSequence = [
        item for item in bare.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue not in ("126010", "C0034375")
    ]
    assert isinstance(result.read(bare), Unclear)


def test_drafts_between_ours_and_the_verified_one_are_followed(result: Result) -> None:
    """Ours, a person's draft, the verified report that names only the draft."""
    draft = made.edited(result.sr, verified=False)
    result.elsewhere[str(draft.SOPInstanceUID)] = (str(result.sr.SOPInstanceUID),)
    claim = result.claim(made.edited(draft))
    assert claim.statements == (Statement(ACCEPTED),)
    assert claim.targets.sop_instance_uids == (result.sr.SOPInstanceUID,)


def test_a_report_that_was_verified_in_place_accepts(result: Result) -> None:
    """Some archives keep the SOP Instance UID; unverified it is our own object that came back."""
    assert result.claim(made.edited(result.sr, in_place=True)).statements == (Statement(ACCEPTED),)
    for ours in result.made.values():
        assert isinstance(result.read(ours), Nothing)


def test_a_report_made_from_one_that_nobody_knows(result: Result) -> None:
    """Quarantined where a result of ours may be meant; a radiologist's addendum to a report that came is none of ours."""
    other = foreign(result.sr)
    assert isinstance(result.read(made.edited(other)), Unmatched)
    result.elsewhere[str(other.SOPInstanceUID)] = ()
    assert isinstance(result.read(made.edited(other)), Nothing)
    result.elsewhere.clear()
    result.answered = False
    assert isinstance(result.read(made.edited(other)), Nothing)


def test_a_report_whose_original_is_gone_cannot_be_compared(result: Result) -> None:
    """What it says of itself is not believed."""
    result.lost = True
    assert isinstance(result.read(made.edited(result.sr)), Unclear)


def test_a_report_of_the_study_says_nothing(result: Result) -> None:
    """A radiologist's own verified report, with no predecessor."""
    report = made.edited(result.text)
    del report.PredecessorDocumentsSequence
    assert isinstance(result.read(report), Nothing)


# --- assessments -------------------------------------------------------------------------------------------------------

CODES = [
    ("ACCEPT", "99PACSAI", ACCEPTED),
    ("MODIFY", "99PACSAI", AMENDED),
    ("REJECT", "99PACSAI", REJECTED),
    ("AIRA-ACCEPT", "99PACS", ACCEPTED),
    ("AIRA-MODIFY", "99PACS", AMENDED),
    ("AIRA-REJECT", "99PACS", REJECTED),
]


@pytest.mark.parametrize(("value", "scheme", "verdict"), CODES)
def test_a_code_of_the_table_answers_the_whole_result(result: Result, value: str, scheme: str, verdict: Verdict) -> None:
    """Ours and those that were observed elsewhere; not verified: nobody vouches for the person."""
    claim = result.claim(made.assessment([result.sr], [(value, scheme, "")], comment="Seen with the priors."))
    assert claim.channel is Channel.ASSESSMENT
    assert claim.statements == (Statement(verdict),)
    assert claim.comment == "Seen with the priors."
    assert (claim.reader.identity, claim.reader.authenticated) == (made.RADIOLOGIST, False)


def test_a_verified_assessment_vouches_for_its_person(result: Result) -> None:
    """By the verifying observer."""
    assert result.claim(made.assessment([result.sr], [("ACCEPT", "99PACSAI", "")], verified=True)).reader.authenticated


def test_a_code_in_a_findings_group_answers_that_finding(result: Result) -> None:
    """By its Tracking UID; a group of somebody else's finding is left out."""
    said = [
        ("REJECT", "99PACSAI", result.tracking("abnormal")),
        ("ACCEPT", "99PACSAI", result.tracking("tuberculosis")),
        ("REJECT", "99PACSAI", "1.2.3.9"),
    ]
    claim = result.claim(made.assessment([result.sr], said))
    assert claim.statements == (Statement(REJECTED, "abnormal"), Statement(ACCEPTED, "tuberculosis"))


def test_a_tracking_uid_alone_names_the_result(result: Result) -> None:
    """The evidence is the image; only the finding is named."""
    claim = result.claim(made.assessment([result.source], [("REJECT", "99PACSAI", result.tracking("abnormal"))]))
    assert claim.statements == (Statement(REJECTED, "abnormal"),)
    assert claim.targets.tracking_uids == (result.tracking("abnormal"),)


def test_a_reference_outside_content_and_evidence_counts(result: Result) -> None:
    """One implementation names the result in the document's own Referenced SOP Sequence."""
    document = made.assessment([result.source], [("AIRA-REJECT", "99PACS", "")])
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = result.sr.SOPClassUID, result.sr.SOPInstanceUID
    document.ReferencedSOPSequence = [item]
    assert result.claim(document).statements == (Statement(REJECTED),)


def test_the_sites_own_codes_count(result: Result) -> None:
    """The slot for official codes."""
    document = made.assessment([result.sr], [("OFFICIAL-1", "99SITE", "")])
    assert isinstance(result.read(document), Nothing)
    extra = (AssessmentCode(value="OFFICIAL-1", scheme="99SITE", means="rejected"),)
    assert result.claim(document, assessment_codes=extra).statements == (Statement(REJECTED),)


def test_two_codes_that_differ_are_unclear(result: Result) -> None:
    """Accept and reject of one thing."""
    said = [("ACCEPT", "99PACSAI", ""), ("REJECT", "99PACSAI", "")]
    assert isinstance(result.read(made.assessment([result.sr], said)), Unclear)


def test_an_assessment_of_others_is_not_ours(result: Result) -> None:
    """Of an unknown object: quarantined. Of ours and another's report: unclear, unless it names ours; of the other's alone: not."""
    other = foreign(result.sr)
    assert isinstance(result.read(made.assessment([other], [("REJECT", "99PACSAI", "")])), Unmatched)
    assert isinstance(result.read(made.assessment([result.sr, other], [("REJECT", "99PACSAI", "")])), Unclear)
    assert isinstance(result.read(made.assessment([result.sr, other], [("REJECT", "99PACSAI", "")], composite=[other])), Nothing)
    claim = result.claim(made.assessment([result.sr, other], [("REJECT", "99PACSAI", "")], composite=[result.sr]))
    assert claim.statements == (Statement(REJECTED),)


def test_our_own_assessment_is_never_an_answer(result: Result) -> None:
    """By its identity, and by the product that wrote it."""
    ours = made.assessment([result.sr], [("REJECT", "99PACSAI", "")])
    ours.ManufacturerModelName = "dicom-node"
    assert isinstance(result.read(ours), Nothing)
    theirs = made.assessment([result.sr], [("REJECT", "99PACSAI", "")])
    result.others[str(theirs.SOPInstanceUID)] = OurObject(RUN, "assessment:1")
    assert isinstance(result.read(theirs), Nothing)


def test_what_is_said_of_our_report_of_an_answer_is_no_answer(result: Result) -> None:
    """A note that takes it away, a successor that somebody verified, an assessment of it."""
    told = made.assessment([result.sr], [("REJECT", "99PACSAI", "")])
    result.others[str(told.SOPInstanceUID)] = OurObject(RUN, "assessment:17")
    assert isinstance(result.read(made.key_objects([told])), Nothing)
    assert isinstance(result.read(made.edited(told)), Nothing)
    assert isinstance(result.read(made.assessment([told], [("ACCEPT", "99PACSAI", "")])), Nothing)
    assert result.claim(made.key_objects([told, result.sc])).statements == (Statement(REJECTED),)


@pytest.mark.parametrize(("summary", "verdict"), [("PASSED", ACCEPTED), ("FAILED", REJECTED)])
def test_a_content_assessment_of_a_person_counts(result: Result, summary: str, verdict: Verdict) -> None:
    """Weak: the object cannot vouch for the person."""
    claim = result.claim(made.content_assessment([result.sr], summary))
    assert claim.statements == (Statement(verdict),)
    assert not claim.reader.authenticated


def test_a_machines_content_assessment_is_nothing(result: Result) -> None:
    """No person, or no conclusion; of a foreign object quarantined; of more than the result unclear."""
    assert isinstance(result.read(made.content_assessment([result.sr], "PASSED", who="")), Nothing)
    assert isinstance(result.read(made.content_assessment([result.sr], "INCONCLUSIVE")), Nothing)
    assert isinstance(result.read(made.content_assessment([foreign(result.sr)], "FAILED")), Unmatched)
    assert isinstance(result.read(made.content_assessment([result.sr, result.source], "FAILED")), Unclear)


# --- whatever comes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keyword", ["ContentSequence", "ConceptNameCodeSequence", "CurrentRequestedProcedureEvidenceSequence"])
def test_a_damaged_document_is_no_error(result: Result, keyword: str) -> None:
    """What is left of it decides: a note whose evidence names our objects needs no content, every note needs its title."""
    note, report = made.key_objects([result.sc]), made.assessment([result.sr], [("REJECT", "99PACSAI", "")])
    delattr(note, keyword)
    delattr(report, keyword)
    assert isinstance(result.read(note), Claim) is (keyword != "ConceptNameCodeSequence")
    assert isinstance(result.read(report), Claim) is (keyword == "ConceptNameCodeSequence")


def test_a_moment_in_the_future_or_none_at_all_is_when_it_came(result: Result) -> None:
    """Clocks of workstations are wrong, and dates are left out."""
    report = made.edited(result.sr)
    report.VerifyingObserverSequence[0].VerificationDateTime = "20991231235959"
    report.ContentDate = ""
    assert result.claim(report).at == dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC)
    note = made.key_objects([result.sc])
    note.ContentDate, note.ContentTime = "20261101", "173000"  # of a site 5:30 ahead
    assert result.claim(note).at == dt.datetime(2026, 11, 1, 12, 0, tzinfo=dt.UTC)
