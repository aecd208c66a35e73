"""Reception over real sockets on loopback."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import UID, JPEGLosslessSV1
from pynetdicom.sop_class import Verification

from dicom_node.core.digest import digest_of
from dicom_node.core.errors import StudyError
from dicom_node.core.product import IMPLEMENTATION_CLASS_UID
from dicom_node.imaging.header import read_instance
from dicom_node.reception.presentation_contexts import STORAGE_SOP_CLASSES, TRANSFER_SYNTAXES
from dicom_node.store import tables
from tests.factories.dicom_sender import association, send, send_bytes
from tests.factories.received_objects import CR, CT, dataset_bytes, encoded, other_pixels, part10, radiograph, recompressed
from tests.unit.reception.conftest import EXTRA_SOP_CLASS, Node

EXPLICIT = "1.2.840.10008.1.2.1"
SUCCESS, REFUSED, MISMATCH, NOT_UNDERSTOOD, DEFECT = 0x0000, 0xA700, 0xA900, 0xC000, 0xC001


def one_file_for_each_transfer_syntax() -> list[Path]:
    """Return pydicom's own test files: the smallest one that can be identified, for each SOP class and transfer syntax we take."""
    found: dict[tuple[str, str], Path] = {}
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    for path in sorted(folder.glob("*.dcm"), key=lambda p: (p.stat().st_size, p.name)):
        try:
            item = read_instance(path)
        except StudyError:
            continue
        if (
            item.transfer_syntax_uid in TRANSFER_SYNTAXES
            and item.sop_class_uid in STORAGE_SOP_CLASSES
            and path.stat().st_size < 3_000_000
        ):
            found.setdefault((item.sop_class_uid, item.transfer_syntax_uid), path)
    return list(found.values())


FILES = one_file_for_each_transfer_syntax()


def test_there_are_files_for_most_transfer_syntaxes() -> None:
    assert len({read_instance(path).transfer_syntax_uid for path in FILES}) >= 10


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_transfer_syntax_is_stored_as_received(node: Node, path: Path) -> None:
    item = read_instance(path)
    sent = dataset_bytes(path)
    with association(node.port, [(item.sop_class_uid, item.transfer_syntax_uid)]) as opened:
        answer = send_bytes(opened, item.sop_class_uid, item.sop_instance_uid, sent)
    assert answer.Status == SUCCESS
    (row,) = node.instances()
    assert dataset_bytes(node.path(row)) == sent
    assert row.digest == digest_of(sent) == item.digest
    assert row.transfer_syntax_uid == item.transfer_syntax_uid
    meta = pydicom.filereader.read_file_meta_info(node.path(row))
    assert meta.TransferSyntaxUID == item.transfer_syntax_uid
    assert meta.MediaStorageSOPInstanceUID == item.sop_instance_uid
    assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert row.facts == item.facts.to_json()


# --- DCMTK ---------------------------------------------------------------------------------------------------------------


