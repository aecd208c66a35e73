"""Patients whose nodule is invasive mucinous adenocarcinoma (label 1) or inflammatory (label 0), with their marked slices.

Slices are prepared by ``pipelines.blocks.prepare_ct``, the module of the node, twice: lungs alone, and with what lies around them.
A site's own data is a folder with ``index.csv``, one row a patient's series::

    patient_id     any text; rows of one patient stay together in every split
    label          pima | ipn, proven by histology or by what became of it
    series         folder of the series' DICOM files, relative to the index
    marked         SOP Instance UIDs of the marked slices, separated by blanks; of a multi-frame object uid#frame
    part           (optional) train | selection | calibration | test; else by a keyed hash of the patient
    age, diameter_mm           (optional) numbers
    sex, site, period, hard    (optional) any words; each value becomes a subgroup, sites are also held out one by one
"""

from __future__ import annotations

import csv
import hashlib
import hmac
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dicom_node.core.errors import StudyError
from dicom_node.imaging.header import read_instance
from dicom_node.imaging.volume import hounsfield_volume
from models.training.slices.patient_tables import Patients
from models.training.slices.slice_set import SliceSet
from pipelines.blocks.lungs_ct import find_lungs
from pipelines.blocks.prepare_ct import prepare_slice, square_about, thickest_piece

LABELS = {"pima": 1, "ipn": 0}
PARTS = ("train", "selection", "calibration", "test")
NUMBERS = ("age", "diameter_mm")
KINDS = ("sex", "site", "period", "hard")
LARGE_MM = 30.0  # the subgroups of size: below 3 cm, and from there on
SPLIT_KEY = b"ct-split-1"  # published on purpose: it only has to be the same for ever


class Square(NamedTuple):
    """What of a slice is seen: ``side`` pixels about the lesion's middle where it was ``told``, else about what the node finds."""

    side: int
    told: bool


@dataclass(frozen=True)
class Cohort:
    """Patients, and slices of theirs.

    ``about``: a row a patient; ``parts``: (patients,) of ``PARTS``. ``lungs``, ``around``: float16 (n, S, S), 0..1 over the window,
    with everything outside the lungs at its floor, and with it kept. ``patients``: (n,), whose slice each is. ``places``: (n, 2)
    row and column of the nodule's middle, -1 where nobody said. ``preprocessing``: of ``prepare_ct``. ``left_out``: what could not
    be read, and why.
    """

    about: Patients
    parts: NDArray[np.str_]
    lungs: NDArray[np.float16]
    around: NDArray[np.float16]
    patients: NDArray[np.str_]
    places: NDArray[np.int64]
    preprocessing: Mapping[str, Any]
    left_out: tuple[str, ...] = ()

    def named(self, *parts: str) -> list[str]:
        """Return the patients of these parts."""
        return [str(name) for name, part in zip(self.about.names, self.parts, strict=True) if part in parts]

    def labels_of(self, patients: Collection[str]) -> NDArray[np.int64]:
        """Return the label of each patient, in the order of ``patients``."""
        label = dict(zip(self.about.names.tolist(), self.about.labels.tolist(), strict=True))
        return np.array([label[name] for name in patients], np.int64)

    @cached_property
    def found(self) -> list[tuple[int, int] | None]:
        """Where the node would cut each slice."""
        return [thickest_piece(image.astype(np.float32), self.preprocessing) for image in self.lungs]

    def slices(self, patients: Collection[str], *, lungs_alone: bool, square: Square | None = None) -> SliceSet:
        """Return the slices of these patients, whole or a square of each.

        Raises
        ------
        ValueError
            A square is asked for where nobody told the place.
        """
        mine = np.isin(self.patients, list(patients))
        images = (self.lungs if lungs_alone else self.around)[mine]
        if square is not None and square.told:
            places = self.places[mine]
            if (places < 0).any():
                raise ValueError("slices without the place of their nodule cannot be cut about it")
            images = np.stack([cut(image, place, square.side) for image, place in zip(images, places, strict=True)])
        elif square is not None:
            at = [self.found[n] for n in np.flatnonzero(mine)]
            pairs = zip(images.astype(np.float32), at, strict=True)
            images = np.stack([square_about(image, square.side, place)[0] for image, place in pairs])
        who = self.patients[mine]
        return SliceSet(images.astype(np.float32), self.labels_of(who.tolist()), who)


