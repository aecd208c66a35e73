"""STOW-RS to an archive: what its answers mean, and a real Orthanc."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dicom_node.core.artifact import Artifact
from dicom_node.core.delivery import Outcome
from dicom_node.core.errors import DimseFailure, HttpFailure, PeerError, PeerTimeout
from dicom_node.delivery.destinations import dicomweb_stow
from dicom_node.demo.peers import LOOPBACK, OrthancPacs, free_ports
from tests.factories.deliverables import artifact
from tests.factories.quirky_peers import http_peer

UID = "00081155"


def settings(url: str, **changes: Any) -> dicomweb_stow.Settings:
    return dicomweb_stow.Settings(kind="dicomweb_stow", base_url=url, **{"timeout_seconds": 2, **changes})


def made() -> Artifact:
    return artifact("text_report")


def told(sequence: str, uid: str, **values: int) -> dict[str, Any]:
    tags = {"FailureReason": "00081197", "WarningReason": "00081196"}
    item: dict[str, Any] = {UID: {"vr": "UI", "Value": [uid]}}
    item |= {tags[name]: {"vr": "US", "Value": [value]} for name, value in values.items()}
    return {sequence: {"vr": "SQ", "Value": [item]}}


FAILED, STORED = "00081198", "00081199"


class Server:
    """Answers every request with one status and one body."""

    def __init__(self, status: int, body: Any) -> None:
        self.status, self.body = status, body

    def __call__(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        return self.status, self.body


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the peer's answers without a Content-Type count as DICOM JSON: the test server sends none."""
    real = dicomweb_stow._told

    def patched(response: Any) -> Any:
        response.headers.setdefault("Content-Type", "application/dicom+json")
        return real(response)

    monkeypatch.setattr(dicomweb_stow, "_told", patched)


def test_a_real_orthanc_stores_the_bytes_as_they_were_built(tmp_path: Path) -> None:
    """Sent twice it is there once, byte for byte; check finds nothing wrong."""
    dicom_port, http_port = free_ports(2)
    pacs = OrthancPacs(tmp_path, dicom_port, http_port, "AINODE", 1)
    try:
        place = settings(f"http://{LOOPBACK}:{http_port}/dicom-web", timeout_seconds=20)
        assert dicomweb_stow.check(place, ()) == []
        item = made()
        assert dicomweb_stow.send(item, place).outcome is Outcome.DELIVERED
        assert dicomweb_stow.send(item, place).outcome in (Outcome.DELIVERED, Outcome.WARNING)
        study_uid = str(_dataset(item).StudyInstanceUID)
        (stored,) = pacs.fetch(study_uid)
        assert stored == _dataset(item)
        wrong = settings(f"http://{LOOPBACK}:{http_port}/nothing-here")
        assert dicomweb_stow.check(wrong, ()) != []
        with pytest.raises(HttpFailure, match="base_url") as caught:
            dicomweb_stow.send(item, wrong)
        assert not caught.value.temporary
    finally:
        pacs.stop()


def _dataset(item: Artifact) -> Any:
    from io import BytesIO

    from pydicom import dcmread

    return dcmread(BytesIO(item.data))


@pytest.mark.usefixtures("typed")
@pytest.mark.parametrize(
    ("reason", "temporary", "words"),
    [
        (0xA700, True, "out of resources"),
        (0x0110, True, "processing failure"),
        (0xA900, False, "does not match"),
        (0x0122, False, "SOP class"),
        (0xC000, False, "cannot understand"),
        (0x0124, False, "not authorised"),
    ],
)
@pytest.mark.parametrize("status", [200, 202, 409])
def test_a_failure_reason_says_whether_to_try_again(status: int, reason: int, temporary: bool, words: str) -> None:
    """The object's own reason decides, whatever the HTTP status around it."""
    item = made()
    answer = Server(status, told(FAILED, item.identifier, FailureReason=reason))
    with http_peer(answer) as peer, pytest.raises(DimseFailure, match=words) as caught:
        dicomweb_stow.send(item, settings(peer.url))
    assert caught.value.temporary is temporary
    assert f"0x{reason:04X}" in str(caught.value)


@pytest.mark.usefixtures("typed")
@pytest.mark.parametrize(("warning", "words"), [(0xB000, "coercion"), (0xB007, "SOP class")])
def test_a_warning_is_delivered_with_its_words(warning: int, words: str) -> None:
    """Coerced objects are delivered, and it is told."""
    item = made()
    with http_peer(Server(202, told(STORED, item.identifier, WarningReason=warning))) as peer:
        receipt = dicomweb_stow.send(item, settings(peer.url))
    assert receipt.outcome is Outcome.WARNING
    assert words in receipt.detail


