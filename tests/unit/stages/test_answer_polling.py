"""Archives are asked for answers in turn: what is new is fetched, what fails is left for later, nobody is asked too often."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dicom_node.archive import client
from dicom_node.archive.answers import ArchiveBusy, CountAnswer, Fetched, SeriesCount
from dicom_node.config.load import load_settings
from dicom_node.core.errors import PeerTimeout
from dicom_node.core.identifiers import derived_uid
from dicom_node.feedback.polling import MOST_FETCHES
from dicom_node.stages.answers.polling import MOST_AT_ONCE, AnswerPolling
from dicom_node.stages.archive_desk import PAUSE_SECONDS, Desk
from dicom_node.store import tables
from tests.factories.answer_log import ACCEPT, AnswerLog, sop

SETTINGS = """
site: {timezone: UTC}
archives: {pacs: {kind: dimse, ae_title: PACS, host: 127.0.0.1, retrieve: c_get}}
feedback: {poll_archives: [pacs], poll_seconds: 60}
"""
KOS, DOSE, CT = (f"1.2.840.10008.5.1.4.1.1.{suffix}" for suffix in ("88.59", "88.67", "2"))


class Archive:
    """Stands where the archive is: says what it has, remembers what it was asked."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.series: dict[str, tuple[str, dict[str, str]]] = {}  # UID -> modality, objects
        self.counted: list[str] = []
        self.listed: list[str] = []
        self.fetched: list[str] = []
        self.failure: Exception | None = None
        patch.setattr(client, "ask_count", self.ask_count)
        patch.setattr(client, "ask_instances", self.ask_instances)
        patch.setattr(Desk, "fetch_objects", self.fetch_objects)

    def ask_count(self, settings: Any, study_uid: str) -> CountAnswer:
        self.counted.append(study_uid)
        if self.failure:
            raise self.failure
        return CountAnswer({uid: SeriesCount(modality, len(there)) for uid, (modality, there) in self.series.items()})

    def ask_instances(self, settings: Any, study_uid: str, series_uid: str) -> dict[str, str]:
        self.listed.append(series_uid)
        return self.series[series_uid][1]

    def fetch_objects(self, study_uid: str, missing: Mapping[str, Sequence[str]], classes: Any) -> Fetched:
        self.fetched += [uid for uids in missing.values() for uid in uids]
        return Fetched(len(missing))


class Polled:
    """A node with delivered results, an archive, and a clock that the test moves."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.log = AnswerLog(folder)
        self.log.home.config.write_text(SETTINGS)
        self.now = time.time()
        self.archive = Archive(patch)
        settings = load_settings(self.log.home.config)
        self.polling = AnswerPolling(self.log.home, settings, self.log.database, clock=lambda: self.now)

    def deliver(self, study: str, age_seconds: float = 100) -> str:
        """Give a study a result that was delivered some time ago; return its run."""
        run_key = self.log.result(study)
        values = {"delivery_id": f"dl_{study}", "run_key": run_key, "study_key": f"st_{study}", "destination": "pacs"}
        values |= {"state": "done", "planned_utc": 1.0, "done_utc": self.now - age_seconds}
        with self.log.database.begin() as connection:
            made = sa.select(tables.artifact.c.artifact_id).where(tables.artifact.c.run_key == run_key)
            values["artifact_id"] = connection.execute(made).scalars().first()
            connection.execute(sa.insert(tables.delivery).values(**values))
        return run_key

    def look(self, later: float = 0.0) -> int:
        self.now += later
        return self.polling.look("pacs")


@pytest.fixture
def polled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Polled:
    """Nothing delivered yet."""
    return Polled(tmp_path, monkeypatch)


def test_only_new_documents_are_fetched(polled: Polled) -> None:
    """Not images, not dose reports, not what is here, not what we made."""
    run_key = polled.deliver("a")
    polled.archive.series = {
        "1.1": ("CR", {"9.1": CT}),
        "1.2": ("SR", {"9.2": DOSE}),
        "1.3": ("KO", {"9.3": KOS, sop(run_key): KOS, derived_uid("st_a"): KOS}),
    }
    assert polled.look() == 1
    assert polled.archive.fetched == ["9.3"]
    assert polled.archive.listed == ["1.2", "1.3"]


def test_a_study_is_asked_again_after_the_pause_and_a_known_series_is_not_listed_again(polled: Polled) -> None:
    """Listed once more when it grew."""
    polled.deliver("a")
    polled.archive.series = {"1.2": ("SR", {"9.2": DOSE})}
    polled.look()
    polled.look(30)
    assert len(polled.archive.counted) == 1
    polled.look(40)
    assert (len(polled.archive.counted), len(polled.archive.listed)) == (2, 1)
    polled.archive.series["1.2"][1]["9.4"] = KOS
    assert polled.look(70) == 1
    assert polled.archive.listed == ["1.2", "1.2"]


def test_what_never_arrives_is_not_fetched_for_ever(polled: Polled) -> None:
    """A few times; then it is left alone."""
    polled.deliver("a")
    polled.archive.series = {"1.3": ("KO", {"9.3": KOS})}
    for _ in range(MOST_FETCHES + 3):
        polled.look(3600)
    assert polled.archive.fetched == ["9.3"] * MOST_FETCHES


def test_results_that_are_new_old_or_not_delivered_are_not_asked_about(polled: Polled) -> None:
    """Nobody answers within the first pause, and poll_days end it."""
    polled.deliver("new", 10)
    polled.deliver("old", 8 * 86400)
    polled.log.result("kept")
    assert polled.look() == 0
    assert polled.archive.counted == []


def test_an_answered_study_is_asked_about_seldom(polled: Polled) -> None:
    """After an answer came by any channel."""
    run_key = polled.deliver("a")
    polled.log.say(run_key, ACCEPT)
    polled.look(60)
    assert polled.archive.counted == []
    polled.look(12 * 60)
    assert len(polled.archive.counted) == 1


@pytest.mark.parametrize(("failure", "silent"), [(ArchiveBusy("no turn"), False), (PeerTimeout("away"), True)])
def test_an_archive_that_cannot_answer_is_left_alone(polled: Polled, failure: Exception, silent: bool) -> None:
    """One question, not one a study; a silent one not again for a minute; then everything is asked."""
    polled.deliver("a")
    polled.deliver("b")
    polled.archive.failure = failure
    assert polled.look() == 0
    assert len(polled.archive.counted) == 1
    polled.archive.failure = None
    polled.look(1)
    assert len(polled.archive.counted) == (1 if silent else 3)
    polled.look(PAUSE_SECONDS)
    assert len(set(polled.archive.counted)) == 2


def test_one_look_asks_about_few_and_the_longest_overdue_first(polled: Polled) -> None:
    """So that a node that stops need not wait, and nobody is forgotten."""
    for number in range(MOST_AT_ONCE + 2):
        polled.deliver(f"s{number}", 100 + number)
    polled.look()
    assert len(polled.archive.counted) == MOST_AT_ONCE
    assert derived_uid("s0") not in polled.archive.counted
    polled.look(1)
    assert len(set(polled.archive.counted)) == MOST_AT_ONCE + 2