def cut(image: NDArray[Any], place: NDArray[np.int64], side: int) -> NDArray[Any]:
    """Return the square of ``side`` pixels about ``place``, moved inwards where it would leave the picture."""
    top, left = (int(min(max(c - side // 2, 0), n - side)) for c, n in zip(place, image.shape, strict=True))
    return image[top : top + side, left : left + side]


def part_of(patient: str) -> str:
    """Return the part of a patient, for ever: 60 % train, 10 % selection, 10 % calibration, 20 % test, by keyed hash."""
    bucket = int.from_bytes(hmac.new(SPLIT_KEY, patient.encode(), hashlib.sha256).digest()[:8], "big") % 100
    return "train" if bucket < 60 else "selection" if bucket < 70 else "calibration" if bucket < 80 else "test"


def size_group(diameter_mm: float) -> str:
    """Return ``< 3 cm`` or ``>= 3 cm``, empty where unknown."""
    return "" if np.isnan(diameter_mm) else "< 3 cm" if diameter_mm < LARGE_MM else ">= 3 cm"


def from_index(data: Path, preprocessing: Mapping[str, Any]) -> Cohort:
    """Read every series of ``index.csv``; what the node itself would refuse is left out and told.

    Raises
    ------
    ValueError
        A column is missing, a label or part is none of those known, or no series can be read.
    """
    with (data / "index.csv").open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    first: dict[str, Mapping[str, str]] = {}
    pictures: dict[str, list[NDArray[np.float16]]] = {"floor": [], "keep": []}
    whose: list[str] = []
    left_out: list[str] = []
    for number, row in enumerate(rows, start=2):
        _check(row, number)
        found, why = _marked_slices(data / row["series"], row["marked"].split(), preprocessing)
        if why:
            left_out.append(f"line {number}: {why}")
            continue
        for outside, images in found.items():
            pictures[outside] += images
        whose += [row["patient_id"]] * len(found["floor"])
        first.setdefault(row["patient_id"], row)
    if not first:
        raise ValueError(f"no series of {data / 'index.csv'} could be read: {'; '.join(left_out[:3])}")
    names = list(first)
    return Cohort(
        _patients(names, first),
        np.array([first[name].get("part") or part_of(name) for name in names]),
        np.stack(pictures["floor"]),
        np.stack(pictures["keep"]),
        np.array(whose),
        np.full((len(whose), 2), -1, np.int64),
        preprocessing,
        tuple(left_out),
    )


def _check(row: Mapping[str, str], number: int) -> None:
    for column in ("patient_id", "label", "series", "marked"):
        if not row.get(column):
            raise ValueError(f"index.csv, line {number}: {column} is missing")
    if row["label"] not in LABELS:
        raise ValueError(f'index.csv, line {number}: label "{row["label"]}" is not known. Known: {", ".join(LABELS)}')
    if row.get("part") and row["part"] not in PARTS:
        raise ValueError(f'index.csv, line {number}: part "{row["part"]}" is not known. Known: {", ".join(PARTS)}')


def _patients(names: list[str], rows: Mapping[str, Mapping[str, str]]) -> Patients:
    numbers = {column: np.array([_number(rows[name].get(column)) for name in names]) for column in NUMBERS}
    kinds = {column: np.array([rows[name].get(column) or "" for name in names]) for column in KINDS}
    kinds["size"] = np.array([size_group(value) for value in numbers["diameter_mm"]])
    return Patients(
        np.array(names),
        np.array([LABELS[rows[name]["label"]] for name in names]),
        {column: values for column, values in numbers.items() if not np.isnan(values).all()},
        {column: values for column, values in kinds.items() if (values != "").any()},
    )


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")


def _marked_slices(
    folder: Path, marked: list[str], preprocessing: Mapping[str, Any]
) -> tuple[dict[str, list[NDArray[np.float16]]], str]:
    """Return the marked slices of one series, feet to head, prepared both ways; or nothing, and why."""
    try:
        volume = hounsfield_volume([read_instance(path) for path in sorted(folder.iterdir()) if path.is_file()])
    except StudyError as error:
        return {}, f"{error.code}: {error}"
    lungs = find_lungs(volume)
    if lungs.problem:
        return {}, f"{lungs.code}: {lungs.problem}"
    wanted = {(uid, int(frame) if frame else None) for uid, _, frame in (mark.partition("#") for mark in marked)}
    chosen = [n for n, ref in enumerate(volume.slices) if ref and (ref.sop_instance_uid, ref.frame) in wanted]
    if not chosen:
        return {}, "none of the marked slices is in the series"
    return {
        outside: [
            prepare_slice(volume.hu, volume.spacing_mm, lungs.sides, n, {**preprocessing, "outside": outside})
            .network_input[0, 0]
            .astype(np.float16)
            for n in chosen
        ]
        for outside in ("floor", "keep")
    }, ""
