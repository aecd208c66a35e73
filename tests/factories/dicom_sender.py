"""A storage SCU that can also send what no library would: any bytes under any UIDs."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE

from tests.factories.received_objects import encoded


@contextmanager
def association(
    port: int, contexts: list[tuple[str, str]], calling: str = "PACS", called: str = "AINODE", max_pdu: int = 16382
) -> Iterator[Association]:
    """Open an association that proposes (SOP class, transfer syntax) pairs; released at the end if it is still there."""
    ae = AE(ae_title=calling)
    for sop_class_uid, transfer_syntax_uid in contexts:
        ae.add_requested_context(sop_class_uid, transfer_syntax_uid)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 20
    opened = ae.associate("127.0.0.1", port, ae_title=called, max_pdu=max_pdu)
    if opened.is_established and opened.dul.socket is not None and opened.dul.socket.socket is not None:
        opened.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        yield opened
    finally:
        if opened.is_established:
            opened.release()


def send_bytes(opened: Association, sop_class_uid: str, sop_instance_uid: str, data: bytes | None, context: int = 0) -> C_STORE:
    """Send one C-STORE-RQ with these bytes as data set and return the answer."""
    request = C_STORE()
    request.MessageID = 1
    request.Priority = 2
    request.AffectedSOPClassUID = UID(sop_class_uid)
    request.AffectedSOPInstanceUID = UID(sop_instance_uid)
    if data is not None:
        request.DataSet = io.BytesIO(data)
    used = opened.accepted_contexts[context]
    opened._reactor_checkpoint.clear()
    while not opened._is_paused:  # as Association.send_c_store does
        pass
    opened.dimse.send_msg(request, used.context_id)
    _, answer = opened.dimse.get_msg(block=True)
    opened._reactor_checkpoint.set()
    assert answer is None or isinstance(answer, C_STORE)
    return answer


def send(port: int, *objects: Dataset, calling: str = "PACS", called: str = "AINODE") -> list[C_STORE]:
    """Send data sets over one association and return the answers."""
    contexts = list(dict.fromkeys((str(ds.SOPClassUID), str(ds.file_meta.TransferSyntaxUID)) for ds in objects))
    with association(port, contexts, calling, called) as opened:
        assert opened.is_established
        order = [(str(cx.abstract_syntax), str(cx.transfer_syntax[0])) for cx in opened.accepted_contexts]
        return [
            send_bytes(
                opened,
                ds.SOPClassUID,
                ds.SOPInstanceUID,
                encoded(ds),
                order.index((str(ds.SOPClassUID), str(ds.file_meta.TransferSyntaxUID))),
            )
            for ds in objects
        ]
