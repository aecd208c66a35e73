"""Are these lungs; how they are measured; where does the energy of a map lie; what calibration does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from dicom_node.core.findings import Spread
from pipelines.blocks.chest_template import coarse, likeness
from pipelines.blocks.classify import _distance, _reference, _temperatures, calibrated
from pipelines.blocks.lungs import LungFacts, LungLimits, implausible, measure, not_frontal
from pipelines.blocks.prepare_cxr import prepare
from pipelines.blocks.saliency import border_share, place

GOOD = LungFacts(area=0.3, side=0.45, main=1.0, height=0.7, confidence=0.95, contrast=0.8, parted=0.9, symmetry=0.85)
LIMITS = LungLimits()


def test_a_plausible_pair_of_lungs_is_believed() -> None:
    assert implausible(GOOD, LIMITS) == ""
    assert not_frontal(GOOD, LIMITS) == ""


@pytest.mark.parametrize(
    "change",
    [{"area": 0.05}, {"area": 0.8}, {"side": 0.05}, {"main": 0.4}, {"height": 0.2}, {"confidence": 0.6}],
)
def test_each_fact_alone_can_refuse(change: dict[str, float]) -> None:
    assert implausible(LungFacts(**{**vars(GOOD), **change}), LIMITS) != ""


@pytest.mark.parametrize("change", [{"symmetry": 0.1}, {"parted": 0.1}])
def test_one_blob_or_no_mirror_image_is_not_frontal(change: dict[str, float]) -> None:
    assert not_frontal(LungFacts(**{**vars(GOOD), **change}), LIMITS) != ""


def test_a_drawn_pair_is_measured_as_it_was_drawn() -> None:
    mask = np.zeros((100, 100), bool)
    mask[20:80, 10:40] = mask[20:80, 60:90] = True
    seen = np.ones_like(mask)
    facts = measure(mask, mask, mask.astype(np.float32), np.where(mask, 0.2, 0.8).astype(np.float32), seen)
    assert facts.area == pytest.approx(0.36)
    assert (facts.side, facts.main, facts.height) == pytest.approx((0.5, 1.0, 0.6))
    assert (facts.parted, facts.confidence, facts.cut_off) == pytest.approx((1.0, 1.0, 0.0))
    assert facts.symmetry > 0.95
    assert facts.contrast > 1
    assert (facts.tilt, facts.taper, facts.level) == pytest.approx((0.0, 0.0, 0.495))
    assert facts.aspect == pytest.approx(80 / 60)


def test_a_pair_lying_on_its_side_is_tilted_and_one_standing_on_its_head_tapers_the_other_way() -> None:
    mask = np.zeros((100, 100), bool)
    for row in range(20, 80):  # wider below
        mask[row, 40 - row // 4 : 45] = mask[row, 55 : 60 + row // 4] = True
    seen, even = np.ones_like(mask), np.full(mask.shape, 0.5, np.float32)

    def facts(turned: np.ndarray) -> LungFacts:
        return measure(turned, turned, turned.astype(np.float32), even, seen)

    assert facts(mask).taper > 0.1
    assert facts(mask[::-1]).taper == pytest.approx(-facts(mask).taper)
    assert facts(np.rot90(mask)).tilt == pytest.approx(1.0)


def test_no_mask_at_all_is_refused() -> None:
    nothing = np.zeros((10, 10), bool)
    facts = measure(nothing, nothing, nothing.astype(np.float32), np.zeros((10, 10), np.float32), ~nothing)
    assert implausible(facts, LIMITS) != ""


def test_a_coarse_picture_takes_a_box_at_the_edge_and_its_negative_is_its_opposite() -> None:
    image = np.random.default_rng(3).random((320, 300)).astype(np.float32)
    patch = coarse(image, (0.0, 0.0, 300.0, 320.0))
    assert patch.shape == (16, 16)
    assert (patch.mean(), np.linalg.norm(patch)) == pytest.approx((0, 1), abs=1e-9)
    assert likeness(patch, patch) == pytest.approx(1)
    assert likeness(coarse(1 - image, (0.0, 0.0, 300.0, 320.0)), patch) == pytest.approx(-1, abs=1e-4)
    assert likeness(coarse(np.zeros((64, 64), np.float32)), patch) == 0


def test_energy_in_lung_and_border_share_are_shares() -> None:
    image = np.random.default_rng(0).random((100, 100)).astype(np.float32)
    prepared = prepare(image, {"size": 64, "percentiles": [0, 100]})
    lungs = np.zeros((100, 100), np.uint8)
    lungs[:, :50] = 1
    (placed,) = place("abnormal", {"Grad-CAM": np.ones((8, 8), np.float32)}, prepared, "1.2", lungs)
    assert placed.energy_in_lung == pytest.approx(0.5)
    assert placed.border_share == pytest.approx(1 - 0.9**2, abs=1e-6)
    corner = np.zeros((100, 100), np.float32)
    corner[0, 0] = 5
    eye = np.eye(100, dtype=np.float32)
    assert border_share(Spread(corner, eye, eye)) == 1


def test_an_empty_map_stays_empty_and_has_no_shares() -> None:
    prepared = prepare(np.random.default_rng(0).random((90, 80)).astype(np.float32), {"size": 64, "percentiles": [0, 100]})
    (placed,) = place("abnormal", {"Grad-CAM": np.full((7, 7), -1, np.float32)}, prepared, "1.2", np.ones((90, 80), np.uint8))
    assert placed.values.max() == 0
    assert placed.energy_in_lung is None
    assert placed.border_share is None


def test_temperature_softens_without_reordering_and_softmax_classes_sum_to_one() -> None:
    logits = np.array([2.0, 1.0, -1.0, 0.5])
    keys, kinds = ["abnormal", "tuberculosis", "pneumonia", "normal"], ["sigmoid", "softmax", "softmax", "softmax"]
    plain = calibrated(logits, keys, kinds, dict.fromkeys(keys, 1.0))
    soft = calibrated(logits, keys, kinds, dict.fromkeys(keys, 4.0))
    assert plain["abnormal"] == pytest.approx(1 / (1 + np.exp(-2)))
    assert soft["abnormal"] == pytest.approx(1 / (1 + np.exp(-0.5)))
    assert sum(soft[k] for k in keys[1:]) == pytest.approx(1)
    assert soft["tuberculosis"] > soft["normal"] > soft["pneumonia"]
    assert calibrated(np.array([900.0]), ["a"], ["sigmoid"], {"a": 1.0})["a"] == 1


def test_a_temperature_stands_for_all_classes_or_for_each(tmp_path: Path) -> None:
    assert _temperatures(tmp_path, "none", ("a",)) == {"a": 1.0}
    (tmp_path / "calibration.yaml").write_text(yaml.safe_dump({"method": "temperature", "temperature": {"a": 1.5}}))
    assert _temperatures(tmp_path, "each", ("a", "b")) == {"a": 1.5, "b": 1.0}
    (tmp_path / "calibration.yaml").write_text(yaml.safe_dump({"parameters": {"temperature": 2}}))
    assert _temperatures(tmp_path, "all", ("a", "b")) == {"a": 2.0, "b": 2.0}


def test_the_distance_is_mahalanobis_over_the_bundles_limit(tmp_path: Path) -> None:
    path = tmp_path / "reference.npz"
    assert _distance(np.ones(2, np.float32), _reference(path, "none")) is None
    np.savez(path, embedding_mean=np.zeros(2), embedding_precision=np.diag([4.0, 1.0]), distance_limit=2.0)
    reference = _reference(path, "some")
    assert _distance(np.array([1.0, 0.0], np.float32), reference) == pytest.approx(1.0)
    assert _distance(np.array([0.0, 4.0], np.float32), reference) == pytest.approx(2.0)
