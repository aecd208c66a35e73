"""A drawn chest CT in Hounsfield units, with exact masks: for tests, demonstrations and bundles marked ``synthetic: true``.

Every part draws its random numbers from its own stream, so the same seed with and without lesions is the same person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from models.phantoms import ct_anatomy, ct_lesions
from models.phantoms.ct_grid import Grid
from models.phantoms.ct_lesions import IPN, PIMA, Nodule
from models.phantoms.drawing import stream

__all__ = ["IPN", "PIMA", "CtPhantom", "Nodule", "thick", "thorax"]

FIELD_MM = 380.0  # width of the picture
LENGTH_MM = 300.0  # feet to head


@dataclass(frozen=True)
class CtPhantom:
    """A chest and what was drawn into it.

    ``hu``: float32 (slices, rows, columns), feet to head, columns to the patient's left, whole numbers. ``spacing_mm``: (z, y, x).
    ``lungs``: uint8, the same shape: 1 in the right, 2 in the left lung; lesions inside them belong to them, trachea and main
    bronchi do not. ``disease``: uint8, 1 in tree-in-bud, widened bronchi and cavities.
    """

    hu: NDArray[np.float32]
    spacing_mm: tuple[float, float, float]
    lungs: NDArray[np.uint8]
    airways: NDArray[np.uint8]
    nodules: tuple[Nodule, ...] = ()
    disease: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 0, 0), np.uint8))

    def nodule_mask(self) -> NDArray[np.uint8]:
        """Return uint8 of the volume's shape: 1, 2, … in the solid part of the first, second, … nodule."""
        mask = np.zeros(self.hu.shape, np.uint8)
        for n, one in enumerate(self.nodules, start=1):
            mask[one.box][one.mask > 0] = n
        return mask


def thorax(
    seed: int,
    *,
    slices: int = 60,
    size: int = 128,
    spacing_mm: tuple[float, float, float] | None = None,
    start_mm: float = 0.0,
    nodules: Sequence[str | tuple[str, float]] = (),
    clarity: float = 1.0,
    ntm: float = 0.0,
    cavities: int = 0,
    scale: float = 1.0,
    contrast: bool = False,
    touching: bool = False,
    kernel: str = "soft",
    noise_hu: float = 18.0,
) -> CtPhantom:
    """Draw one chest.

    Parameters
    ----------
    seed
        The person; with the same seed, lesions alone differ.
    slices, size
        Slices, and rows and columns of each.
    spacing_mm
        (z, y, x). Default: 300 mm of chest and a field of 380 mm, whatever the matrix.
    start_mm
        How far the volume is moved to the head.
    nodules
        ``"ipn"`` or ``"pima"`` for each nodule, or a pair of that and its diameter in mm.
    clarity
        0..1: how far the two kinds differ (``ct_lesions.nodule``).
    ntm
        0..1: how much tree-in-bud and how many widened bronchi.
    cavities
        How many cavities with a thick wall.
    scale
        Size of the person: 1 an adult, 0.6 a child.
    contrast
        Blood with contrast agent.
    touching
        The lungs meet in front of the heart with almost nothing between.
    kernel
        ``soft``, or ``sharp`` with overshooting edges and more noise, as a lung kernel has.
    noise_hu
        Standard deviation of the noise with the soft kernel.

    Raises
    ------
    ValueError
        An unknown kernel or kind of nodule, or nodules where the volume shows no lung.
    """
    if kernel not in ("soft", "sharp"):
        raise ValueError(f'kernel "{kernel}" is not known. Known: soft, sharp')
    spacing = spacing_mm or (LENGTH_MM / slices, FIELD_MM / size, FIELD_MM / size)
    grid = Grid((slices, size, size), spacing, start_mm)
    person = ct_anatomy.build(seed, scale=scale, contrast=contrast, touching=touching)
    hu, lungs = ct_anatomy.chest(grid, seed, person)
    ct_anatomy.draw_vessels(hu, lungs, grid, ct_anatomy.vessels(seed, person), person.blood)
    air = ct_anatomy.draw_airways(hu, lungs, grid, ct_anatomy.airways(seed, person, float(grid.axes[0][-1]) + 10))
    placed = stream(seed, "ct nodules")
    drawn = []
    for one in nodules:
        kind = one if isinstance(one, str) else one[0]
        diameter = ct_lesions.usual_diameter(kind, placed) if isinstance(one, str) else float(one[1])
        center = ct_lesions.place(lungs, grid, placed, diameter)
        drawn.append(ct_lesions.nodule(hu, lungs, grid, placed, kind, diameter, center, clarity))
    disease = ct_lesions.tree_in_bud(hu, lungs, grid, stream(seed, "ct ntm"), ntm) if ntm else np.zeros(hu.shape, np.uint8)
    if cavities:
        disease |= ct_lesions.cavities(hu, lungs, grid, stream(seed, "ct cavities"), cavities)
    _scan(hu, seed, spacing[1], kernel, noise_hu)
    sides = lungs.astype(np.uint8)
    sides[:, :, grid.axes[2] > 0] *= 2
    return CtPhantom(hu, spacing, sides, air, tuple(drawn), disease)


def thick(phantom: CtPhantom, slices: int) -> CtPhantom:
    """Return the phantom with every ``slices`` neighbours averaged into one; its masks follow the nearest slice."""
    count = len(phantom.hu) // slices
    hu = phantom.hu[: count * slices].reshape(count, slices, *phantom.hu.shape[1:]).mean(1)
    middle = slice(slices // 2, count * slices, slices)
    spacing = (phantom.spacing_mm[0] * slices, *phantom.spacing_mm[1:])
    return replace(
        phantom,
        hu=np.rint(hu).astype(np.float32),
        spacing_mm=spacing,
        lungs=phantom.lungs[middle],
        airways=phantom.airways[middle],
        nodules=(),
        disease=phantom.disease[middle],
    )


def _scan(hu: NDArray[np.float32], seed: int, pixel_mm: float, kernel: str, noise_hu: float) -> None:
    """Blur, sharpen and add noise slice by slice, in place; whole numbers, as a scanner stores them."""
    rng = stream(seed, "ct noise")
    sharp = kernel == "sharp"
    for picture in hu:
        noise = rng.standard_normal(picture.shape, np.float32) * np.float32(noise_hu * (2.2 if sharp else 1.0))
        if sharp:
            smooth = cv2.GaussianBlur(picture, (0, 0), max(0.3, 1.0 / pixel_mm))
            picture += np.float32(0.5) * (picture - smooth)
        elif pixel_mm < 2:
            cv2.GaussianBlur(picture, (0, 0), 0.6 / pixel_mm, dst=picture)
        picture += noise
        np.rint(picture, out=picture)
        np.clip(picture, -1024, 3071, out=picture)
