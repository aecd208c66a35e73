"""Drawn radiographs that a frontal chest pipeline must refuse: an abdomen, a lateral chest, a knee."""

from __future__ import annotations

import numpy as np

from models.phantoms.drawing import Canvas, blurred, cloud, ellipse, exposed, filled, grid, stream, stroke


def abdomen(seed: int, size: int = 1024) -> Canvas:
    """Draw an abdomen, AP supine: spine, pelvis, psoas, bowel gas, no lungs. float32 (size, size), 0..1, brighter = denser."""
    rng = stream(seed, "abdomen")
    x, y = grid(size)
    body = filled(
        size, ((0.06, -0.1), (0.94, -0.1), (0.93, 0.3), (0.96, 0.7), (0.98, 1.1), (0.02, 1.1), (0.04, 0.7), (0.07, 0.3)), blur=0.008
    )
    ray = 0.65 * body + 0.05 * cloud(size, rng, 7) * body
    spine = np.exp(-(((x - 0.5) / 0.050) ** 4)) * (0.75 + 0.25 * np.tanh(6 * np.sin(2 * np.pi * y / 0.105)))
    ray += 0.16 * spine * (y < 0.66)
    ray += 0.14 * filled(size, ((0.40, 0.62), (0.60, 0.62), (0.56, 0.84), (0.50, 0.90), (0.44, 0.84)), blur=0.010)
    for side in (-1.0, 1.0):
        wing = [
            (0.5 + side * u, v) for u, v in ((0.10, 0.66), (0.24, 0.58), (0.34, 0.60), (0.37, 0.70), (0.25, 0.80), (0.13, 0.78))
        ]
        ray += 0.13 * filled(size, wing, blur=0.006)
        ray += 0.12 * ellipse(size, 0.5 + side * 0.29, 0.93, 0.060, 0.060, blur=0.006)
        ray += 0.05 * filled(
            size, [(0.5 + side * u, v) for u, v in ((0.05, 0.2), (0.09, 0.3), (0.20, 0.62), (0.12, 0.62))], blur=0.015
        )
        for n in range(3):
            rib = np.zeros_like(ray)
            stroke(
                rib,
                [(0.5 + side * u, 0.02 + 0.065 * n + v) for u, v in ((0.05, 0.0), (0.22, 0.03), (0.36, 0.10), (0.42, 0.17))],
                0.022,
                1.0,
            )
            ray += 0.06 * blurred(rib, 0.003)
    ray += 0.10 * filled(size, ((0.08, 0.02), (0.45, 0.0), (0.40, 0.2), (0.16, 0.33)), blur=0.03)  # liver
    gas = np.zeros_like(ray)
    for _ in range(int(rng.integers(9, 15))):
        gx, gy = float(rng.uniform(0.16, 0.84)), float(rng.uniform(0.22, 0.82))
        gas = np.maximum(
            gas,
            ellipse(
                size, gx, gy, float(rng.uniform(0.02, 0.05)), float(rng.uniform(0.015, 0.03)), float(rng.uniform(0, 180)), 0.008
            ),
        )
    return exposed(np.asarray(ray - 0.16 * gas * body, np.float32), stream(seed, "noise"))


def lateral(seed: int, size: int = 1024) -> Canvas:
    """Draw a lateral chest, left side to the detector. float32 (size, size), 0..1, brighter = denser."""
    rng = stream(seed, "lateral")
    x, y = grid(size)
    body = filled(
        size,
        (
            (0.42, -0.05),
            (0.40, 0.06),
            (0.27, 0.14),
            (0.19, 0.30),
            (0.17, 0.50),
            (0.20, 0.75),
            (0.19, 1.06),
            (0.86, 1.06),
            (0.84, 0.75),
            (0.86, 0.45),
            (0.80, 0.20),
            (0.66, 0.10),
            (0.62, -0.05),
        ),
        blur=0.008,
    )
    lung = filled(
        size,
        (
            (0.46, 0.13),
            (0.34, 0.20),
            (0.25, 0.36),
            (0.23, 0.55),
            (0.25, 0.66),
            (0.40, 0.66),
            (0.56, 0.70),
            (0.70, 0.80),
            (0.775, 0.86),
            (0.78, 0.60),
            (0.75, 0.38),
            (0.68, 0.22),
            (0.58, 0.14),
        ),
        blur=0.006,
    )
    ray = 0.70 * body + 0.03 * cloud(size, rng, 9) * body - 0.26 * lung
    ray += 0.17 * filled(size, ((0.27, 0.46), (0.44, 0.42), (0.56, 0.55), (0.52, 0.68), (0.30, 0.67)), blur=0.014)
    ray += 0.05 * ellipse(size, 0.52, 0.40, 0.05, 0.06, blur=0.012)
    centre = 0.705 + 0.05 * np.sin(np.pi * np.clip(y, 0, 1))
    ray += (
        0.14 * np.exp(-(((x - centre) / 0.042) ** 4)) * (0.75 + 0.25 * np.tanh(6 * np.sin(2 * np.pi * y / 0.066))) * (0.5 + 0.5 * y)
    )
    bones = np.zeros_like(ray)
    for n in range(10):
        top = 0.12 + 0.068 * n
        stroke(bones, [(0.74, top), (0.56, top + 0.05), (0.38, top + 0.14), (0.27, top + 0.17)], 0.016, 1.0)
    ray += 0.05 * blurred(bones, 0.003) * np.clip(blurred(lung, 0.02) * 2, 0, 1)
    sternum = np.zeros_like(ray)
    stroke(sternum, [(0.33, 0.16), (0.245, 0.30), (0.215, 0.52)], 0.026, 1.0)
    ray += 0.09 * blurred(sternum, 0.003)
    air = np.zeros_like(ray)
    stroke(air, [(0.50, 0.0), (0.505, 0.2), (0.53, 0.38)], 0.032, 1.0)
    return exposed(ray - 0.10 * blurred(air, 0.004), stream(seed, "noise"))


def limb(seed: int, size: int = 1024) -> Canvas:
    """Draw a knee: two long bones in a column of soft tissue. float32 (size, size), 0..1, brighter = denser."""
    rng = stream(seed, "limb")
    soft = filled(
        size,
        (
            (0.30, -0.1),
            (0.70, -0.1),
            (0.68, 0.3),
            (0.70, 0.5),
            (0.64, 0.8),
            (0.62, 1.1),
            (0.38, 1.1),
            (0.34, 0.8),
            (0.30, 0.5),
            (0.32, 0.3),
        ),
        blur=0.01,
    )
    bone = filled(
        size,
        ((0.44, -0.1), (0.56, -0.1), (0.56, 0.30), (0.62, 0.42), (0.60, 0.49), (0.40, 0.49), (0.38, 0.42), (0.44, 0.30)),
        blur=0.004,
    )
    bone = np.maximum(
        bone,
        filled(
            size,
            ((0.39, 0.52), (0.61, 0.52), (0.60, 0.58), (0.545, 0.70), (0.54, 1.1), (0.45, 1.1), (0.45, 0.70), (0.40, 0.58)),
            blur=0.004,
        ),
    )
    fibula = np.zeros_like(bone)
    stroke(fibula, [(0.63, 0.58), (0.625, 0.8), (0.60, 1.05)], 0.028, 1.0)
    ray = 0.30 * soft + 0.38 * np.maximum(bone, 0.6 * blurred(fibula, 0.003)) + 0.01 * cloud(size, rng, 40) * soft
    return exposed(ray, stream(seed, "noise"))
