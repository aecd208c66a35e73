"""The words around the picture: a band above the image and a band below it, measured with the font, so that none is cut off."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dicom_node.core.findings import probability_text

#: Narrowest picture: a smaller image stands in the middle of it.
MIN_WIDTH = 480
#: Shares of the map's maximum: below the first nothing is coloured, at each a contour is drawn or named.
LEVELS = (0.25, 0.5, 0.75)

RAMP = ((255, 221, 87), (255, 140, 50), (235, 40, 95))  # at 25, 50 and 75 % and above; told apart without red-green vision
LUNG = (72, 209, 204)
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


def top_band(caption: Caption, width: int) -> NDArray[np.uint8]:
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


def bottom_band(caption: Caption, width: int, *, has_map: bool, has_evidence: bool, has_lungs: bool) -> NDArray[np.uint8]:
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
            steps = [(RAMP[n], f"{level:.0%}") for n, level in enumerate(LEVELS)]
            _swatches(band, steps, f"{name}, share of its maximum: where the model looked, not the outline of a lesion")
        else:
            band.text(f"{name}: no positive evidence, nothing is coloured.", _INK)
    if has_lungs:
        _swatches(band, [(LUNG, "")], caption.lung_name or "Lungs as segmented by the model")


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
