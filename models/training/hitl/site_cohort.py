"""The scans of a site's index as the network gets them, read by the node's own modules; what the node would refuse is told.

A scan that was read once is kept beside the results with what a later round needs: which image each slice is, and how the network's
input lies over them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_node.core.errors import StudyError
from dicom_node.core.study import Study
from dicom_node.imaging.header import read_instance
from dicom_node.imaging.volume import hounsfield_volume
from models.training.hitl.attention_target import share_of_cells
from models.training.hitl.node_export import DrawnRegion
from models.training.hitl.site_index import Row
from models.training.hitl.training import Volumes
from models.training.kept_fits import Arrays, kept
from pipelines.blocks.clinical import Clinical, encoded, from_header
from pipelines.blocks.lungs_ct import find_lungs
from pipelines.blocks.prepare_ct import PreparedVolume, prepare_volume
from pipelines.blocks.select_ct import SeriesLimits, select_series

READING = 2  # raised whenever the same files would be read otherwise


@dataclass(frozen=True)
class Scan:
    """Where the network's input lies on the images. ``images``: (slices,) ``uid#frame``, empty of an interpolated slice.

    ``shifts``, ``turned``, ``plane``: how an image lies on its slice (``imaging.volume.Volume``).
    """

    images: NDArray[np.str_]
    prepared: PreparedVolume
    shifts: NDArray[np.float64]
    turned: tuple[bool, bool]
    plane: tuple[int, int]

    def slice_of(self, region: DrawnRegion) -> int | None:
        """Return the slice that the region's image is; ``None``: that image is not in the scan."""
        found = np.flatnonzero(self.images == f"{Path(region.image).stem}#{region.frame}")
        return int(found[0]) if found.size else None

    def on_slice(self, points: Sequence[tuple[float, float]], index: int) -> tuple[tuple[float, float], ...]:
        """Return points of an image (column, row) on the volume's own grid."""
        down, across = (float(n) for n in np.rint(self.shifts[index]))
        rows, columns = self.plane
        return tuple(
            ((columns - 1 - x if self.turned[1] else x) + across, (rows - 1 - y if self.turned[0] else y) + down) for x, y in points
        )

    def on_image(self, column: float, row: float, index: int) -> tuple[float, float]:
        """Return a point of the volume's grid (column, row) on the image of slice ``index``."""
        down, across = (float(n) for n in np.rint(self.shifts[index]))
        x, y = column - across, row - down
        rows, columns = self.plane
        return (columns - 1 - x if self.turned[1] else x), (rows - 1 - y if self.turned[0] else y)


@dataclass(frozen=True)
class SiteCohort:
    """n patients whose scan could be read. ``lungs``: float32 (n, d, h, w), the share of each cell.

    ``left_out``: who not, and why.
    """

    names: NDArray[np.str_]
    volumes: Volumes
    lungs: NDArray[np.float32]
    scans: tuple[Scan, ...]
    left_out: tuple[str, ...]

    def rows(self, names: Sequence[str]) -> NDArray[np.intp]:
        """Return where these patients stand, in the order given."""
        place = {str(name): n for n, name in enumerate(self.names)}
        return np.array([place[name] for name in names], np.intp)

    def scan(self, name: str) -> Scan:
        """Return the scan of one patient."""
        return self.scans[int(self.rows([name])[0])]


def read_scans(rows: Sequence[Row], preprocessing: Mapping[str, Any], keep_in: Path, say: Callable[[str], None]) -> SiteCohort:
    """Read the scan of every row.

    Raises
    ------
    ValueError
        None of them can be read; the first reasons are told.
    """
    found: dict[str, Arrays] = {}
    left_out: list[str] = []
    for n, row in enumerate(rows, start=1):
        arrays = _kept_scan(row, preprocessing, keep_in)
        if problem := str(arrays.get("problem", "")):
            left_out.append(f"{row.patient}: {problem}")
            continue
        found[row.patient] = arrays
        if n % 20 == 0:
            say(f"{n} of {len(rows)} scans read")
    if not found:
        raise ValueError(f"no scan of the index can be read: {'; '.join(left_out[:3])}")
    each = list(found.values())
    clinical = np.stack([_clinical(row, found[row.patient]) for row in rows if row.patient in found])
    return SiteCohort(
        np.array(list(found)),
        Volumes(np.stack([one["image"] for one in each]), clinical),
        np.stack([one["lungs"] for one in each]).astype(np.float32),
        tuple(_scan(one) for one in each),
        tuple(left_out),
    )


