"""The pages: health, readiness, metrics, stories."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from dicom_node.store import tables
from dicom_node.store.connect import default_url, open_database
from dicom_node.store.story import tell
from dicom_node.web.app import make_app


@pytest.fixture
def database(tmp_path: Path) -> sa.Engine:
    """A database with one held study."""
    engine = open_database(default_url(tmp_path))
    now = time.time()
    with engine.begin() as connection:
        connection.execute(
            sa.insert(tables.study).values(
                study_key="st_abc",
                study_instance_uid="1.2.3.4.5.6",
                state="held",
                hold_reason="patient_conflict",
                first_received_utc=now,
                last_received_utc=now,
                ceiling_utc=now,
                revision=1,
            )
        )
        tell(connection, "st_abc", "studies", "study.held", "Images of two patients share one study.", "patient_conflict")
    return engine


def client(database: sa.Engine, ages: dict[str, float] | None = None) -> TestClient:
    """Return a client of the pages; ``ages`` are the heartbeats'."""
    beats = {"receive": 0.5, "work": 0.5, "web": 0.5} if ages is None else ages
    return TestClient(make_app(database, "Hospital", lambda: beats, 10.0), raise_server_exceptions=False)


def test_story_page_tells_why_and_shows_no_uid(database: sa.Engine) -> None:
    """The page of a study tells the story and never the study's UID."""
    for path in ("/", "/studies/st_abc"):
        page = client(database).get(path)
        assert page.status_code == 200
        assert "1.2.3.4.5.6" not in page.text
        assert "RESEARCH USE ONLY" in page.text
    assert "Images of two patients share one study." in client(database).get("/studies/st_abc").text


def test_unknown_study_is_404(database: sa.Engine) -> None:
    """A key that the node does not hold gives a page that says so."""
    assert client(database).get("/studies/st_nobody").status_code == 404


@pytest.mark.parametrize(
    ("ages", "ready"),
    [
        ({"receive": 1.0, "work": 1.0, "web": 1.0}, True),
        ({"receive": 60.0, "work": 1.0, "web": 1.0}, False),
        ({"work": 1.0, "web": 1.0}, False),
        ({}, False),
    ],
)
def test_ready_only_while_reception_and_work_are_heard_of(database: sa.Engine, ages: dict[str, float], ready: bool) -> None:
    """A role that is silent or missing makes the node not ready; health is the pages' alone."""
    assert client(database, ages).get("/readyz").status_code == (200 if ready else 503)
    assert client(database, ages).get("/healthz").status_code == 200


def test_metrics_count_rows(database: sa.Engine) -> None:
    """Counters are read from the rows and carry no identifier."""
    text = client(database).get("/metrics").text
    assert 'dicom_node_studies{state="held"} 1.0' in text
    assert "st_abc" not in text


def test_an_error_page_names_the_kind_only(database: sa.Engine) -> None:
    """A defect shows its type, never its message."""

    def broken() -> dict[str, float]:
        raise KeyError("Doe^John")

    page = TestClient(make_app(database, "Hospital", broken, 10.0), raise_server_exceptions=False).get("/")
    assert page.status_code == 500
    assert page.text == "internal error: KeyError"
