"""The picture that a radiologist sees: the radiograph, where the model looked, and around it what was found and by whom.

Nothing is written over the image itself: all words stand in a band above and a band below it. Words are measured with the font and
wrapped, so none is cut off at any size.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dicom_node.core.findings import Spread, probability_text

#: Longest side of the image within the picture; a source that is smaller is never enlarged. With the words around it, this fills a
#: reading screen's height; the radiograph itself is in the PACS, and every pixel more is hashed, written and sent.
MAX_SIDE = 1280
#: Narrowest picture: a smaller image stands in the middle of it.
MIN_WIDTH = 480
#: Shares of the map's maximum: below the first nothing is coloured, at each a contour is drawn or named.
LEVELS = (0.25, 0.5, 0.75)

_RAMP = ((255, 221, 87), (255, 140, 50), (235, 40, 95))  # at 25, 50 and 75 % and above; told apart without red-green vision
_LUNG = (72, 209, 204)
_PAPER = (16, 20, 26)
_RULE = (52, 60, 72)
_INK = (238, 241, 245)
_DIM = (158, 168, 182)
_WARNING = (255, 196, 64)
TONES = {"suspected": (255, 122, 89), "gray": (255, 196, 64), "not_suspected": (110, 200, 160), "": _DIM}

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class ClassBar:
    """One class: a bar 0..1 with its thresholds; ``probability`` None: not assessed, ``note`` says why."""

    name: str
    probability: float | None = None
    threshold: float | None = None
    gray_zone: tuple[float, float] | None = None
    positive: bool = False
    note: str = ""


@dataclass(frozen=True)
class Caption:
    """The words around the image. ``tone``: suspected, gray, not_suspected."""

    warnings: tuple[str, ...]  # RESEARCH USE ONLY …, each in its own frame
    headline: str
    tone: str = ""
    bars: tuple[ClassBar, ...] = ()
    lines: tuple[str, ...] = ()  # below the image: policy, guarantee, model, time
    map_name: str = ""  # "Grad-CAM, Abnormal"; names the colours in the legend
    lung_name: str = ""


@dataclass(frozen=True)
class Overlay:
    """The finished picture.

    ``pixels``: uint8 (rows, columns, 3), RGB. A picture point (x, y) is the source point ``((x - offset_x) * scale_x,
    (y - offset_y) * scale_y)``, both counted from the corner of the top left pixel. ``image_shape``: (rows, columns) of the image
    within.
    """

    pixels: NDArray[np.uint8]
    scale_x: float
    scale_y: float
    offset_x: int
    offset_y: int
    image_shape: tuple[int, int]


def reduced(gray: NDArray[np.float32], max_side: int = MAX_SIDE) -> NDArray[np.uint8]:
    """Return the image as the picture shows it: uint8, its longest side ``max_side`` at most. ``gray``: float32, 0..1."""
    rows, columns = gray.shape
    size = _reduced_size(rows, columns, max_side)
    return _shrunk(cv2.convertScaleAbs(gray, alpha=255), size)


def _reduced_size(rows: int, columns: int, max_side: int) -> tuple[int, int]:
    """Return width and height."""
    ratio = min(1.0, max_side / max(rows, columns))
    return max(1, round(columns * ratio)), max(1, round(rows * ratio))


def _shrunk(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Halve by means of four while that is not too small, then interpolate: five times as fast as exact areas."""
    while image.shape[1] >= 2 * size[0] and image.shape[0] >= 2 * size[1]:
        image = np.asarray(cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA), np.uint8)
    return image if size == image.shape[::-1] else np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def draw_overlay(
    gray: NDArray[np.float32],
    caption: Caption,
    saliency: NDArray[np.float32] | Spread | None = None,
    lungs: NDArray[np.uint8] | None = None,
    max_side: int = MAX_SIDE,
) -> Overlay:
    """Draw the picture of an image that is at hand: ``reduced``, then ``draw_on``."""
    return draw_on(reduced(gray, max_side), gray.shape, caption, saliency, lungs)


