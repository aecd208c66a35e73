"""Answers by HL7 (ORU^R01): what a named person made of the observations that we sent. Pure.

OBX-11 (HL7 table 0085) says what became of an observation, OBX-16 or else OBR-32 who is responsible for it:

========  ====================  ==============================================================================
status    value                 what it is
========  ====================  ==============================================================================
F         as we sent it         accepted
F         another one           amended: the value is what the person holds
V         as we sent it, none   accepted ("reviewed and confirmed to be correct")
C, A      another one           amended; with our own value: accepted, the person has come back to it
D, W, X   any                   withdrawn: the observation was taken back, which is no opinion
others    any                   nothing: a status is no opinion
========  ====================  ==============================================================================

Without a named person all of it is nothing. OBX-8 is never read: flags are set by tables of the receiver. A text that was edited
is evidence; beside it an unchanged value with F says nothing that could be relied on. An observation under our own code for answers
(ASSESSMENT: ACCEPT, MODIFY, REJECT) that we did not send is an answer in so many words.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from dicom_node.core import codes
from dicom_node.core.feedback import Channel, Claim, ReaderClaim, Statement, Targets, Verdict
from dicom_node.core.result_message import REASON, RESULT, SUB_ID_LENGTH, TEXT, Person, ReportText, ResultLine, ResultMessage
from dicom_node.feedback.messages.corrected_values import label_of_code, label_of_number, label_of_text, same_number
from dicom_node.feedback.messages.heard import Heard, settled
from dicom_node.feedback.reports.assessment_codes import OURS as ANSWERS

FINAL, CONFIRMED, CORRECTED, WITHDRAWN = "F", "V", ("C", "A"), ("D", "W", "X")
_MEANT = frozenset((FINAL, CONFIRMED, *CORRECTED, *WITHDRAWN))
_NUMBERS, _CODED = ("NM", "SN"), ("CWE", "CE", "CNE")

PRELIMINARY = "It tells of this node's result, with statuses that say nothing."
NOBODY = "It tells of this node's result and names nobody: a status is no opinion."
NOT_OURS = "It holds no observation that this node sent."
UNREADABLE = "What it says of this node's result contradicts itself or cannot be told; it does not count."


def says_nothing(message: ResultMessage) -> str:
    """Return why a message cannot be an answer, whatever it is about; empty: it may be one."""
    meant = [line for line in message.lines if line.status in _MEANT]
    if not meant:
        return PRELIMINARY
    return "" if any(_people(message, line) for line in meant) else NOBODY


def targets_of(message: ResultMessage | ReportText) -> Targets:
    """Return what the message is about: our own number, else the accession number."""
    if isinstance(message, ResultMessage) and message.numbers:
        return Targets(identifiers=message.numbers)
    return Targets(accession_number=message.accession_number)


def hear(message: ResultMessage, sent: Sequence[ResultLine], findings: Iterable[str], run_key: str, digest: str = "") -> Heard:
    """Return what the message says of one result.

    Parameters
    ----------
    sent
        The observations that were sent of it.
    findings
        Keys of its findings.
    """
    if (why := says_nothing(message)) != "":
        return Heard(text=why)
    keys = {finding.upper()[:SUB_ID_LENGTH]: finding for finding in findings} | {RESULT: ""}
    known = _by_place(sent)
    edited = _edited_text(message.lines, known)
    said: dict[Person, list[tuple[str, Statement]]] = {}
    doubtful = ours = False
    for line in message.lines:
        place = _place(line, known)
        people = _people(message, line)
        if _is_assessment(line):
            statement = _assessed(line, sent, keys)
            if statement is not None and people:
                ours = True
                said.setdefault(_responsible(people), []).append((line.set_id, statement))
            continue
        if place is None or place[0] in (REASON, TEXT) or place[0] not in keys:
            continue
        ours = True
        if line.status not in _MEANT or not people:
            continue
        outcome = _outcome(line, known[place], keys[place[0]], bool(edited))
        if outcome is None:
            doubtful = True
        elif outcome:
            said.setdefault(_responsible(people), []).append((line.set_id, outcome[0]))
    base = Claim(
        channel=Channel.HL7,
        source="",
        at=dt.datetime.fromtimestamp(message.said_utc, dt.UTC),
        targets=Targets(run_key=run_key),
        digest=digest,
        evidence={"report_text": edited} if edited else {},
    )
    claims = []
    for person, rows in said.items():
        statements = settled([statement for _, statement in rows])
        where = ",".join(set_id for set_id, _ in rows)
        source = f"{message.sender}|{message.control_id}|{message.group}|{where}"
        claims.append(replace(base, source=source, reader=_reader(person), statements=statements))
    if claims or not doubtful:
        return Heard(tuple(claims), text="" if claims else (PRELIMINARY if ours else NOT_OURS))
    return Heard(state="unclear", text=UNREADABLE)


def report_claim(report: ReportText, digest: str = "") -> Claim:
    """Return the evidence that a final report of the RIS is: no statement, its text for concordance."""
    status = "corrected" if report.status == "C" else "final"
    return Claim(
        channel=Channel.HL7,
        source=f"{report.sender}|{report.control_id}|{report.group}|report",
        at=dt.datetime.fromtimestamp(report.said_utc, dt.UTC),
        targets=targets_of(report),
        evidence={"report_text": report.text, "report_status": status},
        digest=digest,
    )


_Place = tuple[str, str]  # OBX-4, OBX-3.1


def _by_place(sent: Sequence[ResultLine]) -> Mapping[_Place, list[ResultLine]]:
    found: dict[_Place, list[ResultLine]] = {}
    for line in sent:
        found.setdefault((line.sub_id, line.code), []).append(line)
    return found


def _place(line: ResultLine, known: Mapping[_Place, list[ResultLine]]) -> _Place | None:
    """Return which of our observations a line is: the same OBX-4 and OBX-3; OBX-3 alone where a receiver dropped OBX-4."""
    if line.sub_id:
        return (line.sub_id, line.code) if (line.sub_id, line.code) in known else None
    fitting = [place for place in known if place[1] == line.code]
    return fitting[0] if len(fitting) == 1 else None


def _people(message: ResultMessage, line: ResultLine) -> tuple[Person, ...]:
    return line.observers or message.interpreters


def _responsible(people: tuple[Person, ...]) -> Person:
    """Return the one person; of several nobody can be told apart, so the answer is nobody's in particular."""
    return people[0] if len(people) == 1 else Person("", "; ".join(one.name or one.identity for one in people))


