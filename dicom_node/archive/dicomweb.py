"""QIDO-RS and WADO-RS (PS3.18, 10.6 and 10.4): the same questions over HTTP; objects come as they are stored."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx
from pydicom.dataset import Dataset

from dicom_node.archive.answers import ArchiveNonsense, CountAnswer, Fetched, PatientAnswer, SeriesCount, plausible_count
from dicom_node.archive.dimse_retrieve import Take
from dicom_node.archive.http import client_of, failure, reached
from dicom_node.archive.settings import ArchiveSettings
from dicom_node.core.errors import PeerTimeout
from dicom_node.core.phi import Phi
from dicom_node.imaging.encoded import read_file_meta
from dicom_node.imaging.header import first_text
from dicom_node.network.multipart import boundary_of, parts_of

#: As stored, in whatever transfer syntax (PS3.18, 8.7.3.5.2).
_AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_JSON = "application/dicom+json"
_PAGE = 1000
_MOST_PAGES = 50
_EMPTY = frozenset((204, 404))  # 404: the server does not know the study; some answer 204 or an empty list
_SUCCESS = 0x0000
#: However long an archive sends objects of one series: then what is missing is asked for again.
MOST_SECONDS = 3600.0


def count(settings: ArchiveSettings, study_uid: str, turn: Callable[[], None]) -> CountAnswer:
    """Return the number of objects in each series of a study."""
    fields = ("NumberOfSeriesRelatedInstances", "SeriesDescription", "BodyPartExamined")
    series: dict[str, SeriesCount] = {}
    for item in _search(settings, f"/studies/{study_uid}/series", "SeriesInstanceUID", fields, turn):
        series[first_text(item, "SeriesInstanceUID")] = SeriesCount(
            first_text(item, "Modality").upper(),
            plausible_count(first_text(item, "NumberOfSeriesRelatedInstances")),
            first_text(item, "SeriesDescription"),
            first_text(item, "BodyPartExamined"),
        )
    return CountAnswer(series)


def instances(settings: ArchiveSettings, study_uid: str, series_uid: str, turn: Callable[[], None]) -> dict[str, str]:
    """Return SOP Instance UID -> SOP Class UID (empty where not said) of one series."""
    path = f"/studies/{study_uid}/series/{series_uid}/instances"
    found = _search(settings, path, "SOPInstanceUID", (), turn)
    return {first_text(item, "SOPInstanceUID"): first_text(item, "SOPClassUID") for item in found}


def patient(settings: ArchiveSettings, study_uid: str, turn: Callable[[], None]) -> PatientAnswer:
    """Return whose study it is."""
    path = f"/studies?StudyInstanceUID={study_uid}"
    found = list(_search(settings, path, "StudyInstanceUID", ("PatientID", "IssuerOfPatientID", "AccessionNumber"), turn))
    ours = [item for item in found if first_text(item, "StudyInstanceUID") == study_uid]
    if not ours:
        if found:
            raise ArchiveNonsense("the archive answered about other studies only")
        return PatientAnswer()
    (patient_id, issuer, accession) = (
        Phi(first_text(ours[0], keyword)) for keyword in ("PatientID", "IssuerOfPatientID", "AccessionNumber")
    )
    return PatientAnswer(patient_id, issuer, accession, found=True)


def listed(settings: ArchiveSettings, study_uid: str, sop_instance_uids: Sequence[str], turn: Callable[[], None]) -> set[str]:
    """Return which of these objects the archive has."""
    found = _search(settings, f"/studies/{study_uid}/instances", "SOPInstanceUID", (), turn)
    return set(sop_instance_uids) & {first_text(item, "SOPInstanceUID") for item in found}


def get(settings: ArchiveSettings, study_uid: str, series_uid: str, sop_instance_uids: Sequence[str], take: Take) -> Fetched:
    """Fetch objects of one series; no UIDs: the whole series. Each is taken as it comes, one in memory at a time.

    Raises
    ------
    PeerError
        Nothing more comes. What came until then is here.
    """
    series = f"/studies/{study_uid}/series/{series_uid}"
    paths = [f"{series}/instances/{uid}" for uid in sop_instance_uids] or [series]
    completed = failed = 0
    end = time.monotonic() + MOST_SECONDS
    with client_of(settings, settings.fetch_timeout_seconds, MOST_SECONDS) as client:
        for path in paths:
            if time.monotonic() > end:
                raise PeerTimeout("The archive did not send everything in time.")
            for content in _retrieved(client, path):
                meta = read_file_meta(content)
                if not meta.end or not meta.transfer_syntax_uid:
                    raise ArchiveNonsense("the archive sent an object that is no DICOM file")
                answer = take(meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid, content[meta.end :])
                completed, failed = completed + (answer == _SUCCESS), failed + (answer != _SUCCESS)
    return Fetched(completed, failed)


def _retrieved(client: httpx.Client, path: str) -> Iterator[bytes]:
    with reached(), client.stream("GET", path.lstrip("/"), headers={"Accept": _AS_STORED}) as response:
        if response.status_code != 200:
            raise failure(response.status_code, "WADO-RS")
        boundary = boundary_of(response.headers.get("Content-Type", ""))
        if not boundary:
            raise ArchiveNonsense("the archive's answer to WADO-RS is no multipart message")
        yield from parts_of(boundary, response.iter_bytes())


def _search(settings: ArchiveSettings, path: str, key: str, fields: Sequence[str], turn: Callable[[], None]) -> Iterator[Dataset]:
    """Yield each match once, page after page: servers limit their answers, and some ignore the offset."""
    seen: set[str] = set()
    joint = "&" if "?" in path else "?"
    with client_of(settings, settings.timeout_seconds) as client:
        for _ in range(_MOST_PAGES):
            turn()
            query = "".join(f"&includefield={field}" for field in fields)
            found = _page(client, f"{path}{joint}limit={_PAGE}&offset={len(seen)}{query}")
            fresh = [item for item in found if (uid := first_text(item, key)) and uid not in seen]
            if found and not any(first_text(item, key) for item in found):
                raise ArchiveNonsense("the archive answered matches without their UIDs")
            yield from fresh
            seen.update(first_text(item, key) for item in fresh)
            if not fresh or len(found) % 50:  # servers' own limits are round numbers: such a page may be followed by another
                return
    raise ArchiveNonsense("the archive's answer does not end")


def _page(client: httpx.Client, path: str) -> list[Dataset]:
    with reached():
        response = client.get(path.lstrip("/"), headers={"Accept": _JSON})
    if response.status_code in _EMPTY:
        return []
    if response.status_code not in (200, 206):
        raise failure(response.status_code, "QIDO-RS")
    try:
        told: Any = response.json()
        return [Dataset.from_json(item) for item in (told if isinstance(told, list) else [told])]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ArchiveNonsense("the archive's answer to QIDO-RS is not DICOM JSON") from error
