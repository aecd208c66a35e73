"""A FHIR R4 server: the whole result in one transaction; what somebody else has changed is never overwritten."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import httpx
from pydantic import Field, field_validator

from dicom_node.core.artifact import FHIR, Artifact
from dicom_node.core.delivery import Outcome, Receipt
from dicom_node.core.errors import HttpFailure, PeerError
from dicom_node.core.feedback import ASSESSMENT_REPORT
from dicom_node.core.withdrawal import REPORT
from dicom_node.delivery.fhir_update import (
    ChangedBySomebodyElse,
    Json,
    SeveralHaveOurIdentifier,
    answered,
    changed_beside,
    dropped_results,
    fitted,
    not_written,
    risks_on,
    searches,
    still_standing,
    withdrawn,
)
from dicom_node.delivery.settings import DestinationSettings
from dicom_node.network.https import http_client, transport_failure
from dicom_node.network.https_settings import HttpAccess, plain_url

MEDIA_TYPES = (FHIR,)
#: Stands in the detail of a delivery that met a version which we did not write: that version is then read as feedback.
CHANGED = "was changed by somebody else"
#: What a person does then. Theirs is never overwritten, so one of the two has to go.
_CURE = (
    "To let it stand: dicom-node deliveries leave KEY. To have this node's there: delete it on the server or restore the version "
    "that this node wrote, then dicom-node deliveries retry KEY."
)
_CURE_BY_HAND = "Take it back there by hand if it does not hold, then: dicom-node deliveries leave KEY."

_TEMPORARY = frozenset(
    {408, 409, 412, 423, 425, 429}
)  # 412: the version we read is not the newest any more; the next attempt reads again
_HEADERS = {"Accept": FHIR, "Content-Type": f"{FHIR}; charset=utf-8", "Prefer": "return=minimal"}


class Settings(DestinationSettings, HttpAccess):
    """A FHIR R4 server that takes transactions."""

    base_url: str = Field(description="Base URL, e.g. https://fhir.hospital.example/r4. Never with a user or password in it.")

    @field_validator("base_url")
    @classmethod
    def _plain_url(cls, value: str) -> str:
        return plain_url(value, "https://fhir.hospital.example/r4")


def send(artifact: Artifact, settings: Settings) -> Receipt:
    """Read what the server holds, then post one transaction that cannot overwrite anything newer than what was read."""
    bundle: Json = json.loads(artifact.data)
    with _client(settings) as client:
        held = {position: _search(client, url) for position, url in searches(bundle).items()}
        dropped = [there for reference in dropped_results(bundle, held) if (there := _read(client, reference)) is not None]
        dropped += [risk for there in list(dropped) for url in risks_on(there) for risk in _risks(client, url)]
        try:
            transaction = _transaction(artifact.kind, bundle, held, dropped)
        except ChangedBySomebodyElse as error:
            if artifact.kind == ASSESSMENT_REPORT:  # most often the answer itself, given there: it says more than our version of it
                return Receipt(Outcome.WARNING, f"The server's {error} was changed since: it is left as it is.")
            cure = _CURE_BY_HAND if artifact.kind == REPORT else _CURE
            text = f"The server's {error} {CHANGED}: nothing was written. {cure}"
            raise HttpFailure(text, status=409, temporary=False) from error
        except SeveralHaveOurIdentifier as error:
            text = f"Several resources {error} on the server have our identifier: nothing was written. "
            cure = "Delete all but one there, then dicom-node deliveries retry KEY."
            raise HttpFailure(text + cure, status=412, temporary=False) from error
        standing = still_standing([*(changed_beside(bundle, held).values() if artifact.kind == REPORT else ()), *dropped])
        if transaction is None:
            why = "has nothing of it to take back" if artifact.kind == REPORT else "had this version already"
            if artifact.kind == ASSESSMENT_REPORT:
                why = "had this version already, or has nothing of the result any more"
            return _received(artifact.kind, standing, f"The server {why}.")
        answer = _asked(client, "POST", "", transaction)
    problems = not_written(transaction, answer)
    if problems:
        raise PeerError("The server did not write everything: " + "; ".join(problems[:3]) + ".")
    return _received(artifact.kind, standing)


def _received(kind: str, standing: Sequence[str], said: str = "") -> Receipt:
    """Return what came of it: what somebody else has changed stands beside it, and a person must know."""
    if not standing:
        return Receipt(Outcome.DELIVERED, said)
    what = f"The server's {' and '.join(standing)} {CHANGED}"
    if kind == REPORT:
        return Receipt(Outcome.REJECT, f"{what} and still stands; the rest is taken back. {_CURE_BY_HAND}")
    return Receipt(Outcome.WARNING, f"{what} and is left as it is; the newest result does not hold it any more.")


def _transaction(kind: str, bundle: Json, held: Mapping[int, list[Json]], dropped: Sequence[Json]) -> Json | None:
    if kind == ASSESSMENT_REPORT:
        return answered(bundle, held)
    return withdrawn(bundle, held, dropped, changed_beside(bundle, held)) if kind == REPORT else fitted(bundle, held, dropped)


def check(settings: Settings, sop_class_uids: tuple[str, ...]) -> list[str]:
    """Read the server's capability statement: is it R4, and may we talk to it?"""
    try:
        with _client(settings) as client:
            statement = _asked(client, "GET", "/metadata")
    except PeerError as error:
        return [str(error)]
    version = str(statement.get("fhirVersion", ""))
    return [] if version.startswith("4.0") else [f"The server speaks FHIR {version or '(unknown)'}; this node sends R4 (4.0.1)."]


