"""reception <-> delivery: storage commitment at our port, and the refusal of objects while the disk is full."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from dicom_node.config.model import NodeSettings
from dicom_node.delivery import commitment_scp
from dicom_node.delivery.commitment import SOP_CLASS
from dicom_node.delivery.commitment_scp import Judge, Modality
from dicom_node.delivery.settings import ArchivingSettings
from dicom_node.home import Home
from dicom_node.reception.service import Service
from dicom_node.reception.status import OUT_OF_RESOURCES, DimseStatus
from dicom_node.studies import safekeeping
from dicom_node.studies.disk import DiskWatch


def modalities(settings: NodeSettings) -> dict[str, Modality]:
    """Return who may ask this node to commit, by AE title."""
    found: dict[str, Modality] = {}
    for peer in settings.reception.peers:
        if peer.commitment != "no" and peer.ae_title not in found:
            port = peer.commitment_port if peer.commitment == "new_association" else None
            found[peer.ae_title] = Modality(peer.ae_title, peer.host or "", port, peer.commitment_tls)
    return found


def judge(home: Path) -> Judge:
    """Return what says which objects are kept, and promises it."""
    return lambda connection, objects: safekeeping.promise(connection, objects, home)


def services(home: Home, settings: NodeSettings, database: sa.Engine) -> tuple[Service, ...]:
    """Return storage commitment for our port, where a destination or a modality uses it.

    What must be sent again after a report is left queued for the sweep of the role ``work``: reception submits no work.
    """
    asks = any(isinstance(d, ArchivingSettings) and d.proof == "commitment" for d in settings.destinations.values())
    may_ask = modalities(settings)
    if not asks and not may_ask:
        return ()
    take = commitment_scp.report_taker(database, settings.destinations, lambda *_: None)
    handlers = commitment_scp.handlers(database, may_ask, judge(home.path), take)
    return (Service((SOP_CLASS,), list(handlers)),)


def disk_watch(home: Home, settings: NodeSettings, *, quiet: bool = False) -> DiskWatch:
    """Return the watch over everything that the node writes to; the database too, where it lies in the home."""
    return DiskWatch({"home": home.path, "store": home.store, "results": home.results}, settings.disk, quiet=quiet)


def admission(watch: DiskWatch) -> Callable[[], DimseStatus | None]:
    """Return what reception asks before it takes an object: ``None``, or the status that refuses it."""

    def admit() -> DimseStatus | None:
        why = watch.refusal()
        return OUT_OF_RESOURCES._replace(meaning=why) if why else None

    return admit
