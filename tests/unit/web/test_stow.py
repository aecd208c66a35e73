"""STOW-RS in: dicomweb-client and raw sockets against the door, with a home and a database behind it."""

from __future__ import annotations

import io
import os
import random
import socket
import ssl
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pydicom
import pytest
import sqlalchemy as sa
from dicomweb_client.web import DICOMwebClient
from pydantic import ValidationError
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGLSLossless

from dicom_node.network.small_ca import SmallCa
from dicom_node.reception.intake import Intake
from dicom_node.reception.settings import ReceptionSettings
from dicom_node.reception.status import OUT_OF_RESOURCES, DimseStatus
from dicom_node.reception.storing import Storing
from dicom_node.reception.stow_settings import StowSettings
from dicom_node.store import tables
from dicom_node.store.connect import default_url, open_database
from dicom_node.studies.settings import StudiesSettings
from dicom_node.studies.step import record_arrival
from dicom_node.web.stow import serving
from tests.factories.received_objects import dataset_bytes, encoded, part10, radiograph, recompressed

TYPE = 'multipart/related; type="application/dicom"; boundary=cut'


@dataclass
class Door:
    """A running door."""

    port: int
    home: Path
    database: sa.Engine
    full: list[DimseStatus]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/dicomweb"

    def rows(self, table: sa.Table = tables.instance) -> list[Any]:
        with self.database.connect() as connection:
            return list(connection.execute(sa.select(table)))

    def files(self) -> list[Path]:
        return sorted(path for path in (self.home / "store").rglob("*") if path.is_file())

    def post(self, *parts: bytes, path: str = "/studies", **headers: str) -> httpx.Response:
        named = {"Content-Type": TYPE, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return httpx.post(self.url + path, content=message(*parts), headers=named, timeout=30)


def message(*parts: bytes) -> bytes:
    body = b"".join(b"--cut\r\nContent-Type: application/dicom\r\n\r\n" + part + b"\r\n" for part in parts)
    return body + b"--cut--\r\n"


@contextmanager
def opened(folder: Path, reception: dict[str, Any] | None = None, **stow: Any) -> Iterator[Door]:
    settings = ReceptionSettings(stow=StowSettings(port=0, **stow), **(reception or {}))
    assert settings.stow is not None
    folder.mkdir(exist_ok=True)
    database = open_database(default_url(folder))
    full: list[DimseStatus] = []
    intake = Intake(folder, database, partial(record_arrival, settings=StudiesSettings()))
    storing = Storing(intake, max_object_bytes=settings.max_object_bytes, admit_storage=lambda: full[0] if full else None)
    with serving(settings, settings.stow, storing) as port:
        yield Door(port, folder, database, full)
    database.dispose()


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    with opened(tmp_path) as made:
        yield made


def items(response: httpx.Response, keyword: str) -> list[tuple[str, int]]:
    """Return SOP Instance UID and Failure Reason of each item."""
    told = Dataset.from_json(response.json())
    return [(str(item.ReferencedSOPInstanceUID), int(item.get("FailureReason", 0))) for item in told.get(keyword, [])]


def test_dicomweb_client_stores_a_study(door: Door) -> None:
    """Two objects of the library's own client are on the disk byte for byte, with their rows, and named in the answer."""
    objects = [radiograph("a"), radiograph("b")]
    for one in objects:
        one.file_meta.MediaStorageSOPClassUID, one.file_meta.MediaStorageSOPInstanceUID = one.SOPClassUID, one.SOPInstanceUID
    told = DICOMwebClient(door.url).store_instances(objects)
    assert {i.ReferencedSOPInstanceUID for i in told.ReferencedSOPSequence} == {str(one.SOPInstanceUID) for one in objects}
    assert "FailedSOPSequence" not in told
    rows = {row.sop_instance_uid: row for row in door.rows()}
    for one in objects:
        row = rows[str(one.SOPInstanceUID)]
        assert dataset_bytes(door.home / "store" / row.storage_key) == encoded(one)
        assert (row.calling_ae, row.called_ae, row.state) == ("STOW", "AINODE", "current")
    assert len(door.files()) == 2


@pytest.mark.parametrize("pixels", [512, 20_000])
def test_a_file_that_does_not_name_its_object_is_taken(door: Door, pixels: int) -> None:
    """Against the standard, but libraries write it so: the data set says what it is."""
    changes = {"Rows": 100, "Columns": 100, "PixelData": bytes(pixels)} if pixels > 512 else {}
    ds = radiograph("unnamed", **changes)
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, ds)  # as dicomweb-client does it: a file meta with the transfer syntax alone
    data = stream.getvalue()
    assert data.count(ds.SOPInstanceUID.encode()) == 1
    response = door.post(data)
    assert response.status_code == 200, response.text
    assert [row.sop_instance_uid for row in door.rows()] == [str(ds.SOPInstanceUID)]


