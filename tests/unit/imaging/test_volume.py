"""CT slices to a volume: compared with the formula that the slices were made of, at every voxel's place in the patient."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels import compress
from pydicom.uid import JPEGLSLossless, RLELossless

from dicom_node.core.abstentions import REASONS
from dicom_node.core.errors import StudyError
from dicom_node.imaging.slice_header import ENHANCED_CT, LEGACY_CONVERTED_ENHANCED_CT
from dicom_node.imaging.volume import Volume, hounsfield_volume
from tests.factories import ct_series as ct


def places(volume: Volume) -> np.ndarray:
    """Return patient coordinates of every voxel."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in volume.hu.shape), indexing="ij"), -1)
    return np.asarray(volume.origin_mm) + (index * volume.spacing_mm) @ volume.direction


def off_by(volume: Volume, *, margin: int = 0) -> np.ndarray:
    """Return how far each measured voxel is from the formula, the grown rim left out."""
    measured = volume.hu > -1023
    if margin:
        measured[:, :margin] = measured[:, -margin:] = False
    return np.abs(volume.hu - ct.hu_at(places(volume)))[measured]


def centre_of_ball(volume: Volume) -> np.ndarray:
    """Return where the ball is, in voxels, by its weight above the rest."""
    without = ct.hu_at(places(volume)) - 500 * np.exp(-((places(volume) - ct.BALL_MM) ** 2).sum(-1) / (2 * ct.BALL_SIGMA_MM**2))
    weight = np.where(volume.hu > -1023, np.clip(volume.hu - without, 50, None) - 50, 0)
    weight *= ((places(volume) - ct.BALL_MM) ** 2).sum(-1) < 35**2
    index = np.stack(np.meshgrid(*(np.arange(n) for n in volume.hu.shape), indexing="ij"), -1)
    return np.asarray((index * weight[..., None]).sum((0, 1, 2)) / weight.sum())


def expected_centre(volume: Volume) -> np.ndarray:
    return np.asarray(volume.direction @ (np.asarray(ct.BALL_MM) - volume.origin_mm) / volume.spacing_mm)


def refusal(instances: list) -> str:
    with pytest.raises(StudyError) as caught:
        hounsfield_volume(instances)
    assert caught.value.code in REASONS
    assert str(caught.value).endswith(".")
    return caught.value.code


def test_every_voxel_is_where_the_patient_has_it(tmp_path: Path) -> None:
    volume = hounsfield_volume(ct.series(tmp_path))
    assert volume.hu.shape == (ct.COUNT, ct.SIZE, ct.SIZE)
    assert volume.hu.dtype == np.float32
    assert volume.spacing_mm == pytest.approx((ct.SPACING_MM, ct.PIXEL_MM, ct.PIXEL_MM))
    assert off_by(volume).max() <= 0.51  # stored values are whole numbers
    assert volume.flags == ()
    assert [ref.sop_instance_uid for ref in volume.slices if ref] == [f"1.2.840.99.3.{n + 1}" for n in range(ct.COUNT)]
    assert all(ref and ref.frame is None for ref in volume.slices)


@pytest.mark.parametrize("degrees", [-12.0, 4.0, 20.0])
def test_a_tilted_gantry_is_undone(tmp_path: Path, degrees: float) -> None:
    at = ct.positions(30, 5, ct.tilted(degrees))
    volume = hounsfield_volume(ct.series(tmp_path, orientation=ct.tilted(degrees), at=at))
    assert "gantry_tilt" in volume.flags
    assert volume.record["tilt_degrees"] == pytest.approx(abs(degrees), abs=0.1)
    assert np.allclose(volume.direction @ volume.direction.T, np.eye(3), atol=1e-6)
    assert volume.spacing_mm[0] == pytest.approx(ct.SPACING_MM * np.cos(np.radians(degrees)), abs=1e-3)
    assert np.abs(centre_of_ball(volume) - expected_centre(volume)).max() < 0.5
    assert np.percentile(off_by(volume, margin=4), 95) < 40  # linear between pixels of 7 mm
    plane = volume.source_plane(7, volume.hu[7])
    uid = volume.slices[7].sop_instance_uid
    own = ct.hu_at(ct.plane_points(ct.tilted(degrees), at[int(uid.rsplit(".", 1)[1]) - 1]))
    assert plane.shape == own.shape
    off = {by: np.abs(plane - np.roll(own, by, axis=0))[3:-3].mean() for by in (-2, -1, 0, 1, 2)}
    assert min(off, key=lambda by: off[by]) in (-1, 0, 1)
    assert off[0] < 0.6 * min(off[-2], off[2])  # it lies within half a pixel of where it was


