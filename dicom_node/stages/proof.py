"""Proof of deliveries, reports to modalities, retention: what the role ``work`` does by the clock to end a delivery and a study."""

from __future__ import annotations

import threading
from collections.abc import Collection

from dicom_node.archive import client
from dicom_node.delivery import commitment_scp, proving
from dicom_node.delivery.proof import wanted_proof
from dicom_node.delivery.settings import ArchivingSettings
from dicom_node.stages.commitment import judge, modalities
from dicom_node.stages.rooms import Rooms
from dicom_node.studies.disk import DiskWatch, Level
from dicom_node.studies.retention import Deleted, run_retention

PROOF_SECONDS = 2.0
SELDOM_SECONDS = 60.0
DISK_SECONDS = 10.0
#: Retention beats at this pace; when a disk gets low it runs at once.
RETENTION_SECONDS = 600.0


def paces(rooms: Rooms) -> dict[str, float]:
    """Return the destinations that can be asked for a proof, and every how many seconds.

    Those whose proof is the answer are among them: something may be left from before the setting was changed.
    """
    found = rooms.settings.destinations.items()
    return {
        name: SELDOM_SECONDS if one.proof == "answer" else PROOF_SECONDS
        for name, one in found
        if isinstance(one, ArchivingSettings)
    }


def close_gone(rooms: Rooms) -> int:
    """Give up proofs at destinations that can be asked no more."""
    return proving.close_gone(rooms.database, paces(rooms))


def prove(rooms: Rooms, name: str) -> int:
    """Ask for every proof that is due at one destination; see ``proving.prove_destination``."""
    settings = rooms.settings.destinations[name]
    assert isinstance(settings, ArchivingSettings), "named by paces"
    return proving.prove_destination(
        rooms.database,
        name,
        settings,
        has_instances=_has_instances(rooms, settings),
        take_report=commitment_scp.report_taker(rooms.database, rooms.settings.destinations, rooms.port.submit_delivery),
        submit=rooms.port.submit_delivery,
    )


def _has_instances(rooms: Rooms, settings: ArchivingSettings) -> proving.HasInstances | None:
    archive = rooms.settings.archives.get(settings.archive) if settings.archive else None
    if archive is None:
        return None

    def ask(study_uid: str, uids: Collection[str]) -> Collection[str]:
        return client.has_instances(archive, study_uid, uids)

    return ask


def send_reports(rooms: Rooms) -> int:
    """Report to the modalities that asked for storage commitment."""
    return commitment_scp.send_reports(rooms.database, modalities(rooms.settings), judge(rooms.home.path))


def retain(rooms: Rooms, watch: DiskWatch) -> Deleted:
    """Delete what may be deleted; sooner what is younger, while a disk is low."""
    proofs = {name: str(wanted_proof(one)) for name, one in rooms.settings.destinations.items()}
    low = watch.worst() is not Level.OK
    return run_retention(rooms.database, rooms.home.path, rooms.settings.retention, proofs, disk_is_low=low)


class LowDisk:
    """Runs retention when a disk has just become low, besides its own pace. One timer calls ``look``."""

    def __init__(self, rooms: Rooms, watch: DiskWatch) -> None:
        self._rooms = rooms
        self._watch = watch
        self._before = Level.OK
        self._once = threading.Lock()

    def look(self) -> None:
        """Look at the disks."""
        now = self._watch.worst()
        if now > self._before:
            self.retain()
        self._before = now

    def retain(self) -> None:
        """One pass at a time, whoever asks for it."""
        with self._once:
            retain(self._rooms, self._watch)
