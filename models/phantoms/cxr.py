"""A drawn frontal chest radiograph: for tests and demonstrations, never for training a bundle that is not marked synthetic.

Attenuations add up as they do along a ray (Beer-Lambert, in the logarithm): body, spine, mediastinum, ribs and vessels add, air
takes away. Every part draws its random numbers from its own stream, so an abnormal phantom differs from the normal one of the same
seed by the opacity alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.phantoms.drawing import Canvas, Points, blurred, cloud, ellipse, exposed, filled, grid, smooth_curve, stream, stroke

#: Image left (the patient's right lung) and image right, as seen from the front; apex first, then down the outer wall.
_LUNG_AT_LEFT: Points = (
    (0.375, 0.125), (0.310, 0.150), (0.245, 0.225), (0.195, 0.340), (0.160, 0.480), (0.140, 0.620), (0.132, 0.755),
    (0.175, 0.725), (0.240, 0.695), (0.310, 0.685), (0.375, 0.700), (0.425, 0.735),
    (0.424, 0.650), (0.418, 0.560), (0.425, 0.460), (0.440, 0.360), (0.446, 0.260), (0.430, 0.165),
)  # fmt: skip
_LUNG_AT_RIGHT: Points = (
    (0.625, 0.125), (0.690, 0.150), (0.755, 0.225), (0.805, 0.340), (0.840, 0.480), (0.860, 0.620), (0.868, 0.775),
    (0.820, 0.750), (0.770, 0.725), (0.725, 0.735), (0.700, 0.740),
    (0.690, 0.670), (0.650, 0.580), (0.595, 0.500), (0.572, 0.420), (0.582, 0.340), (0.590, 0.290), (0.562, 0.240), (0.568, 0.165),
)  # fmt: skip


def chest_phantom(seed: int, size: int = 1024, abnormal: bool = False) -> tuple[Canvas, NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw one adult chest, PA.

    Parameters
    ----------
    seed
        The person. The same seed with and without ``abnormal`` is the same person on the same day.
    size
        Rows and columns.
    abnormal
        Add one to three soft, irregular opacities inside the lungs.

    Returns
    -------
    tuple
        ``image``: float32 (size, size), 0..1, brighter = denser. ``lesion_mask``, ``lung_mask``: uint8 (size, size), 0 or 1.
    """
    build = _Build(seed)
    left, right = build.placed(_LUNG_AT_LEFT), build.placed(_LUNG_AT_RIGHT)
    sharp = np.maximum(filled(size, left), filled(size, right))
    lungs = blurred(sharp, 0.004)
    x, _ = grid(size)
    body = _body(size, build)
    ray = 0.62 * body * (0.80 + 0.20 * np.sqrt(np.clip(1 - ((x - 0.5) / 0.55) ** 2, 0, 1)))
    ray += 0.05 * blurred(body, 0.05) * cloud(size, stream(seed, "fat"), 9) * 0.5
    ray += (
        0.24 * np.clip(blurred(filled(size, ((-0.2, 0.76), (1.2, 0.76), (1.2, 1.2), (-0.2, 1.2))), 0.04), 0, 1) * body * (1 - lungs)
    )  # abdomen
    depth = np.clip(blurred(sharp, 0.035) * 1.5 - 0.35, 0, 1)  # the chest is deep in the middle of a lung, shallow at its wall
    ray -= lungs * (0.20 + 0.16 * depth)
    ray += _mediastinum(size, build, lungs)
    ray += _spine(size, build)
    ray += _vessels(size, seed, (left, right), sharp)
    ray += _bones(size, build, body, lungs)
    ray += _breasts(size, seed)
    lesion = _opacities(size, seed, sharp) if abnormal else np.zeros_like(sharp)
    image = exposed(ray + 0.25 * lesion, stream(seed, "noise"), scale_of=ray)
    return image, (lesion > 0.25).astype(np.uint8), (sharp > 0.5).astype(np.uint8)


