"""A chest in Hounsfield units without its lesions: body, bones, heart, diaphragm, two lungs, airways, vessels.

Not a person: simple shapes of about an adult's size, with what a program that looks for lungs has to cope with: a table, gas in
the stomach, a trachea that opens into the lungs, and, where asked, two lungs that touch in front of the heart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.phantoms.ct_grid import Grid, Point, Volume, paint, tube
from models.phantoms.drawing import cloud, stream

AIR, LUNG, FAT, MUSCLE, BLOOD, MARROW, CORTEX = -1000.0, -860.0, -100.0, 50.0, 40.0, 180.0, 650.0
ENHANCED = 230.0  # blood with contrast agent

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Build:
    """How this person is built: lengths in mm, or shares of the pattern person's."""

    wide: float
    deep: float
    tall: float
    fat: float  # mm under the skin
    heart: float
    dome: float  # mm that the diaphragm rises
    blood: float  # HU
    touching: bool


def build(seed: int, *, scale: float, contrast: bool, touching: bool) -> Build:
    """Return the person of this seed; ``scale`` 1 is an adult, 0.6 a child."""
    rng = stream(seed, "ct build")
    wide, deep, tall = (scale * float(rng.uniform(0.93, 1.05)) for _ in range(3))
    fat, heart, dome = float(rng.uniform(8, 20)), float(rng.uniform(0.9, 1.1)), float(rng.uniform(34, 50))
    return Build(wide, deep, tall, fat * scale, heart, dome, ENHANCED if contrast else BLOOD, touching)


def chest(grid: Grid, seed: int, person: Build) -> tuple[Volume, Mask]:
    """Return the Hounsfield units and where the lungs are (vessels and small bronchi inside them belong to them)."""
    hu = np.full(grid.shape, AIR, np.float32)
    lungs = np.zeros(grid.shape, np.bool_)
    _, y, x = grid.axes
    seen = np.nonzero(np.abs(y) < 125 * person.deep)[0]
    rows = slice(int(seen[0]), int(seen[-1]) + 1)  # above and below is air only
    y, x = y[rows, None] / np.float32(person.deep), x[None, :] / np.float32(person.wide)
    texture = cloud(max(grid.shape[1:]), stream(seed, "ct texture"), 60)[rows, : grid.shape[2]]
    for k, z in enumerate(grid.axes[0]):
        hu[k, rows], lungs[k, rows] = _slice(float(z) / person.tall, y, x, person, np.roll(texture, 7 * k, axis=1))
    return hu, lungs


def _slice(z: float, y: Volume, x: Volume, person: Build, texture: Volume) -> tuple[Volume, Mask]:
    shoulder = float(np.clip(1 - (z - 118) / 60, 0.5, 1))
    skin = (np.abs(x) / (168 * shoulder)) ** 2.4 + (np.abs(y) / 112) ** 2.4
    inner = (np.abs(x) / (168 * shoulder - person.fat)) ** 2.4 + (np.abs(y) / (112 - person.fat)) ** 2.4
    flesh = np.where(inner < 1, np.float32(MUSCLE), np.float32(FAT))
    hu = np.where(skin < 1, flesh + 4 * texture, np.float32(AIR)).astype(np.float32)
    hu[(y > 117) & (y < 121) & (np.abs(x) < 190)] = 120  # the table
    narrow = float(np.sqrt(np.clip(1 - (np.clip(z + 20, 0, None) / 142) ** 2, 0.02, 1)))
    cage = np.sqrt((x / (130 * narrow)) ** 2 + (y / (84 * min(1.0, narrow + 0.25))) ** 2)
    _bones(hu, z, y, x, cage, narrow)
    middle = _mediastinum(z, y, x, person)
    right = x < 0
    dome = np.clip(1 - ((np.abs(x) - 66) / 75) ** 2 - (y / 95) ** 2, 0, 1) * (person.dome + np.where(right, 12, 0))
    chamber = (cage < 1) & (z < 120)
    lungs: Mask = chamber & (z > dome - 116) & ~middle
    hu[chamber] = 45 + 3 * texture[chamber]
    heart, aorta = _great_vessels(z, y, x, person)
    hu[chamber & (heart | aorta)] = person.blood
    hu[lungs] = (LUNG + 0.35 * np.broadcast_to(y, lungs.shape) + 14 * texture)[lungs]
    hu[((x - 72) / 24) ** 2 + ((y + 12) / 20) ** 2 + ((z + 104) / 11) ** 2 < 1] = AIR + 20  # gas in the stomach
    return hu, lungs


def _mediastinum(z: float, y: Volume, x: Volume, person: Build) -> Mask:
    septum = np.abs(x) < (np.where(y < -30, 0.6, 12) if person.touching and z > -10 else 12)
    core = ((x - 4) / 37) ** 2 + ((y - 12) / (44 if person.touching else 58)) ** 2 < 1
    spine = (x / 27) ** 2 + ((y - 66) / 30) ** 2 < 1
    heart, _ = _great_vessels(z, y, x, person, rim=4)
    return np.asarray(septum | core | spine | heart, np.bool_)


def _great_vessels(z: float, y: Volume, x: Volume, person: Build, rim: float = 0) -> tuple[Mask, Mask]:
    """Return heart and aorta; ``rim`` (mm) adds their fat."""
    h = person.heart
    heart = ((x - 18) / (56 * h + rim)) ** 2 + ((y + 22) / (44 * h + rim)) ** 2 + ((z + 58) / (54 * h + rim)) ** 2 < 1
    aorta = (x - 22) ** 2 + (y - 42) ** 2 < 12.0**2 if z < 45 else np.zeros_like(heart)
    arch = (np.abs(z - 45) < 11) & (((x - 12) / 16) ** 2 + ((y - 12) / 38) ** 2 < 1)
    return np.asarray(heart, np.bool_), np.asarray(aorta | arch, np.bool_)


