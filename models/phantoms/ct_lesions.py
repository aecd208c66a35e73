"""What is painted into the lungs of a CT phantom: nodules of two kinds; tree-in-bud with widened bronchi, and cavities.

Both kinds of nodule share most of their range of sizes, and each may carry a sign of the other, so that no single sign decides.
The signs are those that the literature names, drawn by rule; what a network learns from them says nothing about patients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.phantoms.ct_anatomy import Mask
from models.phantoms.ct_grid import Box, Grid, Point, Volume, paint, tube

IPN, PIMA = "ipn", "pima"


@dataclass(frozen=True)
class Nodule:
    """One nodule. ``center``: (z, y, x) in mm about the middle of the volume. ``mask``: uint8 in ``box``, 1 in its solid part."""

    kind: str
    center: Point
    diameter_mm: float
    box: Box
    mask: NDArray[np.uint8]

    def slices(self) -> range:
        """Return the slices that show it."""
        seen = np.nonzero(self.mask.any((1, 2)))[0]
        return range(self.box[0].start + int(seen[0]), self.box[0].start + int(seen[-1]) + 1) if seen.size else range(0)


def usual_diameter(kind: str, rng: np.random.Generator) -> float:
    """Return a diameter in mm: median 17 (IPN) or 21 (PIMA), 8 to 45."""
    return float(np.clip((21 if kind == PIMA else 17) * np.exp(rng.normal(0, 0.38)), 8, 45))


def place(lungs: Mask, grid: Grid, rng: np.random.Generator, diameter_mm: float) -> Point:
    """Return a place in the lungs for a nodule, its middle at least a third of its diameter within them.

    Raises
    ------
    ValueError
        There is no lung, so there is no place.
    """
    step = max(1, round(4 / min(grid.spacing_mm[1:])))
    stride = max(1, round(8 / grid.spacing_mm[0]))
    pixel = min(grid.spacing_mm[1:])
    deep = np.stack([cv2.distanceTransform(s.astype(np.uint8), cv2.DIST_L2, 3)[::step, ::step] * pixel for s in lungs[::stride]])
    enough = np.argwhere(deep > diameter_mm / 3)
    candidates = enough if len(enough) else np.argwhere(deep > 0)
    if not len(candidates):
        raise ValueError("the volume shows no lung: there is no place for a nodule")
    k, row, column = (int(n) for n in candidates[int(rng.integers(len(candidates)))] * (stride, step, step))
    z, y, x = grid.axes
    return float(z[k]), float(y[row]), float(x[column])


def nodule(
    hu: Volume, lungs: Mask, grid: Grid, rng: np.random.Generator, kind: str, diameter_mm: float, center: Point, clarity: float
) -> Nodule:
    """Paint one nodule into ``hu`` and return it; a part outside the lungs changes nothing.

    ``clarity`` 0..1: how far the two kinds differ; at 0 both are drawn from one distribution.
    """
    if kind not in (IPN, PIMA):
        raise ValueError(f'a nodule of kind "{kind}" is not known. Known: {IPN}, {PIMA}')
    is_pima = float(kind == PIMA)
    typical = float(np.clip(0.5 + (is_pima - 0.5) * clarity + rng.normal(0, 0.22), 0, 1))  # 1 looks like PIMA, 0 like IPN
    radius = diameter_mm / 2
    reach = radius * 1.9 + 4
    box = grid.box([c - reach for c in center], [c + reach for c in center])
    z, y, x = grid.around(box, center)
    distance = np.sqrt(z * z + y * y + x * x)
    surface = radius * (1 + (0.05 + 0.16 * typical) * _lobes(rng)(z, y, x, distance))
    softness = 0.8 + (1 - typical) * 2.2  # mm over which the margin of a resolving inflammation fades
    inside = lungs[box]
    solid = np.clip((surface - distance) / softness + 0.5, 0, 1).astype(np.float32)
    wide = 0.12 + 0.45 * typical * float(rng.uniform(0.6, 1.3))
    halo = np.clip((surface * (1 + wide) - distance) / (0.5 * wide * radius + 1), 0, 1).astype(np.float32)
    paint(hu, box, (0.30 + 0.25 * typical) * halo * inside, -300.0)  # ground glass
    patchy = 1 - 0.35 * typical * np.clip(_lobes(rng)(z, y, x, distance), 0, 1)
    paint(hu, box, (solid * patchy * inside).astype(np.float32), 30.0 + float(rng.normal(0, 8)))
    if rng.random() < 0.15 + 0.7 * typical:
        _air_bronchograms(hu, inside, solid, grid, box, rng, center, radius)
    return Nodule(kind, center, diameter_mm, box, ((solid > 0.5) & inside).astype(np.uint8))


def _lobes(rng: np.random.Generator) -> Callable[[Volume, Volume, Volume, Volume], Volume]:
    """Return a smooth random function of direction, about -1..1: a sum of a few plane waves on the sphere."""
    waves = rng.normal(0, 1, (6, 3)).astype(np.float32)
    waves *= (rng.uniform(2, 5, (6, 1)) / np.linalg.norm(waves, axis=1, keepdims=True)).astype(np.float32)
    phases = rng.uniform(0, 2 * np.pi, 6).astype(np.float32)

    def of_direction(z: Volume, y: Volume, x: Volume, distance: Volume) -> Volume:
        over = 1 / np.maximum(distance, np.float32(1e-3))
        total = np.zeros(distance.shape, np.float32)
        for (a, b, c), phase in zip(waves, phases, strict=True):
            total += np.cos((a * z + b * y + c * x) * over + phase)
        return total / np.float32(3)

    return of_direction


def _air_bronchograms(
    hu: Volume, inside: Mask, solid: Volume, grid: Grid, box: Box, rng: np.random.Generator, center: Point, radius: float
) -> None:
    for _ in range(int(rng.integers(1, 3))):
        way = rng.normal(0, 1, 3)
        way *= radius * 0.8 / np.linalg.norm(way)
        middle = np.asarray(center) + rng.normal(0, radius * 0.2, 3)
        ends = [(float(p[0]), float(p[1]), float(p[2])) for p in (middle - way, middle + way)]
        there, share = tube(grid, ends[0], ends[1], max(1.0, 0.09 * radius))
        common = tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(box, there, strict=True))
        if any(part.stop <= part.start for part in common):
            continue
        in_box = tuple(slice(c.start - b.start, c.stop - b.start) for c, b in zip(common, box, strict=True))
        in_tube = tuple(slice(c.start - t.start, c.stop - t.start) for c, t in zip(common, there, strict=True))
        paint(hu, (common[0], common[1], common[2]), share[in_tube] * solid[in_box] * inside[in_box], -900.0)


def tree_in_bud(hu: Volume, lungs: Mask, grid: Grid, rng: np.random.Generator, density: float) -> NDArray[np.uint8]:
    """Paint tree-in-bud and widened bronchi, more of both with ``density`` 0..1; return where they are, uint8, 1 = lesion."""
    found = np.zeros(hu.shape, np.uint8)
    for _ in range(int(rng.poisson(14 * density))):
        _bud_cluster(hu, lungs, grid, rng, found)
    for _ in range(int(rng.poisson(5 * density))):
        start = np.asarray(place(lungs, grid, rng, 12.0))
        end = start + rng.normal(0, 14, 3)
        lumen = float(rng.uniform(2.2, 5.0))
        ends = [(float(p[0]), float(p[1]), float(p[2])) for p in (start, end)]
        box, share = tube(grid, ends[0], ends[1], lumen + 1.8)
        paint(hu, box, share * lungs[box], 20.0)
        found[box] |= ((share > 0.5) & lungs[box]).astype(np.uint8)
        box, share = tube(grid, ends[0], ends[1], lumen)
        paint(hu, box, share * lungs[box], -960.0)
    return found


def cavities(hu: Volume, lungs: Mask, grid: Grid, rng: np.random.Generator, count: int) -> NDArray[np.uint8]:
    """Paint cavities of 12 to 30 mm with a wall of 3 to 6 mm; return where they are, uint8, 1 = lesion with its air."""
    found = np.zeros(hu.shape, np.uint8)
    for _ in range(count):
        radius, wall = float(rng.uniform(6, 15)), float(rng.uniform(3, 6))
        middle = place(lungs, grid, rng, 2 * (radius + wall))
        for reach, value in ((radius + wall, 25.0), (radius, -970.0)):
            box, share = tube(grid, middle, middle, reach)
            paint(hu, box, share * lungs[box], value)
            found[box] |= ((share > 0.5) & lungs[box]).astype(np.uint8)
    return found


def _bud_cluster(hu: Volume, lungs: Mask, grid: Grid, rng: np.random.Generator, found: NDArray[np.uint8]) -> None:
    stem = np.asarray(place(lungs, grid, rng, 4.0))
    for _ in range(int(rng.integers(5, 11))):
        bud = stem + rng.normal(0, 6.5, 3)
        a: Point = (float(stem[0]), float(stem[1]), float(stem[2]))
        b: Point = (float(bud[0]), float(bud[1]), float(bud[2]))
        for box, share in (tube(grid, a, b, 0.8), tube(grid, b, b, float(rng.uniform(1.3, 2.6)))):
            paint(hu, box, share * lungs[box], 0.0)
            found[box] |= ((share > 0.3) & lungs[box]).astype(np.uint8)