class _Build:
    """How this person is built and stands: a few lengths that every part shares."""

    def __init__(self, seed: int) -> None:
        rng = stream(seed, "build")
        self.wide = float(rng.uniform(0.94, 1.06))
        self.tall = float(rng.uniform(0.93, 1.08))
        self.dx = float(rng.uniform(-0.02, 0.02))
        self.dy = float(rng.uniform(-0.015, 0.03))
        self.heart = float(rng.uniform(0.92, 1.08))
        self.rib_step = float(rng.uniform(0.066, 0.074))
        self.bones = float(rng.uniform(0.85, 1.15))
        self.wobble = rng.normal(0, 0.004, (64, 2))

    def placed(self, points: Points) -> list[tuple[float, float]]:
        """Return the points of a pattern person as they lie in this one."""
        return [
            (
                0.5 + (x - 0.5) * self.wide + self.dx + float(self.wobble[i % 64, 0]),
                0.42 + (y - 0.42) * self.tall + self.dy + float(self.wobble[i % 64, 1]),
            )
            for i, (x, y) in enumerate(points)
        ]


def _body(size: int, build: _Build) -> Canvas:
    outline: Points = (
        (0.41, -0.05), (0.40, 0.05), (0.33, 0.10), (0.18, 0.135), (0.06, 0.20), (0.02, 0.34), (0.05, 0.50), (0.06, 0.70),
        (0.05, 1.06), (0.95, 1.06), (0.94, 0.70), (0.95, 0.50), (0.98, 0.34), (0.94, 0.20), (0.82, 0.135), (0.67, 0.10),
        (0.60, 0.05), (0.59, -0.05),
    )  # fmt: skip
    return filled(size, [(x + build.dx, y + build.dy) for x, y in outline], blur=0.006)


def _mediastinum(size: int, build: _Build, lungs: Canvas) -> Canvas:
    h = build.heart
    heart = filled(
        size,
        build.placed(
            (
                (0.45, 0.44),
                (0.40, 0.55),
                (0.40, 0.66),
                (0.45, 0.74),
                (0.58, 0.77),
                (0.50 + 0.205 * h, 0.73),
                (0.50 + 0.17 * h, 0.63),
                (0.60, 0.52),
                (0.56, 0.44),
            )
        ),
        blur=0.010,
    )
    arch = ellipse(size, 0.545 + build.dx, 0.315 + build.dy, 0.040, 0.050, blur=0.010)
    column = filled(
        size, build.placed(((0.45, 0.05), (0.445, 0.5), (0.46, 0.8), (0.56, 0.8), (0.56, 0.5), (0.55, 0.05))), blur=0.012
    )
    trachea = np.zeros((size, size), np.float32)
    stroke(trachea, build.placed(((0.50, 0.0), (0.502, 0.15), (0.497, 0.34))), 0.030, 1.0)
    stroke(trachea, build.placed(((0.497, 0.34), (0.46, 0.40))), 0.020, 0.8)
    stroke(trachea, build.placed(((0.497, 0.34), (0.545, 0.405))), 0.018, 0.8)
    hila = np.maximum(
        ellipse(size, 0.405 + build.dx, 0.44 + build.dy, 0.030, 0.065, 15, 0.014),
        ellipse(size, 0.600 + build.dx, 0.42 + build.dy, 0.030, 0.055, -15, 0.014),
    )
    shadow = 0.13 * heart + 0.09 * arch + 0.10 * column - 0.12 * blurred(trachea, 0.004) + 0.10 * hila * lungs
    return np.asarray(shadow, np.float32)


def _spine(size: int, build: _Build) -> Canvas:
    x, y = grid(size)
    centre = 0.503 + build.dx
    profile = np.exp(-(((x - centre) / 0.038) ** 4))
    bodies = 0.75 + 0.25 * np.tanh(6 * np.sin(2 * np.pi * (y - build.dy) / 0.062))
    return np.asarray(0.11 * build.bones * profile * bodies * (0.6 + 0.4 * np.clip(y / 0.8, 0, 1)), np.float32)