def test_without_the_shear_the_ball_would_be_elsewhere(tmp_path: Path) -> None:
    """The measure above can fail: the same slices put on top of each other miss by many voxels."""
    at = ct.positions(30, 5, ct.tilted(20))
    volume = hounsfield_volume(ct.series(tmp_path, orientation=ct.tilted(20), at=at))
    straight = np.stack([volume.source_plane(n, plane) for n, plane in enumerate(volume.hu)])
    wrong = Volume(straight, volume.spacing_mm, volume.slices, volume.origin_mm, volume.direction)
    assert not np.abs(centre_of_ball(wrong) - expected_centre(wrong)).max() < 0.5


@pytest.mark.parametrize("orientation", [(-1, 0, 0, 0, -1, 0), (-1, 0, 0, 0, 1, 0)], ids=["prone", "from above"])
def test_columns_always_run_to_the_patients_left(tmp_path: Path, orientation: tuple[float, ...]) -> None:
    volume = hounsfield_volume(ct.series(tmp_path, orientation=orientation))
    assert off_by(volume).max() <= 0.51
    assert np.allclose(volume.direction, np.eye(3)[::-1])
    own = ct.hu_at(ct.plane_points(orientation, ct.positions(orientation=orientation)[3]))
    assert np.abs(volume.source_plane(3, volume.hu[3]) - own).max() <= 0.51


@pytest.mark.parametrize("sop_class", [ENHANCED_CT, LEGACY_CONVERTED_ENHANCED_CT])
@pytest.mark.parametrize("syntax", ["", RLELossless, JPEGLSLossless])
def test_multi_frame_objects_give_the_same_volume(tmp_path: Path, sop_class: str, syntax: str) -> None:
    slices = [ct.ct_slice(n + 1, ct.AXIAL, p) for n, p in enumerate(ct.positions())][::-1]
    ds = ct.multi_frame(slices, sop_class)
    if syntax:
        compress(ds, syntax)
    instance = ct.written(ds, tmp_path)
    volume = hounsfield_volume([instance])
    assert off_by(volume).max() <= 0.51
    assert [ref.frame for ref in volume.slices if ref] == list(range(ct.COUNT, 0, -1))
    facts = instance.facts
    assert facts.frame_span_mm == pytest.approx(ct.SPACING_MM * (ct.COUNT - 1))
    assert (facts.pixel_spacing_mm, facts.kernel, facts.image_orientation) == ((7.0, 7.0), ("B60f",), ct.AXIAL)


def test_small_gaps_are_filled_and_told(tmp_path: Path) -> None:
    lost = (5, 14, 15)
    volume = hounsfield_volume(ct.series(tmp_path, at=ct.positions(40, 3), change=lambda n, ds: None if n in lost else ds))
    assert "interpolated_slices" in volume.flags
    assert [n for n, ref in enumerate(volume.slices) if ref is None] == list(lost)
    assert np.percentile(off_by(volume), 99) < 30


def test_gaps_in_a_tilted_stack_are_filled_where_they_are(tmp_path: Path) -> None:
    def change(n: int, ds: Dataset) -> Dataset | None:
        return None if n in (17, 18) else ds

    at = ct.positions(40, 3, ct.tilted(15))
    volume = hounsfield_volume(ct.series(tmp_path, orientation=ct.tilted(15), at=at, change=change))
    assert set(volume.flags) == {"gantry_tilt", "interpolated_slices"}
    assert np.abs(centre_of_ball(volume) - expected_centre(volume)).max() < 0.5


def test_the_same_image_twice_counts_once(tmp_path: Path) -> None:
    twice = [*ct.series(tmp_path), *ct.series(tmp_path / "again", at=ct.positions()[:2], first=100)]
    volume = hounsfield_volume(twice)
    assert volume.flags == ("duplicates_dropped",)
    assert volume.record["duplicates_dropped"] == 2
    assert off_by(volume).max() <= 0.51


