"""Work of several slices at once: in their order, with the first error."""

from __future__ import annotations

import threading

import pytest

from dicom_node.imaging.in_threads import in_threads


def test_results_come_in_the_order_of_the_items_whichever_is_done_first() -> None:
    second_done = threading.Event()

    def work(n: int) -> int:
        if n == 0:
            assert second_done.wait(5), "nothing ran beside the first"
        if n == 1:
            second_done.set()
        return n * n

    assert in_threads(work, range(6), 2) == [0, 1, 4, 9, 16, 25]


def test_one_thread_works_where_it_is_called() -> None:
    assert set(in_threads(lambda _: threading.get_ident(), range(3), 1)) == {threading.get_ident()}
    assert in_threads(lambda _: threading.get_ident(), [1], 4) == [threading.get_ident()]
    assert in_threads(abs, [], 4) == []


def test_the_first_error_in_order_is_raised() -> None:
    second_raised = threading.Event()

    def work(n: int) -> int:
        if n == 1:
            second_raised.set()
        if n == 0:
            second_raised.wait(5)
        raise ValueError(str(n))

    with pytest.raises(ValueError, match="0"):
        in_threads(work, range(4), 2)
