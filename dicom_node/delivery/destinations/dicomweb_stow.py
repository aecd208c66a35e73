"""STOW-RS to an archive (PS3.18, 10.5): one object a request, the bytes as they were built."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Literal
from xml.etree import ElementTree

import httpx
from pydantic import Field, field_validator
from pydicom.dataset import Dataset

from dicom_node.core.artifact import DICOM, Artifact
from dicom_node.core.delivery import Outcome, Receipt
from dicom_node.core.errors import DimseFailure, HttpFailure, PeerError
from dicom_node.delivery.settings import ArchivingSettings
from dicom_node.imaging.header import first_text, integer, sequence_items
from dicom_node.network.dimse_status import status_meaning
from dicom_node.network.https import http_client, transport_failure
from dicom_node.network.https_settings import HttpAccess, plain_url

MEDIA_TYPES = (DICOM,)

_JSON, _XML = "application/dicom+json", "application/dicom+xml"
_TEMPORARY = frozenset((408, 423, 425, 429))
_CURES = {
    400: ": it does not understand the request",
    401: ": the token is wrong or missing",
    403: ": this node may not store there",
    404: ": there is no DICOMweb service at this base_url",
    405: ": it does not take STOW-RS at this base_url",
    406: ": it gives no answer that this node reads",
    409: ": it did not take the object and does not say why",
    413: ": the object is too large for it",
    415: ": it does not take DICOM files",
    507: ": its disk is full",
}


class Settings(ArchivingSettings, HttpAccess):
    """An archive that stores by STOW-RS."""

    proof: Literal["answer", "query"] = Field(
        default="answer",
        description="What makes a result count as delivered: answer = the archive names it among those stored; query = found "
        "in the archive afterwards. Default answer. DICOMweb has no storage commitment.",
    )
    base_url: str = Field(
        description="Base URL, e.g. https://pacs.hospital.example/dicom-web. Never with a user or password in it."
    )

    @field_validator("base_url")
    @classmethod
    def _plain_url(cls, value: str) -> str:
        return plain_url(value, "https://pacs.hospital.example/dicom-web")


def send(artifact: Artifact, settings: Settings) -> Receipt:
    """Store one object; delivered when the archive names it among those stored."""
    boundary = (
        "part-" + hashlib.sha256(artifact.data).hexdigest()[:40]
    )  # of the content alone: the same attempt is the same request
    content_type = f'multipart/related; type="application/dicom"; boundary={boundary}'
    with _client(settings) as client:
        response = _asked(client, "POST", "studies", content=_message(boundary, artifact.data), content_type=content_type)
    return _receipt(response, artifact.identifier)


def check(settings: Settings, sop_class_uids: tuple[str, ...]) -> list[str]:
    """Look for one study, which every DICOMweb archive can do; what it stores is known only when something is sent."""
    try:
        with _client(settings) as client:
            response = _asked(client, "GET", "studies?limit=1")
    except PeerError as error:
        return [str(error)]
    if response.status_code in (401, 403, 404) or response.status_code >= 500:
        return [str(_failure(response.status_code))]
    return []


def describe(settings: Settings) -> str:
    """Say where this goes."""
    return f"STOW-RS to {settings.base_url}."


def _client(settings: Settings) -> httpx.Client:
    return http_client(settings, settings.base_url, {"Accept": f"{_JSON}, {_XML};q=0.5"}, settings.timeout_seconds)


def _message(boundary: str, data: bytes) -> bytes:
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\nContent-Length: {len(data)}\r\n\r\n".encode()
    return head + data + f"\r\n--{boundary}--\r\n".encode()


def _asked(client: httpx.Client, method: str, path: str, content: bytes | None = None, content_type: str = "") -> httpx.Response:
    headers = {"Content-Type": content_type} if content_type else {}
    try:
        return client.request(method, path, content=content, headers=headers)
    except httpx.HTTPError as error:
        raise transport_failure(error, "The archive") from error


def _receipt(response: httpx.Response, sop_instance_uid: str) -> Receipt:
    """Return what became of the object.

    Raises
    ------
    DimseFailure
        The archive names it among those that failed; its Failure Reason is told in words (PS3.18, 10.5.3).
    HttpFailure
        It answered an HTTP status that is none of success, and no reason.
    """
    status = response.status_code
    told = _told(response) if status in (200, 202, 409, 400, 503, 507) else Dataset()
    failed = [item for item in sequence_items(told, "FailedSOPSequence") if _names(item, sop_instance_uid)]
    if failed:
        reason = integer(failed[0], "FailureReason")
        if reason is None:
            raise HttpFailure("The archive did not store the object and does not say why.", status=status, temporary=False)
        meaning = status_meaning(reason)
        text = meaning.text.replace("Status 0x", "Failure Reason 0x", 1)
        raise DimseFailure(text, status=reason, temporary=meaning.outcome is Outcome.RETRY)
    if status not in (200, 202):
        raise _failure(status)
    stored = [item for item in sequence_items(told, "ReferencedSOPSequence") if _names(item, sop_instance_uid)]
    if not stored and sequence_items(told, "ReferencedSOPSequence"):
        raise HttpFailure("The archive answered about another object.", status=status, temporary=True)
    if not stored and status == 202:
        raise HttpFailure("The archive did not say what became of the object.", status=status, temporary=True)
    warning = integer(stored[0], "WarningReason") if stored else None
    return Receipt(Outcome.WARNING, status_meaning(warning).text) if warning else Receipt(Outcome.DELIVERED)


def _names(item: Dataset, sop_instance_uid: str) -> bool:
    """Say whether an item is about our object; one that names none is, since there was only one."""
    return first_text(item, "ReferencedSOPInstanceUID") in ("", sop_instance_uid)


def _told(response: httpx.Response) -> Dataset:
    """Return the Store Instances Response Module (PS3.18, table 10.5.3-1), from JSON or XML; empty where there is none."""
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    try:
        if kind.endswith("json"):
            answer: Any = response.json()
            return Dataset.from_json(answer[0] if isinstance(answer, list) and answer else answer or {})
        if kind.endswith("xml"):
            return _from_xml(ElementTree.fromstring(response.content))
    except (ValueError, TypeError, KeyError, AttributeError, ElementTree.ParseError):
        return Dataset()
    return Dataset()


#: What is read from an answer in XML, and how; the rest of the Native DICOM Model is passed over (PS3.19, A.1).
_TEXTS = {"00081150": "ReferencedSOPClassUID", "00081155": "ReferencedSOPInstanceUID"}
_NUMBERS = {"00081196": "WarningReason", "00081197": "FailureReason"}
_SEQUENCES = {"00081198": "FailedSOPSequence", "00081199": "ReferencedSOPSequence"}


def _from_xml(root: ElementTree.Element) -> Dataset:
    told = Dataset()
    for element in _below(root, "DicomAttribute"):
        tag = element.get("tag", "")
        values: Iterator[str] = ((value.text or "").strip() for value in _below(element, "Value"))
        if tag in _SEQUENCES:
            setattr(told, _SEQUENCES[tag], [_from_xml(item) for item in _below(element, "Item")])
        elif tag in _TEXTS and (text := next(values, "")):
            setattr(told, _TEXTS[tag], text)
        elif tag in _NUMBERS and (text := next(values, "")):
            setattr(told, _NUMBERS[tag], int(text))
    return told


def _below(parent: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    return (child for child in parent if child.tag.rpartition("}")[2] == name)


def _failure(status: int) -> HttpFailure:
    """Return the error for an HTTP status; the answer's text is not repeated, it can name a patient."""
    temporary = status in _TEMPORARY or (status >= 500 and status != 501)
    return HttpFailure(f"The archive answered HTTP {status}{_CURES.get(status, '')}.", status=status, temporary=temporary)