def test_slightly_uneven_distances_are_told(tmp_path: Path) -> None:
    at = [(*p[:2], p[2] + (0.9 if n == 9 else 0)) for n, p in enumerate(ct.positions())]
    assert hounsfield_volume(ct.series(tmp_path, at=at)).flags == ("uneven_spacing",)


def test_padding_is_air_whatever_its_sign(tmp_path: Path) -> None:
    def change(n: int, ds: Dataset) -> Dataset:
        stored = np.frombuffer(ds.PixelData, np.uint16).reshape(ct.SIZE, ct.SIZE).astype(np.int16) - 1024
        stored[:6, :6] = 2000
        ct.set_pixels(ds, stored)
        ds.RescaleIntercept = "0"
        ds.add_new(0x00280120, "US", 2000)
        return ds

    volume = hounsfield_volume(ct.series(tmp_path, change=change))
    assert (volume.hu[:, :6, :6] == -1024).all()
    assert volume.record["padded_share"] == pytest.approx(36 / ct.SIZE**2, rel=0.05)


def without(keyword: str) -> ct.Change:
    def change(n: int, ds: Dataset) -> Dataset:
        del ds[keyword]
        return ds

    return change


def with_value(keyword: str, value: object, only: int | None = None) -> ct.Change:
    def change(n: int, ds: Dataset) -> Dataset:
        if only in (None, n):
            setattr(ds, keyword, value)
        return ds

    return change


