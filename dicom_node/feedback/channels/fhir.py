"""Answers by FHIR R4: what a named person made of our DiagnosticReport and Observations, and Tasks about them. Pure.

A version that we wrote (its content is what our tag tells) is nothing. Of a version that somebody else wrote:

=============================  ====================================================================================
``final``, as we sent it       accepted; of a DiagnosticReport the whole result
``amended`` and the like       amended, by what differs: the conclusion's code, each Observation's value
``cancelled``                  withdrawn, as is ``entered-in-error``: no opinion
other statuses                 nothing
=============================  ====================================================================================

Only with a named person: ``resultsInterpreter`` of a report, ``performer`` of an Observation, or a verifier or author of the
version by its Provenance. A Task's status is never a verdict (``accepted`` means: agreed to do it); only a code of our table in
``Task.output`` or ``Task.businessStatus`` is. Interpretation flags are not read, as OBX-8 is not.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dicom_node.core.feedback import Channel, Claim, ReaderClaim, Statement, Targets, Verdict
from dicom_node.core.fhir_names import OBSERVATION_SYSTEM, REPORT_SYSTEM, RUN_SYSTEM, content_digest, written_by_us
from dicom_node.feedback.messages.corrected_values import label_of_code, label_of_number, label_of_text, same_number, scheme_of
from dicom_node.feedback.messages.fhir_people import Someone, people_of, verifiers
from dicom_node.feedback.messages.heard import Heard, settled

Json = dict[str, Any]

FINAL, CHANGED, WITHDRAWN = ("final",), ("amended", "corrected", "appended"), ("cancelled", "entered-in-error")
#: A Task that ended in one of these was not done: what stands in it counts for nothing.
_NOT_DONE = ("cancelled", "failed", "rejected")

OURS = "It is the version that this node wrote."
PRELIMINARY = "Its status says nothing about the result."
NOBODY = "It names nobody who is responsible: a status is no opinion."
NOT_READ = "What it says of the result cannot be told; it does not count."
NO_CODE = "A task about the result without a code that answers it: its status is no opinion."


@dataclass(frozen=True)
class Sent:
    """What was written of one result, in all versions: Observations by finding (``""``: the whole result), and reports."""

    run_key: str
    observations: Mapping[str, Sequence[Json]]
    reports: Sequence[Json]

    def finding_of(self, observation: Json) -> str | None:
        """Return the finding that an Observation is about; ``None``: it is none of this result's."""
        numbers = set(_identifiers(observation, OBSERVATION_SYSTEM))
        for finding, versions in self.observations.items():
            if any(numbers & set(_identifiers(one, OBSERVATION_SYSTEM)) for one in versions):
                return finding
        return None


def targets_of(resource: Json) -> Targets | None:
    """Return which result a report or Observation is about, by our identifiers; ``None``: it is not ours."""
    if resource.get("resourceType") not in ("DiagnosticReport", "Observation"):
        return None
    numbers = (*_identifiers(resource, REPORT_SYSTEM), *_identifiers(resource, OBSERVATION_SYSTEM))
    runs = _identifiers(resource, RUN_SYSTEM)
    if not numbers and not runs:
        return None
    return Targets(run_key=runs[0] if len(runs) == 1 else "", identifiers=numbers)


def says_nothing(resource: Json, provenances: Iterable[Json] = ()) -> str:
    """Return why a report or Observation cannot be an answer, whatever is in it; empty: it may be one."""
    if written_by_us(resource):
        return OURS
    if resource.get("status") not in (*FINAL, *CHANGED, *WITHDRAWN):
        return PRELIMINARY
    return "" if _people(resource, provenances) else NOBODY


