"""Findings on disk: whole or not at all, small, and exactly what they were."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from dicom_node.core import codes
from dicom_node.core.findings import BundleRef, Findings, LungMask, SaliencyMap, Spread
from dicom_node.inference.findings_store import drop_arrays, has_findings, load_findings, save_findings

BUNDLE = BundleRef("lungs_cxr", "0.1.0", "ab" * 32, "demo")


def findings() -> Findings:
    """Return a result with a spread map, a written-out one and a mask of odd width."""
    chance = np.random.default_rng(0)
    spread = Spread(*(chance.random(shape).astype(np.float32) for shape in ((7, 7), (300, 7), (251, 7))))
    plain = chance.random((300, 251)).astype(np.float32)
    maps = (
        SaliencyMap("abnormal", codes.GRAD_CAM, "Grad-CAM", "1.2.3", spread, 0.5, 0.1),
        SaliencyMap("abnormal", codes.GRAD_CAM, "Grad-CAM++", "1.2.3", plain, None, None),
    )
    mask = (chance.random((300, 251)) > 0.5).astype(np.uint8)
    return Findings("cxr_tb", read=("1.2.3",), maps=maps, lungs=LungMask("1.2.3", mask, BUNDLE))


def test_what_is_saved_is_what_is_loaded_and_a_spread_map_is_small(tmp_path: Path) -> None:
    """Maps and mask come back to the bit; a map that is spread over the image is not written out."""
    made = findings()
    save_findings(tmp_path / "r", made)
    back = load_findings(tmp_path / "r")
    for one, other in zip(made.maps, back.maps, strict=True):
        assert np.array_equal(one.values, other.values)
        assert (one.energy_in_lung, one.border_share) == (other.energy_in_lung, other.border_share)
    assert made.lungs is not None
    assert back.lungs is not None
    assert np.array_equal(made.lungs.values, back.lungs.values)
    assert back.lungs.values.dtype == np.uint8
    whole = sum(m.values.nbytes for m in made.maps)
    assert (tmp_path / "r" / "arrays.npz").stat().st_size < 0.65 * whole


def test_a_spread_map_sampled_is_the_map_at_those_points() -> None:
    """Sampling takes the map's own values at the middles of equal parts, on any grid."""
    spread = findings().maps[0].placed
    assert isinstance(spread, Spread)
    assert spread.shape == (300, 251)
    assert np.allclose(spread.sampled(300, 251), spread.whole())
    assert np.allclose(spread.sampled(100, 251), spread.whole()[1::3])
    assert findings().maps[0].sampled(100).shape == (100, 84)
    assert findings().maps[1].sampled(100).shape == (300, 251)


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is told, no findings are there, and repeated tries do not fill the folder."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "fsync", full)
    for _ in range(3):
        with pytest.raises(OSError, match="no space"):
            save_findings(tmp_path / "r", findings())
    assert not has_findings(tmp_path / "r")
    assert list((tmp_path / "r").iterdir()) == []


def test_what_a_crash_left_goes_with_the_arrays(tmp_path: Path) -> None:
    """Once the objects are built, maps, masks and half-written files go; the outcome stays."""
    save_findings(tmp_path / "r", findings())
    (tmp_path / "r" / ".0123.npz").write_bytes(b"half")
    drop_arrays(tmp_path / "r")
    assert [path.name for path in (tmp_path / "r").iterdir()] == ["findings.json"]