def dcmtk(*words: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which(words[0], path="/usr/bin")
    assert program is not None, f"{words[0]} of DCMTK is needed: apt-get install dcmtk"
    return subprocess.run([program, *words[1:]], capture_output=True, text=True, timeout=60, check=False)


def test_echo_of_dcmtk_is_answered(node: Node) -> None:
    done = dcmtk("echoscu", "-aet", "PACS", "-aec", "AISTAT", "127.0.0.1", str(node.port))
    assert done.returncode == 0, done.stderr


def test_a_stranger_of_dcmtk_is_told_that_its_title_is_not_known(node: Node) -> None:
    done = dcmtk("echoscu", "-aet", "STRANGER", "-aec", "AINODE", "127.0.0.1", str(node.port))
    assert done.returncode != 0
    assert "Calling AE Title Not Recognized" in done.stderr


@pytest.mark.parametrize(("syntax", "option"), [(EXPLICIT, "-xe"), (str(JPEGLosslessSV1), "-xs")])
def test_storescu_stores_an_image_as_it_is(node: Node, tmp_path: Path, syntax: str, option: str) -> None:
    ds = radiograph() if syntax == EXPLICIT else recompressed(radiograph(), syntax)
    (tmp_path / "image.dcm").write_bytes(part10(ds))
    done = dcmtk("storescu", option, "-aet", "PACS", "-aec", "AINODE", "127.0.0.1", str(node.port), str(tmp_path / "image.dcm"))
    assert done.returncode == 0, done.stderr
    (row,) = node.instances()
    assert row.transfer_syntax_uid == syntax
    assert pydicom.dcmread(node.path(row)) == ds


# --- who may come in -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("calling", "called", "answer"),
    [
        ("STRANGER", "AINODE", (1, 1, 3)),
        ("ELSEWHERE", "AINODE", (1, 1, 3)),
        ("NOWHERE", "AINODE", (1, 1, 3)),
        ("PACS", "OTHERNODE", (1, 1, 7)),
    ],
)
def test_the_rejection_says_why(node: Node, calling: str, called: str, answer: tuple[int, int, int]) -> None:
    with association(node.port, [(Verification, EXPLICIT)], calling, called) as opened:
        assert opened.is_rejected
        told = opened.acceptor.primitive
        assert (told.result, told.result_source, told.diagnostic) == answer


def test_one_association_too_many_is_rejected_for_now_and_the_next_is_welcome(node: Node) -> None:
    def echo() -> int | None:
        with association(node.port, [(Verification, EXPLICIT)]) as opened:
            return int(opened.send_c_echo().Status) if opened.is_established else None

    held = [association(node.port, [(Verification, EXPLICIT)]) for _ in range(4)]
    for one in held:
        assert one.__enter__().is_established
    with association(node.port, [(Verification, EXPLICIT)]) as opened:
        assert opened.is_rejected
        told = opened.acceptor.primitive
        assert (told.result, told.result_source, told.diagnostic) == (2, 3, 2)
    for one in held:
        one.__exit__(None, None, None)
    end = time.monotonic() + 10
    while echo() != SUCCESS:
        assert time.monotonic() < end


def test_both_of_our_titles_are_served_and_the_called_one_is_kept(node: Node) -> None:
    send(node.port, radiograph("a"), called="AINODE")
    send(node.port, radiograph("b"), calling="ANYWHERE", called="AISTAT")
    assert [(row.calling_ae, row.called_ae) for row in node.instances()] == [("PACS", "AINODE"), ("ANYWHERE", "AISTAT")]


def test_a_private_or_unknown_transfer_syntax_is_not_negotiated_and_hurts_nobody(node: Node) -> None:
    with association(node.port, [(CR, "1.2.840.113619.5.2"), (CR, EXPLICIT), ("1.2.3.4.5", EXPLICIT)]) as opened:
        assert opened.is_established
        assert [str(cx.transfer_syntax[0]) for cx in opened.accepted_contexts] == [EXPLICIT]
        assert {cx.result for cx in opened.rejected_contexts} == {0x03, 0x04}  # abstract syntax, transfer syntaxes not supported


def test_a_class_that_the_configuration_adds_is_stored(node: Node) -> None:
    (answer,) = send(node.port, radiograph(SOPClassUID=EXTRA_SOP_CLASS))
    assert answer.Status == SUCCESS