def eight_bits(n: int, ds: Dataset) -> Dataset:
    stored = np.frombuffer(ds.PixelData, np.uint16).reshape(ct.SIZE, ct.SIZE)
    ct.set_pixels(ds, (stored // 8).astype(np.uint8))
    ds.RescaleSlope = "8"
    return ds


def cut_off(n: int, ds: Dataset) -> Dataset:
    if n == 11:
        ds["PixelData"].value = ds.PixelData[:1000]
    return ds


REFUSED: dict[str, tuple[str, ct.Change]] = {
    "one slice": ("too_few_slices", lambda n, ds: ds if n == 3 else None),
    "two slices": ("too_few_slices", lambda n, ds: ds if n in (3, 4) else None),
    "three slices lost in one gap": ("incomplete_series", lambda n, ds: None if n in (9, 10, 11) else ds),
    "a gap of more than 10 mm": ("incomplete_series", lambda n, ds: None if n in (9, 10) else ds),
    "spacing that changes": ("uneven_spacing", lambda n, ds: moved(ds, 1.5 * max(0, n - 11))),
    "another image at one position": ("duplicate_slices", lambda n, ds: moved(ds, -5.0 if n == 11 else 0)),
    "one coronal slice": ("mixed_geometry", with_value("ImageOrientationPatient", list(ct.CORONAL), only=4)),
    "another matrix": ("mixed_geometry", lambda n, ds: smaller(ds) if n == 4 else ds),
    "another frame of reference": ("mixed_geometry", with_value("FrameOfReferenceUID", "1.2.3", only=4)),
    "no position": ("mixed_geometry", without("ImagePositionPatient")),
    "no pixel spacing": ("mixed_geometry", without("PixelSpacing")),
    "no rescale slope": ("not_hounsfield", without("RescaleSlope")),
    "no rescale intercept": ("not_hounsfield", without("RescaleIntercept")),
    "a rescale slope beyond all numbers": ("not_hounsfield", with_value("RescaleSlope", "1e300")),
    "a negative rescale slope": ("not_hounsfield", with_value("RescaleSlope", "-1")),
    "a position beyond every scanner": ("mixed_geometry", with_value("ImagePositionPatient", ["1e300", "0", "0"], only=3)),
    "pixels of no size": ("mixed_geometry", with_value("PixelSpacing", ["1e-300", "1e-300"])),
    "colour": ("not_hounsfield", with_value("SamplesPerPixel", 3)),
    "another unit": ("not_hounsfield", with_value("RescaleType", "US")),
    "an intercept of zero": ("not_hounsfield", with_value("RescaleIntercept", "0")),
    "an intercept twice": ("not_hounsfield", with_value("RescaleIntercept", "-2048")),
    "8 bits": ("not_hounsfield", eight_bits),
    "a coronal series": ("not_axial", with_value("ImageOrientationPatient", list(ct.CORONAL))),
    "turned in its plane": ("not_axial", with_value("ImageOrientationPatient", [0, 1, 0, -1, 0, 0])),
    "one slice cut off": ("unreadable_pixels", cut_off),
}


def moved(ds: Dataset, mm: float) -> Dataset:
    x, y, z = (float(v) for v in ds.ImagePositionPatient)
    ds.ImagePositionPatient = [x, y, z + mm]
    return ds


def smaller(ds: Dataset) -> Dataset:
    ct.set_pixels(ds, np.zeros((32, 32), np.uint16))
    return ds


@pytest.mark.parametrize("case", REFUSED)
def test_what_makes_no_volume_is_refused_with_a_code(tmp_path: Path, case: str) -> None:
    code, change = REFUSED[case]
    at = [[0, 0, 0], [0, 5, 0], [0, 10, 0]] if case == "a coronal series" else None
    assert refusal(ct.series(tmp_path, change=change, at=at)) == code


def test_a_refusal_says_how_many_slices_are_cut_off(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=rf"^1 of {ct.COUNT} slices cannot be read\. The pixel data is cut off"):
        hounsfield_volume(ct.series(tmp_path, change=cut_off))


@pytest.mark.parametrize("orientation", [ct.AXIAL, ct.tilted(15)], ids=["axial", "tilted"])
def test_threads_change_nothing(tmp_path: Path, orientation: tuple[float, ...]) -> None:
    at = ct.positions(40, 3, orientation)
    once = ct.series(tmp_path, orientation=orientation, at=at, change=lambda n, ds: None if n in (17, 18) else ds)
    twice = [*once, *ct.series(tmp_path / "again", orientation=orientation, at=at[:2], first=100)]
    one, many = hounsfield_volume(twice), hounsfield_volume(twice, threads=4)
    assert many.hu.tobytes() == one.hu.tobytes()
    assert (many.record, many.slices, many.flags) == (one.record, one.slices, one.flags)
    assert one.record["duplicates_dropped"] == 2


@pytest.mark.parametrize("case", ["one slice cut off", "another image at one position", "8 bits", "colour"])
def test_threads_refuse_with_the_same_words(tmp_path: Path, case: str) -> None:
    instances = ct.series(tmp_path, change=REFUSED[case][1])
    said = []
    for threads in (1, 4):
        with pytest.raises(StudyError) as caught:
            hounsfield_volume(instances, threads)
        said.append((type(caught.value), str(caught.value)))
    assert said[0] == said[1]


@pytest.mark.parametrize("first", [100, 900], ids=["before its twin", "behind its twin"])
def test_a_copy_that_is_cut_off_is_no_copy(tmp_path: Path, first: int) -> None:
    copies = ct.series(tmp_path / "again", at=ct.positions()[:12], first=first, change=cut_off)
    with pytest.raises(StudyError, match=rf"^1 of {ct.COUNT + 12} slices cannot be read"):
        hounsfield_volume([*ct.series(tmp_path), *copies])


def test_a_multi_frame_object_that_ends_early_is_refused(tmp_path: Path) -> None:
    ds = ct.multi_frame([ct.ct_slice(n + 1, ct.AXIAL, p) for n, p in enumerate(ct.positions())])
    ds["PixelData"].value = ds.PixelData[: 10 * ct.SIZE * ct.SIZE * 2]
    assert refusal([ct.written(ds, tmp_path)]) == "unreadable_pixels"


def test_a_file_that_went_away_is_refused(tmp_path: Path) -> None:
    instances = ct.series(tmp_path)
    Path(instances[5].path).unlink()
    assert refusal(instances) == "unreadable"


def test_memory_is_one_volume_and_one_slice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicom_node.imaging.hounsfield._SAMPLE", 5_000)  # next to a real volume it is nothing
    instances = ct.series(tmp_path, at=ct.positions(80, 2))
    hounsfield_volume(instances)  # decoders and tables are loaded once
    tracemalloc.start()
    volume = hounsfield_volume(instances)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < volume.hu.nbytes * 1.5
