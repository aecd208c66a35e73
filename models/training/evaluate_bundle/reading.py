"""Every image as the node would get and read it: a DICOM radiograph through the pipeline's own ``select_images`` and ``run``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np

import models.session
from dicom_node.core.findings import Findings
from dicom_node.core.identifiers import study_key
from dicom_node.core.study import Study
from dicom_node.engine.batcher import Batcher
from dicom_node.imaging.header import read_instance
from models.phantoms.dicom import as_radiograph, to_bytes
from models.training import thumbnail
from models.training.data import Row, read_gray, thumbnails
from models.training.evaluate_bundle.index import Problem

#: Gates that would refuse copies made for research rather than judge the network; all others stay as they are.
OPENED: dict[str, Any] = {
    "least_matrix": 32,
    "low_matrix": 32,
    "min_age_years": 0,
    "accept_age_unknown": True,
    "accept_ap": True,
}
OPENED_TEXT = (
    "Off, because they would refuse copies made for research: the gates for a small matrix, for children and unknown age, "
    "and for AP views. A node in its usual settings refuses these images."
)


@dataclass
class Read:
    """What came of the rows. ``probabilities`` and ``baseline`` (logits, nan without one) run along ``rows``."""

    rows: list[Row] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    probabilities: list[float] = field(default_factory=list)
    baseline: list[float] = field(default_factory=list)
    refused: list[tuple[Row, str]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


class Reader:
    """Reads single images with one set of bundles under one policy."""

    def __init__(self, pipeline: ModuleType, bundles: Mapping[str, Path], policy: str, threads: int = 1) -> None:
        self.pipeline, self.bundles, self.policy = pipeline, bundles, policy
        self.settings = pipeline.Settings(**OPENED, threads=threads, allow_synthetic=True)

    def read(self, data: Path, line: int, row: Row) -> Findings:
        """Return what the node would find.

        Raises
        ------
        FileNotFoundError
            The file is missing or not an image.
        """
        image = read_gray(data, row.file) / np.float32(255)
        age = f"{min(999, int(row.age)):03d}Y" if row.age is not None and row.age >= 1 else None
        if row.age is not None and row.age < 1:
            age = f"{int(row.age * 12):03d}M"
        view = row.view.upper().split()[0] if row.view else ""
        dataset = as_radiograph(
            image,
            seed=f"evaluated {line}",
            bits_stored=8,
            PatientBirthDate="",
            PatientAge=age,
            ViewPosition=view,
            # the research copies tell neither; what the wrapper makes up must not judge them
            ImagerPixelSpacing=None,
            StudyDescription="Chest",
            SeriesDescription="Chest",
        )
        if view != "PA":
            del dataset.ViewCodeSequence  # the wrapper says postero-anterior
        with TemporaryDirectory() as folder:
            path = Path(folder) / "image.dcm"
            path.write_bytes(to_bytes(dataset))
            instance = read_instance(path)
            study = Study(study_key(instance.study_instance_uid), instance.study_instance_uid, (instance,))
            selection = self.pipeline.select_images(study, self.settings)
            found: Findings = self.pipeline.run(study, selection, self.bundles, self.policy, self.settings)
        return found


def read_all(
    reader: Reader,
    data: Path,
    rows: Sequence[tuple[int, Row]],
    simple: thumbnail.Thumbnail | None,
    finding: str,
    told: Callable[[int, int], None],
    at_once: int = 1,
) -> Read:
    """Read every row; a refusal is counted, a file that cannot be read is a problem of its line, and neither stops the rest.

    ``at_once``: images on their way at the same time; the networks then answer them in one forward pass.
    """

    def one(listed: tuple[int, Row]) -> tuple[Findings, float] | Problem:
        line, row = listed
        try:
            found = reader.read(data, line, row)
            return found, float("nan") if simple is None else float(simple.logits(thumbnails(data, [row]))[0])
        except OSError as error:
            why = str(error) if isinstance(error, FileNotFoundError) and error.errno is None else type(error).__name__
            return Problem(line, f"the image cannot be read ({why})")

    done = Read()
    with _side_by_side(one, at_once) as every:
        for count, ((line, row), outcome) in enumerate(zip(rows, every(rows), strict=True), 1):
            told(count, len(rows))
            if isinstance(outcome, Problem):
                done.problems.append(outcome)
                continue
            found, baseline = outcome
            if found.abstention is not None:
                done.refused.append((row, found.abstention.reason))
                continue
            probability = next((f.probability for f in found.findings if f.key == finding), None)
            if probability is None:
                done.problems.append(Problem(line, f"the pipeline gave no probability of {finding}"))
                continue
            done.rows.append(row)
            done.lines.append(line)
            done.probabilities.append(probability)
            done.baseline.append(baseline)
    return done


Listed = tuple[int, Row]
Outcome = tuple[Findings, float] | Problem


@contextmanager
def _side_by_side(one: Callable[[Listed], Outcome], at_once: int) -> Iterator[Callable[[Sequence[Listed]], Iterable[Outcome]]]:
    """Give what reads all rows in their order: one after the other, or in threads whose forward passes run as one."""
    if at_once == 1:
        yield lambda rows: map(one, rows)
        return
    busy: set[int] = set()  # threads that are within an image; a batch waits for no more than these

    def counted(listed: Listed) -> Outcome:
        busy.add(threading.get_ident())
        try:
            return one(listed)
        finally:
            busy.discard(threading.get_ident())

    models.session.put_together(lambda run_many: Batcher(run_many, most=at_once, expected=lambda: len(busy)))
    try:
        with ThreadPoolExecutor(at_once) as pool:
            yield lambda rows: pool.map(counted, rows)
    finally:
        models.session.put_together(None)
