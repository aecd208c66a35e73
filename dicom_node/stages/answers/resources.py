"""FHIR -> feedback: what resources of a server, brought by the hook or found by polling, say of our results."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dicom_node import log
from dicom_node.core.artifact import FHIR
from dicom_node.core.feedback import Channel, Claim, ReaderClaim
from dicom_node.core.fhir_names import content_digest
from dicom_node.core.withdrawal import REPORT
from dicom_node.feedback import repository, standing
from dicom_node.feedback.channels import fhir
from dicom_node.feedback.matching import Match, findings_of, match
from dicom_node.feedback.messages import message_book
from dicom_node.feedback.messages.fhir_people import numbers_of_patient, people_of, subject_of
from dicom_node.feedback.messages.heard import Heard
from dicom_node.feedback.readers import identify
from dicom_node.feedback.reports.assessment_codes import table
from dicom_node.feedback.step import Desk, Recorded, record
from dicom_node.feedback.words import ANOTHER_PATIENT, PROBLEMS
from dicom_node.results import repository as artifacts
from dicom_node.results.fhir_elements import full_url
from dicom_node.stages.answers.messages import tell_unclear
from dicom_node.stages.answers.whose_answer import names_another_patient

Json = dict[str, Any]
#: Gives the resource behind a reference (``DiagnosticReport/17``), ``None`` where it cannot be had.
Resolve = Callable[[str], Json | None]

_RESULTS = ("DiagnosticReport", "Observation")
UNREADABLE = "A resource about a result cannot be read: it is not as FHIR R4 has it."
#: No resource of the standard comes near it; a few hundred exhaust the interpreter.
_DEEPEST = 60
NOT_FOUND = "A task answers a resource that is not known here; nothing is guessed."


def take(
    connection: sa.Connection, resources: Sequence[Json], desk: Desk, *, vouched: bool, resolve: Resolve = lambda _: None
) -> list[Recorded]:
    """Record what these resources of one server say, in the caller's transaction; return what became of each that is about us.

    Parameters
    ----------
    vouched
        Whether the server may be believed who its people are: it was authenticated, or has authenticated itself.
    """
    done = [_left_out(connection, one, desk) for one in resources if not _is_text(one)]
    resources = [one for one in resources if _is_text(one)]
    here = {f"{one.get('resourceType')}/{one.get('id')}": one for one in resources if one.get("id")}

    def found(reference: str) -> Json | None:
        name = "/".join(reference.partition("/_history")[0].split("/")[-2:])
        return here.get(name) or resolve(name)

    provenances = [one for one in resources if one.get("resourceType") == "Provenance"]
    results: dict[str, tuple[Match, list[Json]]] = {}
    for resource in resources:
        with _each(connection, resource, desk, done):
            kind = resource.get("resourceType")
            if kind in _RESULTS:
                _sort(connection, resource, provenances, desk, results, done, found)
            elif kind == "Task":
                done += _task(connection, resource, desk, vouched, found)
            elif kind == "AuditEvent":
                _seen(connection, resource, desk, vouched, found)
    for matched, about in results.values():
        with _each(connection, about[0], desk, done):
            done.append(_result(connection, matched, about, resources, provenances, desk, vouched))
    return done


def _is_text(resource: Json) -> bool:
    """Say whether a resource can be read and kept at all: not nested without end, no half or refused characters."""
    if _is_deeper(resource, _DEEPEST):
        return False
    try:
        return b"\\u0000" not in json.dumps(resource, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False


def _is_deeper(value: Any, levels: int) -> bool:
    """Say whether lists and objects lie within each other more than so many levels deep."""
    inside = [value]
    for _ in range(levels):
        within = (deeper for one in inside for deeper in (one.values() if isinstance(one, dict) else one))
        inside = [one for one in within if isinstance(one, dict | list)]
        if not inside:
            return False
    return True


def _left_out(connection: sa.Connection, resource: Json, desk: Desk) -> Recorded:
    """Keep a resource that is no text from taking all others of its server with it; it is shown."""
    log.event("answer.unreadable", kind="fhir", error="ValueError")
    name = "|".join(ascii(one)[:64] for one in (resource.get("resourceType"), resource.get("id"))) + "|no text"
    outcome = Recorded("unclear", UNREADABLE)
    message_book.keep(connection, Channel.FHIR, message_book.source_of(desk, Channel.FHIR, name), outcome)
    return outcome


@contextlib.contextmanager
def _each(connection: sa.Connection, resource: Json, desk: Desk, done: list[Recorded]) -> Any:
    """Keep one resource that is not as the standard has it from taking the others with it; it is shown."""
    try:
        with connection.begin_nested():
            yield
    except (AttributeError, TypeError, KeyError, ValueError) as error:  # what reading alien JSON raises
        log.event("answer.unreadable", kind="fhir", error=type(error).__name__)
        done.append(_kept(connection, [resource], Recorded("unclear", UNREADABLE), desk))


def _source(resource: Json, desk: Desk) -> str:
    """Return what one version of a resource is known by in the table of messages."""
    meta = resource.get("meta")
    version = str(meta.get("versionId", "")) if isinstance(meta, dict) else ""
    name = f"{resource.get('resourceType')}|{resource.get('id')}|{version}|{content_digest(resource)}"
    return message_book.source_of(desk, Channel.FHIR, name)


def _kept(connection: sa.Connection, resources: Iterable[Json], outcome: Recorded, desk: Desk) -> Recorded:
    for one in resources:
        message_book.keep(connection, Channel.FHIR, _source(one, desk), outcome)
    tell_unclear(connection, outcome)
    return outcome


def _sort(
    connection: sa.Connection,
    resource: Json,
    provenances: Sequence[Json],
    desk: Desk,
    results: dict[str, tuple[Match, list[Json]]],
    done: list[Recorded],
    found: Resolve,
) -> None:
    """Find out which result a report or Observation is about, and whether it can be an answer at all."""
    targets = fhir.targets_of(resource)
    if targets is None:
        return
    why = fhir.says_nothing(resource, provenances)
    if why == fhir.OURS:
        return  # what we wrote ourselves is not worth a line
    before = message_book.known(connection, Channel.FHIR, _source(resource, desk))
    if before is not None and message_book.is_closed(before):
        done.append(before)
        return
    if why:
        done.append(_kept(connection, [resource], Recorded("nothing", why), desk))
        return
    matched = match(connection, targets)
    if matched.problem:
        state, text = PROBLEMS[matched.problem]
        done.append(_kept(connection, [resource], Recorded(state, text, matched.run_key, matched.study_key), desk))
        return
    if _of_another_patient(connection, matched, [resource], found):
        done.append(_kept(connection, [resource], Recorded("unclear", ANOTHER_PATIENT, matched.run_key, matched.study_key), desk))
        return
    results.setdefault(matched.run_key, (matched, []))[1].append(resource)


def _of_another_patient(connection: sa.Connection, matched: Match, resources: Iterable[Json], found: Resolve) -> bool:
    """Say whether one of these is about somebody else than the study; a Patient that cannot be had is no contradiction."""
    for one in resources:
        reference, numbers = subject_of(one)
        person = found(reference) if reference else None
        numbers += numbers_of_patient(person) if person is not None else ()
        if names_another_patient(connection, matched.study_key, numbers):
            return True
    return False


def _result(
    connection: sa.Connection,
    matched: Match,
    about: Sequence[Json],
    resources: Sequence[Json],
    provenances: Sequence[Json],
    desk: Desk,
    vouched: bool,
) -> Recorded:
    sent = sent_of(connection, desk.home.results, matched.run_key)
    observations = [one for one in resources if one.get("resourceType") == "Observation"]
    heard: list[Heard] = []
    for one in about:
        if one["resourceType"] == "Observation":
            heard.append(fhir.hear_observation(one, sent, provenances, vouched=vouched))
        else:
            heard.append(fhir.hear_report(one, observations, sent, provenances, vouched=vouched))
    outcome = _recorded(connection, heard, matched, desk)
    return _kept(connection, about, outcome, desk)


def _recorded(connection: sa.Connection, heard: Sequence[Heard], matched: Match, desk: Desk) -> Recorded:
    claims = fhir.merged([claim for one in heard for claim in one.claims])
    outcomes = [Recorded(one.state, one.text, matched.run_key, matched.study_key) for one in heard if one.text]
    answers = [claim for claim in claims if claim.statements]
    outcomes += message_book.record_news(connection, answers, matched.run_key, matched.study_key, desk)
    for claim in claims:
        if not claim.statements:
            _keep_evidence(connection, claim, desk)
    if not outcomes:
        return Recorded("read", message_book.REPEATED, matched.run_key, matched.study_key, repeated=True)
    return message_book.together(outcomes)


def _keep_evidence(connection: sa.Connection, claim: Claim, desk: Desk) -> None:
    if claim.evidence:
        record(connection, claim, desk=desk)


def _task(connection: sa.Connection, task: Json, desk: Desk, vouched: bool, found: Resolve) -> list[Recorded]:
    codes = table(desk.settings.assessment_codes)
    answers = fhir.answers_a_result(task, codes)
    focus = task.get("focus") or {}
    reference = str(focus.get("reference") or "")
    about = found(reference) if reference else None
    if about is None and focus.get("identifier"):
        about = {"resourceType": focus.get("type") or "DiagnosticReport", "identifier": [focus["identifier"]]}
    targets = fhir.targets_of(about) if about is not None else None
    if targets is None:
        ours = answers and about is None
        return [_kept(connection, [task], Recorded("quarantined", NOT_FOUND), desk)] if ours else []
    matched = match(connection, targets)
    if matched.problem:
        state, text = PROBLEMS[matched.problem] if answers else ("nothing", fhir.NO_CODE)
        return [_kept(connection, [task], Recorded(state, text, matched.run_key, matched.study_key), desk)]
    if answers and _of_another_patient(connection, matched, [task, *([about] if about is not None else [])], found):
        outcome = Recorded("unclear", ANOTHER_PATIENT, matched.run_key, matched.study_key)
        return [_kept(connection, [task], outcome, desk)]
    sent = sent_of(connection, desk.home.results, matched.run_key)
    finding = sent.finding_of(about) if about is not None and about["resourceType"] == "Observation" else ""
    if finding is None:
        return [_kept(connection, [task], Recorded("unclear", fhir.NOT_READ, matched.run_key, matched.study_key), desk)]
    heard = fhir.hear_task(task, finding, matched.run_key, codes, vouched=vouched)
    return [_kept(connection, [task], _recorded(connection, [heard], matched, desk), desk)]


def _seen(connection: sa.Connection, event: Json, desk: Desk, vouched: bool, found: Resolve) -> None:
    """Note that a person opened one of our resources at the server: an exposure, never an answer."""
    if event.get("action") != "R":
        return
    source = _source(event, desk)
    if message_book.known(connection, Channel.FHIR, source) is not None:
        return
    for entity in event.get("entity", ()):
        about = found(str((entity.get("what") or {}).get("reference") or ""))
        targets = fhir.targets_of(about) if about is not None else None
        matched = match(connection, targets) if targets is not None else None
        if matched is None or matched.problem:
            continue
        for agent in event.get("agent", ()):
            for person in people_of(agent, "who"):
                who = ReaderClaim("fhir", person.identity, person.name, authenticated=vouched)
                pseudonym = identify(who, desk.readers, desk.home.token).pseudonym
                standing.opened(connection, matched.run_key, matched.study_key, pseudonym, Channel.FHIR)
        message_book.keep(
            connection, Channel.FHIR, source, Recorded("nothing", "It was opened.", matched.run_key, matched.study_key)
        )
        return


def sent_of(connection: sa.Connection, results: Path, run_key: str) -> fhir.Sent:
    """Return what was written of a result to FHIR servers; what took it back is left out.

    Raises
    ------
    OSError
        What was written is damaged, or the disk fails: asked again later.
    """
    (row,) = repository.run_rows(connection, {run_key})
    names = {full_url(run_key, "observation", finding or "result"): finding for finding in ("", *findings_of(row))}
    observations: dict[str, list[Json]] = {}
    reports: list[Json] = []
    for role in artifacts.roles_of(connection, run_key, FHIR):
        if role == REPORT:
            continue
        with contextlib.suppress(FileNotFoundError):  # retention deleted it
            for entry in json.loads(artifacts.load_artifact(connection, results, run_key, role).data)["entry"]:
                resource = entry["resource"]
                if resource["resourceType"] == "DiagnosticReport":
                    reports.append(resource)
                elif resource["resourceType"] == "Observation" and entry["fullUrl"] in names:
                    observations.setdefault(names[entry["fullUrl"]], []).append(resource)
    return fhir.Sent(run_key, observations, reports)
