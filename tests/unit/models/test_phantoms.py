"""Drawn radiographs: the same every time, different by the lesion alone, valid as DICOM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.phantoms.cxr import chest_phantom
from models.phantoms.dicom import as_radiograph, to_bytes
from models.phantoms.other_views import abdomen, lateral, limb
from tests.factories.dicom_validators import dciodvfy_errors


def test_a_phantom_depends_on_its_seed_alone() -> None:
    assert np.array_equal(chest_phantom(5, 128)[0], chest_phantom(5, 128)[0])
    assert not np.array_equal(chest_phantom(5, 128)[0], chest_phantom(6, 128)[0])


@pytest.mark.parametrize("seed", range(5))
def test_the_abnormal_phantom_is_the_same_person_with_brighter_patches_in_the_lungs(seed: int) -> None:
    normal, none, lungs = chest_phantom(seed, 256)
    abnormal, lesion, same_lungs = chest_phantom(seed, 256, abnormal=True)
    assert none.sum() == 0
    assert np.array_equal(lungs, same_lungs)
    assert lesion.sum() > 50
    assert lungs[lesion > 0].mean() > 0.9
    assert (abnormal - normal)[lesion > 0].mean() > 0.05
    assert np.array_equal(normal[: 256 // 16], abnormal[: 256 // 16])
    assert np.abs(abnormal - normal)[lungs == 0].mean() < 0.002


def test_lungs_are_darker_than_what_surrounds_them() -> None:
    image, _, lungs = chest_phantom(2, 256)
    assert image[lungs > 0].mean() < image[64:192][lungs[64:192] == 0].mean()


@pytest.mark.parametrize("draw", [abdomen, lateral, limb])
def test_other_views_are_pictures_of_the_asked_size(draw: Any) -> None:
    image = draw(1, 200)
    assert image.shape == (200, 200)
    assert image.dtype == np.float32
    assert image.std() > 0.1


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"modality": "CR"},
        {"monochrome1": True},
        {"modality": "CR", "monochrome1": True},
        {"bits_stored": 8},
        {"bits_stored": 16},
    ],
)
def test_dciodvfy_finds_no_error_in_a_wrapped_phantom(tmp_path: Path, how: dict[str, Any]) -> None:
    path = tmp_path / "phantom.dcm"
    path.write_bytes(to_bytes(as_radiograph(chest_phantom(1, 128)[0], **how)))
    assert dciodvfy_errors(path) == []


def test_wrapping_twice_gives_the_same_bytes() -> None:
    image = chest_phantom(1, 128)[0]
    assert to_bytes(as_radiograph(image, seed="x")) == to_bytes(as_radiograph(image, seed="x"))
    assert as_radiograph(image, seed="x").SOPInstanceUID != as_radiograph(image, seed="y").SOPInstanceUID
