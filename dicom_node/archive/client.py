"""The archive's front door: how many objects a study has there, whose it is, which objects are there, and fetching.

Every question waits for its turn (``max_queries_per_minute``). All raise ``PeerError``: ``ArchiveBusy`` when the turn would come
too late, else whatever the archive did wrong; the message is a sentence for people without identifiers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from dicom_node.archive import dicomweb, dimse_query, dimse_retrieve
from dicom_node.archive.answers import ArchiveBusy, ArchiveNonsense, CountAnswer, Fetched, PatientAnswer, SeriesCount
from dicom_node.archive.dimse_retrieve import Take
from dicom_node.archive.settings import ArchiveSettings
from dicom_node.archive.turns import turns_of
from dicom_node.core.errors import DimseFailure, PeerError
from dicom_node.core.identifiers import derived_uid

#: Answers of archives that cannot send single objects: the whole series is asked for then.
_NOT_BY_LIST = frozenset((0x0110, 0xA900, 0xC000, 0xC001))


def ask_count(settings: ArchiveSettings, study_uid: str) -> CountAnswer:
    """Return how many objects each series of a study has in the archive."""
    if settings.kind == "dicomweb":
        return dicomweb.count(settings, study_uid, lambda: _turn(settings))
    _turn(settings)
    return dimse_query.count(settings, study_uid)


def ask_instances(settings: ArchiveSettings, study_uid: str, series_uid: str) -> dict[str, str]:
    """Return SOP Instance UID -> SOP Class UID (empty where not said) of one series."""
    if settings.kind == "dicomweb":
        return dicomweb.instances(settings, study_uid, series_uid, lambda: _turn(settings))
    _turn(settings)
    return dimse_query.instances(settings, study_uid, series_uid)


def ask_patient(settings: ArchiveSettings, study_uid: str) -> PatientAnswer:
    """Return Patient ID, its issuer and the accession number that the study has in the archive now."""
    if settings.kind == "dicomweb":
        return dicomweb.patient(settings, study_uid, lambda: _turn(settings))
    _turn(settings)
    return dimse_query.patient(settings, study_uid)


def has_instances(settings: ArchiveSettings, study_uid: str, sop_instance_uids: Iterable[str]) -> set[str]:
    """Return which of these objects the archive has.

    By C-FIND first in one relational question; archives that cannot do that are asked series by series, as every one can.
    """
    wanted = set(sop_instance_uids)
    if settings.kind == "dicomweb":
        return dicomweb.listed(settings, study_uid, sorted(wanted), lambda: _turn(settings))
    found: set[str] = set()
    try:
        _turn(settings)
        found = dimse_query.listed(settings, study_uid, sorted(wanted))
    except (DimseFailure, ArchiveNonsense):
        found = set()
    if found == wanted:
        return found
    for series_uid in ask_count(settings, study_uid).series:
        if found == wanted:
            break
        found |= wanted & ask_instances(settings, study_uid, series_uid).keys()
    return found


def fetch(
    settings: ArchiveSettings,
    study_uid: str,
    missing: Mapping[str, Sequence[str]],
    *,
    storage: Mapping[str, Sequence[str]],
    take: Take,
) -> Fetched:
    """Fetch what is missing: by C-MOVE to this node's own SCP, by C-GET or by WADO-RS.

    Parameters
    ----------
    missing
        Series Instance UID -> SOP Instance UIDs; none: the whole series.
    storage
        SOP class -> transfer syntaxes that this node takes, for C-GET.
    take
        Takes an object that comes by C-GET or WADO-RS.
    """
    completed = failed = 0
    for series_uid, uids in missing.items():
        one = _fetch_series(settings, study_uid, series_uid, uids, storage, take)
        completed, failed = completed + one.completed, failed + one.failed
    return Fetched(completed, failed)


def _fetch_series(
    settings: ArchiveSettings,
    study_uid: str,
    series_uid: str,
    uids: Sequence[str],
    storage: Mapping[str, Sequence[str]],
    take: Take,
) -> Fetched:
    if settings.kind == "dicomweb":
        return dicomweb.get(settings, study_uid, series_uid, uids, take)
    if settings.retrieve == "c_get":
        return dimse_retrieve.get(settings, study_uid, series_uid, uids, storage, take)
    try:
        return dimse_retrieve.move(settings, study_uid, series_uid, uids)
    except DimseFailure as error:
        if not uids or error.status not in _NOT_BY_LIST:
            raise
    return dimse_retrieve.move(settings, study_uid, series_uid, ())


def describe(settings: ArchiveSettings) -> str:
    """Say in one sentence what is asked, and where."""
    if settings.kind == "dicomweb":
        return f"QIDO-RS and WADO-RS at {settings.base_url}."
    how = "C-GET" if settings.retrieve == "c_get" else f"C-MOVE to {settings.move_destination}"
    return f"C-FIND and {how} at {settings.ae_title}, {settings.host}:{settings.port}, calling as {settings.calling_ae_title}."


def check(settings: ArchiveSettings) -> list[str]:
    """Ask the archive about a study that nobody has; return the problems, one sentence each."""
    try:
        ask_count(settings, derived_uid("no study"))
    except PeerError as error:
        return [str(error)]
    return []


def _turn(settings: ArchiveSettings) -> None:
    key = (settings.kind, settings.host, settings.port, settings.ae_title, settings.base_url)
    turns_of(key, settings.max_queries_per_minute).take(settings.timeout_seconds)


__all__ = [
    "ArchiveBusy",
    "ArchiveNonsense",
    "ArchiveSettings",
    "CountAnswer",
    "Fetched",
    "PatientAnswer",
    "SeriesCount",
    "Take",
    "ask_count",
    "ask_instances",
    "ask_patient",
    "check",
    "describe",
    "fetch",
    "has_instances",
]
