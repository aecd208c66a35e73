"""A training set of fifty studies that name a person everywhere: no name in any byte, the same person always in the same place."""

from __future__ import annotations

import base64
import datetime as dt
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
import sqlalchemy as sa
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import JPEGLSLossless

from dicom_node.cli import main
from dicom_node.core.feedback import Channel, Claim, ReaderClaim, Region, Statement, Targets, Verdict
from dicom_node.core.identifiers import short_key, study_key
from dicom_node.feedback.step import Desk, record
from dicom_node.learning.pseudonyms import Pseudonyms
from dicom_node.store import tables
from dicom_node.studies import opt_outs
from models.phantoms.dicom import as_radiograph
from tests.factories.answer_log import READERS
from tests.factories.dicom_validators import dciodvfy_errors
from tests.factories.hl7_messages import merge
from tests.integration.in_process import InProcessNode
from tests.integration.test_orders import hear

MARKER, BORN, DAY = "ZZMARKER", "19310713", "20260917"
STUDIES = 50
PICTURE = np.clip(np.random.default_rng(1).normal(0.5, 0.05, (96, 80)), 0, 1).astype(np.float32)
_NAMING = (
    *("IssuerOfPatientID", "StudyID", "InstitutionName", "InstitutionAddress", "StationName", "StudyDescription"),
    *("SeriesDescription", "DeviceSerialNumber", "Manufacturer", "ManufacturerModelName", "PatientComments", "ProtocolName"),
    *("RequestedProcedureDescription", "ImageComments", "AdditionalPatientHistory", "EthnicGroup", "Occupation", "PatientAddress"),
)
RAO, LIND = (ReaderClaim("login", name, f"{MARKER}^reader", authenticated=True) for name in ("rao", "lind"))


class Site(NamedTuple):
    """A node that has answered, and what must not leave it."""

    node: InProcessNode
    sources: dict[str, Dataset]  # by what is special about it, or its number
    secrets: list[str]


def marked(number: int, person: str, **elements: Any) -> Dataset:
    """Return a radiograph that names somebody in every element that can."""
    words: dict[str, Any] = dict.fromkeys(_NAMING, f"{MARKER}{number}"[:16])
    words |= dict.fromkeys(
        ("PatientName", "ReferringPhysicianName", "OperatorsName", "PatientMotherBirthName"), f"{MARKER}^{number}"
    )
    words |= {
        "PatientID": person,
        "AccessionNumber": f"{MARKER}A{number}",
        "PatientBirthDate": BORN,
        "PatientSex": "MF"[number % 2],
    }
    words |= dict.fromkeys(("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"), DAY)
    made = as_radiograph(PICTURE, seed=f"export {number}", modality="CR" if number % 2 else "DX", **{**words, **elements})
    item = Dataset()
    item.PatientID = item.AccessionNumber = item.RequestedProcedureID = MARKER
    made.RequestAttributesSequence = [item]
    made.private_block(0x0011, MARKER, create=True).add_new(1, "LO", MARKER)
    return made


def typed() -> np.ndarray[Any, Any]:
    """Return a picture with a name in it."""
    picture = np.full((512, 400), 90, np.uint8)
    cv2.putText(picture, "DOE JANE 1931", (20, 40), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 255, 2)
    return picture.astype(np.float32) / 255


def compressed(made: Dataset) -> Dataset:
    """Return it as JPEG-LS with the marker in a comment of the stream."""
    made.compress(JPEGLSLossless)
    stream = get_frame(made.PixelData, 0, number_of_frames=1)
    text = MARKER.encode()
    made.PixelData = encapsulate([stream[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2) + text + stream[2:]])
    return made


