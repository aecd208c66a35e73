"""C-STORE to a PACS: one association an attempt, with the one presentation context that the object needs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Annotated, Any

import pydicom
from pydantic import AfterValidator, Field
from pydicom.uid import UID, ExplicitVRLittleEndian
from pynetdicom.sop_class import Verification

from dicom_node.core.artifact import DICOM, Artifact
from dicom_node.core.delivery import Outcome, Receipt
from dicom_node.core.errors import AssociationRejected, DimseFailure, PeerError, PeerTimeout
from dicom_node.core.identifiers import check_ae_title
from dicom_node.delivery import commitment_scu
from dicom_node.delivery.commitment import Request
from dicom_node.delivery.settings import ArchivingSettings
from dicom_node.network.association import open_association
from dicom_node.network.dimse_status import status_meaning
from dicom_node.network.tls_settings import ClientTls

MEDIA_TYPES = (DICOM,)

AeTitle = Annotated[str, AfterValidator(check_ae_title)]


class Settings(ArchivingSettings):
    """A PACS that stores by C-STORE."""

    ae_title: AeTitle = Field(description="AE title of the PACS.")
    host: str = Field(min_length=1, description="Address or name of the PACS.")
    port: int = Field(ge=1, le=65535, description="TCP port of the PACS, often 104, 4242 or 11112.")
    calling_ae_title: AeTitle = Field(default="AINODE", description="AE title that this node calls itself; the PACS must know it.")
    tls: ClientTls | None = Field(default=None, description="Encrypt the associations. Default: plain TCP.")
    commitment_hours: float = Field(
        default=12,
        gt=0,
        description="Hours that the PACS has to report on storage commitment; then it is asked again. Default 12: some archives "
        "commit once a night.",
    )
    commitment_wait_seconds: float = Field(
        default=1,
        ge=0,
        description="Seconds to wait for the report on the association of the request. Default 1: most archives open an "
        "association of their own to this node, and must be among reception.peers.",
    )
    commitment_ae_title: AeTitle | None = Field(
        default=None, description="AE title that is asked to commit. Default: ae_title; some archives have another for it."
    )
    commitment_host: str | None = Field(default=None, description="Address that is asked to commit. Default: host.")
    commitment_port: int | None = Field(default=None, ge=1, le=65535, description="Port that is asked to commit. Default: port.")


def send(artifact: Artifact, settings: Settings) -> Receipt:
    """Store one object; delivered when the PACS answers success or a warning."""
    dataset = pydicom.dcmread(io.BytesIO(artifact.data))
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    with _association(settings, [(dataset.SOPClassUID, [syntax])]) as association:
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
    wanted = [UID(Verification), *(UID(uid) for uid in dict.fromkeys(sop_class_uids))]
    try:
        with _association(settings, [(uid, [ExplicitVRLittleEndian]) for uid in wanted]) as association:
            accepted = {str(context.abstract_syntax) for context in association.accepted_contexts}
            problems = [f'The PACS does not accept "{uid.name}".' for uid in wanted if str(uid) not in accepted]
            if str(Verification) in accepted and association.is_established and "Status" not in association.send_c_echo():
                problems.append("The PACS did not answer the C-ECHO.")
    except PeerError as error:
        return [str(error)]
    if settings.proof == "commitment" and settings.archive is None and settings.proof_otherwise == "unproven":
        problems += _without_commitment(settings)
    return problems


def notes(settings: Settings) -> list[str]:
    """Return what works, but somebody should know: how much delivered means here, and what the PACS offers beyond it."""
    try:
        offered = commitment_scu.is_offered(_commitment_peer(settings))
    except PeerError:
        offered = False
    if settings.proof == "commitment":
        return [] if offered else ["The PACS does not offer storage commitment: the second choice of proof is taken."]
    if offered:
        return [f'The PACS offers storage commitment, and proof is "{settings.proof}": with commitment it would promise to keep.']
    return []


def request_commitment(settings: Settings, request: Request, take_report: commitment_scu.TakeReport) -> bool:
    """Ask the PACS to commit to objects that it took; see ``commitment_scu.ask``."""
    return commitment_scu.ask(_commitment_peer(settings), request, take_report)


def _commitment_peer(settings: Settings) -> commitment_scu.CommitmentPeer:
    return commitment_scu.CommitmentPeer(
        host=settings.commitment_host or settings.host,
        port=settings.commitment_port or settings.port,
        called_ae=settings.commitment_ae_title or settings.ae_title,
        calling_ae=settings.calling_ae_title,
        timeout_seconds=settings.timeout_seconds,
        wait_seconds=settings.commitment_wait_seconds,
        tls=settings.tls,
    )


def _without_commitment(settings: Settings) -> list[str]:
    try:
        offered = commitment_scu.is_offered(_commitment_peer(settings))
    except PeerError as error:
        return [f"Storage commitment cannot be asked for: {error}"]
    cure = "configure it there, or name an archive that can be asked, or write proof: answer."
    return [] if offered else [f"The PACS does not offer storage commitment, so nothing would count as delivered: {cure}"]


def describe(settings: Settings) -> str:
    """Say where this goes."""
    way = " by TLS" if settings.tls else ""
    return f"C-STORE to {settings.ae_title} at {settings.host}:{settings.port}{way}, calling as {settings.calling_ae_title}."


def _association(settings: Settings, contexts: Sequence[tuple[str, Sequence[str]]]) -> AbstractContextManager[Any]:
    return open_association(
        host=settings.host,
        port=settings.port,
        called_ae=settings.ae_title,
        calling_ae=settings.calling_ae_title,
        contexts=contexts,
        timeout_seconds=settings.timeout_seconds,
        tls=settings.tls,
    )
