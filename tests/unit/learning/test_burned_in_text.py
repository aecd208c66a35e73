"""Writing in the picture is found; anatomy, a side marker and noise are not taken for it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from dicom_node.learning.burned_in_text import has_writing
from models.phantoms.cxr import chest_phantom

CHEST = (chest_phantom(seed=2, size=768)[0] * 255).astype(np.uint8)


def written(text: str, place: tuple[int, int], *, scale: float = 1.0, value: int = 255, thick: int = 2) -> NDArray[np.uint16]:
    """Return the radiograph with something typed into it, in 12 bits."""
    picture = CHEST.copy()
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, value, thick)
    return picture.astype(np.uint16) * 16


@pytest.mark.parametrize("place", [(10, 40), (450, 40), (10, 750), (450, 750)])
@pytest.mark.parametrize("scale", [0.6, 1.2])
def test_a_name_or_a_date_in_any_corner(place: tuple[int, int], scale: float) -> None:
    assert has_writing(written("DOE JANE 1951", place, scale=scale))
    assert has_writing(4095 - written("1951-07-13", place, scale=scale)), "black on white"


def test_in_one_of_several_frames() -> None:
    assert has_writing(np.stack([CHEST, written("DOE JANE", (20, 50)) // 16]))


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_a_radiograph_with_its_side_marker_is_clean(seed: int) -> None:
    plain = (chest_phantom(seed=seed, size=768, abnormal=True)[0] * 255).astype(np.uint8)
    assert not has_writing(plain)
    cv2.putText(plain, "R", (60, 120), cv2.FONT_HERSHEY_SIMPLEX, 1.4, 255, 3)
    assert not has_writing(plain)
    assert not has_writing(np.clip(plain + np.random.default_rng(seed).normal(0, 6, plain.shape), 0, 255).astype(np.uint8))


def test_a_blank_picture_has_none() -> None:
    assert not has_writing(np.full((64, 64), 7, np.uint16))