def test_compressed_objects_are_kept_as_they_came(door: Door) -> None:
    """Nothing is decoded on the way in; the transfer syntax is that of the file."""
    twin = recompressed(radiograph("c"), JPEGLSLossless)
    assert door.post(part10(twin)).status_code == 200
    (row,) = door.rows()
    assert row.transfer_syntax_uid == JPEGLSLossless
    assert pydicom.dcmread(door.home / "store" / row.storage_key).pixel_array.shape == (16, 16)


def test_the_same_object_again_is_stored_once(door: Door) -> None:
    """A request that is repeated, because its answer was lost, adds nothing and succeeds."""
    for _ in range(2):
        assert door.post(part10(radiograph())).status_code == 200
    assert len(door.rows()) == len(door.files()) == 1


def test_some_refused_is_202_and_all_refused_409(door: Door) -> None:
    """What is refused is named with its Failure Reason, noted, and leaves nothing behind."""
    good, odd = radiograph("good"), radiograph("odd", SOPClassUID="1.2.840.10008.5.1.4.1.1.9.1.1")
    response = door.post(part10(good), part10(odd))
    assert response.status_code == 202
    assert items(response, "ReferencedSOPSequence") == [(str(good.SOPInstanceUID), 0)]
    assert items(response, "FailedSOPSequence") == [(str(odd.SOPInstanceUID), 0x0122)]
    response = door.post(part10(odd), b"no DICOM at all", b"")
    assert response.status_code == 409
    assert [reason for _, reason in items(response, "FailedSOPSequence")] == [0x0122, 0xC000, 0xC000]
    assert len(door.rows()) == len(door.files()) == 1
    assert len(door.rows(tables.refused_object)) == 4


def test_a_header_that_contradicts_the_file_meta_is_refused(door: Door) -> None:
    """The object must be what its file says it is."""
    lying = radiograph("x")
    data = part10(lying).replace(encoded(lying), encoded(radiograph("y")))
    response = door.post(data)
    assert (response.status_code, door.rows(), door.files()) == (409, [], [])


def test_a_transfer_syntax_that_is_not_taken_is_c122(door: Door) -> None:
    """Video and unknown syntaxes are named as such."""
    data = part10(radiograph()).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.7\0")
    assert [reason for _, reason in items(door.post(data), "FailedSOPSequence")] == [0xC122]


