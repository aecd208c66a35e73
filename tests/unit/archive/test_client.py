"""Asking an archive that is not polite."""

from __future__ import annotations

import time
from typing import Any

import pytest
from pydantic import ValidationError

from dicom_node.archive.answers import ArchiveBusy, ArchiveNonsense, plausible_count
from dicom_node.archive.client import ask_count, ask_instances, ask_patient, check, describe, fetch, has_instances
from dicom_node.archive.query_status import permanent, words
from dicom_node.archive.settings import ArchiveSettings
from dicom_node.archive.turns import Turns
from dicom_node.core.errors import AssociationRejected, DimseFailure, PeerError, PeerTimeout
from tests.factories.quirky_archive import QuirkyArchive, quirky_archive

STUDY = "1.2.3.4"
SERIES = {"1.2.3.4.1": ("DX", ["1.2.3.4.1.1", "1.2.3.4.1.2"]), "1.2.3.4.2": ("SR", ["1.2.3.4.2.1"])}


def settings(archive: QuirkyArchive, **changes: Any) -> ArchiveSettings:
    archive.study_uid = STUDY
    archive.series = dict(SERIES)
    values = {"kind": "dimse", "ae_title": "ARCHIVE", "host": "127.0.0.1", "port": archive.port, "timeout_seconds": 1}
    return ArchiveSettings(**{**values, **changes})


def take(*_: Any) -> int:
    raise AssertionError("nothing comes over this association")


def test_a_polite_archive_tells_what_it_has() -> None:
    """Counts by series, the objects of one series, the patient, and which objects are there."""
    with quirky_archive() as archive:
        one = settings(archive, timeout_seconds=10)
        archive.patient = {"PatientID": "PID-1", "IssuerOfPatientID": "HOSP", "AccessionNumber": "ACC-1"}
        told = ask_count(one, STUDY)
        assert {uid: (series.modality, series.count) for uid, series in told.series.items()} == {
            "1.2.3.4.1": ("DX", 2),
            "1.2.3.4.2": ("SR", 1),
        }
        assert told.instances == 3
        assert set(ask_instances(one, STUDY, "1.2.3.4.1")) == {"1.2.3.4.1.1", "1.2.3.4.1.2"}
        patient = ask_patient(one, STUDY)
        assert (patient.found, patient.patient_id.reveal(), patient.issuer.reveal(), patient.accession_number.reveal()) == (
            True,
            "PID-1",
            "HOSP",
            "ACC-1",
        )
        assert "PID-1" not in repr(patient)
        assert has_instances(one, STUDY, {"1.2.3.4.2.1", "1.2.3.9"}) == {"1.2.3.4.2.1"}
        assert check(one) == []
    assert describe(one).endswith(".")


def test_a_study_that_the_archive_does_not_know_is_empty() -> None:
    """No match is an answer, not an error."""
    with quirky_archive() as archive:
        one = settings(archive)
        assert ask_count(one, "1.2.3.5").series == {}
        assert not ask_patient(one, "1.2.3.5").found
        assert has_instances(one, "1.2.3.5", {"1.2.3"}) == set()


@pytest.mark.parametrize(
    ("lie", "count"),
    [("7", 7), (" 7 ", 7), ("7.0", 7), ("", None), ("-1", None), ("many", None), ("0", 0), ("99999999", None), ("1.5", None)],
)
def test_a_count_is_what_can_be_one(lie: str, count: int | None) -> None:
    """Padding and decimals are tolerated; what is no number of objects is not said."""
    assert plausible_count(lie) == count


@pytest.mark.parametrize("lie", ["0", "", "42"])
def test_wrong_counts_are_passed_on_as_they_are(lie: str) -> None:
    """The archive's number is a claim; what the claim is worth is decided elsewhere."""
    with quirky_archive("lies", lie=lie) as archive:
        told = ask_count(settings(archive), STUDY)
        assert {series.count for series in told.series.values()} == {int(lie) if lie else None}


@pytest.mark.parametrize(
    ("quirk", "error"),
    [
        ("endless", PeerTimeout),
        ("slow", PeerTimeout),
        ("refuses", DimseFailure),
        ("aborts", PeerTimeout),
        ("elsewhere", ArchiveNonsense),
    ],
)
def test_a_broken_archive_is_an_error_in_time(quirk: str, error: type[PeerError]) -> None:
    """Silence, an answer without end, a refusal and nonsense end within the time limit, in a sentence."""
    with quirky_archive(quirk) as archive:
        started = time.monotonic()
        with pytest.raises(error) as caught:
            ask_count(settings(archive), STUDY)
        assert time.monotonic() - started < 4
        assert STUDY not in str(caught.value)


def test_an_archive_that_does_not_know_us_says_what_to_change() -> None:
    """A rejected association names the AE title to add there."""
    with quirky_archive(known_aes=("SOMEBODY",)) as archive, pytest.raises(AssociationRejected, match="AINODE"):
        ask_count(settings(archive), STUDY)


def test_objects_are_found_series_by_series_where_a_relational_query_is_refused() -> None:
    """An archive without IMAGE level queries cannot be asked for objects; one that refuses only the relational form can."""
    with quirky_archive("no_images") as archive, pytest.raises(DimseFailure, match="does not match"):
        has_instances(settings(archive), STUDY, {"1.2.3.4.1.1"})


def test_an_unknown_move_destination_is_told_in_words() -> None:
    """0xA801 says whom to add where; trying again cannot help."""
    with quirky_archive() as archive:
        with pytest.raises(DimseFailure, match="move destination") as caught:
            fetch(settings(archive), STUDY, {"1.2.3.4.1": ("1.2.3.4.1.1",)}, storage={}, take=take)
        assert not caught.value.temporary
        destination, identifier = archive.moves[0]
        assert (destination.strip(), identifier.QueryRetrieveLevel, identifier.SOPInstanceUID) == ("AINODE", "IMAGE", "1.2.3.4.1.1")


@pytest.mark.parametrize(
    ("status", "text"), [(0xA702, "out of resources"), (0xC123, "unable"), (0x0122, "query"), (0x9999, "0x9999")]
)
def test_statuses_are_words(status: int, text: str) -> None:
    """Every status has words; those that a person must mend are permanent."""
    assert text in words(status)
    assert permanent(status) == (status == 0x0122)


def test_questions_wait_for_their_turn() -> None:
    """The limit holds in any minute; a turn that comes too late is refused at once."""
    now, slept = [100.0], []
    turns = Turns(2, clock=lambda: now[0], sleep=slept.append)
    turns.take(10)
    turns.take(10)
    with pytest.raises(ArchiveBusy):
        turns.take(10)
    turns.take(60)
    assert slept == [60.0]
    now[0] = 161.0
    turns.take(0)
    with pytest.raises(ArchiveBusy):
        turns.take(10)


def test_the_limit_holds_for_all_who_ask() -> None:
    """The third question within a minute is refused although three functions ask."""
    with quirky_archive() as archive:
        one = settings(archive, max_queries_per_minute=2)
        ask_count(one, STUDY)
        ask_patient(one, STUDY)
        with pytest.raises(ArchiveBusy):
            ask_instances(one, STUDY, "1.2.3.4.1")
        assert len(archive.queries) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "dimse", "host": "a"},
        {"kind": "dicomweb"},
        {"kind": "dicomweb", "base_url": "https://user:pass@host/"},
        {"kind": "dicomweb", "base_url": "ftp://host"},
        {"kind": "ftp"},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(wrong: dict[str, Any]) -> None:
    """Each kind needs its own address, and no secret stands in a URL."""
    with pytest.raises(ValidationError):
        ArchiveSettings(**wrong)
