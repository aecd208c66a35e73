"""Answer AE titles: our result, sent to an AE title that stands for an answer, is the click. Pure: no tables, no sockets.

Rows are looked at again and again until they can be judged, so that nothing hangs on one moment: which objects belong together, is
all of it here, what does it say.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from dicom_node.core import withdrawal
from dicom_node.core.feedback import tells_of_answer

CUT_OFF = "The association was cut off before its end; send the result again."
REFUSED_TOO = "Objects that were refused came along; send the result alone."
FOREIGN = "Images or other objects that are no result of this node came along; send the result alone."
SEVERAL = "Several results came together; send one at a time."
ELSEWHERE = "The result came under another study than its own."
NOT_A_RESULT = "It is an object of this node that is no result: a note of an answer or of a withdrawal."


@dataclass(frozen=True)
class Arrival:
    """One object at an answer AE title, and what is known of it. Times are UTC, in seconds since 1970."""

    object_id: int
    association: str
    calling_ae: str
    called_ae: str
    study_key: str
    sop_instance_uid: str
    received_utc: float
    ended_utc: float | None  # when its association was released; ``None``: it is open, or was cut off
    state: str
    run_key: str = ""  # whose object it is; empty: not ours
    role: str = ""
    run_study_key: str = ""
    delivered: tuple[float, ...] = ()
    digest: str = ""

    @property
    def is_result(self) -> bool:
        """Whether it is of a result of ours: not a note of an answer or of a withdrawal."""
        return bool(self.run_key) and not tells_of_answer(self.role) and self.role.partition(":")[0] not in withdrawal.ROLES


@dataclass(frozen=True)
class Answer:
    """Objects that are judged together, in order of arrival."""

    arrivals: tuple[Arrival, ...]

    @property
    def calling_ae(self) -> str:
        """Who sent them."""
        return self.arrivals[0].calling_ae

    @property
    def called_ae(self) -> str:
        """Where to."""
        return self.arrivals[0].called_ae

    @property
    def waiting(self) -> tuple[Arrival, ...]:
        """Those that are not judged yet."""
        return tuple(one for one in self.arrivals if one.state == "waiting")

    def due_utc(self, settle_seconds: float, two_answers_seconds: float, idle_seconds: float) -> float:
        """Return when it may be judged: all associations are over, nothing came for a while, and no other answer did either."""
        over = [one.received_utc + idle_seconds if one.ended_utc is None else one.ended_utc for one in self.arrivals]
        return max(over) + settle_seconds + two_answers_seconds


def answers(arrivals: Iterable[Arrival], settle_seconds: float, idle_seconds: float) -> list[Answer]:
    """Return the arrivals by what belongs together, in order of time.

    That is: an association, with others of the same sender to the same answer that bring objects of the same study within
    ``settle_seconds``. After an association that was not released, what its sender sends again within ``idle_seconds`` belongs to
    it: half of a whole study must not pass for a result alone.
    """
    by_association: dict[str, list[Arrival]] = defaultdict(list)
    for one in sorted(arrivals, key=lambda item: (item.received_utc, item.object_id)):
        by_association[one.association].append(one)
    parent = {name: name for name in by_association}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for group in _by_sender_and_study(by_association).values():
        ends = 0.0
        for before, after in pairwise(group):
            ends = max(ends, _end(by_association[before], idle_seconds))
            if by_association[after][0].received_utc <= ends + settle_seconds:
                parent[root(after)] = root(before)
    together: dict[str, list[Arrival]] = defaultdict(list)
    for name, members in by_association.items():
        together[root(name)].extend(members)
    found = [Answer(tuple(sorted(members, key=lambda one: (one.received_utc, one.object_id)))) for members in together.values()]
    return sorted(found, key=lambda one: one.arrivals[0].received_utc)


def _by_sender_and_study(by_association: dict[str, list[Arrival]]) -> dict[tuple[str, str, str], list[str]]:
    """Return the associations, oldest first, by calling AE, called AE and study; one may stand under several studies."""
    found: dict[tuple[str, str, str], dict[str, None]] = defaultdict(dict)
    for name, members in by_association.items():
        for one in members:
            found[one.calling_ae, one.called_ae, one.study_key][name] = None
    return {key: list(names) for key, names in found.items()}


def _end(members: Sequence[Arrival], idle_seconds: float) -> float:
    last = members[-1].received_utc
    return max(last, members[-1].ended_utc) if members[-1].ended_utc is not None else last + idle_seconds


@dataclass(frozen=True)
class Meaning:
    """What the objects say before it is asked whether the result still stands."""

    run_key: str = ""  # the one result that is meant; also where it is known but does not count
    problem: str = ""  # one sentence: why it is no answer
    is_nothing: bool = False  # not even an attempt at one


def meaning(answer: Answer) -> Meaning:
    """Return which one result is answered, or why none is."""
    results = [one for one in answer.arrivals if one.is_result]
    runs = {one.run_key for one in results}
    run_key = runs.pop() if len(runs) == 1 else ""
    if not any(one.ended_utc is not None for one in answer.arrivals):
        return Meaning(run_key, CUT_OFF)
    if any(one.state == "unclear" for one in answer.arrivals):
        return Meaning(run_key, REFUSED_TOO)
    if any(not one.run_key for one in answer.arrivals):
        return Meaning(run_key, FOREIGN)
    if not results:
        return Meaning("", NOT_A_RESULT, is_nothing=True)
    if not run_key:
        return Meaning("", SEVERAL)
    if any(one.study_key != one.run_study_key for one in answer.arrivals):
        return Meaning(run_key, ELSEWHERE)
    return Meaning(run_key)
