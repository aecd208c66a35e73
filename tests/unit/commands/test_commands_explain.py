"""``explain`` tells which rules and gates would apply, in sentences, and never ends in a traceback."""

from __future__ import annotations

import argparse
import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from dicom_node.commands import explain
from dicom_node.commands.read_paths import read_studies
from dicom_node.core.errors import UsageError
from dicom_node.core.identifiers import derived_uid
from dicom_node.core.product import PRODUCT_NAME
from tests.factories.bundles import write_bundle

CR = UID("1.2.840.10008.5.1.4.1.1.1")


def write(path: Path, name: str, study: str = "study", sop_class: UID = CR, **elements: Any) -> Path:
    """Write a small chest radiograph of today; ``elements`` replace what its header says, ``None`` deletes."""
    dataset = Dataset()
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = derived_uid(name)
    dataset.SeriesInstanceUID = derived_uid(study, "series")
    dataset.StudyInstanceUID = derived_uid(study)
    dataset.PatientID = "HUSH-1"
    dataset.PatientName = "HUSH^HUSH"
    dataset.PatientBirthDate = "19700101"
    dataset.StudyDate = dt.datetime.now(dt.UTC).strftime("%Y%m%d")
    dataset.StudyTime = ""
    dataset.Modality = "CR"
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = "PA"
    dataset.Rows = dataset.Columns = 600
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    dataset.PixelData = np.zeros((600, 600), np.uint8).tobytes()
    for keyword, value in elements.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path / name, enforce_file_format=True)
    return path / name


def call(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    parser = argparse.ArgumentParser()
    explain.add_arguments(parser)
    assert explain.run(parser.parse_args([str(a) for a in arguments])) == 0
    return capsys.readouterr().out


NODE = """\
site: {timezone: UTC}
routing:
  rules:
    - name: chest
      when: {modality: [CR, DX], body_part: CHEST}
      pipeline: cxr_tb
      release: RELEASE
      destinations: [pacs]
destinations:
  pacs: {kind: dicom_store, ae_title: PACS, host: 127.0.0.1, port: 104}
"""


def home(folder: Path, release: str = "silent") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "node.yaml").write_text(NODE.replace("RELEASE", release))
    return folder


def test_a_chest_radiograph_would_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The rule, the image, and what is sent where stand in plain sentences."""
    write(tmp_path / "in", "pa.dcm")
    said = call(capsys, tmp_path / "in", "--home", home(tmp_path / "h"))
    assert 'Rule "chest" matches: Modality is CR. Body part is CHEST.' in said
    assert "Would read pa.dcm (CR CHEST PA); the pixels then decide." in said
    assert "The study goes to cxr_tb." in said
    assert "HUSH" not in said


@pytest.mark.parametrize(
    ("release", "evidence", "sentence"),
    [
        ("silent", "external", "Nothing would be sent to pacs: the rule is silent, results stay on the node."),
        ("at_once", "demo", 'Nothing would be sent to pacs: the evidence for cxr_tb@999.0.0 is "demo"'),
        ("at_once", "external", "secondary_capture, text_report would be sent to pacs at once (of a refusal: sr)."),
        (
            "after_answer",
            "external",
            "secondary_capture, text_report would be sent to pacs after a person has answered on the node",
        ),
    ],
)
def test_what_would_be_sent_where_is_told(
    release: str, evidence: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Release and evidence decide, and the sentence names which."""
    write(tmp_path / "in", "pa.dcm")
    node = home(tmp_path / "h", release)
    write_bundle(node / "bundles" / "cxr_tb" / "999.0.0", "cxr_tb", "999.0.0", evidence=evidence)
    assert sentence in call(capsys, tmp_path / "in", "--home", node)


