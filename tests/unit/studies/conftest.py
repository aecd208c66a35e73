"""A home with a database, and a way to let objects arrive without a network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset

from dicom_node.core.identifiers import study_key
from dicom_node.core.study import Study
from dicom_node.reception.intake import Command, Intake
from dicom_node.store.connect import default_url, open_database
from dicom_node.studies import account, step
from dicom_node.studies.settings import StudiesSettings
from dicom_node.studies.step import Settlement
from tests.factories.received_objects import encoded


@dataclass
class Home:
    """Drives studies by hand: ``now`` is the clock."""

    path: Path
    database: sa.Engine
    settings: StudiesSettings = field(default_factory=StudiesSettings)
    now: float = 1000.0
    intake: Intake = field(init=False)

    def __post_init__(self) -> None:
        record = partial(step.record_arrival, settings=self.settings)
        self.intake = Intake(self.path, self.database, record, clock=lambda: self.now)

    def receive(self, ds: Dataset) -> str:
        """Let one object arrive; return its study's key."""
        self.intake.receive(
            Command(ds.SOPClassUID, ds.SOPInstanceUID, ds.SOPClassUID, ds.file_meta.TransferSyntaxUID, "PACS", "AINODE"),
            encoded(ds),
        )
        return study_key(ds.StudyInstanceUID)

    def due(self) -> list[str]:
        with self.database.begin() as connection:
            return step.due_studies(connection, self.now)

    def settle(self, key: str) -> Settlement:
        return step.settle_arrivals(self.database, key, self.path, now=self.now)

    def route(self, key: str) -> None:
        """Do what the sweep does with a study that a rule wants."""
        assert self.settle(key) is Settlement.READY
        with self.database.begin() as connection:
            assert step.mark_routed(connection, key, self.now)

    def load(self, key: str) -> Study:
        with self.database.begin() as connection:
            return step.load_study(connection, key, self.path)

    def story(self, key: str) -> dict[str, Any]:
        with self.database.begin() as connection:
            return account.study_story(connection, key)

    def events(self, key: str) -> list[str]:
        return [line["event"] for line in self.story(key)["story"]]

    def states(self, key: str) -> list[str]:
        return [instance["state"] for instance in self.story(key)["instances"]]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    database = open_database(default_url(tmp_path))
    yield Home(tmp_path, database)
    database.dispose()