def draw_on(
    image: NDArray[np.uint8],
    shape: tuple[int, ...],
    caption: Caption,
    saliency: NDArray[np.float32] | Spread | None = None,
    lungs: NDArray[np.uint8] | None = None,
) -> Overlay:
    """Draw the picture.

    Parameters
    ----------
    image
        What ``reduced`` gave.
    shape
        (rows, columns) of the image before that; ``saliency`` and ``lungs`` lie on its grid.
    caption
        The words.
    saliency
        float32 (rows, columns), raw and non-negative; all zero colours nothing. ``None``: no map was made.
    lungs
        uint8 (rows, columns), 1 in lung.

    Raises
    ------
    ValueError
        The map or the mask is not on the image's grid.
    """
    rows, columns = shape
    for name, other in (("saliency", saliency), ("lungs", lungs)):
        if other is not None and other.shape != (rows, columns):
            raise ValueError(f"{name} has shape {other.shape}, the image {(rows, columns)}")
    size = image.shape[1], image.shape[0]
    if isinstance(saliency, Spread):
        seen: NDArray[np.float32] | None = saliency.sampled(size[1], size[0])
    else:
        seen = None if saliency is None else cv2.resize(saliency, size, interpolation=cv2.INTER_AREA)
    coloured = _coloured(image, seen, lungs)
    width = max(MIN_WIDTH, size[0])
    top = _top_band(caption, width)
    bottom = _bottom_band(caption, width, has_map=seen is not None, has_evidence=_has_evidence(seen), has_lungs=lungs is not None)
    left = (width - size[0]) // 2
    picture = np.zeros((top.shape[0] + size[1] + bottom.shape[0], width, 3), np.uint8)
    picture[: top.shape[0]] = top
    picture[top.shape[0] : top.shape[0] + size[1], left : left + size[0]] = coloured
    picture[top.shape[0] + size[1] :] = bottom
    return Overlay(picture, columns / size[0], rows / size[1], left, top.shape[0], (size[1], size[0]))


def _has_evidence(saliency: NDArray[np.float32] | None) -> bool:
    return saliency is not None and float(saliency.max(initial=0.0)) > 0