def _bones(size: int, build: _Build, body: Canvas, lungs: Canvas) -> Canvas:
    ribs, cortex = np.zeros((size, size), np.float32), np.zeros((size, size), np.float32)
    front = np.zeros((size, size), np.float32)
    for side in (-1.0, 1.0):
        for n in range(10):
            top = 0.135 + build.rib_step * n
            reach = min(0.15 + 0.055 * n, 0.395)
            drop = 0.02 + 0.012 * n
            shape = (
                (0.035, 0.030),
                (0.30, -0.012),
                (0.62, 0.012 + 0.3 * drop),
                (0.90, 0.75 * drop + 0.02),
                (1.0, 1.5 * drop + 0.05),
            )
            line = build.placed([(0.5 + side * (0.02 + reach * u), top + v) for u, v in shape])
            width = 0.020 + 0.0006 * n
            stroke(ribs, line, width, 1.0)
            for edge in (-0.5, 0.5):
                stroke(cortex, [(a, b + edge * width) for a, b in line], 0.0022, 1.0)
            if n in range(1, 7):  # the front ends run down and inward, and stop at the cartilage
                start = top + 1.5 * drop + 0.06
                ends = ((1.0, 0.0), (0.86, 0.045), (0.62, 0.085), (0.42, 0.10))
                stroke(front, build.placed([(0.5 + side * (0.02 + reach * u), start + v) for u, v in ends]), 0.024, 1.0)
    clavicles = np.zeros((size, size), np.float32)
    blades = np.zeros((size, size), np.float32)
    for side in (-1.0, 1.0):
        collar = ((0.045, 0.175), (0.13, 0.165), (0.22, 0.135), (0.32, 0.120), (0.40, 0.135))
        stroke(clavicles, build.placed([(0.5 + side * u, v) for u, v in collar]), 0.026, 1.0)
        blade = ((0.33, 0.17), (0.43, 0.16), (0.42, 0.30), (0.37, 0.46), (0.345, 0.40))
        blades = np.maximum(blades, filled(size, build.placed([(0.5 + side * u, v) for u, v in blade]), blur=0.006))
    cage = np.clip(blurred(lungs, 0.03) * 3, 0, 1)
    bone = 0.055 * blurred(ribs, 0.0022) * cage + 0.030 * blurred(cortex, 0.0012) * cage + 0.028 * blurred(front, 0.004) * cage
    bone += 0.085 * blurred(clavicles, 0.003) + 0.050 * blades
    return np.asarray(build.bones * bone * body, np.float32)


def _vessels(size: int, seed: int, lungs: tuple[Points, Points], inside: Canvas) -> Canvas:
    rng = stream(seed, "vessels")
    tree = np.zeros((size, size), np.float32)
    for outline, root in zip(lungs, ((0.41, 0.44), (0.60, 0.43)), strict=True):
        wall = smooth_curve(outline, closed=True)
        for _ in range(26):
            goal = wall[rng.integers(len(wall))]
            if abs(goal[0] - root[0]) < 0.06:
                continue
            width, at = float(rng.uniform(0.005, 0.010)), np.array(root) + rng.normal(0, 0.012, 2)
            for k in range(4):
                to = at + (goal - at) * (0.24 + 0.10 * k) + rng.normal(0, 0.012, 2)
                stroke(tree, [tuple(at), tuple((at + to) / 2 + rng.normal(0, 0.006, 2)), tuple(to)], width, min(1.0, width * 110))
                side = to + rng.normal(0, 0.045, 2)
                stroke(tree, [tuple(to), tuple((to + side) / 2 + rng.normal(0, 0.006, 2)), tuple(side)], width * 0.6, width * 60)
                at, width = to, width * 0.68
    texture = 0.010 * cloud(size, stream(seed, "texture"), 90) + 0.008 * cloud(size, stream(seed, "haze"), 22)
    return np.asarray((0.085 * blurred(tree, 0.0018) + texture) * blurred(inside, 0.004), np.float32)


def _breasts(size: int, seed: int) -> Canvas:
    rng = stream(seed, "breasts")
    amount = float(max(0.0, rng.uniform(-0.05, 0.05)))
    pair = np.maximum(ellipse(size, 0.28, 0.66, 0.15, 0.13, blur=0.02), ellipse(size, 0.72, 0.66, 0.15, 0.13, blur=0.02))
    return np.asarray(amount * pair, np.float32)


def _opacities(size: int, seed: int, inside: Canvas) -> Canvas:
    """Return 0..1: patches of consolidation, ragged and soft, within the lungs."""
    rng = stream(seed, "lesion")
    deep = blurred(inside, 0.03) > 0.8
    rows, columns = np.nonzero(deep)
    x, y = grid(size)
    patches = np.zeros((size, size), np.float32)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(rows)))
        cx, cy = (columns[at] + 0.5) / size, (rows[at] + 0.5) / size
        rx, ry = float(rng.uniform(0.045, 0.085)), float(rng.uniform(0.045, 0.095))
        bump = np.exp(-0.5 * (((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2))
        patches = np.maximum(patches, bump)
    ragged = 0.75 + 0.22 * cloud(size, rng, 26) + 0.12 * cloud(size, rng, 70)
    return np.asarray(np.clip(patches * np.clip(ragged, 0.2, 1.4) * 1.15, 0, 1) * blurred(inside, 0.006), np.float32)
