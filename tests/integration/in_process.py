"""The whole journey in this process: real rooms, real database, real pipeline, no sockets and no waiting.

Work that would be queued is done at once, in order. Results go into a folder destination.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import yaml
from pydicom import Dataset, dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from dicom_node import journey
from dicom_node.config.load import load_settings
from dicom_node.core.identifiers import study_key
from dicom_node.core.study import Instance
from dicom_node.delivery import step as delivery
from dicom_node.home import Home
from dicom_node.inference.findings_store import save_findings
from dicom_node.inference.runner import PipelineJob, run_pipeline
from dicom_node.node import prepare
from dicom_node.reception.intake import Command, Intake
from dicom_node.stages.answers.documents import DOCUMENTS, note
from dicom_node.stages.reports import report_is_final
from dicom_node.stages.rooms import Rooms
from dicom_node.studies import step as studies
from dicom_node.studies.account import study_story
from dicom_node.studies.release import release_study

ALL_OUTPUTS = [
    "secondary_capture",
    "text_report",
    "structured_report",
    "lung_segmentation",
    "saliency_segmentation",
    "key_objects",
    "diagnostic_report",
    "oru_message",
]


#: Who may send.
PEERS = ("SENDER", "CT1", "DX1")


class _Queue:
    """Stands where the engine's port is: keeps what was submitted."""

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.deliveries: list[tuple[str, int]] = []

    def submit_run(self, connection: sa.Connection, run_key: str, priority: int, crashes: int = 0) -> None:
        self.runs.append(run_key)

    def submit_delivery(
        self, connection: sa.Connection, delivery_id: str, attempt: int, destination: str, priority: int, delay_seconds: float
    ) -> None:
        self.deliveries.append((delivery_id, attempt))

    def ring(self, queue: str) -> None:
        pass

    def alive(self, prefix: str) -> set[str]:
        return set()


class _Here:
    """Stands where the child process is."""

    def run(self, job: PipelineJob, timeout_seconds: float) -> float:
        save_findings(job.folder, run_pipeline(job))
        return 0.0


class InProcessNode:
    """A node without processes. ``rule`` and ``destination`` change the one rule and the one destination."""

    def __init__(
        self, folder: Path, rule: dict[str, Any] | None = None, destination: dict[str, Any] | None = None, **sections: Any
    ) -> None:
        self.out = folder / "out"
        self.out.mkdir(parents=True)
        settings: dict[str, Any] = {
            "site": {"timezone": "UTC"},
            "reception": {"peers": [{"ae_title": title} for title in PEERS]},
            "studies": {"quiet_seconds": 0.001, "quiet_seconds_ct": 0.001},
            "routing": {
                "rules": [
                    {
                        "name": "chest radiographs",
                        "when": {"modality": ["CR", "DX"]},
                        "pipeline": "cxr_tb",
                        "release": "at_once",
                        "max_study_age_hours": 1_000_000,
                        "max_flag_age_hours": 1_000_000,
                        "destinations": ["pacs"],
                        **(rule or {}),
                    }
                ]
            },
            "destinations": {
                "pacs": {
                    "kind": "folder",
                    "path": str(self.out),
                    "outputs": ALL_OUTPUTS,
                    "allow_unvalidated": True,
                    **(destination or {}),
                }
            },
            **sections,
        }
        if settings["destinations"]["pacs"]["kind"] != "folder":
            settings["destinations"]["pacs"].pop("path", None)
        home = Home(folder / "home")
        home.path.mkdir(parents=True)
        home.config.write_text(yaml.safe_dump(settings, sort_keys=False))
        loaded = load_settings(home.config)
        self._queue = _Queue()
        self.rooms = Rooms(home, loaded, prepare(home, loaded), self._queue)  # type: ignore[arg-type]

        def record(connection: sa.Connection, instance: Instance, *, size: int, received_utc: float) -> bool:
            kept = studies.record_arrival(connection, instance, size=size, received_utc=received_utc, settings=loaded.studies)
            if instance.sop_class_uid in DOCUMENTS:
                return note(connection, home, instance, kept=kept, size=size, received_utc=received_utc)
            return kept

        self._intake = Intake(home.path, self.rooms.database, record)

    def receive(self, *datasets: Dataset, called_ae: str = "AINODE") -> None:
        """Take objects as C-STORE would."""
        for dataset in datasets:
            syntax = str(dataset.file_meta.TransferSyntaxUID)
            sop_class = str(dataset.SOPClassUID)
            command = Command(sop_class, str(dataset.SOPInstanceUID), sop_class, syntax, "SENDER", called_ae)
            self._intake.receive(command, encoded(dataset))

    def work(self) -> None:
        """Let the quiet time pass, then do everything that is due until nothing is left."""
        time.sleep(0.01)
        journey.sweep_due_studies(self.rooms)
        queue = self._queue
        while queue.runs or queue.deliveries:
            while queue.runs:
                key = queue.runs.pop(0)
                journey.analyse(self.rooms, _Here(), key)  # type: ignore[arg-type]
                journey.build(self.rooms, key)
                journey.plan(self.rooms, key)
            waiting, queue.deliveries = queue.deliveries, []
            for delivery_id, attempt in waiting:
                settings = self.rooms.settings.destinations
                database, results = self.rooms.database, self.rooms.home.results
                guard = self.rooms.guard.before_sending
                receipt = delivery.attempt_delivery(
                    database, delivery_id, attempt, settings, results, guard=guard, reported=report_is_final
                )
                delivery.settle_delivery(self.rooms.database, delivery_id, attempt, receipt, settings, queue.submit_delivery)

    def answer(self, *datasets: Dataset) -> dict[str, Any]:
        """Receive, work, and return the story of the (first) study."""
        self.receive(*datasets)
        self.work()
        return self.story(str(datasets[0].StudyInstanceUID))

    def release(self, key: str) -> None:
        """Let a held study go on, as the command does, and do what follows."""
        with self.rooms.database.begin() as connection:
            release_study(connection, key, time.time())
        self.work()

    def story(self, study_uid: str) -> dict[str, Any]:
        """Return the story of one study."""
        with self.rooms.database.connect() as connection:
            return study_story(connection, study_key(study_uid))

    def sent(self) -> list[str]:
        """Return what lies in the destination: role names, sorted."""
        return sorted(path.stem for path in self.out.rglob("*") if path.is_file())

    def sent_dicom(self) -> list[Dataset]:
        """Return the DICOM objects in the destination."""
        return [dcmread(path) for path in sorted(self.out.rglob("*.dcm"))]

    def sent_text(self, suffix: str) -> list[str]:
        """Return the text objects (.json, .hl7) in the destination, decoded."""
        return [path.read_bytes().decode("utf-8") for path in sorted(self.out.rglob(f"*{suffix}"))]


def encoded(dataset: Dataset) -> bytes:
    """Return the data set's bytes in its own transfer syntax, without file meta."""
    syntax = dataset.file_meta.TransferSyntaxUID
    buffer = DicomBytesIO()
    buffer.is_little_endian = syntax.is_little_endian
    buffer.is_implicit_VR = syntax.is_implicit_VR
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def reasons(story: dict[str, Any]) -> Iterable[str]:
    """Return the reasons of images not read in the newest result."""
    return [item["reason"] for item in story["runs"][-1]["summary"]["not_read"]]
