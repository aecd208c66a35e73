"""C-FIND in the Study Root information model (PS3.4, C.6.2): what an archive holds, asked so that a broken one cannot do harm."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from pydicom.dataset import Dataset

from dicom_node.archive.answers import ArchiveNonsense, CountAnswer, PatientAnswer, SeriesCount, plausible_count
from dicom_node.archive.query_status import PENDING, SUCCESS, permanent, words
from dicom_node.archive.settings import ArchiveSettings
from dicom_node.core.errors import AssociationRejected, DimseFailure, PeerTimeout
from dicom_node.core.phi import Phi
from dicom_node.imaging.header import first_text
from dicom_node.network.association import open_association

FIND = "1.2.840.10008.5.1.4.1.2.2.1"  # Study Root Query/Retrieve Information Model - FIND
SYNTAXES = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
#: An answer that goes on beyond this is none: one study, one series.
MOST_ANSWERS = 20_000
#: A CT has thousands of objects, each an answer of its own.
_LONGER_FOR_IMAGES = 3


def count(settings: ArchiveSettings, study_uid: str) -> CountAnswer:
    """Return the number of objects in each series of a study."""
    keys = ("Modality", "NumberOfSeriesRelatedInstances", "SeriesDescription", "BodyPartExamined")
    found = find(settings, "SERIES", keys, StudyInstanceUID=study_uid, SeriesInstanceUID="")
    series: dict[str, SeriesCount] = {}
    for item in _of_study(found, study_uid):
        uid = first_text(item, "SeriesInstanceUID")
        if not uid:
            raise ArchiveNonsense("the archive answered a series without its UID")
        series[uid] = SeriesCount(
            first_text(item, "Modality").upper(),
            plausible_count(first_text(item, "NumberOfSeriesRelatedInstances")),
            first_text(item, "SeriesDescription"),
            first_text(item, "BodyPartExamined"),
        )
    return CountAnswer(series)


def instances(settings: ArchiveSettings, study_uid: str, series_uid: str) -> dict[str, str]:
    """Return SOP Instance UID -> SOP Class UID (empty where not said) of one series."""
    keys = {"StudyInstanceUID": study_uid, "SeriesInstanceUID": series_uid, "SOPInstanceUID": ""}
    found = _of_study(find(settings, "IMAGE", ("SOPClassUID",), **keys), study_uid)
    here = (item for item in found if first_text(item, "SeriesInstanceUID") in ("", series_uid))
    listed = {first_text(item, "SOPInstanceUID"): first_text(item, "SOPClassUID") for item in here}
    if "" in listed:
        raise ArchiveNonsense("the archive answered an object without its UID")
    return listed


def patient(settings: ArchiveSettings, study_uid: str) -> PatientAnswer:
    """Return whose study it is."""
    keys = ("PatientID", "IssuerOfPatientID", "AccessionNumber")
    found = _of_study(find(settings, "STUDY", keys, StudyInstanceUID=study_uid), study_uid)
    if not found:
        return PatientAnswer()
    told = {tuple(first_text(item, key) for key in keys) for item in found}
    if len(told) > 1:
        raise ArchiveNonsense("the archive answered one study several times, with different patients or orders")
    patient_id, issuer, accession = (Phi(value) for value in told.pop())
    return PatientAnswer(patient_id, issuer, accession, found=True)


def listed(settings: ArchiveSettings, study_uid: str, sop_instance_uids: Sequence[str]) -> set[str]:
    """Return which of these objects the archive has, whatever their series (a relational query, where the archive does it)."""
    wanted = set(sop_instance_uids)
    keys = {"StudyInstanceUID": study_uid, "SOPInstanceUID": "\\".join(sorted(wanted))}
    found = _of_study(find(settings, "IMAGE", (), **keys), study_uid)
    return wanted & {first_text(item, "SOPInstanceUID") for item in found}


def find(settings: ArchiveSettings, level: str, return_keys: Iterable[str], **keys: str) -> list[Dataset]:
    """Ask once and return every answer.

    Raises
    ------
    AssociationRejected, PeerTimeout
        The archive does not let us in, is silent, or does not end.
    DimseFailure
        It answered a status that is not success.
    ArchiveNonsense
        It answered without an identifier, or more than any study has.
    """
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for key in return_keys:
        setattr(identifier, key, "")
    for key, value in keys.items():
        setattr(identifier, key, value)
    end = time.monotonic() + settings.timeout_seconds * (_LONGER_FOR_IMAGES if level == "IMAGE" else 1)
    answers: list[Dataset] = []
    with connected(settings, [(FIND, SYNTAXES)], settings.timeout_seconds) as association:
        if not association.accepted_contexts:
            raise AssociationRejected("The archive does not accept Study Root C-FIND: allow this node to query.", temporary=False)
        for status, answer in association.send_c_find(identifier, FIND):
            if "Status" not in status:
                raise PeerTimeout("The archive did not answer the C-FIND in time, or closed the association.")
            code = int(status.Status)
            if code == SUCCESS:
                return answers
            if code not in PENDING:
                raise DimseFailure(
                    f"The archive answered the C-FIND with {words(code)}.", status=code, temporary=not permanent(code)
                )
            if answer is None:
                raise _ended(association, ArchiveNonsense("the archive answered a match that cannot be read"))
            answers.append(answer)
            if len(answers) > MOST_ANSWERS:
                raise _ended(association, ArchiveNonsense("the archive's answer does not end"))
            if time.monotonic() > end:
                raise _ended(association, PeerTimeout("The archive's answer to the C-FIND does not end."))
    raise PeerTimeout("The archive ended the C-FIND without a final status.")


def connected(settings: ArchiveSettings, contexts: Sequence[tuple[str, Sequence[str]]], timeout_seconds: float, **more: Any) -> Any:
    """Open an association with the archive."""
    assert settings.ae_title is not None, "checked by the settings"
    return open_association(
        host=settings.host,
        port=settings.port,
        called_ae=settings.ae_title,
        calling_ae=settings.calling_ae_title,
        contexts=contexts,
        timeout_seconds=timeout_seconds,
        tls=settings.tls,
        **more,
    )


def _ended(association: Any, error: Exception) -> Exception:
    """Abort, so that what still comes is nobody's, and return the error."""
    association.abort()
    return error


def _of_study(found: list[Dataset], study_uid: str) -> list[Dataset]:
    """Leave out answers about other studies: archives that do not match a key answer everything they have."""
    ours = [item for item in found if first_text(item, "StudyInstanceUID") in ("", study_uid)]
    if found and not ours:
        raise ArchiveNonsense("the archive answered about other studies only")
    return ours
