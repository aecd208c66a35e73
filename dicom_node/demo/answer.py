"""The demo's last word is a radiologist's: one result is sent to an answer AE title, as a viewer's "send to" does."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
from pydicom import Dataset

from dicom_node.core.errors import PeerError
from dicom_node.demo.configuration import ACCEPT_AE, WORKSTATION_AE
from dicom_node.demo.peers import OrthancPacs, PlainPacs
from dicom_node.store.connect import reading
from dicom_node.store.tables import verdict

#: Series Description of the report about an answer (results/assessments/report.py).
_ASSESSMENT = "AI result assessment (RUO)"


def accept(pacs: OrthancPacs | PlainPacs, database: sa.Engine, home: Path, study_key: str, overlay: Dataset) -> tuple[str, Dataset]:
    """Accept a result from the PACS; return what ``dicom-node verdicts`` says, and the report about the answer in the PACS.

    Raises
    ------
    PeerError
        The answer was not recorded, or nothing of it came back into the PACS.
    """

    def recorded() -> bool:
        with reading(database) as connection:
            return connection.execute(sa.select(verdict.c.number).where(verdict.c.study_key == study_key)).first() is not None

    def reports() -> list[Dataset]:
        return [one for one in pacs.fetch(str(overlay.StudyInstanceUID)) if one.get("SeriesDescription") == _ASSESSMENT]

    pacs.send_to(overlay, WORKSTATION_AE, ACCEPT_AE)
    _wait("the answer was not recorded", recorded)
    _wait("no report about the answer came back into the PACS", lambda: bool(reports()))
    command = [sys.executable, "-m", "dicom_node", "verdicts", "--home", str(home)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return told.stdout.strip(), reports()[0]


def _wait(problem: str, done: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise PeerError(f"{problem} within {seconds:g} s; see node.log")
        time.sleep(0.2)