def answered(node: InProcessNode, source: Dataset) -> str:
    """Let the node have the image and a result from it, that two radiologists contradict with many words; returns the run's key."""
    node.receive(source)
    key, uid = study_key(str(source.StudyInstanceUID)), str(source.SOPInstanceUID)
    run_key = short_key("rn", key)
    values = {"run_key": run_key, "study_key": key, "pipeline": "cxr_tb", "rule": "r", "revision": 1, "state": "analysed"}
    said = {"decision": "positive", "probabilities": {"abnormal": 0.9}, "headline": MARKER}
    request = {"study_revision": 1, "read": [uid], "not_read": []}
    desk = Desk(node.rooms.home, READERS, node.rooms.settings.feedback)
    with node.rooms.database.begin() as connection:
        values |= {"request": request, "summary": said, "requested_utc": time.time(), "finished_utc": time.time()}
        connection.execute(sa.insert(tables.run).values(**values))
        for reader in (RAO, LIND):
            claim = Claim(
                *(Channel.WEB, f"{run_key} {reader.identity}", dt.datetime.now(dt.UTC), Targets(run_key=run_key), reader),
                statements=(Statement(Verdict.REJECTED),),
                regions=(Region(uid, ((1.0, 2.0), (30.5, 40.0)), MARKER), Region("1.2.777", ((0.0, 0.0),))),
                comment=f"{MARKER} comment",
                reason="artefact_or_marker",
            )
            assert record(connection, claim, desk=desk).state == "read"
    return run_key


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Fifty answered studies of 44 patients; six of them must not leave, or not as they are."""
    node = InProcessNode(tmp_path_factory.mktemp("site"))
    special: dict[int, tuple[str, dict[str, Any]]] = {
        0: ("annotated", {"BurnedInAnnotation": "YES"}),
        1: ("opted out", {}),
        2: ("nobody", {"PatientID": ""}),
        3: ("screen", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}),
        4: ("prior", {"PatientID": f"{MARKER}PRIOR"}),
        5: ("survivor", {"PatientID": f"{MARKER}LEFT"}),
    }
    hear(node, merge(f"{MARKER}PRIOR", f"{MARKER}LEFT"))
    sources: dict[str, Dataset] = {}
    for number in range(STUDIES - 2):
        name, elements = special.get(number, (str(number), {}))
        sources[name] = marked(number, f"{MARKER}P{number % 44}", **elements)
    sources["compressed"] = compressed(marked(48, f"{MARKER}P48"))
    text = as_radiograph(typed(), seed="typed", modality="CR", PatientID=f"{MARKER}P49", PatientBirthDate=BORN, StudyDate=DAY)
    sources["typed"] = text
    runs = [answered(node, source) for source in sources.values()]
    with node.rooms.database.begin() as connection:
        opt_outs.add(connection, node.rooms.home, f"{MARKER}P1", scope="learning")
        ids = list(connection.execute(sa.select(tables.verdict.c.feedback_id)).scalars())
        digests = list(connection.execute(sa.select(tables.instance.c.digest)).scalars())
    secrets = [MARKER, MARKER.lower(), BORN, DAY, "1.2.777", READERS[0].name, *runs, *ids, *digests]
    for source in sources.values():
        secrets += [str(source.SOPInstanceUID), str(source.StudyInstanceUID), str(source.SeriesInstanceUID)]
        secrets.append(study_key(str(source.StudyInstanceUID)))
    yield Site(node, sources, secrets)
    node.rooms.database.dispose()


@pytest.fixture(scope="module")
def exported(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one export of all."""
    out = tmp_path_factory.mktemp("out") / "set"
    assert run_export(site, out) == 0
    return out


def run_export(site: Site, out: Path, *words: str) -> int:
    """Call the command."""
    return main(["learning", "export", "--out", str(out), *words, "--home", str(site.node.rooms.home.path)])