# --- data sets that lie ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "status", "comment"),
    [
        ({"SOPInstanceUID": "1.2.3"}, NOT_UNDERSTOOD, "SOP Instance UID differs"),
        ({"SOPClassUID": CT}, MISMATCH, "SOP Class UID differs"),
        ({"SOPInstanceUID": "1.2/../../x"}, NOT_UNDERSTOOD, "SOP Instance UID is not a valid UID"),
        ({"SOPInstanceUID": None}, NOT_UNDERSTOOD, "SOP Instance UID is missing"),
        ({"SOPClassUID": None}, NOT_UNDERSTOOD, "SOP Class UID is missing"),
        ({"StudyInstanceUID": None}, NOT_UNDERSTOOD, "Study Instance UID is missing"),
        ({"StudyInstanceUID": ""}, NOT_UNDERSTOOD, "Study Instance UID is missing"),
        ({"StudyInstanceUID": "../../etc/passwd"}, NOT_UNDERSTOOD, "Study Instance UID is not a valid UID"),
        ({"SeriesInstanceUID": "1..2"}, NOT_UNDERSTOOD, "Series Instance UID is not a valid UID"),
        ({"SeriesInstanceUID": "1." * 40 + "1"}, NOT_UNDERSTOOD, "Series Instance UID is not a valid UID"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_a_data_set_that_is_not_what_the_request_says_is_refused_in_words(
    node: Node, changes: dict[str, str | None], status: int, comment: str, capsys: pytest.CaptureFixture[str]
) -> None:
    named = radiograph()
    with association(node.port, [(CR, EXPLICIT)]) as opened:
        answer = send_bytes(opened, CR, named.SOPInstanceUID, encoded(radiograph(**changes)))
        assert answer.Status == status
        assert comment in answer.ErrorComment
        # the association lives on
        assert send_bytes(opened, CR, named.SOPInstanceUID, encoded(named)).Status == SUCCESS
    (refused,) = node.refused()
    assert (refused.status, refused.calling_ae, refused.called_ae) == (status, "PACS", "AINODE")
    assert comment in refused.text
    assert len(node.instances()) == 1
    logged = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["status"] for line in logged if line["event"] == "object.refused"] == [f"0x{status:04X}"]


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_a_path_in_both_uids_names_no_file(node: Node, tmp_path: Path) -> None:
    evil = "1.2/../../../x"
    before = set(tmp_path.parent.iterdir())
    with association(node.port, [(CR, EXPLICIT)]) as opened:
        answer = send_bytes(opened, CR, evil, encoded(radiograph(SOPInstanceUID=evil)))
    assert answer.Status == NOT_UNDERSTOOD
    assert node.files() == []
    assert set(tmp_path.parent.iterdir()) == before


@pytest.mark.parametrize("cut", [1, 5, 15, 41])
def test_a_header_that_is_cut_off_is_refused(node: Node, cut: int) -> None:
    ds = radiograph(PixelData=None)
    with association(node.port, [(CR, EXPLICIT)]) as opened:
        answer = send_bytes(opened, CR, ds.SOPInstanceUID, encoded(ds)[:-cut])
    assert answer.Status == NOT_UNDERSTOOD
    assert node.files() == []


def test_pixel_data_that_is_cut_off_is_stored_so_that_the_study_gets_a_coded_answer(node: Node) -> None:
    ds = radiograph()
    with association(node.port, [(CR, EXPLICIT)]) as opened:
        assert send_bytes(opened, CR, ds.SOPInstanceUID, encoded(ds)[:-100]).Status == SUCCESS
    assert len(node.instances()) == 1


@pytest.mark.parametrize("noise", [b"\0" * 64, b"not a data set, but a letter to the hospital", b"\xff" * 500])
def test_bytes_that_are_no_data_set_are_refused(node: Node, noise: bytes) -> None:
    with association(node.port, [(CR, EXPLICIT)]) as opened:
        assert send_bytes(opened, CR, "1.2.3", noise).Status == NOT_UNDERSTOOD
    assert len(node.refused()) == 1


def test_a_request_without_data_set_ends_the_association_instead_of_hanging(node: Node) -> None:
    started = time.monotonic()
    with association(node.port, [(CR, EXPLICIT)]) as opened:
        assert send_bytes(opened, CR, "1.2.3", None) is None
        while not opened.is_aborted:
            assert time.monotonic() - started < 10
            time.sleep(0.05)
    assert node.instances() == []
    (answer,) = send(node.port, radiograph())
    assert answer.Status == SUCCESS


# --- again, at once, in part -----------------------------------------------------------------------------------------------


def test_same_uid_sent_at_once_over_many_associations_is_one_instance(node: Node) -> None:
    ds = radiograph()
    answers: list[int] = []

    def sender() -> None:
        answers.extend(int(answer.Status) for answer in send(node.port, *[ds] * 5))

    threads = [threading.Thread(target=sender) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [SUCCESS] * 20
    (row,) = node.instances()
    assert node.files() == [node.path(row)]


def test_two_versions_sent_at_once_are_both_kept_and_one_is_current(node: Node) -> None:
    versions = [radiograph(), radiograph(PixelData=other_pixels())]
    threads = [threading.Thread(target=send, args=(node.port, ds)) for ds in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(row.state for row in node.instances()) == ["current", "pending"]
    assert len(node.files()) == 2


def test_what_was_acknowledged_stays_when_the_sender_aborts(node: Node) -> None:
    with association(node.port, [(CR, EXPLICIT)]) as opened:
        for name in ("a", "b"):
            ds = radiograph(name)
            assert send_bytes(opened, CR, ds.SOPInstanceUID, encoded(ds)).Status == SUCCESS
        opened.abort()
    assert len(node.instances()) == len(node.files()) == 2


def test_our_own_object_that_comes_back_is_kept_as_ours(node: Node) -> None:
    (answer,) = send(node.port, radiograph("overlay", ManufacturerModelName="dicom-node"))
    assert answer.Status == SUCCESS
    assert [row.state for row in node.instances()] == ["ours"]
    assert [row.deadline_utc for row in node.rows(tables.study)] == [None]


def test_an_object_of_many_pdus_arrives_whole(node: Node) -> None:
    ds = radiograph(Rows=1024, Columns=1024, PixelData=bytes(range(256)) * 8192)
    with association(node.port, [(CR, EXPLICIT)], max_pdu=0) as opened:
        assert send_bytes(opened, CR, ds.SOPInstanceUID, encoded(ds)).Status == SUCCESS
    (row,) = node.instances()
    assert dataset_bytes(node.path(row)) == encoded(ds)
    assert row.size == node.path(row).stat().st_size


def test_file_names_and_logs_hold_nothing_of_the_sender(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    ds = radiograph(study="MARKER", PatientName="MARKER^NAME", PatientID="MARKERID", AccessionNumber="MARKERACC")
    send(node.port, ds)
    names = [str(path.relative_to(node.home)) for path in node.files()]
    logged = capsys.readouterr().out
    for marker in ("MARKER", ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID):
        assert not [name for name in names if marker in name]
        assert marker not in logged
    assert UID(ds.SOPInstanceUID).is_valid


def test_an_association_leaves_one_line_that_says_what_it_brought(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    send(node.port, radiograph("a"), radiograph("b"))
    end, lines = time.monotonic() + 5, ""
    while "association.ended" not in lines and time.monotonic() < end:
        lines += capsys.readouterr().out
        time.sleep(0.05)
    (line,) = [json.loads(text) for text in lines.splitlines() if "association.ended" in text]
    assert (line["count"], line["calling_ae"], line["reason"], line["outcome"]) == (2, "PACS", "peer released", "0 refused")


def test_answers_are_not_held_back_by_the_network(node: Node) -> None:
    """A hundred small objects take no hundred delayed acknowledgements (40 ms each)."""
    objects = [radiograph(str(number)) for number in range(50)]
    started = time.monotonic()
    assert {answer.Status for answer in send(node.port, *objects)} == {SUCCESS}
    assert time.monotonic() - started < 50 * 0.2
    assert len(node.instances()) == 50


def test_stopping_closes_the_port_and_aborts_who_stays(node: Node) -> None:
    with association(node.port, [(Verification, EXPLICIT)]) as opened:
        assert opened.is_established
        node.receiver.stop(grace_seconds=0.2)
        end = time.monotonic() + 5
        while not opened.is_aborted and time.monotonic() < end:
            time.sleep(0.05)
        assert opened.is_aborted
    with association(node.port, [(Verification, EXPLICIT)]) as again:
        assert not again.is_established
