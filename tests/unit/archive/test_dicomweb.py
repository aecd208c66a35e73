"""QIDO-RS and WADO-RS from servers that are not polite."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from dicom_node.archive.answers import ArchiveNonsense
from dicom_node.archive.client import ask_count, ask_instances, ask_patient, check, fetch, has_instances
from dicom_node.archive.settings import ArchiveSettings
from dicom_node.core.errors import HttpFailure, PeerError, PeerTimeout
from tests.factories.quirky_peers import http_peer
from tests.factories.received_objects import encoded, part10, radiograph

STUDY = "1.2.3"
TAGS = {
    "study": "0020000D",
    "series": "0020000E",
    "sop": "00080018",
    "modality": "00080060",
    "count": "00201209",
    "patient": "00100020",
}


def settings(url: str, **changes: Any) -> ArchiveSettings:
    return ArchiveSettings(kind="dicomweb", base_url=url, **{"timeout_seconds": 1, "fetch_timeout_seconds": 2, **changes})


def match(**values: Any) -> dict[str, Any]:
    return {TAGS[name]: {"vr": "IS" if name == "count" else "LO", "Value": [value]} for name, value in values.items()}


def test_counts_come_from_numbers_and_texts() -> None:
    """Servers write counts as numbers, as texts, or leave them out."""
    series = [match(series="1.1", modality="DX", count=2), match(series="1.2", modality="dx", count="3"), match(series="1.3")]
    with http_peer(lambda *_: (200, series)) as peer:
        told = ask_count(settings(peer.url), STUDY)
    said = [(uid, one.modality, one.count) for uid, one in told.series.items()]
    assert said == [("1.1", "DX", 2), ("1.2", "DX", 3), ("1.3", "", None)]
    assert told.instances is None


@pytest.mark.parametrize("ignores_offset", [False, True])
def test_pages_are_followed_and_a_server_that_ignores_the_offset_ends(ignores_offset: bool) -> None:
    """A server's own limit of 100 does not make objects disappear; the same page again is the end."""
    objects = [match(sop=f"1.9.{n}") for n in range(250)]

    def answer(method: str, path: str, body: bytes) -> tuple[int, Any]:
        offset = 0 if ignores_offset else int(path.partition("offset=")[2].partition("&")[0])
        return 200, objects[offset : offset + 100]

    with http_peer(answer) as peer:
        found = ask_instances(settings(peer.url), STUDY, "1.1")
    assert len(found) == (100 if ignores_offset else 250)


@pytest.mark.parametrize("status", [204, 404])
def test_a_study_that_is_not_there_is_empty(status: int) -> None:
    """Servers say it in several ways."""
    with http_peer(lambda *_: (status, b"")) as peer:
        assert ask_count(settings(peer.url), STUDY).series == {}
        assert not ask_patient(settings(peer.url), STUDY).found
        assert has_instances(settings(peer.url), STUDY, {"1.2"}) == set()


def test_the_patient_is_that_of_the_study_asked_for() -> None:
    """A server that does not match the UID answers everything it has: the right one counts, others alone are nonsense."""
    mine, other = match(study=STUDY, patient="P1"), match(study="1.9", patient="P2")
    with http_peer(lambda *_: (200, [other, mine])) as peer:
        assert ask_patient(settings(peer.url), STUDY).patient_id.reveal() == "P1"
    with http_peer(lambda *_: (200, [other])) as peer, pytest.raises(ArchiveNonsense):
        ask_patient(settings(peer.url), STUDY)


@pytest.mark.parametrize("body", [b"<html>", b"[1, 2]", b'[{"0020000E": 5}]', b'[{"00080060": {"vr": "CS"}}]'])
def test_nonsense_is_an_error(body: bytes) -> None:
    """What is no DICOM JSON, or has no UIDs."""
    with http_peer(lambda *_: (200, body)) as peer, pytest.raises(ArchiveNonsense):
        ask_count(settings(peer.url), STUDY)


@pytest.mark.parametrize(("status", "temporary"), [(401, False), (403, False), (500, True), (503, True), (429, True)])
def test_statuses_are_told(status: int, temporary: bool) -> None:
    """Whether trying again can help; the body is not repeated."""
    with http_peer(lambda *_: (status, b"Doe^Jane")) as peer:
        with pytest.raises(HttpFailure, match=str(status)) as caught:
            ask_count(settings(peer.url), STUDY)
        (problem,) = check(settings(peer.url))
    assert caught.value.temporary is temporary
    assert "Doe" not in str(caught.value) + problem


def test_silence_ends_in_time() -> None:
    """A server that does not answer is one that timed out."""

    def slow(*_: Any) -> tuple[int, Any]:
        time.sleep(1)
        return 200, []

    with http_peer(slow) as peer, pytest.raises(PeerTimeout):
        ask_count(settings(peer.url, timeout_seconds=0.2), STUDY)


@contextmanager
def wado(answer: Callable[[str], tuple[str, bytes]]) -> Iterator[str]:
    """Run a server that answers GET with a Content-Type and a body."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            content_type, body = answer(self.path)
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def _multipart(*parts: bytes) -> tuple[str, bytes]:
    body = b"".join(b"--x\r\nContent-Type: application/dicom\r\n\r\n" + part + b"\r\n" for part in parts) + b"--x--"
    return 'multipart/related; type="application/dicom"; boundary=x', body


def _fetched(url: str, *uids: str, status: int = 0) -> tuple[Any, list[tuple[str, str, str, bytes]]]:
    taken: list[tuple[str, str, str, bytes]] = []

    def take(*values: Any) -> int:
        taken.append(values)
        return status

    return fetch(settings(url), STUDY, {"1.1": uids}, storage={}, take=take), taken


def test_objects_are_taken_byte_for_byte() -> None:
    """A whole series in one message, each object as it is stored there."""
    objects = [radiograph("a"), radiograph("b")]
    with wado(lambda path: _multipart(*map(part10, objects))) as url:
        fetched, taken = _fetched(url)
    assert (fetched.completed, fetched.failed) == (2, 0)
    assert [(sop, data) for _, sop, _, data in taken] == [(str(ds.SOPInstanceUID), encoded(ds)) for ds in objects]


def test_an_object_that_is_not_taken_counts_as_failed() -> None:
    """What the node refuses stays missing."""
    with wado(lambda path: _multipart(part10(radiograph()))) as url:
        fetched, _ = _fetched(url, "1.2.3.4", status=0xA700)
    assert (fetched.completed, fetched.failed) == (0, 1)


@pytest.mark.parametrize(
    "answer",
    [
        ("text/html", b"<html>log in</html>"),
        _multipart(b"no DICOM file at all"),
        (_multipart()[0], _multipart(part10(radiograph()))[1][:300]),
    ],
)
def test_what_is_no_object_is_not_taken(answer: tuple[str, bytes]) -> None:
    """A login page, something else in the parts, and a message that is cut off."""
    with wado(lambda path: answer) as url, pytest.raises(PeerError) as caught:
        _fetched(url, "1.2.3.4")
    assert caught.value.temporary
