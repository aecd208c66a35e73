"""The sweep and the archive: who is asked, what is written, and when the study comes back."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom import Dataset

from dicom_node.archive.answers import SeriesCount
from dicom_node.core.identifiers import study_key
from dicom_node.core.study import HeaderFacts, Instance, Study
from dicom_node.routing.settings import Conditions, Rule
from dicom_node.stages.archive_desk import Desk, wanted
from dicom_node.stages.complete import Archives
from dicom_node.store import tables
from dicom_node.studies import archive_answers as rows
from dicom_node.studies import step as studies
from dicom_node.studies.evidence import Next, Standing
from tests.factories.phantom_dicom import chest
from tests.factories.quirky_archive import QuirkyArchive, quirky_archive
from tests.factories.received_objects import encoded
from tests.integration.in_process import InProcessNode


class Bench:
    """A study that is due, and archives that may be asked about it."""

    def __init__(self, folder: Path, archives: dict[str, Any], *images: Dataset) -> None:
        self.node = InProcessNode(folder, archives=archives)
        self.database = self.node.rooms.database
        self.node.receive(*images)
        self.key = study_key(str(images[0].StudyInstanceUID))
        self.archives = Archives(self.node.rooms.home, self.node.rooms.settings, self.database)
        self.archives.start()
        time.sleep(0.02)

    def look(self) -> Standing:
        with self.database.connect() as connection:
            study = studies.load_study(connection, self.key, self.node.rooms.home.path)
        return self.archives.look(study, self.node.rooms.settings.routing.rules, time.time())

    def until_due(self, seconds: float = 5) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with self.database.connect() as connection:
                if studies.due_studies(connection, time.time()):
                    return
            time.sleep(0.02)
        raise AssertionError("the study never comes back")

    def answers(self) -> list[Any]:
        with self.database.connect() as connection:
            return rows.answers_since(connection, self.key, 0.0)

    def deadline(self) -> float:
        with self.database.connect() as connection:
            return float(connection.execute(sa.select(tables.study.c.deadline_utc)).scalar_one())


def dimse(archive: QuirkyArchive, image: Dataset, **changes: Any) -> dict[str, Any]:
    archive.study_uid = str(image.StudyInstanceUID)
    archive.series = {str(image.SeriesInstanceUID): ("DX", [str(image.SOPInstanceUID)])}
    base = {"kind": "dimse", "ae_title": "ARCHIVE", "host": "127.0.0.1", "port": archive.port, "retrieve": "c_get"}
    return {**base, "timeout_seconds": 10, "compare_seconds": 0.1, **changes}  # a busy machine is no silent archive


def test_two_counts_and_the_study_goes(tmp_path: Path) -> None:
    """The sweep never waits: each look returns at once, and the deadline brings the study back."""
    image = chest("whole")
    with quirky_archive() as archive:
        bench = Bench(tmp_path, {"pacs": dimse(archive, image)}, image)
        for _ in range(2):
            started = time.monotonic()
            assert bench.look().next is Next.ASK
            assert time.monotonic() - started < 0.5
            bench.until_due()
        assert bench.look() == Standing(Next.GO, agreed=True)
        assert len(archive.queries) == 2


def test_an_archive_is_asked_about_its_senders_only(tmp_path: Path) -> None:
    """calling_ae: []: about every study; else about those that came from there; the first that fits."""
    image = chest("senders")
    with quirky_archive() as other, quirky_archive() as right:
        archives = {"other": dimse(other, image, calling_ae=["CT1"]), "right": dimse(right, image, calling_ae=["DX1", "SENDER"])}
        bench = Bench(tmp_path, archives, image)
        assert bench.look().next is Next.ASK
        bench.until_due()
        assert (len(other.queries), len(right.queries)) == (0, 1)
        only = Bench(tmp_path / "only", {"other": archives["other"]}, image)
        assert only.look() == Standing(Next.GO)


def test_without_a_matching_rule_nothing_is_asked(tmp_path: Path) -> None:
    """A migration of old studies is no burden for the archive."""
    image = chest("norule")
    with quirky_archive() as archive:
        bench = Bench(tmp_path, {"pacs": dimse(archive, image)}, image)
        with bench.database.connect() as connection:
            study = studies.load_study(connection, bench.key, bench.node.rooms.home.path)
        assert bench.archives.look(study, (), time.time()) == Standing(Next.GO)
        assert archive.queries == []


def test_a_silent_archive_is_left_alone_for_a_while(tmp_path: Path) -> None:
    """One study waits for the time limit; the next ones go at once, and are told why."""
    image = chest("silent")
    with quirky_archive("slow") as archive:
        bench = Bench(tmp_path, {"pacs": dimse(archive, image, timeout_seconds=0.3)}, image)
        assert bench.look().next is Next.ASK
        bench.until_due()
        found = bench.look()
        assert (found.next, "did not answer" in found.problem) == (Next.GO, True)
        with bench.database.begin() as connection:
            connection.execute(sa.delete(tables.archive_answer))
        again = bench.look()
        assert (again.next, again.problem) == (Next.GO, found.problem)
        assert len(archive.queries) == 1


def test_a_study_without_a_turn_waits_a_minute_and_then_goes(tmp_path: Path) -> None:
    """The limit is no failure of the archive: the study comes back and waits on, but not for ever; it is noted once."""
    image = chest("busy")
    with quirky_archive() as archive:
        bench = Bench(tmp_path, {"pacs": dimse(archive, image, max_queries_per_minute=1)}, image)
        for _ in range(4):
            assert bench.look().next is Next.ASK
            bench.until_due()
        assert [answer.question for answer in bench.answers()] == ["count", "busy"]
        with bench.database.begin() as connection:
            late = tables.archive_answer.c.question == "busy"
            connection.execute(sa.update(tables.archive_answer).where(late).values(at_utc=time.time() - 61))
            connection.execute(sa.update(tables.study).values(ceiling_utc=time.time() + 700))  # it was opened earlier, too
        found = bench.look()
        assert (found.next, "max_queries_per_minute" in found.problem) == (Next.GO, True)


def test_an_arrival_while_the_archive_is_asked_moves_the_deadline(tmp_path: Path) -> None:
    """What has just come is settled first: the answer does not bring the study back before its quiet time."""
    image, second = chest("arrival"), chest("arrival", instance="2")
    with quirky_archive("slow") as archive:
        bench = Bench(tmp_path, {"pacs": dimse(archive, image, timeout_seconds=0.5)}, image)
        bench.look()
        with bench.database.begin() as connection:
            connection.execute(sa.update(tables.study).values(deadline_utc=time.time() + 300))
        bench.node.receive(second)
        set_by_arrival = bench.deadline()
        time.sleep(1.5)
        assert bench.deadline() == set_by_arrival


def facts(**changes: Any) -> HeaderFacts:
    return HeaderFacts(**{"modality": "DX", "has_pixel_data": True, "body_part": "CHEST", **changes})


def study(*instances: Instance) -> Study:
    return Study("st_a", "1", instances)


def image(series: str = "1.1", **changes: Any) -> Instance:
    return Instance("1.2.840.10008.5.1.4.1.1.1.1", f"{series}.1", series, "1", "", "", "", facts(**changes), "SENDER", "AINODE")


@pytest.mark.parametrize(
    ("when", "series", "expected"),
    [
        ({"modality": ("DX",)}, SeriesCount("DX", 1), True),
        ({"modality": ("DX",)}, SeriesCount("CT", 9), False),
        ({"modality": ("DX",)}, SeriesCount("", 1), True),  # not said: it may be one
        ({}, SeriesCount("OT", 1), True),
        ({}, SeriesCount("SR", 1), False),
        ({}, SeriesCount("KO", 1), False),
        ({"modality": ("DX",), "body_part": ("CHEST",)}, SeriesCount("DX", 1, body_part="hand"), False),
        ({"series_description": ("*PA*",)}, SeriesCount("DX", 1, description="Lateral"), False),
        ({"calling_ae": ("ELSEWHERE",)}, SeriesCount("DX", 1), False),
        ({"view": ("PA",)}, SeriesCount("DX", 1), True),
    ],
)
def test_a_series_that_never_came_is_wanted_if_a_rule_could_read_it(
    when: dict[str, Any], series: SeriesCount, expected: bool
) -> None:
    """What the archive does not say is unknown, and unknown is not no."""
    rule = Rule(name="r", pipeline="cxr_tb", when=Conditions(**when))
    assert wanted(study(image()), "1.2", series, [rule]) is expected


def test_a_series_that_came_is_judged_by_its_images() -> None:
    """The archive's word on a series counts only where nothing of it is here."""
    rule = Rule(name="r", pipeline="cxr_tb", when=Conditions(modality=("DX",)))
    assert wanted(study(image()), "1.1", SeriesCount("SR", 3), [rule])
    assert not wanted(study(image(modality="CT")), "1.1", SeriesCount("DX", 3), [rule])