def lines(folder: Path, name: str = "labels.jsonl") -> list[dict[str, Any]]:
    """Return the lines of a file."""
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest."""
    read: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return read


def encodings(secret: str) -> Iterator[bytes]:
    """Yield the secret as a file may have it."""
    for name in ("utf-8", "utf-16-le", "utf-16-be"):
        yield secret.encode(name)
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + secret.encode())
        yield coded[4 if shift else 0 : len(coded) - 4]


def found_in(folder: Path, secrets: list[str]) -> set[bytes]:
    """Return what of the secrets stands in a file or a name below the folder."""
    wanted = {coded for secret in secrets for coded in encodings(secret) if len(coded) >= 6}
    files = [path for path in folder.rglob("*") if path.is_file()]
    data = b"\n".join(path.read_bytes() + os.fsencode(path.relative_to(folder)) for path in files)
    return {coded for coded in wanted if coded in data}


def test_no_identifier_in_any_byte_or_name(site: Site, exported: Path) -> None:
    """Every file, every name; and the search would find them where they are."""
    assert found_in(exported, site.secrets) == set()
    assert MARKER.encode() in found_in(site.node.rooms.home.store, [MARKER])


def test_what_is_in_it_and_what_is_not(site: Site, exported: Path) -> None:
    """Six are left out (one patient who opted out has two), each for its reason; the rest has an image, a label, regions."""
    told = manifest(exported)
    assert told["left_out"] == {
        "images: burned-in annotation": 1,
        "images: kind of object": 1,
        "images: writing in the picture": 1,
        "results: no image left": 3,
        "results: patient opted out": 2,
        "results: patient unknown": 1,
    }
    labels = lines(exported)
    assert told["counts"]["images"] == len(labels) == told["counts"]["results"] == STUDIES - 6
    assert {(one["label"], one["status"], one["n_readers"]) for one in labels} == {(0.0, "consensus", 2)}
    assert {read["reason"] for one in labels for read in one["reads"]} == {"artefact_or_marker"}
    assert told["opt_outs"] == {"known": 1, "results_checked": STUDIES, "results_left_out": 2}
    names = Pseudonyms(site.node.rooms.home.site_key())
    assert names.uid(str(site.sources["opted out"].StudyInstanceUID)) not in {one["study"] for one in labels}
    regions = lines(exported, "rois.jsonl")
    assert len(regions) == 2 * len(labels)
    assert {tuple(map(tuple, one["points"])) for one in regions} == {((1.0, 2.0), (30.5, 40.0))}
    assert {one["finding"] for one in regions} == {""}
    assert {one["age_band"] for one in labels} == {"90+"}
    assert sum(cell["patients"] for cell in told["k_anonymity"]["cells"]) == told["counts"]["patients"]


def test_every_file_is_in_the_manifest_and_every_image_valid(site: Site, exported: Path, tmp_path: Path) -> None:
    """Hashes hold; dciodvfy finds nothing that the source had not; pixels are those of the source."""
    import hashlib

    told = manifest(exported)["files"]
    there = {path.relative_to(exported).as_posix() for path in exported.rglob("*") if path.is_file()}
    assert there == {*told, "manifest.json"}
    assert all(hashlib.sha256((exported / name).read_bytes()).hexdigest() == one["sha256"] for name, one in told.items())
    names = Pseudonyms(site.node.rooms.home.site_key())
    by_uid = {names.uid(str(source.SOPInstanceUID)): source for source in site.sources.values()}
    images = sorted(exported.glob("images/*/*.dcm"))
    for path in images:
        made, source = dcmread(path), by_uid[path.stem]
        assert made.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
        assert (made.pixel_array == source.pixel_array).all()
        assert made.PatientID == path.parent.name
    for path in images[::6]:
        before = tmp_path / "before.dcm"
        by_uid[path.stem].save_as(before, enforce_file_format=True)
        assert set(dciodvfy_errors(path)) <= set(dciodvfy_errors(before))


def test_the_same_again_a_patient_in_one_part_and_merged_records_one_patient(site: Site, exported: Path, tmp_path: Path) -> None:
    """Pseudonyms, parts and snapshot do not change; a smaller export is a part of the larger."""
    assert run_export(site, tmp_path / "again") == 0
    first, again = manifest(exported), manifest(tmp_path / "again")
    assert first["snapshot"] == again["snapshot"]
    assert first["files"] == again["files"]
    parts: dict[str, set[str]] = {}
    for one in lines(exported):
        parts.setdefault(one["patient"], set()).add(one["split"])
    assert {len(part) for part in parts.values()} == {1}
    assert len({part for found in parts.values() for part in found}) > 1
    names = Pseudonyms(site.node.rooms.home.site_key())
    of_study = {one["study"]: one["patient"] for one in lines(exported)}
    prior, survivor = (of_study[names.uid(str(site.sources[name].StudyInstanceUID))] for name in ("prior", "survivor"))
    assert prior == survivor
    moved = {dcmread(path).StudyDate for path in (exported / "images" / prior).glob("*.dcm")}
    assert len(moved) == 1
    assert run_export(site, tmp_path / "none", "--status", "conflicted") == 2
    assert not (tmp_path / "none").exists()
    assert run_export(site, tmp_path / "later", "--since", "2999-01-01") == 2
    assert run_export(site, tmp_path / "again") == 2, "a folder that is not empty is never written to"


def test_lineage_leads_back_to_the_answers(site: Site, exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each label names its answers, and only this site can tell which they are."""
    words = ["learning", "lineage", str(exported), "--json", "--home", str(site.node.rooms.home.path)]
    assert main(words) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    with site.node.rooms.database.connect() as connection:
        rows = {row.feedback_id: row.study_key for row in connection.execute(sa.select(tables.verdict))}
    assert len(told) == STUDIES - 6
    for one in told:
        assert len(one["answers"]) == 2
        assert {rows[answer["feedback_id"]] for answer in one["answers"]} == set(one["studies"])


def test_an_opt_out_while_it_is_written_undoes_it(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left of the export then."""
    from dicom_node.learning import export

    write = export._write_cases

    def and_then_no(*arguments: Any) -> Any:
        done = write(*arguments)
        with site.node.rooms.database.begin() as connection:
            opt_outs.add(connection, site.node.rooms.home, f"{MARKER}P10", scope="learning")
        return done

    monkeypatch.setattr(export, "_write_cases", and_then_no)
    try:
        assert run_export(site, tmp_path / "set") == 1
    finally:
        with site.node.rooms.database.begin() as connection:
            opt_outs.remove(connection, site.node.rooms.home, f"{MARKER}P10")
    assert list(tmp_path.iterdir()) == []
