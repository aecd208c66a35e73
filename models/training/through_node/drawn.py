"""A drawn patient as a scanner, a laboratory and a radiologist make them known to the node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dicom_node.core.findings import Findings
from dicom_node.core.study import LabValue, Study
from dicom_node.imaging.header import read_instance
from models.phantoms.ct import CtPhantom
from models.phantoms.ct_dicom import as_series


def nothing_to_hear(_found: Findings) -> bool:
    """Say that nothing of the patient could have got lost: there is nothing beside the images."""
    return True


@dataclass(frozen=True)
class Patient:
    """One drawn patient.

    ``label``: 1 is what the model looks for. ``marked``: slices that a person marked, 0 nearest the feet. ``labs``: oldest first.
    ``header``: elements of every image by keyword, ``None`` for absent ones. ``heard``: whether an answer shows that marks and
    laboratory values were read; without them a figure would be that of another model.
    """

    seed: int
    label: int
    chest: CtPhantom
    marked: tuple[int, ...] = ()
    labs: tuple[LabValue, ...] = ()
    header: Mapping[str, Any] = field(default_factory=dict)
    heard: Callable[[Findings], bool] = nothing_to_hear


def as_study(patient: Patient, folder: Path) -> Study:
    """Write the patient's series into ``folder`` and return the study, read back from the files as reception reads them."""
    instances = []
    for n, data_set in enumerate(as_series(patient.chest, seed=f"through node {patient.seed}", **patient.header)):
        path = folder / f"{n}.dcm"
        data_set.save_as(path, enforce_file_format=True)
        instances.append(read_instance(path))
    upwards = sorted(instances, key=lambda instance: instance.facts.image_position_mm[2])
    marks = tuple((upwards[n].sop_instance_uid, None) for n in patient.marked)
    return Study("st_drawn", instances[0].study_instance_uid, tuple(instances), marks=marks, labs=patient.labs)
