"""Pixels to their places in a volume: every slice is decoded once, several objects at a time.

Of slices that lie at one position the first, by SOP Instance UID, is the volume's; the others are then compared with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from dicom_node.core.errors import PixelDataError
from dicom_node.imaging.hounsfield import LOWEST, hounsfield, images_of
from dicom_node.imaging.in_threads import in_threads
from dicom_node.imaging.located_slices import LocatedSlice
from dicom_node.imaging.stack import DuplicateSlices, Stack


@dataclass
class _Met:
    """What was met in one object: facts of each slice that was decoded; what cannot be read, once a slice."""

    facts: list[dict[str, Any]] = field(default_factory=list)
    broken: list[PixelDataError] = field(default_factory=list)


@dataclass(frozen=True)
class Filling:
    """Slices, and where they belong. ``hu``: float32 (slices, rows, columns), written. ``shifts``: pixels (down, across) a slice.

    ``shape``: rows and columns of the images. ``reversed_axes``: whether rows, columns run the other way in the volume.
    """

    hu: NDArray[np.float32]
    located: Sequence[LocatedSlice]
    stack: Stack
    shifts: NDArray[np.float64]
    shape: tuple[int, int]
    reversed_axes: tuple[bool, bool]

    def fill(self, threads: int) -> dict[str, Any]:
        """Decode every slice to its place; return what was met on the way.

        Raises
        ------
        DuplicateSlices
            Unlike images at one position.
        PixelDataError
            Slices whose pixels are missing, cut off or cannot be decoded, and how many.
        StudyError
            As ``hounsfield.hounsfield``.
        """
        first_at: dict[int, int] = {}
        for n, place in enumerate(self.stack.places):
            first_at.setdefault(place, n)
        first = [first_at[place] == n for n, place in enumerate(self.stack.places)]
        objects = self._objects()
        met = in_threads(lambda one: self._read(one, first), objects, threads)
        self._refuse_broken(met)
        for one, already in zip(objects, met, strict=True):
            if not all(first[n] for n in one):
                self._compare(one, first, already)
        self._refuse_broken(met)
        facts = [fact for one in met for fact in one.facts]
        return {
            "duplicates_dropped": first.count(False),
            "lossy_slices": sum(fact["lossy"] for fact in facts),
            "padded_share": round(sum(fact["padded"] for fact in facts) / len(self.located), 4),
            "transfer_syntaxes": sorted({fact["transfer_syntax"] for fact in facts}),
            "decoders": sorted({fact["decoder"] for fact in facts}),
        }

    def _refuse_broken(self, met: Sequence[_Met]) -> None:
        broken = [error for one in met for error in one.broken]
        if broken:
            raise PixelDataError(f"{len(broken)} of {len(self.located)} slices cannot be read. {broken[0]}")

    def _objects(self) -> list[range]:
        """Return the numbers of the slices that each object holds; they lie together."""
        instances = [one.instance for one in self.located]
        begins = [n for n, one in enumerate(instances) if n == 0 or one is not instances[n - 1]]
        return [range(begin, end) for begin, end in zip(begins, [*begins[1:], len(instances)], strict=True)]

    def _read(self, numbers: range, first: Sequence[bool]) -> _Met:
        """Decode those slices of an object that are the first at their places, to there."""
        met = _Met()

        def read(n: int, image: Dataset) -> None:
            target = self.hu[self.stack.places[n]]
            if target.shape == self.shape:  # not shifted: decoded where it belongs
                self._decode(n, image, self._turned(target), met)
                return
            plane = np.empty(self.shape, np.float32)
            self._decode(n, image, plane, met)
            _place(target, self._turned(plane), self.shifts[n])

        self._each(numbers, lambda n, image: read(n, image) if first[n] else None, met)
        return met

    def _compare(self, numbers: range, first: Sequence[bool], met: _Met) -> None:
        """Decode those slices of an object whose places were taken; they must say the same."""

        def compare(n: int, image: Dataset) -> None:
            plane, there = np.empty(self.shape, np.float32), np.empty(self.hu.shape[1:], np.float32)
            self._decode(n, image, plane, met)
            _place(there, self._turned(plane), self.shifts[n])
            if not np.array_equal(there, self.hu[self.stack.places[n]]):
                raise DuplicateSlices(f"Unlike images lie at one position, {self.stack.along_mm[n]:.1f} mm.")

        self._each(numbers, lambda n, image: None if first[n] else compare(n, image), met)

    def _each(self, numbers: range, work: Callable[[int, Dataset], None], met: _Met) -> None:
        """Hand over the images of one object; behind one that cannot be read, the rest of the object counts as unread."""
        one = self.located[numbers[0]]
        images = images_of(one.instance.path, None if one.header.frame is None else len(numbers))
        for n in numbers:
            try:
                work(n, next(images))
            except PixelDataError as error:
                met.broken += [error] * (numbers.stop - n)
                return

    def _decode(self, n: int, image: Dataset, into: NDArray[np.float32], met: _Met) -> None:
        header = self.located[n].header
        met.facts.append(hounsfield(image, header.slope or 0.0, header.intercept or 0.0, into))

    def _turned(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a view of the plane with the axes reversed that run the other way in the volume."""
        plane = plane[::-1] if self.reversed_axes[0] else plane
        return plane[:, ::-1] if self.reversed_axes[1] else plane


def _place(target: NDArray[np.float32], plane: NDArray[np.float32], shift: NDArray[np.float64]) -> None:
    """Write a slice, moved by a part of a pixel where the gantry was tilted (linear between neighbours)."""
    rows, columns = plane.shape
    if target.shape == plane.shape:
        target[...] = plane
        return
    (down, across), (part_down, part_across) = np.floor(shift).astype(int), shift % 1
    target[...] = 0
    for more_down, weight_down in ((0, 1 - part_down), (1, part_down)):
        for more_across, weight_across in ((0, 1 - part_across), (1, part_across)):
            weight = np.float32(weight_down * weight_across)
            if weight:
                top, left = down + more_down, across + more_across
                target[top : top + rows, left : left + columns] += weight * (plane - np.float32(LOWEST))
    target += np.float32(LOWEST)