def _bones(hu: Volume, z: float, y: Volume, x: Volume, cage: Volume, narrow: float) -> None:
    """Ribs slope down from the spine to the front, so a slice cuts each of them once."""
    wall = (cage > 1.03) & (cage < 1.03 + 0.09 / max(narrow, 0.4)) & (y > -72)
    ribs = wall & (np.sin(2 * np.pi * (z - 0.35 * y) / 26) > 0.25) & (z < 112)
    hu[ribs] = 320
    vertebra = (x / 19) ** 2 + ((y - 70) / 15) ** 2
    disc = z % 26 < 5
    hu[vertebra < 1] = 90 if disc else MARROW
    hu[(vertebra < 1) & (vertebra > 0.72)] = 120 if disc else CORTEX
    canal = (x / 9) ** 2 + ((y - 93) / 8) ** 2
    hu[canal < 2.4] = CORTEX - 150
    hu[canal < 1] = 25
    if -70 < z < 90:
        hu[(np.abs(x) < 17) & (np.abs(y + 86) < 6)] = MARROW + 40  # the breastbone


@dataclass(frozen=True)
class Branch:
    """One straight piece of a tree; ``radius`` in mm."""

    start: Point
    end: Point
    radius: float
    side: int  # -1 the patient's right, 1 the left, 0 the middle


def airways(seed: int, person: Build, top_mm: float) -> list[Branch]:
    """Return trachea, main bronchi and the bronchi within the lungs, thickest first."""
    fork: Point = (34.0 * person.tall, 10.0 * person.deep, 2.0)
    tree = [Branch((top_mm, 2.0, 0.0), fork, 8.5 * person.wide, 0)]
    for side, hilum in ((-1, (10.0, 12.0, -38.0)), (1, (4.0, 16.0, 40.0))):
        root: Point = (hilum[0] * person.tall, hilum[1] * person.deep, hilum[2] * person.wide)
        tree.append(Branch(fork, root, 6.0 * person.wide, side))
        rng = stream(seed, f"ct bronchi {side}")
        for goal in _GOALS:
            tree += _grown(rng, root, _scaled(goal, side, person), 3.4, side, depth=3)
    return tree


def vessels(seed: int, person: Build) -> list[Branch]:
    """Return arteries and veins within the lungs."""
    tree: list[Branch] = []
    for side, hilum in ((-1, (2.0, 6.0, -42.0)), (1, (-2.0, 8.0, 46.0))):
        root: Point = (hilum[0] * person.tall, hilum[1] * person.deep, hilum[2] * person.wide)
        rng = stream(seed, f"ct vessels {side}")
        for goal in (*_GOALS, *_GOALS):
            tree += _grown(rng, root, _scaled(goal, side, person), 3.6, side, depth=5)
    return tree


_MAIN_MM = 4.5  # radius above which a branch is trachea or main bronchus, also in a child of scale 0.75
#: Ends of the lobar branches (z, y, distance from the middle) in the pattern person.
_GOALS: tuple[Point, ...] = ((85, 5, 58), (50, -52, 72), (20, 45, 95), (-45, 50, 80), (-62, 25, 100), (-30, -45, 98))


def _scaled(goal: Point, side: int, person: Build) -> Point:
    return goal[0] * person.tall, goal[1] * person.deep, side * goal[2] * person.wide


def _grown(rng: np.random.Generator, start: Point, goal: Point, radius: float, side: int, depth: int) -> list[Branch]:
    """Return a branch half-way to its goal, and two thinner ones from there on (Murray: cubes of the radii add up)."""
    a, b = np.asarray(start), np.asarray(goal)
    end = a + (b - a) * rng.uniform(0.45, 0.6) + rng.normal(0, 3, 3)
    point: Point = (float(end[0]), float(end[1]), float(end[2]))
    found = [Branch(start, point, radius, side)]
    if depth > 1:
        spread = float(np.linalg.norm(b - a)) * 0.42
        for _ in range(2):
            other = b + rng.normal(0, spread * 0.75, 3)
            goal_of_it: Point = (float(other[0]), float(other[1]), float(other[2]))
            found += _grown(rng, point, goal_of_it, radius * 0.79, side, depth - 1)
    return found


def draw_vessels(hu: Volume, lungs: Mask, grid: Grid, tree: list[Branch], value: float) -> None:
    """Paint the vessels into the lungs, in place."""
    for branch in tree:
        box, share = tube(grid, branch.start, branch.end, branch.radius)
        paint(hu, box, share * lungs[box], value)


def draw_airways(hu: Volume, lungs: Mask, grid: Grid, tree: list[Branch]) -> NDArray[np.uint8]:
    """Paint wall and lumen, in place; trachea and main bronchi are no lung and leave the mask. Return where their air is."""
    air = np.zeros(hu.shape, np.uint8)
    for branch in tree:
        central = branch.radius > _MAIN_MM
        box, share = tube(grid, branch.start, branch.end, branch.radius + (1.6 if central else 0.8))
        paint(hu, box, share if central else share * lungs[box], 0.0)
        if central:
            lungs[box] &= share < 0.5
    for branch in tree:  # all lumens after all walls: a wall must not close the way that another branch opens
        central = branch.radius > _MAIN_MM
        box, share = tube(grid, branch.start, branch.end, branch.radius)
        paint(hu, box, share if central else share * lungs[box], AIR + 10)
        if central:
            air[box] |= (share > 0.5).astype(np.uint8)
    return air
