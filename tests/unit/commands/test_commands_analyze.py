"""dicom-node analyze: no network, every object into a folder, the same bytes again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from dicom_node.cli import main
from models.bundle import find_bundle
from models.phantoms.cxr import chest_phantom
from models.phantoms.dicom import as_radiograph, to_bytes

BUNDLE = find_bundle("cxr_tb", None, [Path(__file__).resolve().parents[3] / "models" / "bundles"])
IMAGE, _, _ = chest_phantom(seed=5, size=512, abnormal=True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """One chest radiograph of an adult."""
    path = tmp_path / "chest.dcm"
    path.write_bytes(to_bytes(as_radiograph(IMAGE)))
    return path


def analyze(*arguments: object) -> int:
    """Run the command with the pipeline named."""
    return main(["analyze", "--pipeline", "cxr_tb", *map(str, arguments)])


def test_two_runs_give_the_same_bytes(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every result object lies in the folder, the line names each, and a second run writes identical files."""
    for name in ("a", "b"):
        assert analyze(file, "--out", tmp_path / name, "--json") == 0
    line = json.loads(capsys.readouterr().out.splitlines()[0])
    made = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(made) >= 7
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in made)
    assert sorted(Path(item["file"]).name for item in (*line["objects"], *line["messages"])) == made
    assert {
        "study_key",
        "status",
        "code",
        "reason",
        "decision",
        "zone",
        "probabilities",
        "bundle",
        "policy",
        "objects",
    } <= line.keys()


def test_a_refusal_exits_zero_and_is_coded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A child is refused with a code and a report; the exit status is 0."""
    path = tmp_path / "child.dcm"
    path.write_bytes(to_bytes(as_radiograph(IMAGE, PatientBirthDate="20200101")))
    assert analyze(path, "--out", tmp_path / "out", "--json") == 0
    line = json.loads(capsys.readouterr().out)
    assert (line["status"], line["reason_key"], line["probabilities"]) == ("not_analysed", "too_young", {})
    assert line["code"]
    assert line["objects"]


def test_unreadable_files_are_told_and_the_rest_is_analysed(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is no DICOM object gets a line with its reason; the study beside it is analysed."""
    (tmp_path / "letter.txt").write_text("not an image")
    assert analyze(tmp_path, "--out", tmp_path / "out", "--json") == 0
    lines = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert {line["status"] for line in lines} == {"analysed", "not_analysed"}
    assert all(line["reason"] for line in lines if line["status"] == "not_analysed")


def test_two_patients_in_one_study_are_held(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two patients under one Study Instance UID: held, no object is made."""
    (tmp_path / "other.dcm").write_bytes(to_bytes(as_radiograph(IMAGE, instance="2", PatientID="OTHER")))
    assert analyze(file, tmp_path / "other.dcm", "--out", tmp_path / "out", "--json") == 0
    line = json.loads(capsys.readouterr().out)
    assert (line["status"], line["reason_key"], line["objects"]) == ("held", "patient_conflict", [])


def test_wrong_calls_exit_two(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown pipeline, policy, path or time stamp is a wrong call, and the message says what may be written."""
    out = ("--out", tmp_path / "out")
    assert main(["analyze", str(file), "--pipeline", "cxr_tbx", "--out", "x"]) == 2
    assert analyze(file, *out, "--policy", "nope") == 2
    assert analyze(tmp_path / "nowhere", *out) == 2
    assert analyze(file, *out, "--timestamp", "yesterday") == 2
    said = capsys.readouterr().err
    assert all(word in said for word in ('"cxr_tbx"', "screening", "nowhere", "ISO 8601"))


def test_a_damaged_bundle_is_refused(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bundle with one changed byte is not run: exit 1, and the message names the file."""
    folder = tmp_path / "bundle"
    shutil.copytree(BUNDLE, folder)
    (folder / "operating_points.yaml").write_text((folder / "operating_points.yaml").read_text() + "\n")
    assert analyze(file, "--out", tmp_path / "out", "--bundle", folder) == 1
    assert "operating_points.yaml" in capsys.readouterr().err


def test_the_time_stamp_is_the_newest_of_the_source(file: Path, tmp_path: Path) -> None:
    """Without --timestamp the objects carry the newest time of the images; with it they carry that."""
    analyze(file, "--out", tmp_path / "a")
    analyze(file, "--out", tmp_path / "b", "--timestamp", "2027-02-03T04:05:06+00:00")
    assert b"20261120101546" in next((tmp_path / "a").glob("*.hl7")).read_bytes()
    assert b"20270203040506" in next((tmp_path / "b").glob("*.hl7")).read_bytes()
