"""reception by HTTP: the STOW-RS port, open while reception is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import sqlalchemy as sa

from dicom_node.config.model import NodeSettings
from dicom_node.home import Home
from dicom_node.reception.intake import Intake
from dicom_node.reception.storing import AdmitStorage, Storing
from dicom_node.stages.arrivals import recorder


@contextlib.contextmanager
def stow_door(home: Home, settings: NodeSettings, database: sa.Engine, admit_storage: AdmitStorage) -> Iterator[int | None]:
    """Hold the STOW-RS port open; yields the port, ``None`` when none is configured. One that cannot be opened is tried again."""
    if settings.reception.stow is None:
        yield None
        return
    from dicom_node.web.stow import serving  # late: a node without STOW-RS starts faster

    intake = Intake(home.path, database, recorder(settings, home))
    storing = Storing(intake, max_object_bytes=settings.reception.max_object_bytes, admit_storage=admit_storage)
    with serving(settings.reception, settings.reception.stow, storing) as port:
        yield port