def test_stripped_tags_go_to_the_pixel_gate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without body part and view the built-in rule says "may match", and the image is a candidate."""
    write(tmp_path, "stripped.dcm", BodyPartExamined=None, ViewPosition=None)
    said = call(capsys, tmp_path)
    assert "may match; the image itself will decide: Body part is not in the header" in said
    assert "Would read stripped.dcm" in said


def test_every_file_gets_an_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not DICOM, empty, cut off, another modality, old, no pixels: a sentence each, no traceback."""
    good = write(tmp_path, "good.dcm", study="a")
    (tmp_path / "notes.txt").write_text("not DICOM")
    (tmp_path / "empty.dcm").write_bytes(b"")
    (tmp_path / "cut.dcm").write_bytes(good.read_bytes()[:300])
    write(tmp_path, "old.dcm", study="b", StudyDate="20190101")
    write(tmp_path, "hand.dcm", study="c", BodyPartExamined="HAND")
    write(tmp_path, "dateless.dcm", study="d", StudyDate="")
    write(tmp_path, "pixelless.dcm", study="e", PixelData=None)
    write(tmp_path, "ours.dcm", study="a", ManufacturerModelName=PRODUCT_NAME)
    said = call(capsys, tmp_path)
    for name in ("notes.txt", "empty.dcm", "cut.dcm", "ours.dcm"):
        assert f"{name}: not read. " in said, name
    assert "days old; the rule takes studies of the last 48 hours" in said
    assert "Body part is HAND; the rule wants CHEST." in said
    assert "Study date missing or unreadable." in said
    assert "Would read good.dcm" in said


def test_two_patients_in_one_study_are_held(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither patient's result could be trusted, so nothing would run."""
    write(tmp_path, "1.dcm")
    write(tmp_path, "2.dcm", PatientID="HUSH-2")
    said = call(capsys, tmp_path)
    assert "Images of two patients share one study. Nothing is analysed and nothing is sent." in said
    assert "HUSH" not in said
    (line,) = [json.loads(text) for text in call(capsys, tmp_path, "--json").splitlines()]
    assert (line["status"], line["code"]) == ("held", "patient_conflict")


def test_json_says_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One object a study with rules, conditions, images and reasons; one for each file that is not read."""
    pa = write(tmp_path, "pa.dcm")
    lateral = write(tmp_path, "lateral.dcm", ViewPosition="LL")
    (tmp_path / "zzz").write_bytes(b"x" * 400)
    lines = [json.loads(text) for text in call(capsys, tmp_path, "--json", "--home", home(tmp_path / ".." / "h")).splitlines()]
    study, other = lines
    assert study["status"] == "would_run"
    assert [rule["outcome"] for rule in study["rules"]] == ["matched"]
    assert {c["condition"]: c["truth"] for c in study["rules"][0]["conditions"]} == {"modality": "true", "body_part": "true"}
    (pipeline,) = study["pipelines"]
    assert pipeline["read"] == [str(pa)]
    assert [(left["file"], left["reason"]) for left in pipeline["not_read"]] == [(str(lateral), "not_frontal")]
    assert other == {"file": str(tmp_path / "zzz"), "status": "not_read", "reason": other["reason"]}


def test_a_path_that_does_not_exist_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Called wrongly, said plainly."""
    with pytest.raises(UsageError, match="no such file or folder"):
        call(capsys, tmp_path / "nowhere")


def test_files_are_grouped_by_study_and_read_once(tmp_path: Path) -> None:
    """A file named twice is one object; a copy is told; another object under the same UID is told differently."""
    one = write(tmp_path, "1.dcm")
    (tmp_path / "copy.dcm").write_bytes(one.read_bytes())
    write(tmp_path / "sub", "1.dcm", PatientSex="F")
    write(tmp_path, "2.dcm", study="other")
    studies, not_read = read_studies([tmp_path, one, tmp_path / "nowhere"])
    assert sorted(len(study.instances) for study in studies) == [1, 1]
    reasons = {path.relative_to(tmp_path).as_posix(): reason for path, reason in not_read}
    assert reasons == {
        "copy.dcm": "The same object again.",
        "sub/1.dcm": "Another object under the same UID; the first file is kept.",
        "nowhere": "There is no such file or folder.",
    }
