"""Role ``receive``: every door by which something comes in. It loads no model and sends no result."""

from __future__ import annotations

import threading
import time

import sqlalchemy as sa

from dicom_node import log
from dicom_node.config.model import NodeSettings
from dicom_node.engine.process import beat, keep_what_is_loaded, stop_on_signal, until_told_to_stop
from dicom_node.home import Home
from dicom_node.node import prepare
from dicom_node.node.machines import seen_by_others
from dicom_node.reception import scp
from dicom_node.reception.adoption import adopt_unrecorded
from dicom_node.stages.answers import ae_titles
from dicom_node.stages.arrivals import recorder
from dicom_node.stages.commitment import admission, disk_watch, services
from dicom_node.stages.messages import listening
from dicom_node.stages.stow import stow_door
from dicom_node.studies.files import clean_store

#: Files without a row that are older than this were left by a crash: nobody was told that they were stored.
LEFTOVER_SECONDS = 600.0


def run(home: Home, settings: NodeSettings) -> None:
    """Listen for DICOM, HL7 and STOW-RS until told to stop."""
    stop = stop_on_signal()
    database = prepare(home, settings)
    record = recorder(settings, home)
    adopted = adopt_unrecorded(database, home.path, record)
    if adopted:
        log.event("store.adopted", count=adopted)
    admit = admission(disk_watch(home, settings))
    receiver = scp.start(
        settings.reception,
        home=home.path,
        database=database,
        record=record,
        services=services(home, settings, database),
        admit_storage=admit,
        side_doors=ae_titles.side_doors(settings, database),
    )
    beat(home, "receive")
    # beside the open door: of a large store it takes minutes. What is younger than LEFTOVER_SECONDS it leaves alone
    threading.Thread(
        target=_clean_store, args=(database, home, time.time() - LEFTOVER_SECONDS), name="clean-up", daemon=True
    ).start()
    try:
        with (
            listening(home, settings, database),
            stow_door(home, settings, database, admit),
            seen_by_others(database, home, settings, "receive"),
        ):
            keep_what_is_loaded()
            until_told_to_stop(home, "receive", stop)
    finally:
        receiver.stop()


def _clean_store(database: sa.Engine, home: Home, older_than_utc: float) -> None:
    """Take what belongs to nobody out of the store, and say so; a clean-up that fails is made at the next start."""
    try:
        cleaned = clean_store(database, home.path, older_than_utc=older_than_utc)
    except (OSError, sa.exc.SQLAlchemyError) as error:
        log.event("timer.failed", kind="clean-up", error=type(error).__name__)
        return
    if cleaned.orphans:
        log.event("store.unclaimed", count=cleaned.orphans)