def hear_report(
    report: Json, observations: Sequence[Json], sent: Sent, provenances: Iterable[Json] = (), *, vouched: bool
) -> Heard:
    """Return what a version of our DiagnosticReport says.

    Parameters
    ----------
    observations
        Observations of the same server, as they are now.
    vouched
        Whether the server may be believed who the person is.
    """
    if (why := says_nothing(report, provenances)) != "":
        return Heard(text=why)
    claim = _claim(report, sent, _people(report, provenances), vouched)
    if report["status"] in WITHDRAWN:
        return Heard((replace(claim, statements=(Statement(Verdict.WITHDRAWN),)),))
    text = _edited_text(report, sent)
    claim = replace(claim, evidence={"report_text": text, "report_status": report["status"]} if text else {})
    coded = _concepts(report.get("conclusionCode"))
    if not coded and any(_concepts(one.get("conclusionCode")) for one in sent.reports):
        return Heard((claim,) if text else (), "unclear", NOT_READ)
    same = any(coded == _concepts(one.get("conclusionCode")) for one in sent.reports)
    statements = [] if same else [Statement(Verdict.AMENDED, label_after=_label_of_codes(coded))]
    changed = [one for one in observations if _differs(one, sent)]
    for one in changed:
        finding = sent.finding_of(one)
        if finding is not None and not _people(one, ()):  # one that names its own performer speaks for itself
            statements.append(_amended(one, finding))
    if not statements and not changed:
        if not text:
            statements = [Statement(Verdict.ACCEPTED)]
        elif report["status"] in ("amended", "corrected"):
            statements = [Statement(Verdict.AMENDED)]
        else:  # a person's own words beside our codes: evidence, which says nothing by itself
            return Heard((claim,), "unclear", NOT_READ)
    if not statements and not text:
        return Heard(text="Its observations say what was changed.")
    return Heard((replace(claim, statements=tuple(dict.fromkeys(statements))),))


def hear_observation(observation: Json, sent: Sent, provenances: Iterable[Json] = (), *, vouched: bool) -> Heard:
    """Return what a version of one of our Observations says of its finding."""
    if (why := says_nothing(observation, provenances)) != "":
        return Heard(text=why)
    finding = sent.finding_of(observation)
    if finding is None:
        return Heard(state="unclear", text=NOT_READ)
    claim = _claim(observation, sent, _people(observation, provenances), vouched)
    if observation["status"] in WITHDRAWN:
        return Heard((replace(claim, statements=(Statement(Verdict.WITHDRAWN, finding),)),))
    if _value(observation) is None:
        had = any(_value(one) is not None for one in sent.observations[finding])
        return Heard(state="unclear" if had else "nothing", text=NOT_READ if had else PRELIMINARY)
    statement = _amended(observation, finding) if _differs(observation, sent) else Statement(Verdict.ACCEPTED, finding)
    return Heard((replace(claim, statements=(statement,)),))


def hear_task(task: Json, finding: str, run_key: str, table: Mapping[tuple[str, str], Verdict], *, vouched: bool) -> Heard:
    """Return what a Task about our report, or one of our Observations, says.

    Parameters
    ----------
    finding
        What its focus is about; empty: the whole result.
    table
        Codes that answer (``feedback/reports/assessment_codes.py``).
    """
    said = _task_codes(task)
    verdicts = {table[code] for code in said if code in table}
    if not verdicts or task.get("status") in _NOT_DONE:
        return Heard(text=NO_CODE)
    if len(verdicts) > 1:
        return Heard(state="unclear", text=NOT_READ)
    (verdict,) = verdicts
    label = next((label for code in said if code not in table and (label := label_of_code(*code))), "")
    statement = Statement(verdict, finding, label_after=label if verdict is Verdict.AMENDED else "")
    if task.get("status") == "entered-in-error":
        statement = Statement(Verdict.WITHDRAWN, finding)
    sent = Sent(run_key, {}, ())
    return Heard((replace(_claim(task, sent, people_of(task, "owner"), vouched), statements=(statement,)),))


def answers_a_result(task: Json, table: Mapping[tuple[str, str], Verdict]) -> bool:
    """Say whether a Task holds a code of the table at all; other Tasks of the hospital are none of our business."""
    return any(code in table for code in _task_codes(task))


def merged(claims: Sequence[Claim]) -> tuple[Claim, ...]:
    """Return the claims of one person on one result without what repeats: who accepts the whole accepts each finding."""
    kept = []
    for reader in dict.fromkeys(claim.reader for claim in claims):
        theirs = [claim for claim in claims if claim.reader == reader]
        stay = set(settled([statement for claim in theirs for statement in claim.statements]))
        for claim in theirs:
            statements = tuple(one for one in claim.statements if one in stay)
            stay -= set(statements)
            if statements or claim.evidence:
                kept.append(replace(claim, statements=statements))
    return tuple(kept)


# ---------------------------------------------------------------- values


def _differs(observation: Json, sent: Sent) -> bool:
    """Say whether an Observation that somebody else wrote has another value than we ever sent."""
    finding = sent.finding_of(observation)
    if finding is None or written_by_us(observation) or observation.get("status") in WITHDRAWN:
        return False
    mine = _value(observation)
    return mine is not None and not any(_same(mine, _value(one)) for one in sent.observations[finding])


