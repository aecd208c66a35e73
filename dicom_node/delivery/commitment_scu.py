"""Ask a PACS to commit: N-ACTION, and its report if it comes on the same association (PS3.4, J.3.2 and J.3.3)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import evt

from dicom_node.core.errors import DimseFailure, PeerTimeout
from dicom_node.delivery import commitment
from dicom_node.network.association import open_association
from dicom_node.network.tls_settings import ClientTls

#: Takes an N-EVENT-REPORT event and returns its answer, after what it says is written down.
TakeReport = Callable[[Any], Dataset]

#: Statuses that say "not here, not ever": no such instance, class or action, not supported, not authorised, unrecognised.
_NEVER = frozenset((0x0112, 0x0117, 0x0118, 0x0119, 0x0122, 0x0123, 0x0124, 0x0211))

#: A report that comes before the answer is taken in this thread; the library's reactor, which waited, gets so long to go on.
_BREATH_SECONDS = 0.05


class NotOffered(DimseFailure):
    """The peer does no storage commitment, or not for us."""


@dataclass(frozen=True)
class CommitmentPeer:
    """Who is asked; ``wait_seconds`` is how long its report may take on the same association."""

    host: str
    port: int
    called_ae: str
    calling_ae: str
    timeout_seconds: float
    wait_seconds: float
    tls: ClientTls | None = None


def ask(peer: CommitmentPeer, request: commitment.Request, take_report: TakeReport) -> bool:
    """Send the request; return whether the report came on this association (it may come later, on another).

    Raises
    ------
    NotOffered
        The peer will never commit; nothing was asked.
    PeerError
        It cannot be asked now. Whether the request arrived may be unknown: a report that comes all the same is taken.
    """
    reported = threading.Event()

    def on_report(event: Any) -> tuple[Dataset, None]:
        answer = take_report(event)
        if answer.Status == 0x0000:
            reported.set()
        return answer, None

    with _opened(peer, [(evt.EVT_N_EVENT_REPORT, on_report)]) as association:
        if not association.accepted_contexts:
            raise NotOffered("The peer does not accept storage commitment.", status=0x0122, temporary=False)
        data = commitment.request_dataset(request.transaction_uid, request.objects)
        action = commitment.REQUEST_ACTION
        answer, _ = association.send_n_action(data, action, commitment.SOP_CLASS, commitment.SOP_INSTANCE)
        if "Status" not in answer:
            raise PeerTimeout("The peer did not answer the storage commitment request.")
        status = int(answer.Status)
        if status in _NEVER:
            raise NotOffered(f"The peer refuses storage commitment (0x{status:04X}).", status=status, temporary=False)
        if status != 0x0000 and not 0xB000 <= status <= 0xBFFF:
            raise DimseFailure(f"The peer cannot commit now (0x{status:04X}).", status=status, temporary=True)
        if reported.is_set():
            time.sleep(_BREATH_SECONDS)
        return reported.wait(peer.wait_seconds)


def is_offered(peer: CommitmentPeer) -> bool:
    """Negotiate storage commitment and nothing else.

    Raises
    ------
    PeerError
        The peer cannot be reached or rejects the association.
    """
    with _opened(peer, []) as association:
        return bool(association.accepted_contexts)


def _opened(peer: CommitmentPeer, handlers: list[tuple[Any, Any]]) -> Any:
    return open_association(
        host=peer.host,
        port=peer.port,
        called_ae=peer.called_ae,
        calling_ae=peer.calling_ae,
        contexts=[(commitment.SOP_CLASS, commitment.TRANSFER_SYNTAXES)],
        timeout_seconds=peer.timeout_seconds,
        tls=peer.tls,
        evt_handlers=handlers,
    )