def test_the_study_of_the_url_is_the_study_of_the_objects(door: Door) -> None:
    """Objects of another study are refused; those of the study are stored, deflated ones too."""
    mine, other = radiograph("m"), radiograph("o", study="other")
    mine.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    response = door.post(part10(mine), part10(other), path=f"/studies/{mine.StudyInstanceUID}")
    assert response.status_code == 202
    assert items(response, "ReferencedSOPSequence") == [(str(mine.SOPInstanceUID), 0)]
    assert len(door.files()) == 1
    assert door.post(part10(mine), path="/studies/..%2F..").status_code in (400, 404)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content_Type": "application/dicom"}, 415),
        ({"Content_Type": 'multipart/related; type="application/dicom+json"; boundary=cut'}, 415),
        ({"Content_Type": 'multipart/related; type="application/dicom"'}, 400),
        ({"Accept": "application/dicom+xml"}, 406),
        ({"Accept": "application/dicom+xml, application/dicom+json;q=0.5"}, 200),
        ({"Content_Type": "multipart/related; boundary=cut"}, 200),
    ],
)
def test_what_cannot_be_meant_is_told_by_its_status(door: Door, headers: dict[str, str], status: int) -> None:
    """Media types, boundary and what the caller can read are checked before anything is kept."""
    assert door.post(part10(radiograph()), **headers).status_code == status
    assert len(door.rows()) == (status == 200)


def test_a_message_without_parts_is_400(door: Door) -> None:
    """An empty message is no success."""
    assert door.post().status_code == 400
    assert httpx.post(door.url + "/studies", content=b"", headers={"Content-Type": TYPE}).status_code == 400
    assert httpx.post(door.url + "/studies", content=b"x" * 9000, headers={"Content-Type": TYPE}).status_code == 400


def test_a_full_disk_is_507_and_nothing_is_left(door: Door) -> None:
    """While the node has no room, every object fails with 0xA700."""
    door.full.append(OUT_OF_RESOURCES)
    response = door.post(part10(radiograph()))
    assert (response.status_code, door.files()) == (507, [])
    assert [reason for _, reason in items(response, "FailedSOPSequence")] == [0xA700]


def _raw(door: Door, body: bytes, *, length: int | None = None, chunk: int = 0) -> socket.socket:
    """Send a request by hand: with a length that may lie, or in chunks of this size without the last one."""
    connection = socket.create_connection(("127.0.0.1", door.port), timeout=10)
    head = f"POST /dicomweb/studies HTTP/1.1\r\nHost: x\r\nContent-Type: {TYPE}\r\n"
    if chunk:
        connection.sendall((head + "Transfer-Encoding: chunked\r\n\r\n").encode())
        for n in range(0, len(body), chunk):
            piece = body[n : n + chunk]
            connection.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
    else:
        connection.sendall((head + f"Content-Length: {len(body) if length is None else length}\r\n\r\n").encode() + body)
    return connection


