"""A PACS on loopback that does storage commitment as it is told to: at once, later, on which association, or not at all."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import Verification

from dicom_node.delivery import commitment
from tests.factories.deliverables import BASIC_TEXT_SR, SECONDARY_CAPTURE

SYNTAXES = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"]


class CommittingPacs:
    """What it was asked, and how it reports.

    ``failures``: Failure Reason by SOP Instance UID. ``report``: ``same`` association, ``never``, or ``self.report_to(port)``
    later by hand.
    """

    def __init__(self) -> None:
        self.port = 0
        self.report = "same"
        self.action_status = 0x0000
        self.failures: dict[str, int] = {}
        self.asked: list[Dataset] = []
        self.syntaxes: list[str] = []
        self.answers: list[int] = []
        self.stored: list[str] = []

    def on_store(self, event: Any) -> int:
        self.stored.append(str(event.request.AffectedSOPInstanceUID))
        return 0x0000

    def on_action(self, event: Any) -> tuple[int, None]:
        self.syntaxes.append(str(event.context.transfer_syntax))
        if self.action_status == 0:
            self.asked.append(event.action_information)
            if self.report == "same":
                threading.Thread(target=self._report_here, args=(event.assoc, self.asked[-1]), daemon=True).start()
        return self.action_status, None

    def _report_here(self, association: Any, asked: Dataset) -> None:
        time.sleep(0.1)
        self._send(association, asked)

    def _send(self, association: Any, asked: Dataset) -> int:
        event_type, data = report_on(asked, self.failures)
        answer, _ = association.send_n_event_report(data, event_type, commitment.SOP_CLASS, commitment.SOP_INSTANCE)
        status = int(answer.Status) if "Status" in answer else -1
        self.answers.append(status)
        return status

    def report_to(self, port: int, asked: Dataset, called: str = "AINODE", calling: str = "PACS") -> int:
        """Report on an association of its own; returns the status answered."""
        entity = AE(ae_title=calling)
        entity.add_requested_context(commitment.SOP_CLASS, SYNTAXES)
        role = build_role(commitment.SOP_CLASS, scp_role=True)
        association = entity.associate("127.0.0.1", port, ae_title=called, ext_neg=[role])
        assert association.is_established
        try:
            return self._send(association, asked)
        finally:
            association.release()


def report_on(asked: Dataset, failures: dict[str, int]) -> tuple[int, Dataset]:
    """Return event type and data set of a report about everything that was asked."""
    request = commitment.read_request(asked)
    classes = {instance: sop_class for sop_class, instance in request.objects}
    failed = {instance: reason for instance, reason in failures.items() if instance in classes}
    kept = {instance: sop_class for instance, sop_class in classes.items() if instance not in failed}
    return commitment.report_dataset(commitment.Report(request.transaction_uid, kept, failed), classes)


@contextmanager
def committing_pacs(*, offers: bool = True, syntaxes: list[str] | None = None) -> Iterator[CommittingPacs]:
    """Run the PACS; ``offers`` says whether it knows storage commitment at all."""
    pacs = CommittingPacs()
    entity = AE(ae_title="PACS")
    for uid in (BASIC_TEXT_SR, SECONDARY_CAPTURE, Verification):
        entity.add_supported_context(uid, SYNTAXES)
    if offers:
        entity.add_supported_context(commitment.SOP_CLASS, syntaxes or SYNTAXES)
    handlers = [(evt.EVT_N_ACTION, pacs.on_action), (evt.EVT_C_STORE, pacs.on_store)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    pacs.port = server.socket.getsockname()[1]
    try:
        yield pacs
    finally:
        server.shutdown()
