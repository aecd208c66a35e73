"""C-STORE to a PACS: one association an attempt, with the one presentation context that the object needs."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import pydicom
from pydantic import AfterValidator, Field
from pydicom.uid import UID, ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

from dicom_node.core.artifact import DICOM, Artifact
from dicom_node.core.delivery import Outcome, Receipt
from dicom_node.core.errors import AssociationRejected, DimseFailure, PeerError, PeerTimeout
from dicom_node.core.identifiers import check_ae_title
from dicom_node.core.product import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.delivery.dimse_status import rejection_meaning, status_meaning
from dicom_node.delivery.settings import DestinationSettings

MEDIA_TYPES = (DICOM,)

AeTitle = Annotated[str, AfterValidator(check_ae_title)]


class Settings(DestinationSettings):
    """A PACS that stores by C-STORE."""

    ae_title: AeTitle = Field(description="AE title of the PACS.")
    host: str = Field(min_length=1, description="Address or name of the PACS.")
    port: int = Field(ge=1, le=65535, description="TCP port of the PACS, often 104, 4242 or 11112.")
    calling_ae_title: AeTitle = Field(default="AINODE", description="AE title that this node calls itself; the PACS must know it.")


def send(artifact: Artifact, settings: Settings) -> Receipt:
    """Store one object; delivered when the PACS answers success or a warning."""
    dataset = pydicom.dcmread(io.BytesIO(artifact.data))
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    with _association(settings, [(UID(dataset.SOPClassUID), syntax)]) as association:
        if not association.accepted_contexts:
            name = UID(dataset.SOPClassUID).name
            raise AssociationRejected(
                f'The PACS does not accept "{name}" ({syntax.name}): allow it there, or take it out of outputs.', temporary=False
            )
        answer = association.send_c_store(dataset)
    if "Status" not in answer:
        raise PeerTimeout("The PACS did not answer the C-STORE in time, or closed the association.")
    meaning = status_meaning(int(answer.Status))
    if meaning.outcome in (Outcome.RETRY, Outcome.REJECT):
        raise DimseFailure(meaning.text, status=int(answer.Status), temporary=meaning.outcome is Outcome.RETRY)
    return Receipt(meaning.outcome, meaning.text)


def check(settings: Settings, sop_class_uids: tuple[str, ...]) -> list[str]:
    """Echo the PACS and negotiate each SOP class; return what it does not do."""
    wanted = [(Verification, ExplicitVRLittleEndian)]
    wanted += [(UID(uid), ExplicitVRLittleEndian) for uid in dict.fromkeys(sop_class_uids)]
    try:
        with _association(settings, wanted) as association:
            accepted = {str(context.abstract_syntax) for context in association.accepted_contexts}
            problems = [f'The PACS does not accept "{uid.name}".' for uid, _ in wanted if str(uid) not in accepted]
            if str(Verification) in accepted and association.is_established and "Status" not in association.send_c_echo():
                problems.append("The PACS did not answer the C-ECHO.")
            return problems
    except PeerError as error:
        return [str(error)]


def describe(settings: Settings) -> str:
    """Say where this goes."""
    return f"C-STORE to {settings.ae_title} at {settings.host}:{settings.port}, calling as {settings.calling_ae_title}."


def _no_delay(event: Any) -> None:
    """Send small objects at once: with Nagle's algorithm a report of 8 kB takes 46 ms instead of 3."""
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


@contextmanager
def _association(settings: Settings, contexts: Sequence[tuple[UID, UID]]) -> Iterator[Any]:
    """Open an association with these presentation contexts, and release it.

    It is given to the caller also when the peer accepted none of the contexts: which ones is the caller's message.
    """
    entity = AE(ae_title=settings.calling_ae_title)
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = settings.timeout_seconds
    for sop_class, syntax in contexts:
        entity.add_requested_context(sop_class, syntax)
    opened: list[bool] = []
    handlers = [(evt.EVT_CONN_OPEN, _no_delay), (evt.EVT_CONN_OPEN, lambda event: opened.append(True))]
    association = entity.associate(settings.host, settings.port, ae_title=settings.ae_title, evt_handlers=handlers)
    try:
        if association.is_rejected:
            answer = association.acceptor.primitive
            meaning = rejection_meaning(
                answer.result, answer.result_source, answer.diagnostic, settings.ae_title, settings.calling_ae_title
            )
            raise AssociationRejected(meaning.text, temporary=meaning.outcome is Outcome.RETRY)
        if not association.is_established and not association.rejected_contexts:
            if opened:
                raise PeerTimeout("The PACS aborted the association, or did not answer the request in time.")
            raise PeerTimeout(f"The PACS cannot be reached at {settings.host}:{settings.port}.")
        yield association
    finally:
        if association.is_established:
            association.release()