def _until(ready: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_chunks_of_any_size_give_the_same_bytes(door: Door, chunk: int) -> None:
    """Boundaries, headers and file meta cut anywhere are put together again."""
    one, two = radiograph("one"), radiograph("two")
    connection = _raw(door, message(part10(one), part10(two)), chunk=chunk)
    connection.sendall(b"0\r\n\r\n")
    assert b" 200 " in connection.recv(4096)
    connection.close()
    kept = {dataset_bytes(door.home / "store" / row.storage_key) for row in door.rows()}
    assert kept == {encoded(one), encoded(two)}


def test_a_part_that_is_cut_off_is_not_stored(door: Door) -> None:
    """The sender dies in the second object: the first is stored, of the second nothing is left."""
    one, two = radiograph("one"), radiograph("two")
    whole = message(part10(one), part10(two))
    connection = _raw(door, whole[: -len(part10(two)) // 2], length=len(whole))
    _until(lambda: len(door.rows()) == 1)
    connection.close()
    _until(lambda: not any(path.suffix == ".part" for path in (door.home / "store").rglob("*")))
    assert [row.sop_instance_uid for row in door.rows()] == [str(one.SOPInstanceUID)]
    assert len(door.files()) == 1


def test_a_message_without_its_last_boundary_is_400_and_says_what_was_stored(door: Door) -> None:
    """A whole request with a message that is not whole: the last part may be cut off, so it is not stored."""
    one, two = radiograph("one"), radiograph("two")
    body = message(part10(one), part10(two))[: -len(b"\r\n--cut--\r\n")]
    response = httpx.post(door.url + "/studies", content=body, headers={"Content-Type": TYPE})
    assert response.status_code == 400
    assert items(response, "ReferencedSOPSequence") == [(str(one.SOPInstanceUID), 0)]
    assert len(door.rows()) == len(door.files()) == 1


def test_a_sender_that_falls_silent_is_let_go(tmp_path: Path) -> None:
    """Nothing for too long: 408, and nothing is left of the part."""
    with opened(tmp_path, {"dimse_timeout_seconds": 0.3}) as door:
        connection = _raw(door, message(part10(radiograph()))[:500], length=5000)
        assert b" 408 " in connection.recv(4096)
        connection.close()
        _until(lambda: door.files() == [])


def test_an_object_that_is_too_large_is_refused(tmp_path: Path) -> None:
    """Beyond the limit it is read to its end and refused; one without end closes the request."""
    with opened(tmp_path, {"max_object_bytes": 1024**2}) as door:
        large = part10(radiograph(Rows=1024, Columns=600, PixelData=bytes(1024 * 600 * 2)))
        response = door.post(large, part10(radiograph("small")))
        assert response.status_code == 202
        assert [reason for _, reason in items(response, "FailedSOPSequence")] == [0xC000]
        endless = part10(radiograph(Rows=2048, Columns=600, PixelData=bytes(2048 * 600 * 2)))
        assert door.post(endless).status_code == 413
        assert len(door.files()) == 1


def test_three_hundred_megabytes_pass_through_flat_memory(door: Door) -> None:
    """The body is never in memory: the process grows by less than a tenth of it."""
    size = 300_000_000
    ds = radiograph("large")
    head = part10(ds)[: -len(ds.PixelData) - 12] + b"\xe0\x7f\x10\x00OW\0\0" + size.to_bytes(4, "little")
    block = os.urandom(1 << 20)

    def body() -> Iterator[bytes]:
        yield b"--cut\r\nContent-Type: application/dicom\r\n\r\n" + head
        for n in range(0, size, len(block)):
            yield block[: size - n]
        yield b"\r\n--cut--\r\n"

    process = psutil.Process()
    before = process.memory_info().rss
    most = [before]

    def watched() -> Iterator[bytes]:
        for n, piece in enumerate(body()):
            if n % 20 == 0:
                most[0] = max(most[0], process.memory_info().rss)
            yield piece

    response = httpx.post(door.url + "/studies", content=watched(), headers={"Content-Type": TYPE}, timeout=200)
    assert response.status_code == 200, response.text
    (row,) = door.rows()
    assert row.size > size
    assert most[0] - before < 30_000_000


def test_only_who_shows_a_token_may_send(tmp_path: Path) -> None:
    """Wrong, missing and empty tokens are 401; a token added to the file is known at once."""
    tokens = tmp_path / "tokens"
    tokens.write_text("# who may send\n\nfirst-token\n", encoding="utf-8")
    with opened(tmp_path / "home", token_file=tokens) as door:
        data = part10(radiograph())
        for shown in ("", "Bearer", "Bearer wrong", "Basic first-token", "Bearer # who may send"):
            assert door.post(data, Authorization=shown).status_code == 401
        assert door.post(data, Authorization="Bearer first-token").status_code == 200
        tokens.write_text("second\n", encoding="utf-8")
        assert door.post(data, Authorization="Bearer first-token").status_code == 401
        assert door.post(data, Authorization="Bearer second").status_code == 200
        tokens.unlink()
        assert door.post(data, Authorization="Bearer second").status_code == 401


@pytest.mark.parametrize("stow", [{"host": "0.0.0.0"}, {"host": "10.0.0.1", "token_file": "/run/token"}])
def test_the_door_is_closed_to_strangers(stow: dict[str, Any]) -> None:
    """Without authentication, or with a token in clear, only this machine may be listened to."""
    with pytest.raises(ValidationError):
        StowSettings(**stow)


def test_https_with_a_client_certificate_and_a_renewed_one_of_our_own(tmp_path: Path) -> None:
    """No certificate, no way in; the right one may send; a certificate renewed on disk is the next connection's."""
    authority = SmallCa.make("test authority")
    ca, ours, our_key = tmp_path / "ca.pem", tmp_path / "ours.pem", tmp_path / "ours.key"
    authority.save(ca, tmp_path / "ca.key")
    authority.issue(ours, our_key, name="node", hosts=["127.0.0.1"])
    authority.issue(tmp_path / "client.pem", tmp_path / "client.key", name="pacs")
    tls = {"certificate": ours, "private_key": our_key, "client_ca": ca}
    with opened(tmp_path / "home", tls=tls) as door:
        url = f"https://127.0.0.1:{door.port}/dicomweb/studies"
        body = message(part10(radiograph()))

        def context(*, known: bool) -> ssl.SSLContext:
            made = ssl.create_default_context(cafile=str(ca))
            if known:
                made.load_cert_chain(tmp_path / "client.pem", tmp_path / "client.key")
            return made

        def serial() -> int:
            with (
                socket.create_connection(("127.0.0.1", door.port)) as plain,
                context(known=True).wrap_socket(plain, server_hostname="127.0.0.1") as encrypted,
            ):
                shown = encrypted.getpeercert()
                assert shown is not None
                return int(str(shown["serialNumber"]), 16)

        with pytest.raises(httpx.HTTPError):
            httpx.post(url, content=body, headers={"Content-Type": TYPE}, verify=context(known=False))
        assert door.rows() == []
        assert httpx.post(url, content=body, headers={"Content-Type": TYPE}, verify=context(known=True)).status_code == 200
        before = serial()
        authority.issue(ours, our_key, name="node", hosts=["127.0.0.1"])
        assert serial() != before


def test_damaged_messages_leave_nothing_half(door: Door) -> None:
    """Bytes changed, lost and added anywhere: an answer every time, no defect, a row for every file and a file for every row."""
    chance = random.Random(20)
    whole = message(part10(radiograph("one")), part10(radiograph("two")))
    with httpx.Client() as client:
        for _ in range(150):
            body = bytearray(whole)
            for _ in range(chance.randint(1, 8)):
                at = chance.randrange(len(body))
                change = chance.choice(("other", "lost", "added"))
                if change == "other":
                    body[at] = chance.randrange(256)
                elif change == "lost":
                    del body[at : at + chance.randint(1, 40)]
                else:
                    body[at:at] = chance.randbytes(chance.randint(1, 30))
            status = client.post(door.url + "/studies", content=bytes(body), headers={"Content-Type": TYPE}).status_code
            assert status in (200, 202, 400, 409)
    assert {str(path.relative_to(door.home / "store")) for path in door.files()} == {row.storage_key for row in door.rows()}


def test_what_is_no_uid_is_not_repeated(door: Door) -> None:
    """A file meta with a name where a UID should be is answered without it."""
    uid = str(radiograph().SOPInstanceUID)
    data = part10(radiograph()).replace(uid.encode(), b"DOE^JOHN".ljust(len(uid), b" "), 1)
    response = door.post(data)
    assert response.status_code == 409
    assert "DOE" not in response.text


def test_few_bytes_that_unpack_to_many_are_not_unpacked(door: Door) -> None:
    """A deflated object of 300 kB unpacks to 300 MB: the check that it is of the study in the URL reads its beginning only."""
    ds = radiograph("bomb", Rows=10_000, Columns=15_000, PixelData=bytes(300_000_000))
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    packed = part10(ds)
    uid = str(ds.StudyInstanceUID)
    del ds
    tracemalloc.start()
    response = door.post(packed, path=f"/studies/{uid}")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert response.status_code == 200
    assert peak < 200_000_000