def _value(observation: Json) -> float | str | bool | frozenset[tuple[str, str]] | None:
    quantity = observation.get("valueQuantity")
    if isinstance(quantity, dict) and isinstance(quantity.get("value"), (int, float)):
        return float(quantity["value"])
    if isinstance(observation.get("valueInteger"), int):
        return float(observation["valueInteger"])
    for name in ("valueBoolean", "valueString"):
        if isinstance(observation.get(name), (bool, str)):
            found: bool | str = observation[name]
            return found
    concept = observation.get("valueCodeableConcept")
    if isinstance(concept, dict):
        return _concepts([concept]) or str(concept.get("text") or "") or None
    return None


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return same_number(one, other)
    if isinstance(one, frozenset) and isinstance(other, frozenset):
        return bool(one & other)
    return type(one) is type(other) and bool(one == other)


def _amended(observation: Json, finding: str) -> Statement:
    value = _value(observation)
    label, assessment = "", None
    if isinstance(value, bool):
        label = "present" if value else "absent"
    elif isinstance(value, float):
        label, assessment = label_of_number(value)
    elif isinstance(value, frozenset):
        label = _label_of_codes(value)
    elif isinstance(value, str):
        label = label_of_text(value)
    return Statement(Verdict.AMENDED, finding, label_after=label, assessment=assessment)


def _label_of_codes(found: Iterable[tuple[str, str]]) -> str:
    labels = {label for code in sorted(found) if (label := label_of_code(*code))}
    known = labels & {"present", "absent", "unsure"}
    if len(known) == 1:
        return known.pop()
    return labels.pop() if len(labels) == 1 else ""


def _concepts(found: Any) -> frozenset[tuple[str, str]]:
    concepts = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    return frozenset(pair for one in concepts for pair in _codings(one))


def _codings(concept: Json) -> list[tuple[str, str]]:
    codings = [one for one in concept.get("coding", ()) if isinstance(one, dict)]
    return [(str(one.get("code", "")), scheme_of(str(one.get("system", "")))) for one in codings if one.get("code")]


def _task_codes(task: Json) -> list[tuple[str, str]]:
    found = list(_codings(task["businessStatus"])) if isinstance(task.get("businessStatus"), dict) else []
    for output in task.get("output", ()):
        if isinstance(output.get("valueCodeableConcept"), dict):
            found += _codings(output["valueCodeableConcept"])
        if isinstance(output.get("valueCoding"), dict):
            found += _codings({"coding": [output["valueCoding"]]})
    return list(dict.fromkeys(found))


def _edited_text(report: Json, sent: Sent) -> str:
    """Return the conclusion where somebody changed it; taken away is no change."""
    text = " ".join(str(report.get("conclusion") or "").split())
    ours = [" ".join(str(one.get("conclusion") or "").split()) for one in sent.reports]
    return "" if not text or text in ours else str(report["conclusion"])


# ---------------------------------------------------------------- who, when, which


def _people(resource: Json, provenances: Iterable[Json]) -> tuple[Someone, ...]:
    verified = verifiers(resource, provenances)
    if verified:
        return verified
    return people_of(resource, "resultsInterpreter" if resource["resourceType"] == "DiagnosticReport" else "performer")


def _claim(resource: Json, sent: Sent, people: tuple[Someone, ...], vouched: bool) -> Claim:
    who = people[0] if len(people) == 1 else Someone("", "; ".join(one.name or one.identity for one in people))
    version = str(resource.get("meta", {}).get("versionId", ""))
    # not the server: the same version comes by the hook and by polling, which know the server by different names
    name = (resource["resourceType"], str(resource.get("id", "")), version, content_digest(resource), who.identity)
    return Claim(
        channel=Channel.FHIR,
        source="|".join(name),
        at=_moment(resource),
        targets=Targets(run_key=sent.run_key),
        reader=ReaderClaim("fhir", who.identity, who.name, authenticated=vouched and bool(who.identity)),
        digest=content_digest(resource),
    )


def _moment(resource: Json) -> dt.datetime:
    now = dt.datetime.now(dt.UTC)
    for text in (resource.get("meta", {}).get("lastUpdated"), resource.get("lastModified"), resource.get("issued")):
        try:
            at = dt.datetime.fromisoformat(str(text))
        except ValueError:
            continue
        if at.tzinfo is not None:
            return min(at, now)
    return now


def _identifiers(resource: Json, system: str) -> tuple[str, ...]:
    found = [one for one in resource.get("identifier", ()) if isinstance(one, dict)]
    return tuple(str(one["value"]) for one in found if one.get("system") == system and one.get("value"))
