"""Findings on a volume: scores, lungs and pictures of its slices survive the disk, and a long series stays small."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from dicom_node.core import codes
from dicom_node.core.findings import BundleRef, Findings, LungVolume, Measurement, Picture, SaliencyMap, SliceScore
from dicom_node.core.maps import LEFT_LUNG, LUNG, RIGHT_LUNG, PackedSlices
from dicom_node.inference.findings_store import load_findings, load_outcome, save_findings

BUNDLE = BundleRef("lungs_ct", "0.1.0", "ab" * 32, "demo")
SLICES = (("1.2.1", None), ("1.2.2", None), ("1.2.3", 7))


def lungs() -> np.ndarray:
    """Return three slices of odd width: none, both sides, one of unknown side."""
    values = np.zeros((3, 9, 13), np.uint8)
    values[1, 2:7, 1:5], values[1, 2:7, 8:13] = RIGHT_LUNG, LEFT_LUNG
    values[2, 0, 0] = LUNG
    return values


def volume_findings() -> Findings:
    """Return a result on three slices."""
    pictures = tuple(Picture(uid, (9, 13), np.full((9, 13), n, np.uint8), frame) for n, (uid, frame) in enumerate(SLICES))
    return Findings(
        "ct_pima_ipn",
        read=("1.2.1", "1.2.2", "1.2.3"),
        maps=(SaliencyMap("pima", codes.GRAD_CAM, "Grad-CAM", "1.2.3", np.eye(9, 13, dtype=np.float32), frame=7),),
        slices=tuple(SliceScore(uid, frame, 0.25 * n, "marked") for n, (uid, frame) in enumerate(SLICES)),
        measurements=(Measurement("clinical_contribution", codes.PROBABILITY, -0.4, codes.UNITY),),
        lung_volume=LungVolume(SLICES, lungs(), "classical segmenter", BUNDLE),
        pictures=pictures,
    )


def test_a_volume_s_findings_are_the_same_after_the_disk(tmp_path: Path) -> None:
    """Scores, frames, measurements, each side of the lungs and every picture come back to the bit."""
    made = volume_findings()
    save_findings(tmp_path, made)
    back = load_findings(tmp_path)
    assert (back.slices, back.measurements) == (made.slices, made.measurements)
    assert back.maps[0].frame == 7
    assert back.lung_volume is not None
    assert (back.lung_volume.slices, back.lung_volume.bundle, back.lung_volume.shape) == (SLICES, BUNDLE, (3, 9, 13))
    for n, one in enumerate(lungs()):
        assert np.array_equal(back.lung_volume.at(n), one)
    assert [(p.sop_instance_uid, p.frame, int(p.values[0, 0])) for p in back.pictures] == [
        ("1.2.1", None, 0),
        ("1.2.2", None, 1),
        ("1.2.3", 7, 2),
    ]
    assert back.picture is back.pictures[0]


def test_the_outcome_alone_needs_no_arrays(tmp_path: Path) -> None:
    """What commands and pages read first holds the scores, and neither lungs nor pictures."""
    save_findings(tmp_path, volume_findings())
    outcome = load_outcome(tmp_path)
    assert outcome.slices == volume_findings().slices
    assert (outcome.lung_volume, outcome.pictures, outcome.picture) == (None, (), None)


def test_lungs_are_found_by_image_and_frame() -> None:
    """A slice is named by object and frame; another frame of the object is another slice."""
    volume = LungVolume(SLICES, PackedSlices.of(lungs()), "classical segmenter")
    found = volume.of("1.2.3", 7)
    assert found is not None
    assert int(found[0, 0]) == LUNG
    assert volume.of("1.2.3") is None
    with pytest.raises(ValueError, match="3 slices of lung, 2 names"):
        LungVolume(SLICES[:2], lungs(), "classical segmenter")


def test_packed_lungs_are_an_eighth_a_side_also_when_empty() -> None:
    """One bit a pixel and value that occurs; a volume without lung keeps its shape."""
    packed = PackedSlices.of(lungs())
    assert sorted(packed.planes) == [LUNG, RIGHT_LUNG, LEFT_LUNG]
    assert sum(plane.nbytes for plane in packed.planes.values()) == 3 * 3 * 9 * 2
    empty = PackedSlices.of(np.zeros((2, 4, 5), np.uint8))
    assert empty.shape == (2, 4, 5)
    assert not empty.at(1).any()


def test_a_picture_alone_is_the_first_of_the_pictures() -> None:
    """Pipelines of single images give one picture, those of volumes several; both are read both ways."""
    one = Picture("1.2.3", (8, 6), np.zeros((4, 3), np.uint8))
    assert Findings("cxr_tb", picture=one).pictures == (one,)
    assert dataclasses.replace(Findings("cxr_tb"), picture=one).pictures == (one,)
    assert Findings("ct_pima_ipn", pictures=(one,)).picture is one


def test_findings_of_an_older_node_are_read() -> None:
    """What was written before volumes existed still opens, with its picture."""
    image = np.arange(12, dtype=np.uint8).reshape(4, 3)
    old = json.loads(json.dumps(Findings("cxr_tb").to_json()))
    for name in ("slices", "measurements", "lung_volume", "pictures"):
        del old[name]
    old["picture"] = {"sop_instance_uid": "1.2.3", "shape": [8, 6]}
    back = Findings.from_json(old, {"picture": image})
    assert back.picture is not None
    assert (back.picture.shape, back.picture.frame, back.slices) == ((8, 6), None, ())
    assert np.array_equal(back.picture.values, image)
