"""Pictures that a frontal chest gate must pass, and pictures that it must refuse: real chests, what can go wrong with one, others.

A picture's ``group`` is the patient (or the phantom) it was made from: pictures of one group never lie on both sides of a split,
and intervals are counted in groups. There is no real lateral chest, knee or abdomen in the research set: those are drawn, or
projections of drawn CTs, and the figures for them say no more than that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.phantoms import other_views
from models.phantoms.ct import thorax
from models.phantoms.cxr import chest_phantom
from models.phantoms.drawing import cloud
from models.training.cxr import augment
from models.training.data import Row, adult, read_gray
from pipelines.blocks.frontal_gate import FRONTAL, INVERTED, LATERAL, OTHER, ROTATED

Image = NDArray[np.float32]
Rng = np.random.Generator

ADULTS, CHILDREN = "adults, frontal", "children, frontal"


@dataclass(frozen=True)
class Picture:
    """One picture. ``image``: float32 (rows, columns), 0..1, brighter = more attenuation. ``what``: its line in the tables."""

    image: Image
    kind: str
    what: str
    group: str
    source: str = ""


def chests(data: Path, rows: Sequence[Row], *, disturbed: bool) -> Iterator[Picture]:
    """Yield every frontal chest; with ``disturbed`` every other one with other greys, a slight turn and perhaps letters."""
    for n, row in enumerate(rows):
        image = _read(data, row)
        what = ADULTS if adult(row) else CHILDREN
        if not disturbed or n % 2:
            yield Picture(image, FRONTAL, what, row.patient, row.source)
        else:
            rng = _stream(row.image_id, "disturbed")
            changed = augment.look(rng, _turned(image, float(rng.uniform(-10, 10))))
            changed = augment.letters(rng, changed) if rng.random() < 0.5 else changed
            changed = augment.border(rng, changed) if rng.random() < 0.3 else changed
            yield Picture(changed, FRONTAL, what, row.patient, row.source)


def spoiled(data: Path, rows: Sequence[Row], each: int) -> Iterator[Picture]:
    """Yield ``each`` spoiled pictures of every row: turned, upside down, negative, a part only, several in one."""
    other = _read(data, rows[-1]) if rows else np.zeros((1, 1), np.float32)
    for row in rows:
        image = _read(data, row)
        rng = _stream(row.image_id, "spoiled")
        for what in rng.choice(list(_SPOILED), each, replace=False):
            kind, spoil = _SPOILED[what]
            yield Picture(np.ascontiguousarray(spoil(rng, image, other)), kind, str(what), row.patient, row.source)
        other = image


def drawn(seeds: Sequence[int], size: int = 384) -> Iterator[Picture]:
    """Yield phantoms: chests that must pass; abdomens, knees, laterals, CT slices, projections and textures that must not."""
    for seed in seeds:
        rng = np.random.default_rng([seed, 7])
        group = f"phantom {seed}"
        chest = chest_phantom(seed, size, abnormal=bool(seed % 2))[0]
        yield Picture(chest, FRONTAL, "drawn chest", group)
        yield Picture(np.ascontiguousarray(np.rot90(chest, int(rng.integers(1, 4)))), ROTATED, "drawn chest, turned", group)
        yield Picture(1 - chest, INVERTED, "drawn chest, negative", group)
        side = other_views.lateral(seed, size)
        yield Picture(side[:, ::-1] if seed % 2 else side, LATERAL, "lateral chest (drawn)", group)
        yield Picture(other_views.abdomen(seed, size), OTHER, "abdomen (drawn)", group)
        limb = other_views.limb(seed, size)
        yield Picture(np.rot90(limb) if seed % 2 else limb, OTHER, "knee (drawn)", group)
        yield Picture(_texture(rng, size), OTHER, "texture", group)
        hu = thorax(seed, slices=32, size=64).hu[::-1]  # head first, as a radiograph lies
        yield Picture(_projected(hu, 2, size), LATERAL, "lateral projection of a drawn CT", group)
        yield Picture(_windowed(hu[int(rng.integers(5, 27))], size), OTHER, "CT slice (drawn)", group)


def patches(ct: Path, names: Sequence[str]) -> Iterator[Picture]:
    """Yield LUNA16 patches of 50 x 50 pixels, enlarged. ``ct``: the folder that holds ``luna_patches``; the group is the file."""
    for name in names:
        small = cv2.imread(str(ct / "luna_patches" / name), cv2.IMREAD_GRAYSCALE)
        if small is None:
            raise FileNotFoundError(f"{name} is missing or not an image")
        large = cv2.resize(np.asarray(small, np.float32) / 255, (256, 256), interpolation=cv2.INTER_CUBIC)
        yield Picture(np.asarray(np.clip(large, 0, 1), np.float32), OTHER, "CT patch (LUNA16)", name)


def patch_names(ct: Path | None) -> list[str]:
    """Return the patch files in order of name; none without the folder."""
    folder = None if ct is None else ct / "luna_patches"
    return sorted(path.name for path in folder.iterdir()) if folder and folder.is_dir() else []


def _quarter(rng: Rng, image: Image, _: Image) -> Image:
    turned = np.rot90(image, int(rng.choice([1, 3])))
    return turned[:, ::-1] if rng.random() < 0.5 else turned


def _upside_down(rng: Rng, image: Image, _: Image) -> Image:
    return image[::-1, ::-1] if rng.random() < 0.5 else image[::-1]


def _half(rng: Rng, image: Image, _: Image) -> Image:
    cut = int(image.shape[1] * rng.uniform(0.42, 0.5))
    return image[:, :cut] if rng.random() < 0.5 else image[:, -cut:]


def _upper(rng: Rng, image: Image, _: Image) -> Image:
    return image[: max(32, int(image.shape[0] * rng.uniform(0.25, 0.4)))]


def _lower(rng: Rng, image: Image, _: Image) -> Image:
    return image[-max(32, int(image.shape[0] * rng.uniform(0.25, 0.4))) :]


def _inside(rng: Rng, image: Image, _: Image) -> Image:
    rows, columns = image.shape
    share = rng.uniform(0.25, 0.42)
    height, width = max(32, int(rows * share)), max(32, int(columns * share))
    y, x = int(rng.integers(0, rows - height + 1)), int(rng.integers(0, columns - width + 1))
    return image[y : y + height, x : x + width]


def _collage(rng: Rng, image: Image, other: Image) -> Image:
    tiles = [cv2.resize(tile, (256, 256), interpolation=cv2.INTER_AREA) for tile in (image, other)]
    if rng.random() < 0.5:
        return np.vstack(tiles) if rng.random() < 0.5 else np.hstack(tiles)
    return np.vstack([np.hstack(tiles), np.hstack(tiles[::-1])])


def _negative(_rng: Rng, image: Image, _: Image) -> Image:
    return 1 - image


_SPOILED: dict[str, tuple[str, Callable[[Rng, Image, Image], Image]]] = {
    "chest lying on its side": (ROTATED, _quarter),
    "chest upside down": (ROTATED, _upside_down),
    "negative of a chest": (INVERTED, _negative),
    "one half of a chest": (OTHER, _half),
    "upper third of a chest": (OTHER, _upper),
    "lower third of a chest": (OTHER, _lower),
    "a part of a chest, enlarged": (OTHER, _inside),
    "several chests in one picture": (OTHER, _collage),
}


def _turned(image: Image, degrees: float) -> Image:
    rows, columns = image.shape
    matrix = cv2.getRotationMatrix2D(((columns - 1) / 2, (rows - 1) / 2), degrees, 1.0)
    return np.asarray(cv2.warpAffine(image, matrix, (columns, rows), flags=cv2.INTER_LINEAR), np.float32)


def _projected(hu: Image, axis: int, size: int) -> Image:
    """Return a parallel projection of a CT (slices, rows, columns) along ``axis``: what X-rays would leave behind the body."""
    density = np.clip(hu + 1000, 0, None).sum(axis)
    density = density / max(float(np.percentile(density, 99.7)), 1.0)
    return np.asarray(np.clip(cv2.resize(np.asarray(density, np.float32), (size, size), interpolation=cv2.INTER_CUBIC), 0, 1))


def _windowed(hu: Image, size: int) -> Image:
    shown = np.clip((cv2.resize(hu, (size, size), interpolation=cv2.INTER_LINEAR) + 1000) / 1600, 0, 1)
    return np.asarray(shown, np.float32)


def _texture(rng: Rng, size: int) -> Image:
    """Return clouds, a ramp, or a page of letters."""
    style = int(rng.integers(3))
    if style == 0:
        picture = 0.5 + 0.2 * cloud(size, rng, int(rng.integers(3, 40)))
    elif style == 1:
        ramp = np.linspace(0, 1, size, dtype=np.float32)
        picture = np.outer(ramp, np.ones_like(ramp)) if rng.random() < 0.5 else np.outer(ramp, ramp)
        picture = picture + 0.02 * rng.standard_normal((size, size), np.float32)
    else:
        page = np.zeros((size, size), np.uint8)
        for line in range(24, size, 24):
            words = "".join(rng.choice(list("ABCDEFGHIKLMNOPRSTUVXYZ 0123456789"), 30))
            cv2.putText(page, words, (8, line), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 255, 1, cv2.LINE_AA)
        picture = page.astype(np.float32) / 255
    return np.asarray(np.clip(picture, 0, 1), np.float32)


def _read(data: Path, row: Row) -> Image:
    return np.asarray(read_gray(data, row.file) / np.float32(255), np.float32)


def _stream(name: str, part: str) -> Rng:
    return np.random.default_rng([*name.encode(), *part.encode()])
