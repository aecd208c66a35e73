"""Calls that come together are answered together; each caller gets its own answer or its own error."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from dicom_node.engine.batcher import Batcher, Closed


def test_calls_at_the_same_time_become_one_and_answers_keep_their_order() -> None:
    """Eight callers, one call, each gets the square of its own number."""
    sizes: list[int] = []

    def squares(numbers: Sequence[int]) -> Sequence[int]:
        sizes.append(len(numbers))
        return [n * n for n in numbers]

    batcher = Batcher(squares, most=8, wait_seconds=5)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(batcher, range(8))) == [n * n for n in range(8)]
    assert sizes == [8]
    batcher.close()


def test_more_than_a_batch_is_several_calls() -> None:
    """Twenty callers and four places: no call is larger than four, none is forgotten."""
    sizes: list[int] = []

    def same(numbers: Sequence[int]) -> Sequence[int]:
        sizes.append(len(numbers))
        time.sleep(0.01)
        return list(numbers)

    batcher = Batcher(same, most=4, wait_seconds=0.01)
    with ThreadPoolExecutor(20) as pool:
        assert sorted(pool.map(batcher, range(20))) == list(range(20))
    assert max(sizes) <= 4
    assert sum(sizes) == 20
    batcher.close()


def test_a_lone_caller_is_not_kept_waiting() -> None:
    """Where one caller is expected a call goes out at once, whatever the waiting time."""
    batcher: Batcher[int, int] = Batcher(list, most=8, wait_seconds=30, expected=lambda: 1)
    started = time.monotonic()
    assert batcher(7) == 7
    assert time.monotonic() - started < 5
    batcher.close()


def test_one_bad_item_spoils_no_other() -> None:
    """The item that cannot be answered raises for its caller alone; the others are answered by themselves."""

    def halves(numbers: Sequence[int]) -> Sequence[int]:
        if 3 in numbers:
            raise ValueError("three")
        return [n // 2 for n in numbers]

    batcher = Batcher(halves, most=4, wait_seconds=5)

    def ask(number: int) -> object:
        try:
            return batcher(number)
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, (2, 3, 4, 6))) == [1, "three", 2, 3]
    batcher.close()


def test_answers_that_do_not_match_the_items_are_an_error() -> None:
    """A call that returns too few answers raises; nobody gets the answer of another."""
    batcher: Batcher[int, int] = Batcher(lambda numbers: [], most=1)
    with pytest.raises(RuntimeError, match="0 answers"):
        batcher(1)
    batcher.close()


def test_closing_answers_what_has_come_and_takes_nothing_more() -> None:
    """Callers that wait at the close get their answers; a later one is refused."""
    entered, go_on = threading.Event(), threading.Event()

    def slow(numbers: Sequence[int]) -> Sequence[int]:
        entered.set()
        go_on.wait(10)
        return list(numbers)

    batcher = Batcher(slow, most=1, wait_seconds=0)
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(batcher, n) for n in (1, 2)]
        entered.wait(10)
        while not batcher._waiting:
            time.sleep(0.001)
        threading.Timer(0.05, go_on.set).start()
        batcher.close()
        assert sorted(a.result(10) for a in answers) == [1, 2]
    with pytest.raises(Closed):
        batcher(3)
