"""The answer to a message reaches whoever sent it, however late the library's reactor wakes up."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

from dicom_node.network.requestor import Checkpoint, Requestor

ECHO = str(Verification)


class LateCondition(threading.Condition):
    """Whoever waits is held up on the way back, as a thread is on a machine under load."""

    def _acquire_restore(self, state: Any) -> None:
        time.sleep(0.05)
        super()._acquire_restore(state)  # type: ignore[misc]


@pytest.fixture
def peer() -> Iterator[int]:
    entity = AE("PEER")
    entity.add_supported_context(ECHO)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_ECHO, lambda _: 0x0000)])
    yield server.socket.getsockname()[1]
    server.shutdown()


def answers(port: int, checkpoint: Any) -> list[bool]:
    """Return whether each of two messages in quick succession had its answer."""
    entity = Requestor("NODE", 0.5)
    entity.add_requested_context(ECHO)
    association = entity.associate("127.0.0.1", port)
    association._reactor_checkpoint = checkpoint(association)
    send = association.dimse.send_msg

    def send_and_be_held_up(*message: Any) -> None:
        send(*message)
        time.sleep(0.2)  # as long as this the answer lies in the queue, for whoever asks

    association.dimse.send_msg = send_and_be_held_up
    try:
        first = bool(association.send_c_echo())
        # the reactor was let go for an instant, and wakes up when the second message is under way
        return [first, bool(association.send_c_echo())]
    finally:
        association.abort()


def as_the_library_has_it(_: Any) -> threading.Event:
    event = threading.Event()
    event._cond = LateCondition(threading.Lock())  # type: ignore[attr-defined]
    event.set()
    return event


def ours(association: Any) -> Checkpoint:
    checkpoint = Checkpoint(association)
    checkpoint._changed = LateCondition()
    return checkpoint


def test_a_late_reactor_takes_no_answer(peer: int) -> None:
    assert answers(peer, ours) == [True, True]


def test_with_the_librarys_own_it_does(peer: int) -> None:
    """Once this fails the library is mended, and ``Checkpoint`` can go."""
    assert answers(peer, as_the_library_has_it) == [True, False]


def test_a_requestor_has_it(peer: int) -> None:
    entity = Requestor("NODE", 0.5)
    entity.add_requested_context(ECHO)
    association = entity.associate("127.0.0.1", peer)
    assert isinstance(association._reactor_checkpoint, Checkpoint)
    association.release()
    assert association.is_released
