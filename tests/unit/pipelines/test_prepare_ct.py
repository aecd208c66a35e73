"""Preparation of a CT: golden values, geometry that leads back, and which slices are chosen where nobody marked any."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models.phantoms.ct import CtPhantom, thorax
from pipelines.blocks.candidate_slices import candidate_slices
from pipelines.blocks.prepare_ct import prepare_slice, prepare_volume, slab_about
from pipelines.blocks.prepare_cxr import spread_on_source, to_source

SLICES: dict[str, Any] = {
    "window": {"level": -600, "width": 1500},
    "outside": "floor",
    "pixel_mm": 3.0,
    "slab_mm": 5.0,
    "size": 112,
}
VOLUMES: dict[str, Any] = {"window_hu": [-1000, 400], "margin_mm": 10, "size": [16, 32, 32]}

GOLDEN_SLICE = [0.0, 0.334, 0.708, 0.0, 0.855, 0.319, 0.0]
GOLDEN_VOLUME = [0.935, 0.119, 0.32, 0.751, 0.641, 0.101, 0.272]
GOLDEN_MEANS = (0.0798, 0.5483)


@pytest.fixture(scope="module")
def phantom() -> CtPhantom:
    return thorax(7, slices=48, size=96, nodules=[("pima", 28.0)])


def test_prepared_values_are_golden(phantom: CtPhantom) -> None:
    one = prepare_slice(phantom.hu, phantom.spacing_mm, phantom.lungs, 24, SLICES).network_input
    whole = prepare_volume(phantom.hu, phantom.spacing_mm, phantom.lungs, VOLUMES).network_input
    assert one.shape == (1, 1, 112, 112)
    assert one.dtype == whole.dtype == np.float32
    assert [round(float(v), 3) for v in one[0, 0, 56, 8::16]] == pytest.approx(GOLDEN_SLICE, abs=2e-3)
    assert [round(float(v), 3) for v in whole[0, 0, 8, 16, ::5]] == pytest.approx(GOLDEN_VOLUME, abs=2e-3)
    assert (float(one.mean()), float(whole.mean())) == pytest.approx(GOLDEN_MEANS, abs=1e-3)


def test_outside_the_lungs_is_the_windows_floor_unless_kept(phantom: CtPhantom) -> None:
    masked = prepare_slice(phantom.hu, phantom.spacing_mm, phantom.lungs, 24, SLICES).network_input
    kept = prepare_slice(phantom.hu, phantom.spacing_mm, phantom.lungs, 24, {**SLICES, "outside": "keep"}).network_input
    assert masked[0, 0, 56, 56] == 0  # the middle of the chest
    assert kept[0, 0, 56, 56] > 0.8
    with pytest.raises(ValueError, match="not known"):
        prepare_slice(phantom.hu, phantom.spacing_mm, phantom.lungs, 24, {**SLICES, "outside": "black"})


@pytest.mark.parametrize(("pixel_mm", "size"), [(3.0, 112), (1.5, 160), (5.0, 112), (3.958, 96)])
def test_a_mark_in_the_input_comes_back_to_its_pixel(pixel_mm: float, size: int) -> None:
    hu = np.full((3, 90, 96), -1350, np.float32)
    hu[1, 50:56, 30:36] = 150
    config = {**SLICES, "pixel_mm": pixel_mm, "size": size, "outside": "keep", "slab_mm": 1.0}
    prepared = prepare_slice(hu, (5.0, 4.2, 3.958), np.ones(hu.shape, np.uint8), 1, config)
    rows, columns = np.nonzero(to_source(prepared.network_input[0, 0], prepared) > 0.5)
    assert (rows.mean(), columns.mean()) == pytest.approx((52.5, 32.5), abs=0.5)


def test_thin_slices_are_averaged_to_the_slab() -> None:
    assert slab_about(10, 40, 1.0, 5.0) == slice(8, 13)
    assert slab_about(10, 40, 2.5, 5.0) == slice(10, 12)
    assert slab_about(10, 40, 5.0, 5.0) == slice(10, 11)
    assert slab_about(0, 40, 1.0, 5.0) == slice(0, 3)
    hu = np.zeros((9, 20, 20), np.float32)
    hu[4] = -500
    seen = prepare_slice(hu, (1.0, 3.0, 3.0), np.ones(hu.shape, np.uint8), 4, {**SLICES, "size": 20}).network_input
    assert float(seen[0, 0, 10, 10]) == pytest.approx(min(1.0, (1350 - 100) / 1500), abs=1e-4)


def test_a_volumes_map_comes_back_to_slice_row_and_column(phantom: CtPhantom) -> None:
    prepared = prepare_volume(phantom.hu, phantom.spacing_mm, phantom.lungs, VOLUMES)
    values = np.zeros((4, 8, 8), np.float32)
    values[2, 5, 1] = 1
    placed = np.stack([spread_on_source(prepared.plane_at(values, k), prepared.flat()).whole() for k in range(48)])
    found = np.array(np.nonzero(placed > 0.6 * placed.max())).mean(1)
    ends = [(part[1] - part[0], part[0]) for part in prepared.record["box"]]
    expected = [start + (at + 0.5) / n * length - 0.5 for (length, start), at, n in zip(ends, (2, 5, 1), (4, 8, 8), strict=True)]
    assert found == pytest.approx(expected, abs=1.0)
    assert placed[: prepared.record["box"][0][0]].sum() == 0


@pytest.mark.parametrize("written", [3.333333, 3.333334])
def test_a_pixel_spacing_of_six_decimals_gives_the_box_of_the_exact_one(written: float) -> None:
    lungs = np.zeros((24, 60, 60), np.uint8)
    lungs[8:16, 20:40, 15:45] = 1
    hu = np.full(lungs.shape, -850, np.float32)
    exact, of_file = (prepare_volume(hu, (5.0, mm, mm), lungs, VOLUMES).record["box"] for mm in (10 / 3, written))
    assert exact == of_file == [[6, 18], [17, 43], [12, 48]]


def test_a_volume_without_lungs_is_an_error() -> None:
    with pytest.raises(ValueError, match="no lung"):
        prepare_volume(np.zeros((4, 8, 8), np.float32), (5, 5, 5), np.zeros((4, 8, 8), np.uint8), VOLUMES)


def test_the_slices_of_the_nodule_are_chosen(phantom: CtPhantom) -> None:
    chosen, record = candidate_slices(phantom.hu, phantom.spacing_mm, phantom.lungs, {"slab_mm": 5.0})
    shown = set(phantom.nodules[0].slices())
    assert len(chosen) == 5
    assert len(shown & set(chosen)) >= min(3, len(shown))
    assert record["automatic"] is True


def test_nothing_dense_means_no_slices() -> None:
    hu = np.full((10, 40, 40), -850, np.float32)
    lungs = np.ones(hu.shape, np.uint8)
    assert candidate_slices(hu, (5.0, 3.0, 3.0), lungs, {"slab_mm": 5.0})[0] == ()
    hu[4:6, 30, 5:35] = hu[4:6, 5:30, 5] = 0  # a vessel: as large as a nodule of 8 mm, but thin and bent
    assert candidate_slices(hu, (5.0, 1.0, 1.0), lungs, {"slab_mm": 5.0})[0] == ()


def test_a_volume_outside_the_lungs_is_kept_or_the_windows_floor(phantom: CtPhantom) -> None:
    kept = prepare_volume(phantom.hu, phantom.spacing_mm, phantom.lungs, VOLUMES).network_input[0, 0]
    masked = prepare_volume(phantom.hu, phantom.spacing_mm, phantom.lungs, {**VOLUMES, "outside": "floor"}).network_input[0, 0]
    assert kept[8, 16, 16] > 0.6  # the mediastinum
    assert masked[8, 16, 16] < 0.05
    assert masked[8, 16, 6] == pytest.approx(kept[8, 16, 6], abs=0.02)  # deep in a lung
    with pytest.raises(ValueError, match="not known"):
        prepare_volume(phantom.hu, phantom.spacing_mm, phantom.lungs, {**VOLUMES, "outside": "black"})


def test_the_rim_of_the_lungs_is_floor_whatever_the_pixels_measure(phantom: CtPhantom) -> None:
    """Both lungs, whole and 6 mm narrower each way: on pixels of 3 mm that is two of them, on pixels twice as fine four."""
    masked = {**VOLUMES, "outside": "floor", "window_hu": [-2000, -1000]}  # all that is not floor is white
    finer = {**masked, "rim_mm": 6}
    hu, lungs = np.zeros((4, 40, 40), np.float32), np.zeros((4, 40, 40), np.uint8)
    lungs[:, 10:30, 10:30] = 1
    whole = prepare_volume(hu, (5.0, 3.0, 3.0), lungs, {**masked, "size": [4, 26, 26], "margin_mm": 9}).network_input
    narrow = prepare_volume(hu, (5.0, 3.0, 3.0), lungs, {**finer, "size": [4, 26, 26], "margin_mm": 9}).network_input
    twice = prepare_volume(
        np.repeat(np.repeat(hu, 2, 1), 2, 2), (5.0, 1.5, 1.5), np.repeat(np.repeat(lungs, 2, 1), 2, 2),
        {**finer, "size": [4, 52, 52], "margin_mm": 9},
    ).network_input  # fmt: skip
    assert [int((one[0, 0, 1] > 0.5).sum()) for one in (whole, narrow, twice)] == [20 * 20, 16 * 16, 32 * 32]
