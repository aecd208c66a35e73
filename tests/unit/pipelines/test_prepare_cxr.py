"""Preparation of a radiograph: fixed values, geometry that leads back, and each step by itself."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from models.phantoms.cxr import chest_phantom
from pipelines.blocks.prepare_cxr import OVER_EXPOSED, UNDER_EXPOSED, WIDE_BORDER, on_network, prepare, to_source

BORDER = {"strip": 0.02, "centre": 0.60, "ratio": 0.10, "std": 0.03, "most": 0.20, "aspect": [0.6, 1.6]}
CONFIG: dict[str, Any] = {
    "size": 224,
    "working_size": 512,
    "percentiles": [0.5, 99.5],
    "border": BORDER,
    "exposure": {"low": 0.2, "high": 0.8},
    "clahe": {"below": 0.9, "clip_limit": 2.0, "tiles": 8},
    "mean": 0.5,
    "std": 0.25,
}
GOLDEN = [-1.896, 0.591, 0.497, -1.856, 0.205, -0.808, -1.065, 0.532, 0.32, -1.381, 0.555, 0.584, 1.084, 1.063, 0.846, 1.095]
GOLDEN_MEAN = 0.0209
PLAIN: dict[str, Any] = {"size": 64, "percentiles": [0, 100]}


def test_the_prepared_phantom_keeps_its_golden_values() -> None:
    prepared = prepare(chest_phantom(7, 600)[0], CONFIG)
    values = prepared.network_input[0, 0]
    assert values.shape == (224, 224)
    assert values.dtype == np.float32
    points = values[20::60, 20::60].ravel()
    assert points == pytest.approx(GOLDEN, abs=2e-2)  # CLAHE works in 256 grey levels: one level is 0.016 here
    assert float(values.mean()) == pytest.approx(GOLDEN_MEAN, abs=2e-3)
    assert prepared.record["clahe"] is True


@pytest.mark.parametrize("shape", [(300, 200), (200, 300), (1000, 777), (64, 64), (50, 40)])
def test_the_affine_leads_from_every_network_pixel_back_to_its_source_pixel(shape: tuple[int, int]) -> None:
    rows, columns = shape
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    for ramp, axis in ((x, 0), (y, 1)):
        prepared = prepare(ramp, {**PLAIN, "working_size": 512})
        n = np.arange(64)
        across = prepared.affine[axis, axis] * n + prepared.affine[axis, 2]
        top = columns - 1 if axis == 0 else rows - 1
        inside = (across > 0.03 * top) & (across < 0.97 * top)
        seen = prepared.network_input[0, 0, 32, :] if axis == 0 else prepared.network_input[0, 0, :, 32]
        low, high = prepared.record["percentiles"]
        assert seen[inside] * (high - low) + low == pytest.approx(across[inside], abs=0.02 * top + 0.5)


def test_a_map_placed_on_the_source_lies_over_what_the_network_saw() -> None:
    image = np.full((500, 300), 0.2, np.float32)
    image[350:390, 60:100] = 1.0  # what the network sees bright ...
    prepared = prepare(image, PLAIN)
    placed = to_source(prepared.network_input[0, 0], prepared)
    rows, columns = np.nonzero(placed > 0.5)
    assert placed.shape == image.shape
    assert abs(rows.mean() - 369.5) < 2  # ... comes back where it was
    assert abs(columns.mean() - 79.5) < 2


def test_a_map_is_zero_where_the_network_saw_nothing_and_smooth_inside() -> None:
    image = np.random.default_rng(1).random((400, 400)).astype(np.float32) + 1
    prepared = prepare(image, {**PLAIN, "crop": "lungs", "crop_margin": 0.0}, lung_box=(100, 120, 300, 320))
    placed = to_source(np.ones((7, 7), np.float32), prepared)
    assert placed[150:290, 130:270].min() == pytest.approx(1.0)
    assert placed[:118].max() == placed[:, :98].max() == placed[323:].max() == 0
    assert float(placed.sum()) == pytest.approx(200 * 200, rel=0.02)
    ramp = to_source(np.tile(np.arange(7, dtype=np.float32), (7, 1)), prepared)
    assert np.all(np.diff(ramp[200, 100:300]) >= 0)


def test_a_dark_even_border_is_cut_and_recorded_in_source_pixels() -> None:
    image = np.random.default_rng(2).uniform(0.4, 1.0, (1000, 1000)).astype(np.float32)
    image[:100] = 0
    image[:, 900:] = 0
    prepared = prepare(image, CONFIG)
    top, bottom, left, right = prepared.record["border"]
    assert 80 <= top <= 110
    assert 80 <= right <= 110
    assert bottom == left == 0
    assert WIDE_BORDER not in prepared.flags


def test_at_most_a_fifth_of_a_side_is_cut_and_then_flagged() -> None:
    image = np.random.default_rng(2).uniform(0.4, 1.0, (1000, 1000)).astype(np.float32)
    image[:400] = 0
    prepared = prepare(image, CONFIG)
    assert prepared.record["border"][0] < 200
    assert WIDE_BORDER in prepared.flags


def test_a_border_with_structure_stays() -> None:
    image = np.random.default_rng(2).uniform(0.0, 1.0, (500, 500)).astype(np.float32)
    assert prepare(image, CONFIG).record["border"] == [0, 0, 0, 0]


@pytest.mark.parametrize(("power", "flag"), [(8.0, UNDER_EXPOSED), (0.02, OVER_EXPOSED)])
def test_exposure_beyond_the_training_quantiles_is_flagged_and_equalised(power: float, flag: str) -> None:
    image = np.random.default_rng(3).random((300, 300)).astype(np.float32) ** power
    prepared = prepare(image, {**CONFIG, "clahe": {"below": 0.0, "clip_limit": 2.0, "tiles": 8}})
    assert flag in prepared.flags
    assert prepared.record["clahe"] is True


def test_good_contrast_is_not_equalised() -> None:
    image = np.random.default_rng(3).random((300, 300)).astype(np.float32)
    assert prepare(image, {**CONFIG, "clahe": {"below": 0.5, "clip_limit": 2.0, "tiles": 8}}).record["clahe"] is False


def test_scale_and_offset_of_the_grey_values_do_not_matter() -> None:
    image = chest_phantom(3, 256)[0]
    one, two = prepare(image, CONFIG), prepare(image * 3000 + 50, CONFIG)
    assert two.network_input == pytest.approx(one.network_input, abs=0.04)


def test_a_constant_image_is_flagged_and_gives_finite_numbers() -> None:
    prepared = prepare(np.full((100, 100), 7, np.float32), CONFIG)
    assert "constant_image" in prepared.flags
    assert np.isfinite(prepared.network_input).all()


def test_the_source_is_not_changed() -> None:
    image = chest_phantom(3, 128)[0]
    before = image.copy()
    prepare(image, CONFIG)
    assert np.array_equal(image, before)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({**PLAIN, "crop": "lungs"}, "no lung box"),
        ({**PLAIN, "crop": "heart"}, "not known"),
        ({**PLAIN, "outside": {"margin": 0.05, "grey": 0.5}}, "no lungs were given"),
    ],
)
def test_a_crop_that_cannot_be_made_is_an_error_that_says_so(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        prepare(chest_phantom(3, 128)[0], config)


def test_where_lungs_alone_are_seen_the_rest_is_an_even_grey_and_the_lungs_are_as_they_were() -> None:
    image = np.random.default_rng(1).random((200, 160)).astype(np.float32)
    lungs = np.zeros((200, 160), np.uint8)
    lungs[80:120, 60:100] = 1
    config = {**PLAIN, "outside": {"margin": 0.05, "grey": 0.5}}
    whole, alone = (prepare(image, c, lungs=lungs).network_input[0, 0] for c in (PLAIN, config))
    there = on_network(lungs, prepare(image, PLAIN).affine, 64) > 0.5
    assert np.allclose(alone[there], whole[there], atol=0.01)
    assert np.allclose(alone[:10], 0.5, atol=1e-6)
    nothing = prepare(image, config, lungs=np.zeros_like(lungs)).network_input[0, 0]
    assert np.array_equal(nothing, whole)


def test_a_radiograph_of_seven_megapixels_is_prepared_quickly() -> None:
    image = np.random.default_rng(0).random((3000, 2500)).astype(np.float32)
    prepare(image, CONFIG)
    started = time.process_time()
    prepare(image, CONFIG)
    assert time.process_time() - started < 1.0  # about 0.03 s on an idle core
