"""A site's own patients for the NTM protocol: ``index.csv``, one row a patient, read line by line and refused with a cure.

::

    patient_id     any text
    export_id      (optional) the pseudonym of the node's exports; else patient_id
    series         folder of DICOM files, relative to the index; of several series the node's own rule takes one
    truth          (optional) disease | none, from whatever the site holds for its reference
    age            (optional) years; else from the header
    sex            (optional) F | M; else from the header
    smear          (optional) as the laboratory writes it: negative, scanty, 2+, 3
    species        (optional) avium_complex | abscessus | kansasii | other, or the species' name
    site           (optional) empty or internal; any other word: an external site, whose patients only test
    part           (optional) read | thresholds | test
    read_<reader>  (optional) what that reader said at the first look, 0 to 1; empty: did not read it

Without ``part``, an internal patient with three first reads or more is read; one with fewer, but a truth, is one for thresholds or
for the test by a keyed hash. First reads that are not in the index come from the node's exports. Where readers have other names
there, ``readers.csv`` beside the index says so: ``reader`` (as in ``read_<reader>``) and ``export_id``.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from models.training.hitl.cases import LEAST_READERS
from models.training.hitl.folds import keyed_number
from pipelines.blocks.clinical import SPECIES, Clinical, smear_grade, species_of

READ, THRESHOLDS, TEST = "read", "thresholds", "test"
PARTS = (READ, THRESHOLDS, TEST)
TRUTHS = {"disease": 1, "none": 0, "": None}
INTERNAL = "internal"
READER_COLUMN = "read_"


@dataclass(frozen=True)
class Row:
    """One patient of the index. ``clinical``: what the index says; the header fills the rest. ``first``: score by reader."""

    patient: str
    series: Path
    truth: int | None
    clinical: Clinical
    site: str
    part: str
    export_id: str = ""
    first: Mapping[str, float] = field(default_factory=dict)

    @property
    def external(self) -> bool:
        """Whether the patient is another site's."""
        return self.site != INTERNAL


def read_index(data: Path) -> list[Row]:
    """Return the rows of ``data/index.csv``, in their order.

    Raises
    ------
    ValueError
        With its line: a column is missing, a patient comes twice, or a value is none of those above.
    """
    with (data / "index.csv").open(newline="", encoding="utf-8") as handle:
        lines = list(csv.DictReader(handle))
    rows: dict[str, Row] = {}
    for number, line in enumerate(lines, start=2):
        try:
            row = _row(data, {name: (value or "").strip() for name, value in line.items() if name is not None})
            if row.patient in rows:
                raise ValueError("the patient has a row already: name one series a patient")
            if any(row.export_id == other.export_id for other in rows.values()):
                raise ValueError(f"{row.export_id} is another patient's in exports already: answers would go to both")
        except ValueError as error:
            raise ValueError(f"index.csv, line {number}: {error}") from error
        rows[row.patient] = row
    if not rows:
        raise ValueError(f"{data / 'index.csv'} has no patient")
    return list(rows.values())


def read_readers(data: Path) -> dict[str, str]:
    """Return each reader by their name in exports, as ``readers.csv`` says; empty where there is none.

    Raises
    ------
    ValueError
        A column is missing.
    """
    path = data / "readers.csv"
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as handle:
        lines = list(csv.DictReader(handle))
    if any(not line.get("reader") or not line.get("export_id") for line in lines):
        raise ValueError("readers.csv: every line needs reader and export_id")
    return {line["export_id"]: line["reader"] for line in lines}


def part_of(row: Row, first: Mapping[str, float]) -> str:
    """Return the part of a patient with these first reads; empty where neither reads nor a truth give one."""
    if row.external:
        return TEST
    if row.part:
        return row.part
    if len(first) >= LEAST_READERS:
        return READ
    return (THRESHOLDS, TEST)[keyed_number(row.patient) % 2] if row.truth is not None else ""


def _row(data: Path, line: Mapping[str, str]) -> Row:
    for column in ("patient_id", "series"):
        if not line.get(column):
            raise ValueError(f"{column} is missing")
    truth, part, site = line.get("truth", ""), line.get("part", ""), line.get("site", "") or INTERNAL
    if truth not in TRUTHS:
        raise ValueError(f'truth "{truth}" is not known. Known: disease, none, or empty')
    if part and part not in PARTS:
        raise ValueError(f'part "{part}" is not known. Known: {", ".join(PARTS)}')
    if site != INTERNAL and part not in ("", TEST):
        raise ValueError(f"a patient of another site ({site}) only tests: leave part empty")
    first = {
        name.removeprefix(READER_COLUMN): _score(name, value)
        for name, value in line.items()
        if name.startswith(READER_COLUMN) and value
    }
    return Row(
        line["patient_id"],
        data / line["series"],
        TRUTHS[truth],
        _clinical(line),
        site,
        part,
        line.get("export_id", "") or line["patient_id"],
        first,
    )


def _score(column: str, text: str) -> float:
    value = _number(column, text)
    if not 0 <= value <= 1:
        raise ValueError(f"{column} is {text}: a score lies between 0 and 1")
    return value


def _clinical(line: Mapping[str, str]) -> Clinical:
    sex, smear, species = (line.get(name, "") for name in ("sex", "smear", "species"))
    if sex not in ("F", "M", ""):
        raise ValueError(f'sex "{sex}" is not known. Known: F, M, or empty')
    grade = smear_grade(smear) if smear else None
    if smear and grade is None:
        raise ValueError(f'smear "{smear}" is not understood. Understood: negative, scanty, 1+ to 4+, 0 to 4')
    group = species if species in SPECIES else species_of(species)
    if species and not group:
        raise ValueError(f'species "{species}" is not understood. Understood: {", ".join(SPECIES)}, or one name in full')
    return Clinical(_number("age", line["age"]) if line.get("age") else None, sex, grade, group)


def _number(column: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f'{column} is "{text}", which is no number') from error
