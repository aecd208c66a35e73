"""The list of images that a bundle is evaluated on: any ``index.csv`` with at least ``file`` and ``label``."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dicom_node.core.age import age_years
from models.training.data import Row, part_of

NEEDED = ("file", "label")
#: What may be missing, and what is then assumed.
OPTIONAL = {
    "image_id": "the file's name",
    "source": 'one source, "unnamed"',
    "patient_id": "each image is of another patient",
    "view": "not stated",
    "split_group": "never seen in training: test; so does any word but train and val",
    "age": "unknown: counted as adult",
}
#: Words that mean normal; any other is an abnormality.
NORMAL = ("normal", "no finding", "no findings", "healthy")
SPLITS = ("test", "all", "train", "selection", "calibration")


class IndexUnusable(Exception):
    """The list cannot be read at all; the text is for people."""


@dataclass(frozen=True)
class Problem:
    """A row that could not be used. ``line``: of the file, the head being line 1."""

    line: int
    why: str


@dataclass(frozen=True)
class Index:
    """``rows``: line number and image, those of the chosen part. ``assumed``: column -> what stands in for it."""

    rows: list[tuple[int, Row]]
    problems: list[Problem]
    assumed: dict[str, str]
    left_out: int  # rows of other parts


def read(path: Path, split: str) -> Index:
    """Read the list; columns that nobody knows are ignored, rows that cannot be used are told by line.

    Raises
    ------
    IndexUnusable
        No such file, not text, no such part, or a needed column is missing.
    """
    if split not in SPLITS:
        raise IndexUnusable(f'there is no part "{split}". Known: {", ".join(SPLITS)}')
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle)
            columns = reader.fieldnames = [(name or "").strip().lower() for name in reader.fieldnames or ()]
            entries = [(reader.line_num, entry) for entry in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise IndexUnusable(f"{path.name} cannot be read: {type(error).__name__}") from error
    missing = [name for name in NEEDED if name not in columns]
    if missing:
        raise IndexUnusable(f"{path.name} lacks the column {', '.join(missing)}")
    rows: list[tuple[int, Row]] = []
    problems: list[Problem] = []
    left_out = 0
    for line, entry in entries:
        try:
            row = _row(entry)
        except ValueError as error:
            problems.append(Problem(line, str(error)))
            continue
        if split in ("all", row.part):
            rows.append((line, row))
        else:
            left_out += 1
    return Index(rows, problems, {name: text for name, text in OPTIONAL.items() if name not in columns}, left_out)


def _row(entry: Mapping[str, str | None]) -> Row:
    """Return the image; ValueError says what is missing."""
    told = {name: (entry.get(name) or "").strip() for name in (*NEEDED, *OPTIONAL)}
    for name in NEEDED:
        if not told[name]:
            raise ValueError(f"no {name}")
    patient, group, label = told["patient_id"] or told["file"], told["split_group"].lower(), told["label"].lower()
    age = _years(told["age"])
    return Row(
        image_id=told["image_id"] or told["file"],
        file=told["file"],
        label="normal" if label in NORMAL else label,
        source=told["source"] or "unnamed",
        patient=patient,
        view=told["view"].upper(),
        part=part_of(patient, group) if group in ("train", "val") else "test",
        age=age if age is not None and 0 <= age < 130 else None,
    )


def _years(text: str) -> float | None:
    """Return an age in years, from a number or as DICOM writes it (PS3.5, AS: ``045Y``, ``006M``)."""
    try:
        return float(text)
    except ValueError:
        return age_years("", text.upper(), "")
