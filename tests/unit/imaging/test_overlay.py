"""The picture shows the image as it is, colour only where there is evidence, and every word in full."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ImageFont

from dicom_node.imaging.overlay import Overlay, draw_on, reduced
from dicom_node.imaging.overlay_bands import Caption, ClassBar, wrapped

CAPTION = Caption(
    warnings=("RESEARCH USE ONLY - NOT FOR DIAGNOSIS", "UNVALIDATED MODEL"),
    headline="Abnormal, above threshold.",
    tone="suspected",
    bars=(
        ClassBar("Abnormal", 0.87, 0.62, (0.31, 0.8), positive=True),
        ClassBar("Tuberculosis", note="Too few adult cases of a second source in calibration."),
    ),
    lines=(
        'Policy "screening": Sensitivity at least 0.90 with 95 % confidence, n = 120 adults.',
        "Analysed 2026-11-01 10:20 (UTC+05:30).",
    ),
    map_name="Grad-CAM, Abnormal",
)


def gray(rows: int, columns: int) -> NDArray[np.float32]:
    return np.tile(np.linspace(0, 1, columns, dtype=np.float32), (rows, 1))


def draw_overlay(image: NDArray[np.float32], caption: Caption, **layers: Any) -> Overlay:
    return draw_on(reduced(image), image.shape, caption, **layers)


def image_of(overlay: Overlay) -> NDArray[np.uint8]:
    rows, columns = overlay.image_shape
    return overlay.pixels[overlay.offset_y : overlay.offset_y + rows, overlay.offset_x : overlay.offset_x + columns]


def test_a_small_image_is_not_enlarged() -> None:
    """The image keeps its matrix and its gray values; the picture is wide enough to be read."""
    overlay = draw_overlay(gray(100, 80), CAPTION)
    assert (overlay.image_shape, overlay.scale_x, overlay.scale_y) == ((100, 80), 1.0, 1.0)
    assert overlay.pixels.shape[1] >= 480
    assert np.abs(image_of(overlay)[:, :, 0].astype(float) - gray(100, 80) * 255).max() <= 1


@pytest.mark.parametrize("shape", [(512, 512), (3000, 2500), (2000, 3001)])
def test_the_scale_maps_the_picture_onto_the_source(shape: tuple[int, int]) -> None:
    """The last corner of the image within the picture is the last corner of the source."""
    overlay = draw_overlay(gray(*shape), CAPTION)
    rows, columns = overlay.image_shape
    assert max(rows, columns) <= 1280
    assert (rows * overlay.scale_y, columns * overlay.scale_x) == pytest.approx(shape)


def test_only_evidence_is_coloured() -> None:
    """An all-zero map leaves the image gray; a map with one spot colours that spot and nothing far from it."""
    blank = image_of(draw_overlay(gray(300, 300), CAPTION, saliency=np.zeros((300, 300), np.float32)))
    assert (blank.max(axis=2) == blank.min(axis=2)).all()
    spot = np.zeros((300, 300), np.float32)
    spot[100:140, 200:240] = 0.003  # raw values may be small: only their share of the maximum counts
    shown = image_of(draw_overlay(gray(300, 300), CAPTION, saliency=spot))
    coloured = shown.max(axis=2) != shown.min(axis=2)
    assert coloured[110:130, 210:230].all()
    coloured[95:145, 195:245] = False
    assert not coloured.any()


def test_lungs_are_outlined_not_filled() -> None:
    """The outline has colour; the inside of the lung stays gray."""
    mask = np.zeros((300, 300), np.uint8)
    mask[50:250, 50:250] = 1
    shown = image_of(draw_overlay(gray(300, 300), CAPTION, lungs=mask))
    assert (shown[150, 48:53].max(axis=1) > shown[150, 48:53].min(axis=1)).any()
    assert (shown[100:200, 100:200].max(axis=2) == shown[100:200, 100:200].min(axis=2)).all()


@pytest.mark.parametrize("side", [64, 512, 900, 3000])
def test_no_word_touches_the_edge(side: int) -> None:
    """With long sentences at any size the outermost columns and rows of the bands hold no ink."""
    long = dataclasses.replace(
        CAPTION,
        headline="A very long headline that says the same thing again and again, " * 3,
        warnings=(*CAPTION.warnings, "SYNTHETIC: MODEL TRAINED ON ARTIFICIAL IMAGES", "W" * 120),
        bars=(
            *CAPTION.bars,
            ClassBar("Interstitial lung disease of unknown and unknowable origin", 0.2, 0.5, (0.3, 0.6), note="Note. " * 40),
        ),
        lines=(*CAPTION.lines, "x" * 500),
    )
    overlay = draw_overlay(gray(side, side), long, saliency=np.ones((side, side), np.float32))
    top, bottom = overlay.pixels[: overlay.offset_y], overlay.pixels[overlay.offset_y + overlay.image_shape[0] :]
    for band in (top, bottom):
        paper = band[0, 0]
        for edge in (band[:, :3], band[:, -3:], band[:2], band[-3:]):
            assert (edge == paper).all()


def test_wrapped_lines_hold_every_word() -> None:
    """Nothing is lost and no line is wider than asked, single long words included."""
    font = ImageFont.load_default(size=14)
    words = "one two three " + "y" * 90 + " four five " * 9
    lines = wrapped(words, font, 120)
    assert "".join(lines).replace(" ", "") == words.replace(" ", "")
    assert max(font.getlength(line) for line in lines) <= 120


def test_a_map_on_another_grid_is_a_defect() -> None:
    """A map that does not lie on the image's grid is not stretched onto it."""
    with pytest.raises(ValueError, match="saliency"):
        draw_overlay(gray(30, 30), CAPTION, saliency=np.ones((7, 7), np.float32))
