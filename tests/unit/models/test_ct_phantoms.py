"""Drawn chest CTs: the same every time, lesions alone differ, two kinds of nodule that size does not tell apart, valid as DICOM."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from models.phantoms.ct import CtPhantom, thick, thorax
from models.phantoms.ct_companions import as_coronal, as_localizer, dose_report
from models.phantoms.ct_dicom import as_series, tilted
from models.phantoms.ct_lesions import IPN, PIMA, usual_diameter
from models.phantoms.dicom import to_bytes
from models.phantoms.drawing import stream
from tests.factories.dicom_validators import dciodvfy_errors


@pytest.fixture(scope="module")
def small() -> CtPhantom:
    return thorax(1, slices=16, size=48)


def test_a_chest_depends_on_its_seed_alone(small: CtPhantom) -> None:
    assert np.array_equal(small.hu, thorax(1, slices=16, size=48).hu)
    assert not np.array_equal(small.hu, thorax(2, slices=16, size=48).hu)


def test_a_nodule_changes_nothing_far_from_it(small: CtPhantom) -> None:
    ill = thorax(1, slices=16, size=48, nodules=[(PIMA, 30.0)])
    changed = np.abs(ill.hu - small.hu) > 0
    far = np.ones(changed.shape, np.bool_)
    far[tuple(slice(max(0, part.start - 1), part.stop + 1) for part in ill.nodules[0].box)] = False
    assert changed.any()
    assert not changed[far].any()
    assert (ill.lungs > 0)[ill.nodule_mask() > 0].all()
    assert float(ill.hu[ill.nodule_mask() > 0].mean()) > -250


def test_lungs_are_of_an_adults_size_and_right_is_at_the_left_of_the_picture(small: CtPhantom) -> None:
    litres = float(np.prod(small.spacing_mm)) / 1e6 * (small.lungs > 0).sum()
    assert 2.5 < litres < 7
    assert np.nonzero(small.lungs == 1)[2].max() < 24 <= np.nonzero(small.lungs == 2)[2].min()
    assert -900 < float(np.median(small.hu[small.lungs > 0])) < -800


def test_size_alone_does_not_tell_the_kinds_apart() -> None:
    sizes = {kind: np.array([usual_diameter(kind, stream(n, kind)) for n in range(300)]) for kind in (IPN, PIMA)}
    auc = float((sizes[PIMA][:, None] > sizes[IPN][None, :]).mean())
    assert 0.5 < auc < 0.75


def test_more_disease_is_drawn_where_more_is_asked() -> None:
    amounts = [int(thorax(3, slices=20, size=64, ntm=density).disease.sum()) for density in (0.0, 0.2, 1.0)]
    assert amounts[0] == 0
    assert amounts[1] < amounts[2]


@pytest.mark.parametrize("wrong", [{"kernel": "bone"}, {"nodules": ["wart"]}, {"nodules": [IPN], "start_mm": 900.0}])
def test_what_cannot_be_drawn_is_an_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"not known|no lung"):
        thorax(1, slices=8, size=32, **wrong)


HOW: list[dict[str, Any]] = [{}, {"tilt_degrees": 12.0}, {"padded": True}, {"bits_stored": 12, "padded": True}]


@pytest.mark.parametrize("how", [*HOW, *({"transfer_syntax": s} for s in (RLELossless, JPEGLSLossless, JPEGLosslessSV1))])
def test_dciodvfy_finds_no_error_in_a_slice(small: CtPhantom, tmp_path: Path, how: dict[str, Any]) -> None:
    path = tmp_path / "slice.dcm"
    path.write_bytes(to_bytes(as_series(small, **how)[0]))
    assert dciodvfy_errors(path) == []


def test_dciodvfy_finds_no_error_in_what_lies_beside(small: CtPhantom, tmp_path: Path) -> None:
    path = tmp_path / "beside.dcm"
    for ds in (as_localizer(small)[0], as_coronal(small)[0], dose_report()):
        path.write_bytes(to_bytes(ds))
        assert dciodvfy_errors(path) == []


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1])
def test_compressed_slices_hold_the_same_values(small: CtPhantom, syntax: str) -> None:
    plain = as_series(small, transfer_syntax=ExplicitVRLittleEndian, padded=True)[7]
    packed = pydicom.dcmread(io.BytesIO(to_bytes(as_series(small, transfer_syntax=syntax, padded=True)[7])))
    assert np.array_equal(packed.pixel_array, plain.pixel_array)


def test_a_series_has_the_faults_that_were_asked_for(small: CtPhantom) -> None:
    series = as_series(small, missing=[3], twice=[5], headward=False, KVP=None)
    heights = [float(ds.ImagePositionPatient[2]) for ds in series]
    assert len(series) == 16
    assert len({ds.SOPInstanceUID for ds in series}) == 16
    assert len(set(heights)) == 15
    assert heights == sorted(heights, reverse=True)
    assert "KVP" not in series[0]


def test_tilted_planes_cut_the_body_where_their_positions_say(small: CtPhantom) -> None:
    z = np.arange(16, dtype=np.float32)[:, None, None] * small.spacing_mm[0] + np.zeros((16, 48, 48), np.float32)
    ramp = CtPhantom(z, small.spacing_mm, small.lungs, small.airways)
    seen = tilted(ramp, 10.0)
    row = 30
    expected = z[8, 0, 0] + (row - 23.5) * small.spacing_mm[1] * np.sin(np.radians(10))
    assert float(seen[8, row, 0]) == pytest.approx(float(expected), abs=0.05)


def test_thick_slices_are_means(small: CtPhantom) -> None:
    four = thick(small, 4)
    assert four.hu.shape == (4, 48, 48)
    assert four.spacing_mm[0] == small.spacing_mm[0] * 4
    assert np.abs(four.hu[1] - small.hu[4:8].mean(0)).max() <= 0.5


def test_writing_twice_gives_the_same_bytes(small: CtPhantom) -> None:
    one, two = (to_bytes(as_series(small, transfer_syntax=JPEGLosslessSV1)[2]) for _ in range(2))
    assert one == two
