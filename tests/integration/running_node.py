"""A node as its own processes on loopback: started, killed, asked."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import yaml

from dicom_node.config.load import load_settings
from dicom_node.core.errors import UsageError
from dicom_node.core.identifiers import study_key
from dicom_node.demo.peers import LOOPBACK, free_ports, listens, wait_for
from dicom_node.home import Home
from dicom_node.node import database_url
from dicom_node.store.connect import open_database, reading
from dicom_node.studies.account import study_story

SETTLED = ("done", "done_with_warning", "dead", "withheld", "cancelled")
SENDER = "SENDER"


def configuration(
    *, pacs_port: int, outputs: tuple[str, ...] = ("secondary_capture", "text_report"), **changes: Any
) -> dict[str, Any]:
    """Return a node.yaml as data: chest radiographs to cxr_tb, results to one PACS. ``changes`` replace rule values."""
    dicom_port, web_port = free_ports(2)
    rule = {
        "name": "chest radiographs",
        "when": {"modality": ["CR", "DX"]},
        "pipeline": "cxr_tb",
        "release": "at_once",
        "max_study_age_hours": 1_000_000,
        "max_flag_age_hours": 1_000_000,
        "destinations": ["pacs"],
        **changes,
    }
    return {
        "site": {"timezone": "UTC"},
        "reception": {
            "host": LOOPBACK,
            "port": dicom_port,
            "ae_titles": ["AINODE"],
            "peers": [{"ae_title": SENDER, "host": LOOPBACK}, {"ae_title": "DEMOPACS", "host": LOOPBACK}],
        },
        "studies": {"quiet_seconds": 0.5},
        "routing": {"rules": [rule]},
        "destinations": {
            "pacs": {
                "kind": "dicom_store",
                "ae_title": "DEMOPACS",
                "host": LOOPBACK,
                "port": pacs_port,
                "calling_ae_title": "AINODE",
                "outputs": list(outputs),
                "allow_unvalidated": True,
            }
        },
        "web": {"host": LOOPBACK, "port": web_port},
    }


class RunningNode:
    """One node with its home; ``start`` may be called again after ``kill``."""

    def __init__(self, home: Path, settings: dict[str, Any]) -> None:
        self.home = Home(home)
        home.mkdir(parents=True, exist_ok=True)
        self.home.config.write_text(yaml.safe_dump(settings, sort_keys=False))
        self.settings = load_settings(self.home.config)
        self.port = self.settings.reception.port
        self.ae_title = self.settings.reception.ae_titles[0]
        self.environment: dict[str, str] = {}  # of its processes, beside this one's
        self._process: subprocess.Popen[bytes] | None = None
        self._database: sa.Engine | None = None

    @property
    def database(self) -> sa.Engine:
        """The node's rows."""
        if self._database is None:
            self._database = open_database(database_url(self.home, self.settings))
        return self._database

    def start(self, ready_seconds: float = 60) -> None:
        """Start the supervisor in a process group of its own and wait until the SCP listens."""
        with (self.home.path / "node.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dicom_node", "serve", "--home", str(self.home.path)],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **self.environment},
            )
        wait_for("the node", lambda: listens(self.port), ready_seconds)

    def kill(self) -> None:
        """kill -9 of everything at once, as a power cut of the processes would."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        assert self._process is not None
        self._process.terminate()
        status = self._process.wait(60)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        return status

    def close(self) -> None:
        """Stop if it runs, and let go of the database."""
        if self._process is not None and self._process.poll() is None:
            self.stop()
        if self._database is not None:
            self._database.dispose()

    def story(self, study_uid: str) -> dict[str, Any]:
        """Return the story of a study; empty while the node has not heard of it."""
        with reading(self.database) as connection:  # it takes no write lock: who looks must not hold the node up
            try:
                return study_story(connection, study_key(study_uid))
            except UsageError:
                return {}

    def wait_until_answered(self, study_uid: str, seconds: float = 90) -> dict[str, Any]:
        """Wait until every planned delivery of a study is settled; fails with the story when it takes too long."""
        end = time.monotonic() + seconds
        story: dict[str, Any] = {}
        while time.monotonic() < end:
            story = self.story(study_uid)
            if story.get("deliveries") and all(d["state"] in SETTLED for d in story["deliveries"]) and not _running(story):
                return story
            time.sleep(0.1)
        raise AssertionError(f"no answer after {seconds} s: {json.dumps(story, indent=1, default=str)}\n{self.log()[-3000:]}")

    def wait_until(self, study_uid: str, ready: Any, seconds: float = 60) -> dict[str, Any]:
        """Wait until ``ready(story)`` is true."""
        end = time.monotonic() + seconds
        story: dict[str, Any] = {}
        while time.monotonic() < end:
            story = self.story(study_uid)
            if story and ready(story):
                return story
            time.sleep(0.1)
        raise AssertionError(f"not within {seconds} s: {json.dumps(story, indent=1, default=str)}\n{self.log()[-3000:]}")

    def log(self) -> str:
        """Everything the node printed."""
        return (self.home.path / "node.log").read_text()

    def get(self, path: str) -> tuple[int, str]:
        """GET a page of the node."""
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{self.settings.web.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


def _running(story: dict[str, Any]) -> bool:
    return any(run["state"] in ("queued", "running") for run in story["runs"])
