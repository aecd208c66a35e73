"""Role ``web``: health, metrics and the pages; beyond this machine only where people log in."""

from __future__ import annotations

import os
from functools import partial

from dicom_node import log
from dicom_node.config.certificates import seconds_to_expiry
from dicom_node.config.model import NodeSettings
from dicom_node.engine.process import beat, stop_on_signal, until_told_to_stop
from dicom_node.home import Home
from dicom_node.node import prepare
from dicom_node.node.machines import beats_everywhere
from dicom_node.stages.answers.fhir_hooks import fhir_hooks
from dicom_node.stages.commitment import disk_watch
from dicom_node.web.app import make_app
from dicom_node.web.server import HttpPort
from dicom_node.web.site import Site

#: A role whose heartbeat is older than this counts as not ready.
STALE_SECONDS = 10.0


def run(home: Home, settings: NodeSettings) -> None:
    """Answer HTTP until told to stop."""
    stop = stop_on_signal()
    database = prepare(home, settings)
    app = make_app(
        database,
        settings.site.name,
        partial(beats_everywhere, database, home, settings),
        STALE_SECONDS,
        disk_watch(home, settings, quiet=True).look,
        partial(seconds_to_expiry, settings),
        site=Site(database, home, settings.web, settings.readers, settings.feedback),
        routers=fhir_hooks(home, settings, database),
        timezone=settings.site.tzinfo(),
    )
    pages = HttpPort(app, name="web", host=settings.web.host, port=settings.web.port, tls=settings.web.tls).start()
    log.event("web.started", port=settings.web.port, pid=os.getpid())
    beat(home, "web", pages.problem)
    try:
        until_told_to_stop(home, "web", stop, lambda: pages.problem)
    finally:
        pages.stop()