def _wash_table() -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return colour (256, 1, 3) and opacity (256,) by share of the map's maximum.

    The wash begins softly at the first level, and stays thin: anatomy shows through it.
    """
    share = np.linspace(0, 1, 256)
    colour = np.stack([np.interp(share, LEVELS, channel) for channel in zip(*_RAMP, strict=True)], axis=-1)
    return np.round(colour).astype(np.uint8)[:, None], np.interp(share, LEVELS, (0.0, 0.24, 0.38)).astype(np.float32)


_WASH = _wash_table()


def wash(shade: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the colours of a map alone, to be laid over its image: uint8 (h, w, 4), RGB and opacity.

    ``shade``: uint8 (h, w), 255 at the map's maximum. Same colours and outlines as in the picture.
    """
    layer = np.dstack([cv2.applyColorMap(shade, _WASH[0]), cv2.convertScaleAbs(cv2.LUT(shade, _WASH[1]), alpha=255)])
    thickness = max(1, round(max(shade.shape) / 800))
    for n in (1, 2):
        contours, _ = cv2.findContours((shade >= round(LEVELS[n] * 255)).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        cv2.polylines(layer, contours, True, (*_RAMP[n], 255), thickness, cv2.LINE_AA)
    return np.asarray(layer, np.uint8)


def _coloured(image: NDArray[np.uint8], saliency: NDArray[np.float32] | None, lungs: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """Return the image with its wash and outlines: uint8 (h, w, 3); ``saliency`` is of its size."""
    size = image.shape[1], image.shape[0]
    picture: NDArray[np.uint8] = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    thickness = max(1, round(max(size) / 800))
    highest = 0.0 if saliency is None else float(saliency.max(initial=0.0))
    if saliency is not None and highest > 0:
        # 256 shades are more than an eye tells apart in a thin wash
        shade = cv2.convertScaleAbs(saliency, alpha=255 / highest)
        alpha = cv2.LUT(shade, _WASH[1])
        picture = cv2.blendLinear(picture, cv2.applyColorMap(shade, _WASH[0]), 1 - alpha, alpha)
    if lungs is not None:
        mask = _shrunk(lungs * np.uint8(254), size)
        _outline(picture, (mask >= 127).astype(np.uint8), _LUNG, thickness)
    if saliency is not None and highest > 0:
        for n in (1, 2):
            _outline(picture, (saliency >= np.float32(LEVELS[n] * highest)).astype(np.uint8), _RAMP[n], thickness)
    return picture


def _outline(picture: NDArray[np.uint8], mask: NDArray[np.uint8], colour: Colour, thickness: int) -> None:
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    cv2.polylines(picture, contours, True, colour, thickness, cv2.LINE_AA)


# --- the bands ---------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=64)
def _font(size: float) -> Any:
    """Return the font; made once a size, for reading it takes longer than writing a line with it."""
    return ImageFont.load_default(size=size)


@functools.lru_cache(maxsize=4096)
def _length(words: str, font: Any) -> float:
    """Return the width in pixels; kept, for most words come in every picture. None of them is of the patient."""
    return float(font.getlength(words))


@functools.lru_cache(maxsize=256)
def _written(line: str, font: Any) -> Any:
    """Return the line as a picture of its ink; kept, for most lines come in every picture."""
    _, _, right, bottom = font.getbbox(line)
    ink = Image.new("L", (max(1, math.ceil(right)), max(1, math.ceil(bottom))))
    ImageDraw.Draw(ink).text((0, 0), line, font=font, fill=255)
    return ink


class _Band:
    """A strip of fixed width that grows downward as things are put on it."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.unit = min(26.0, max(12.0, width / 58))  # height of normal text in pixels
        self.margin = round(self.unit * 0.9)
        self.y = round(self.unit * 0.6)
        self._image = Image.new("RGB", (width, 64), _PAPER)
        self.draw = ImageDraw.Draw(self._image)

    def font(self, size: float = 1.0) -> Any:
        return _font(self.unit * size)

    def room(self, height: float) -> None:
        """Make sure that ``height`` more pixels fit."""
        needed = math.ceil(self.y + height + self.unit)
        if needed > self._image.height:
            taller = Image.new("RGB", (self.width, needed + 256), _PAPER)
            taller.paste(self._image, (0, 0))
            self._image = taller
            self.draw = ImageDraw.Draw(taller)

    def text(self, words: str, colour: Colour, size: float = 1.0, *, left: float | None = None) -> None:
        """Write wrapped text and move down."""
        font = self.font(size)
        start = self.margin if left is None else left
        step = self.unit * size * 1.32
        for line in wrapped(words, font, self.width - self.margin - start):
            self.room(step)
            self.draw.bitmap((round(start), self.y), _written(line, font), fill=colour)
            self.y += round(step)

    def gap(self, share: float = 0.4) -> None:
        self.y += round(self.unit * share)

    def rule(self) -> None:
        self.room(4)
        self.draw.line((self.margin, self.y, self.width - self.margin, self.y), fill=_RULE, width=1)
        self.gap(0.5)

    def finished(self) -> NDArray[np.uint8]:
        self.room(0)
        height = math.ceil(self.y + self.unit * 0.5)
        return np.asarray(self._image.crop((0, 0, self.width, height)), dtype=np.uint8)


def wrapped(words: str, font: Any, width: float) -> list[str]:
    """Break ``words`` into lines no wider than ``width`` pixels in ``font``; a single word that is wider is broken within."""
    lines: list[str] = []
    line, length = "", 0.0
    space = _length(" ", font)
    for word in words.split():
        longer = length + space + _length(word, font)
        if line and longer <= width:
            line, length = f"{line} {word}", longer
            continue
        if line:
            lines.append(line)
        while _length(word, font) > width and len(word) > 1:
            cut = next((n for n in range(len(word) - 1, 0, -1) if font.getlength(word[:n]) <= width), 1)
            lines.append(word[:cut])
            word = word[cut:]
        line, length = word, _length(word, font)
    return [*lines, line] if line else lines


def _top_band(caption: Caption, width: int) -> NDArray[np.uint8]:
    band = _Band(width)
    _frames(band, caption.warnings)
    band.gap(0.35)
    tone = TONES.get(caption.tone, _DIM)
    start = band.y
    bar = round(band.unit * 0.3)
    band.text(caption.headline, tone, 1.7, left=band.margin + bar * 3)
    band.draw.rectangle((band.margin, start + band.unit * 0.2, band.margin + bar, band.y - band.unit * 0.35), fill=tone)
    band.gap(0.25)
    _bars(band, caption.bars)
    band.gap(0.2)
    return band.finished()


def _frames(band: _Band, warnings: Sequence[str]) -> None:
    """Write each warning in a frame, side by side while there is room."""
    font = band.font(0.92)
    pad = band.unit * 0.5
    height = band.unit * 1.6
    x = float(band.margin)
    for number, words in enumerate(warnings):
        lines = wrapped(words, font, band.width - 2 * band.margin - 2 * pad)
        length = max((font.getlength(line) for line in lines), default=0.0) + 2 * pad
        if x > band.margin and x + length > band.width - band.margin:
            x = float(band.margin)
            band.y += round(height + band.unit * 0.35)
        tall = height + (len(lines) - 1) * band.unit * 1.2
        band.room(tall)
        filled = number == 0
        box = (x, band.y, x + length, band.y + tall)
        line_width = max(1, round(band.unit / 14))
        fill = _WARNING if filled else None
        band.draw.rounded_rectangle(box, radius=band.unit * 0.3, fill=fill, outline=_WARNING, width=line_width)
        for row, line in enumerate(lines):
            place = (x + pad, band.y + height / 2 + row * band.unit * 1.2)
            band.draw.text(place, line, font=font, fill=_PAPER if filled else _WARNING, anchor="lm")
        if len(lines) > 1:
            band.y += round(tall - height)
        x += length + band.unit * 0.5
    band.y += round(height + band.unit * 0.3)


def _bars(band: _Band, bars: Sequence[ClassBar]) -> None:
    """Draw one row a class: name, bar with threshold, numbers; long names and numbers are wrapped within their column."""
    if not bars:
        return
    font = band.font()
    names = min(max(font.getlength(bar.name) for bar in bars) + band.unit, band.width * 0.4)
    left = band.margin + names
    numbers = font.getlength(">0.99 at or above 0.00, gray zone 0.00-0.00") + band.unit
    length = max(band.unit * 6, min(band.width * 0.3, band.width - left - numbers - band.margin))
    for bar in bars:
        band.room(band.unit * 2)
        if bar.probability is None:
            band.text(f"{bar.name}: not assessed: {bar.note.removeprefix('Not assessed: ')}", _DIM)
            continue
        shown = wrapped(bar.name, font, names - band.unit * 0.5)
        middle = band.y + band.unit * 0.66
        _gauge(band, bar, left, middle, length)
        for row, line in enumerate(shown):
            band.draw.text((band.margin, middle + row * band.unit * 1.2), line, font=font, fill=_INK, anchor="lm")
        words = probability_text(bar.probability)
        if bar.threshold is not None:
            words += f" {'at or above' if bar.positive else 'below'} {bar.threshold:.2f}"
        if bar.gray_zone is not None:
            words += f", gray zone {bar.gray_zone[0]:.2f}-{bar.gray_zone[1]:.2f}"
        top = band.y
        band.text(words, _INK if bar.positive else _DIM, left=left + length + band.unit * 0.8)
        band.y = max(band.y, round(top + len(shown) * band.unit * 1.32))
        band.gap(0.15)
        if bar.note:
            band.text(bar.note, _DIM, 0.9, left=left)


def _gauge(band: _Band, bar: ClassBar, left: float, middle: float, length: float) -> None:
    half = band.unit * 0.26
    assert bar.probability is not None
    band.draw.rectangle((left, middle - half, left + length, middle + half), fill=_RULE)
    if bar.gray_zone is not None:
        low, high = (left + length * min(1.0, max(0.0, v)) for v in bar.gray_zone)
        band.draw.rectangle((low, middle - half, high, middle + half), fill=(84, 92, 104))
    end = left + length * min(1.0, max(0.0, bar.probability))
    colour = TONES["suspected"] if bar.positive else (122, 162, 200)
    band.draw.rectangle((left, middle - half * 0.55, end, middle + half * 0.55), fill=colour)
    if bar.threshold is not None:
        x = left + length * min(1.0, max(0.0, bar.threshold))
        band.draw.line((x, middle - half * 1.7, x, middle + half * 1.7), fill=_INK, width=max(1, round(band.unit / 10)))


def _bottom_band(caption: Caption, width: int, *, has_map: bool, has_evidence: bool, has_lungs: bool) -> NDArray[np.uint8]:
    band = _Band(width)
    _legend(band, caption, has_map=has_map, has_evidence=has_evidence, has_lungs=has_lungs)
    if caption.lines:
        band.rule()
    for line in caption.lines:
        band.text(line, _DIM, 0.92)
    return band.finished()


def _legend(band: _Band, caption: Caption, *, has_map: bool, has_evidence: bool, has_lungs: bool) -> None:
    if has_map:
        name = caption.map_name or "Saliency map"
        if has_evidence:
            steps = [(_RAMP[n], f"{level:.0%}") for n, level in enumerate(LEVELS)]
            _swatches(band, steps, f"{name}, share of its maximum: where the model looked, not the outline of a lesion")
        else:
            band.text(f"{name}: no positive evidence, nothing is coloured.", _INK)
    if has_lungs:
        _swatches(band, [(_LUNG, "")], caption.lung_name or "Lungs as segmented by the model")


def _swatches(band: _Band, colours: Sequence[tuple[Colour, str]], words: str) -> None:
    font = band.font(0.92)
    band.room(band.unit * 1.6)
    x, side = float(band.margin), band.unit * 0.9
    for colour, label in colours:
        band.draw.rectangle((x, band.y + band.unit * 0.1, x + side, band.y + band.unit * 0.1 + side), fill=colour)
        x += side + band.unit * 0.35
        band.draw.text((x, band.y), label, font=font, fill=_DIM)
        x += font.getlength(label) + (band.unit * 0.6 if label else band.unit * 0.25)
    band.text(words, _INK, 0.92, left=x)