def _reader(person: Person) -> ReaderClaim:
    # the port takes messages from listed addresses alone, whose system logged the person in; ``readers`` must know the number
    return ReaderClaim("hl7", person.identity, person.name, authenticated=bool(person.identity))


def _is_assessment(line: ResultLine) -> bool:
    return (line.code, line.scheme) == (codes.ASSESSMENT.value, codes.ASSESSMENT.scheme)


def _assessed(line: ResultLine, sent: Sequence[ResultLine], keys: Mapping[str, str]) -> Statement | None:
    """Return what an observation under our code for answers says; one that we sent ourselves says nothing new."""
    echoed = any(_is_assessment(one) and one.sub_id == line.sub_id and one.values == line.values for one in sent)
    if echoed or line.sub_id not in keys or line.status not in (FINAL, *CORRECTED) or len(line.values) != 1:
        return None
    verdict = ANSWERS.get((line.values[0][0], line.values[0][2]))
    return None if verdict is None else Statement(verdict, keys[line.sub_id])


def _outcome(line: ResultLine, sent: list[ResultLine], finding: str, text_edited: bool) -> tuple[Statement, ...] | None:
    """Return the statement of one line; none for nothing; ``None`` where it cannot be told what it says."""
    had_value = any(one.values and any(any(value) for value in one.values) for one in sent)
    has_value = any(any(value) for value in line.values)
    if line.status in WITHDRAWN:
        withdrawable = had_value and any(one.status not in WITHDRAWN for one in sent)  # X as we sent it is no withdrawal
        return (Statement(Verdict.WITHDRAWN, finding),) if withdrawable else ()
    if not has_value:
        if line.status == CONFIRMED and had_value:
            return (Statement(Verdict.ACCEPTED, finding),)
        return None if had_value else ()
    if any(_same(line, one) for one in sent):
        if text_edited and line.status != CONFIRMED:
            return None
        return (Statement(Verdict.ACCEPTED, finding),)
    if line.status == CONFIRMED:
        return None  # "no change to the result", and another result
    label, assessment = _label(line)
    return (Statement(Verdict.AMENDED, finding, label_after=label, assessment=assessment),)


def _same(line: ResultLine, sent: ResultLine) -> bool:
    mine, theirs = _number(sent), _number(line)
    if mine is not None and theirs is not None:
        return same_number(mine, theirs)
    if sent.kind in _CODED and len(line.values) == len(sent.values) == 1:
        (code, _, scheme), (other, _, other_scheme) = line.values[0], sent.values[0]
        return code == other and scheme in ("", other_scheme)
    return line.values == sent.values


def _number(line: ResultLine) -> float | None:
    if line.kind not in (*_NUMBERS, "ST") or len(line.values) != 1:
        return None
    first, second, _ = line.values[0]
    text = second if line.kind == "SN" and first in ("", "=") else first
    try:
        return float(text)
    except ValueError:
        return None


def _label(line: ResultLine) -> tuple[str, float | None]:
    number = _number(line)
    if number is not None:
        return label_of_number(number)
    if len(line.values) != 1:
        return "", None
    value, words, scheme = line.values[0]
    if line.kind in _CODED:
        return label_of_code(value, scheme) if value and scheme else label_of_text(words or value), None
    return label_of_text(value), None


def _edited_text(lines: Sequence[ResultLine], known: Mapping[_Place, list[ResultLine]]) -> str:
    """Return our text where somebody changed it. A receiver may cut it off or break its lines: that is no change."""
    places = [(TEXT, code.value) for code in codes.RESULT_CODES]
    sent = [_words(line) for place in places for line in known.get(place, ())]
    for line in lines:
        if _place(line, known) in places and line.status not in WITHDRAWN:
            words = _words(line)
            if words and not any(words in one for one in sent):
                return "\n".join(value[0] for value in line.values)
    return ""


def _words(line: ResultLine) -> str:
    return " ".join(" ".join(value[0] for value in line.values).split())
