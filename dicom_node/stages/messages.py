"""The hospital's messages -> orders: the MLLP port, open while reception is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

import sqlalchemy as sa

from dicom_node.config.model import NodeSettings
from dicom_node.home import Home


@contextlib.contextmanager
def listening(home: Home, settings: NodeSettings, database: sa.Engine) -> Iterator[int | None]:
    """Hold the HL7 port open; yields the port, ``None`` when none is configured. A port that cannot be opened is tried again."""
    if settings.orders.listener is None:
        yield None
        return
    from dicom_node.orders.listener import Listener  # late: a node without messages starts faster
    from dicom_node.orders.step import Inbox, take
    from dicom_node.stages.answers.messages import hl7_desk
    from dicom_node.stages.clinical_data import values_changed
    from dicom_node.stages.merges import patient_merged

    own = settings.results.hl7.sending_application
    inbox = Inbox(database, settings.orders, settings.site.tzinfo(), own, patient_merged, hl7_desk(home, settings), values_changed)
    listener = Listener(settings.orders.listener, partial(take, inbox)).start()
    try:
        yield listener.port
    finally:
        listener.stop()
