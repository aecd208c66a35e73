"""What the page of a result shows: whose image, what the AI said, who has answered, what stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dicom_node.core.abstentions import counted, sentence
from dicom_node.core.feedback import FeedbackRecorded, Targets
from dicom_node.core.findings import Decision, Finding, Findings, probability_text
from dicom_node.core.product import DISCLAIMER, SYNTHETIC, UNVALIDATED
from dicom_node.core.study import HeaderFacts
from dicom_node.feedback import standing
from dicom_node.feedback.matching import match
from dicom_node.feedback.remarks import Remark, remarks
from dicom_node.imaging.slice_header import CT_CLASSES
from dicom_node.inference.findings_store import load_outcome
from dicom_node.inference.shown import Shown, load_shown
from dicom_node.results import slices
from dicom_node.store.tables import instance, run
from dicom_node.web.site import Site

_PROBLEMS = {
    "superseded": "A newer result has replaced this one. It can be looked at, not answered.",
    "withdrawn": "This result was withdrawn. It does not count, and cannot be answered.",
    "several": "This result cannot be told from another one; it cannot be answered.",
    "unknown": "This result is not known any more; it cannot be answered.",
}


@dataclass(frozen=True)
class Patient:
    """Whose image it is. Only for people who are logged in as reader or admin."""

    name: str
    patient_id: str
    born: str
    sex: str
    accession: str
    study_date: str
    description: str


@dataclass(frozen=True)
class KeyImage:
    """A picture of the page, with the words under it; of a radiograph there are none."""

    picture: Shown
    name: str = ""  # where a viewer shows the slice: "series 2, image 57"
    how: str = ""  # "marked by a person", "chosen automatically"
    probability: str = ""  # that the network gave for this slice


@dataclass(frozen=True)
class ResultView:
    """A result as its page shows it."""

    run_key: str
    study_key: str
    pipeline: str
    revision: int
    requested_utc: float
    findings: Findings | None  # None: its files were deleted by retention
    headline: str
    patient: Patient
    shown: tuple[KeyImage, ...]  # the image, or the key slices of a CT, the highest first; none: nothing is kept
    problem: str  # why it cannot be answered, a sentence; empty: it can
    newer: str  # run key of the result that replaced it
    answers: tuple[FeedbackRecorded, ...]
    current: dict[str, standing.Standing]
    remarks: dict[str, Remark]  # by an answer's feedback_id: what was written or drawn with it

    @property
    def banners(self) -> tuple[str, ...]:
        """What every view of a result says of it."""
        bundles = self.findings.bundles if self.findings else ()
        # what cannot be known any more is not taken for validated
        unvalidated = self.findings is None or any(bundle.evidence != "external" for bundle in bundles)
        synthetic = any(bundle.synthetic for bundle in bundles)
        return (DISCLAIMER, *([UNVALIDATED] if unvalidated else []), *([SYNTHETIC] if synthetic else []))

    @property
    def mapped(self) -> frozenset[str]:
        """The findings of which a map is kept."""
        return frozenset(map_.finding for one in self.shown for map_ in one.picture.maps)

    @property
    def coloured(self) -> tuple[str, ...]:
        """The kinds of maps that show something on any picture, each once: ``finding, method``."""
        maps = (map_ for one in self.shown for map_ in one.picture.maps if map_.evidence)
        return tuple(dict.fromkeys(f"{map_.finding}, {map_.method}" for map_ in maps))

    @property
    def not_read(self) -> list[str]:
        """Why images of the study were left, each reason once."""
        return counted(self.findings.left if self.findings else ())

    @property
    def classes(self) -> tuple[Finding, ...]:
        """The findings, those that count most first: positive, then by probability, then those not assessed."""
        found = self.findings.findings if self.findings else ()
        order = {Decision.POSITIVE: 0, Decision.NEGATIVE: 1, Decision.NOT_ASSESSED: 2}
        return tuple(sorted(found, key=lambda one: (order[one.decision], -(one.probability or 0))))

    def name_of(self, key: str) -> str:
        """Return what a finding is called; its key where that is not known any more."""
        return next((one.code.meaning for one in self.classes if one.key == key), key)


def view_of(site: Site, connection: sa.Connection, run_key: str) -> ResultView | None:
    """Return the result; ``None`` when the node has none of this name."""
    row = connection.execute(sa.select(run).where(run.c.run_key == run_key)).first()
    if row is None or row.state not in ("analysed", "not_analysed", "withdrawn"):
        return None
    folder = site.home.results / run_key
    try:
        findings: Findings | None = load_outcome(folder)
    except (OSError, ValueError, KeyError):
        findings = None
    problem = match(connection, Targets(run_key=run_key)).problem
    summary = row.summary or {}
    return ResultView(
        run_key=run_key,
        study_key=row.study_key,
        pipeline=row.pipeline,
        revision=row.revision,
        requested_utc=row.requested_utc,
        findings=findings,
        headline=summary.get("reason") or summary.get("headline") or _refusal(findings),
        patient=patient_of_run(connection, row, findings),
        shown=_key_images(connection, row.study_key, findings, load_shown(folder)),
        problem=_PROBLEMS.get(problem, problem),
        newer=_newer(connection, row) if problem == "superseded" else "",
        answers=tuple(standing.answers(connection, run_key)),
        current=standing.current(connection, run_key),
        remarks=remarks(connection, run_key),
    )


def _key_images(
    connection: sa.Connection, study_key: str, findings: Findings | None, pictures: tuple[Shown, ...]
) -> tuple[KeyImage, ...]:
    """Return the pictures; each of a CT with its place in the series, why it was chosen and what it got."""
    c = instance.c
    uids = {one.sop_instance_uid for one in pictures}
    query = sa.select(c.sop_instance_uid, c.sop_class_uid, c.facts).where(c.study_key == study_key, c.sop_instance_uid.in_(uids))
    held = {row.sop_instance_uid: row for row in connection.execute(query.order_by(c.instance_id))}
    scores = {(one.sop_instance_uid, one.frame): one for one in (findings.slices if findings else ())}
    made = []
    for one in pictures:
        row, score = held.get(one.sop_instance_uid), scores.get((one.sop_instance_uid, one.frame))
        name = slices.slice_words(HeaderFacts.from_json(row.facts), one.frame) if row and row.sop_class_uid in CT_CLASSES else ""
        how, given = (slices.HOW.get(score.how, score.how), probability_text(score.probability)) if score else ("", "")
        made.append(KeyImage(one, name, how, given))
    return tuple(made)


def number_text(finding: Finding) -> str:
    """Return the probability as it is written everywhere."""
    return "not assessed" if finding.probability is None else probability_text(finding.probability)


def _refusal(findings: Findings | None) -> str:
    if findings is None or findings.abstention is None:
        return ""
    return sentence(findings.abstention.reason, findings.abstention.detail)


def _newer(connection: sa.Connection, row: Any) -> str:
    c = run.c
    newer = sa.select(c.run_key).where(
        c.study_key == row.study_key,
        c.pipeline == row.pipeline,
        c.revision > row.revision,
        c.state.in_(("analysed", "not_analysed")),
    )
    return str(connection.execute(newer.order_by(c.revision.desc()).limit(1)).scalar() or "")


def patient_of_run(connection: sa.Connection, row: Any, findings: Findings | None = None) -> Patient:
    """Return the patient by the header of the image that was read, else of the study's first object that is there."""
    c = instance.c
    query = sa.select(c.sop_instance_uid, c.facts).where(c.study_key == row.study_key).order_by(c.instance_id.desc())
    held = connection.execute(query.where(c.state == "current")).all() or connection.execute(query.limit(1)).all()
    read = [*(findings.read if findings else ()), *(row.request or {}).get("read", ())]
    found = {one.sop_instance_uid: one.facts for one in held}
    return patient_of(HeaderFacts.from_json(next((found[uid] for uid in read if uid in found), held[-1].facts if held else {})))


def patient_of(facts: HeaderFacts) -> Patient:
    """Return the patient that an image's header names."""
    return Patient(
        name=" ".join(facts.patient_name.reveal().partition("=")[0].replace("^", " ").split()),
        patient_id=facts.patient_id.reveal(),
        born=_day(facts.birth_date.reveal()),
        sex=facts.patient_sex,
        accession=facts.accession_number.reveal() or ", ".join(one.reveal() for one in facts.requested_accessions),
        study_date=_day(facts.study_date),
        description=facts.study_description,
    )


def _day(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}" if len(text) == 8 and text.isdigit() else text