@pytest.mark.usefixtures("typed")
@pytest.mark.parametrize("body", [{}, b"", b"<html>"])
def test_success_without_words_is_delivered(body: Any) -> None:
    """200 is the archive's word even where it says nothing more; 202 and 409 are not."""
    with http_peer(Server(200, body)) as peer:
        assert dicomweb_stow.send(made(), settings(peer.url)).outcome is Outcome.DELIVERED
    for status, temporary in ((202, True), (409, False)):
        with http_peer(Server(status, body)) as peer, pytest.raises(HttpFailure) as caught:
            dicomweb_stow.send(made(), settings(peer.url))
        assert caught.value.temporary is temporary


@pytest.mark.usefixtures("typed")
def test_an_answer_about_another_object_is_no_success() -> None:
    """An archive that names something else is asked again."""
    with http_peer(Server(200, told(STORED, "1.2.3"))) as peer, pytest.raises(HttpFailure, match="another object") as caught:
        dicomweb_stow.send(made(), settings(peer.url))
    assert caught.value.temporary


@pytest.mark.parametrize(
    ("status", "temporary"),
    [*((code, False) for code in (400, 401, 403, 404, 413, 415, 501)), *((code, True) for code in (408, 429, 500, 503, 507))],
)
def test_http_statuses_say_whether_to_try_again(status: int, temporary: bool) -> None:
    """A person must mend 4xx; the archive's troubles pass. The answer's text is not repeated."""
    with http_peer(Server(status, b"Doe^Jane PID-0042")) as peer, pytest.raises(HttpFailure, match=str(status)) as caught:
        dicomweb_stow.send(made(), settings(peer.url))
    assert caught.value.temporary is temporary
    assert "Doe" not in str(caught.value)


def test_silence_and_a_closed_connection_are_tried_again() -> None:
    """No answer in time, and none at all."""

    def slow(method: str, path: str, body: bytes) -> tuple[int, Any]:
        time.sleep(1)
        return 200, {}

    with http_peer(slow) as peer, pytest.raises(PeerTimeout, match="in time"):
        dicomweb_stow.send(made(), settings(peer.url, timeout_seconds=0.3))
    with http_peer(lambda *_: (200, None)) as peer, pytest.raises(PeerError) as caught:
        dicomweb_stow.send(made(), settings(peer.url))
    assert caught.value.temporary


def test_one_part_with_the_very_bytes_and_the_token() -> None:
    """The request holds one part, the object's bytes, and the token in its header."""
    item = made()
    with http_peer(Server(200, b"")) as peer:
        dicomweb_stow.send(item, settings(peer.url))
    ((method, path, headers, body),) = peer.requests
    assert (method, path) == ("POST", "/fhir/studies")
    assert headers["Content-Type"].startswith('multipart/related; type="application/dicom"; boundary=')
    assert body.count(item.data) == 1
    assert "Authorization" not in headers


def test_a_token_goes_with_every_request(tmp_path: Path) -> None:
    """The token is read from its file at every attempt."""
    token = tmp_path / "token"
    token.write_text("secret\n", encoding="utf-8")
    with http_peer(Server(200, b"")) as peer:
        dicomweb_stow.send(made(), settings(peer.url, token_file=token))
    assert peer.requests[0][2]["Authorization"] == "Bearer secret"


def test_answers_in_xml_are_read() -> None:
    """An archive that answers the Native DICOM Model is understood."""
    xml = (
        '<NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM"><DicomAttribute tag="00081198" vr="SQ">'
        '<Item number="1"><DicomAttribute tag="00081155" vr="UI"><Value number="1">1.2</Value></DicomAttribute>'
        '<DicomAttribute tag="00081197" vr="US"><Value number="1">42752</Value></DicomAttribute></Item></DicomAttribute>'
        "</NativeDicomModel>"
    )

    class Answer:
        status_code = 200
        headers = {"Content-Type": "application/dicom+xml"}  # noqa: RUF012
        content = xml.encode()

    with pytest.raises(DimseFailure, match="0xA700"):
        dicomweb_stow._receipt(Answer(), "1.2")  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"base_url": "ftp://a"}, {"base_url": "https://u:p@host"}, {"proof": "commitment"}])
def test_settings_that_cannot_be_meant_are_refused(wrong: dict[str, str]) -> None:
    """No secret in a URL, and no promise that DICOMweb does not know."""
    with pytest.raises(ValidationError):
        dicomweb_stow.Settings(**{"kind": "dicomweb_stow", "base_url": "https://host", **wrong})