def _clinical(row: Row, scan: Arrays) -> NDArray[np.float32]:
    """Return the eleven numbers: the index first, then the header."""
    age, sex = float(scan["age"]), str(scan["sex"])
    told = row.clinical
    header = Clinical(None if np.isnan(age) else age, sex)
    return encoded(
        replace(told, age_years=header.age_years if told.age_years is None else told.age_years, sex=told.sex or header.sex)
    )


def _kept_scan(row: Row, preprocessing: Mapping[str, Any], keep_in: Path) -> Arrays:
    if not row.series.is_dir():
        return {"problem": np.array("its folder is not there")}
    files = sorted(path for path in row.series.iterdir() if path.is_file())
    seen = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]
    facts = {"reading": READING, "as": dict(preprocessing), "folder": str(row.series.resolve()), "files": seen}
    facts["age told"] = row.clinical.age_years is not None
    return kept(keep_in, "scan", facts, functools.partial(_read, files, preprocessing, row.clinical.age_years is not None))


def _read(files: Sequence[Path], preprocessing: Mapping[str, Any], age_told: bool) -> Arrays:
    """Return one scan; only ``problem`` where the node would refuse it. ``age_told``: the index knows the age."""
    try:
        instances = tuple(read_instance(path) for path in files)
        selection = select_series(Study("", "", instances), SeriesLimits(accept_age_unknown=age_told))
        if not selection.read:
            return {"problem": np.array(f"{selection.refusal or 'no_image'}: {selection.detail}".rstrip(": "))}
        volume = hounsfield_volume(selection.read)
    except StudyError as error:
        return {"problem": np.array(f"{error.code}: {error}")}
    lungs = find_lungs(volume)
    if lungs.problem:
        return {"problem": np.array(f"{lungs.code}: {lungs.problem}")}
    prepared = prepare_volume(volume.hu, volume.spacing_mm, lungs.sides, preprocessing)
    header = from_header(selection.read[0].facts)
    box = tuple(slice(*ends) for ends in prepared.record["box"])
    shape = volume.source_shape or volume.hu.shape[1:]
    return {
        "image": prepared.network_input[0, 0].astype(np.float16),
        "lungs": share_of_cells(lungs.sides[box] > 0, [int(n) // 4 for n in preprocessing["size"]]),
        "age": np.array(np.nan if header.age_years is None else header.age_years),
        "sex": np.array(header.sex),
        "images": np.array([f"{ref.sop_instance_uid}#{ref.frame or 1}" if ref else "" for ref in volume.slices]),
        "scale": np.array(prepared.scale),
        "offset": np.array(prepared.offset),
        "source_shape": np.array(prepared.source_shape),
        "shifts": np.zeros((len(volume.hu), 2)) if volume.shifts is None else volume.shifts,
        "turned": np.array(volume.reversed_axes),
        "plane": np.array(shape),
    }


def _scan(one: Arrays) -> Scan:
    scale, offset, source = (one[name].tolist() for name in ("scale", "offset", "source_shape"))
    empty = np.broadcast_to(np.float32(0), (1, 1, *one["image"].shape))
    prepared = PreparedVolume(empty, tuple(scale), tuple(offset), tuple(source))
    turned, plane = one["turned"].tolist(), one["plane"].tolist()
    return Scan(one["images"], prepared, one["shifts"], (turned[0], turned[1]), (plane[0], plane[1]))