def describe(settings: Settings) -> str:
    """Say where this goes."""
    return f"FHIR R4 transactions to {settings.base_url}."


def _client(settings: Settings) -> httpx.Client:
    return http_client(settings, settings.base_url, _HEADERS, settings.timeout_seconds)


def _read(client: httpx.Client, reference: str) -> Json | None:
    """Return one resource; ``None`` when somebody has deleted it."""
    try:
        return _asked(client, "GET", f"/{reference}")
    except HttpFailure as error:
        if error.status in (404, 410):
            return None
        raise


def _search(client: httpx.Client, url: str) -> list[Json]:
    answer = _asked(client, "GET", f"/{url}")
    kind = url.partition("?")[0]
    entries = [entry.get("resource", {}) for entry in answer.get("entry", ())]
    return [resource for resource in entries if resource.get("resourceType") == kind]  # a search may add an OperationOutcome


def _risks(client: httpx.Client, url: str) -> list[Json]:
    """Return RiskAssessments; none where the server keeps no such resources."""
    try:
        return _search(client, url)
    except HttpFailure as error:
        if error.status in (404, 501):
            return []
        raise


def _asked(client: httpx.Client, method: str, path: str, body: Json | None = None) -> Json:
    """Make one request; the answer's free text is never repeated, it can name a patient."""
    try:
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        response = client.request(method, client.base_url.copy_with(raw_path=_raw_path(client, path)), content=content)
    except httpx.HTTPError as error:
        raise transport_failure(error, "The FHIR server") from error
    status = response.status_code
    if not 200 <= status < 300:
        raise HttpFailure(
            f"The FHIR server answered HTTP {status}{_issue_codes(response)}.",
            status=status,
            temporary=status >= 500 or status in _TEMPORARY,
        )
    try:
        answer = response.json()
    except ValueError as error:
        raise PeerError("The FHIR server's answer is not JSON.") from error
    if not isinstance(answer, dict):
        raise PeerError("The FHIR server's answer is not a resource.")
    return answer


def _raw_path(client: httpx.Client, path: str) -> bytes:
    root = client.base_url.raw_path.rstrip(b"/")
    return (root + path.encode()) or b"/"


def _issue_codes(response: httpx.Response) -> str:
    """Return the outcome's issue codes, a closed list of FHIR."""
    try:
        issues = response.json().get("issue", [])
        found = sorted({str(issue.get("code", "")) for issue in issues})
    except (ValueError, AttributeError):
        return ""
    known = [code for code in found if code.replace("-", "").isalpha() and len(code) <= 24]
    return f" ({', '.join(known)})" if known else ""
