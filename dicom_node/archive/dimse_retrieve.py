"""C-MOVE to this node's own SCP, and C-GET over the same association (PS3.4, C.4.2 and C.4.3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from pydicom.dataset import Dataset
from pynetdicom import evt

from dicom_node.archive.answers import Fetched
from dicom_node.archive.dimse_query import SYNTAXES, connected
from dicom_node.archive.query_status import PARTLY, PENDING, SUCCESS, permanent, words
from dicom_node.archive.settings import ArchiveSettings
from dicom_node.core.errors import AssociationRejected, DimseFailure, PeerTimeout

MOVE = "1.2.840.10008.5.1.4.1.2.2.2"  # Study Root Query/Retrieve Information Model - MOVE
GET = "1.2.840.10008.5.1.4.1.2.2.3"
#: One association has at most 128 presentation contexts (their ids are the odd numbers to 255, PS3.8, 9.3.2.2).
MOST_CONTEXTS = 128
#: SOP Instance UIDs in one request; longer lists are asked for in pieces, since some archives cut them.
MOST_UIDS = 100


class Take(Protocol):
    """Takes one fetched object, as reception takes one that was sent; returns a status of the Storage Service Class."""

    def __call__(self, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, data: bytes) -> int: ...


def move(settings: ArchiveSettings, study_uid: str, series_uid: str, sop_instance_uids: Sequence[str]) -> Fetched:
    """Let the archive send objects of one series to this node's SCP; no UIDs: the whole series.

    The objects come as any others do, over an association of their own.
    """
    with connected(settings, [(MOVE, SYNTAXES)], settings.fetch_timeout_seconds) as association:
        if not association.accepted_contexts:
            raise AssociationRejected(
                "The archive does not accept Study Root C-MOVE: allow it, or set retrieve: c_get.", temporary=False
            )
        return _sum(
            _followed(association.send_c_move(identifier, settings.move_destination, MOVE), "C-MOVE")
            for identifier in _identifiers(study_uid, series_uid, sop_instance_uids)
        )


def get(
    settings: ArchiveSettings,
    study_uid: str,
    series_uid: str,
    sop_instance_uids: Sequence[str],
    storage: Mapping[str, Sequence[str]],
    take: Take,
) -> Fetched:
    """Fetch objects of one series over this association.

    Parameters
    ----------
    storage
        SOP class -> transfer syntaxes that can be taken. Few classes get a context for each syntax, so that compressed objects come
        as they are stored.
    take
        Called for each object, in the thread of the association.
    """

    def on_store(event: Any) -> int:
        request, context = event.request, event.context
        return take(
            str(request.AffectedSOPClassUID),
            str(request.AffectedSOPInstanceUID),
            str(context.transfer_syntax),
            request.DataSet.getvalue() if request.DataSet is not None else b"",
        )

    contexts = [(GET, SYNTAXES), *_storage_contexts(storage)]
    roles = [(uid, False, True) for uid in storage]
    handlers = [(evt.EVT_C_STORE, on_store)]
    with connected(settings, contexts, settings.fetch_timeout_seconds, roles=roles, evt_handlers=handlers) as association:
        accepted = {str(context.abstract_syntax) for context in association.accepted_contexts}
        if GET not in accepted:
            raise AssociationRejected(
                "The archive does not accept Study Root C-GET: allow it, or set retrieve: c_move.", temporary=False
            )
        return _sum(
            _followed(association.send_c_get(identifier, GET), "C-GET")
            for identifier in _identifiers(study_uid, series_uid, sop_instance_uids)
        )


def _storage_contexts(storage: Mapping[str, Sequence[str]]) -> Sequence[tuple[str, Sequence[str]]]:
    apart = [(uid, (syntax,)) for uid, syntaxes in storage.items() for syntax in syntaxes]
    if len(apart) < MOST_CONTEXTS:
        return apart
    return [(uid, tuple(syntaxes)) for uid, syntaxes in storage.items()][: MOST_CONTEXTS - 1]


def _identifiers(study_uid: str, series_uid: str, sop_instance_uids: Sequence[str]) -> list[Dataset]:
    pieces = [sop_instance_uids[n : n + MOST_UIDS] for n in range(0, len(sop_instance_uids), MOST_UIDS)] or [()]
    made = []
    for piece in pieces:
        identifier = Dataset()
        identifier.QueryRetrieveLevel = "IMAGE" if piece else "SERIES"
        identifier.StudyInstanceUID, identifier.SeriesInstanceUID = study_uid, series_uid
        if piece:
            identifier.SOPInstanceUID = list(piece)
        made.append(identifier)
    return made


def _followed(responses: Iterable[tuple[Dataset, Dataset | None]], what: str) -> Fetched:
    """Follow one C-MOVE or C-GET to its end; one that does not end is ended by the association (``requestor.MOST_SECONDS``).

    Raises
    ------
    PeerTimeout, DimseFailure
        Nothing more comes. What came until then is here.
    """
    for status, _ in responses:
        if "Status" not in status:
            raise PeerTimeout(f"The archive did not answer the {what} in time, did not end it, or closed the association.")
        code = int(status.Status)
        if code in PENDING:
            continue
        if code in (SUCCESS, PARTLY):
            return Fetched(_number(status, "Completed") + _number(status, "Warning"), _number(status, "Failed"))
        raise DimseFailure(f"The archive answered the {what} with {words(code)}.", status=code, temporary=not permanent(code))
    raise PeerTimeout(f"The archive ended the {what} without a final status.")


def _number(status: Dataset, which: str) -> int:
    value = status.get(f"NumberOf{which}Suboperations")
    return int(value) if isinstance(value, int) else 0


def _sum(parts: Iterable[Fetched]) -> Fetched:
    completed = failed = 0
    for part in parts:
        completed, failed = completed + part.completed, failed + part.failed
    return Fetched(completed, failed)