def test_a_full_disk_takes_no_fetched_object_either(tmp_path: Path) -> None:
    """What comes by C-GET or WADO-RS has the limits of what is sent: the archive hears A700 and the object stays missing."""
    archive = {"kind": "dimse", "ae_title": "PACS", "host": "127.0.0.1", "port": 104, "retrieve": "c_get"}
    node = InProcessNode(tmp_path, archives={"pacs": archive}, reception={"max_object_bytes": 1024**2})
    desk = Desk("pacs", node.rooms.home, node.rooms.settings, node.rooms.database)
    image, large = chest("taken"), chest("large")
    large.PixelData = bytes(4 * 1024**2)
    statuses = [desk._take()(*_as_fetched(one)) for one in (image, large)]
    assert statuses == [0x0000, 0xC000]
    refusing = node.rooms.settings.model_copy(
        update={"disk": node.rooms.settings.disk.model_copy(update={"refuse_free_gb": 1e9, "warn_free_gb": 1e9})}
    )
    desk = Desk("pacs", node.rooms.home, refusing, node.rooms.database)
    assert desk._take()(*_as_fetched(chest("later"))) == 0xA700
    with node.rooms.database.connect() as connection:
        stored = connection.execute(sa.select(tables.instance.c.sop_instance_uid)).scalars().all()
        refused = connection.execute(sa.select(tables.refused_object.c.status)).scalars().all()
    assert stored == [str(image.SOPInstanceUID)]
    assert refused == [0xC000, 0xA700]


def _as_fetched(image: Dataset) -> tuple[str, str, str, bytes]:
    syntax = str(image.file_meta.TransferSyntaxUID)
    return str(image.SOPClassUID), str(image.SOPInstanceUID), syntax, encoded(image)


def test_an_archive_is_asked_again_after_the_clock_was_set_back(tmp_path: Path) -> None:
    """The pause after a silence is a minute, not a minute and the hour that the clock went back."""
    archive = {"kind": "dimse", "ae_title": "PACS", "host": "127.0.0.1", "port": 104, "retrieve": "c_get"}
    node = InProcessNode(tmp_path, archives={"pacs": archive})
    desk = Desk("pacs", node.rooms.home, node.rooms.settings, node.rooms.database)
    now = time.time()
    desk.silent_until = now + 30
    assert [desk.is_silent(at) for at in (now, now + 31, now - 3600)] == [True, False, False]
