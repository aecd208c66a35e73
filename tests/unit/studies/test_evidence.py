"""What arrived against what the archive lists."""

from __future__ import annotations

from typing import Any

import pytest

from dicom_node.studies.evidence import Answer, Next, Standing, standing

CEILING = 1000.0
A, B = "1.1", "1.2"


def count(at: float, counts: dict[str, int] | None = None, **changes: Any) -> Answer:
    return Answer(at, "count", counts if counts is not None else {A: 2}, **changes)


def fetched(at: float, **changes: Any) -> Answer:
    return Answer(at, "fetch", **changes)


def judged(answers: list[Answer], held: dict[str, list[str]] | None = None, now: float = 100.0) -> Standing:
    return standing(answers, held if held is not None else {A: ["x", "y"]}, now_utc=now, ceiling_utc=CEILING, pause_seconds=5)


def test_two_equal_counts_are_believed() -> None:
    """Nothing said: ask. One count: wait for the pause, then ask again. Two equal ones and all here: start."""
    assert judged([]).next is Next.ASK
    assert judged([count(98)]) == Standing(Next.WAIT, at_utc=103)
    assert judged([count(90)]).next is Next.ASK
    assert judged([count(90), count(96)]) == Standing(Next.GO, agreed=True)


def test_counts_that_still_grow_are_asked_again() -> None:
    """An archive that is itself receiving is not believed until it says the same twice."""
    assert judged([count(80, {A: 1}), count(90)]).next is Next.ASK
    assert judged([count(80, {A: 1}), count(90), count(96)]).agreed


def test_what_is_missing_is_fetched_and_then_called_incomplete() -> None:
    """Twice fetched in vain, a study starts incomplete and says how much."""
    counts = [count(80, instances={A: ("x", "y")}), count(86, instances={A: ("x", "y")})]
    first = judged(counts, {A: ["x"]})
    assert (first.next, first.missing, first.short) == (Next.FETCH, {A: ("y",)}, 1)
    assert judged([*counts, fetched(98)], {A: ["x"]}).next is Next.WAIT
    assert judged([*counts, fetched(90)], {A: ["x"]}).next is Next.FETCH
    last = judged([*counts, fetched(88), fetched(94, problem="It sent nothing.")], {A: ["x"]})
    assert (last.next, last.short, last.problem, last.agreed) == (Next.GO, 1, "It sent nothing.", False)
    assert judged([*counts, fetched(90)]).agreed


def test_fetching_that_cannot_help_is_not_tried_again() -> None:
    """An unknown move destination ends it at once."""
    found = judged([count(80), count(86), fetched(90, problem="No.", final=True)], {A: ["x"]})
    assert (found.next, found.short) == (Next.GO, 1)


def test_a_list_of_objects_beats_a_count() -> None:
    """A count of 99 with a list of two is two."""
    lies = [count(t, {A: 99}, instances={A: ("x", "y")}) for t in (80, 86)]
    assert judged(lies).agreed


def test_a_count_without_list_asks_for_the_whole_series() -> None:
    """Where objects cannot be listed, the series is fetched as a whole."""
    found = judged([count(80, {A: 3, B: 1}), count(86, {A: 3, B: 1})])
    assert (found.next, found.missing, found.short) == (Next.FETCH, {A: (), B: ()}, 2)


@pytest.mark.parametrize("counts", [{}, {A: 0}, {A: 1}])
def test_an_archive_that_has_less_than_came_holds_nothing_back(counts: dict[str, int]) -> None:
    """The modality sends to the node first: the archive may know nothing yet."""
    assert judged([count(80, counts), count(86, counts)]).agreed


def test_a_failure_leaves_the_quiet_time_alone() -> None:
    """Silence and nonsense start the study and are told."""
    assert judged([count(90, {}, problem="No answer.")]) == Standing(Next.GO, problem="No answer.")
    assert judged([count(80), count(90, {}, problem="No answer.")], {A: []}).next is Next.GO


def test_the_ceiling_ends_everything() -> None:
    """Whatever is open at the ceiling, the study starts, and says what was missing."""
    assert judged([], now=CEILING).next is Next.GO
    growing = judged([count(990, {A: 1}), count(995, {A: 3})], now=CEILING)
    assert (growing.next, growing.short) == (Next.GO, 1)
    missing = judged([count(990), count(995)], {A: ["x"]}, now=CEILING)
    assert (missing.next, missing.short) == (Next.GO, 1)


def test_a_person_beats_the_archive() -> None:
    """A waived study starts although something is missing, and still says so; what is asked afterwards counts again."""
    answers = [count(80), count(86), Answer(90, "waived")]
    found = judged(answers, {A: ["x"]})
    assert (found.next, found.short, found.waived) == (Next.GO, 1, True)
