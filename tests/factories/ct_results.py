"""A drawn CT study as it was received, and findings on it: for the tests of what leaves the node about a series."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from dicom_node.core import codes
from dicom_node.core.findings import (
    BundleRef,
    Decision,
    Finding,
    Findings,
    Flag,
    Measurement,
    NotRead,
    Picture,
    PolicyRef,
    SaliencyMap,
    SliceScore,
    Zone,
)
from dicom_node.core.maps import LEFT_LUNG, RIGHT_LUNG, LungVolume
from dicom_node.core.study import Instance, Study
from dicom_node.results.context import ResultContext
from models.phantoms.ct import CtPhantom, thorax
from models.phantoms.ct_companions import as_localizer, dose_report
from models.phantoms.ct_dicom import as_series
from tests.factories import results_sources
from tests.factories.ct_series import multi_frame, written

SLICES, SIZE = 24, 64
BUNDLE = BundleRef("ct_made_up", "0.1.0", "ab" * 32, "demo", synthetic=True, twin=True)
POLICY = PolicyRef("mean_of_slices", "ef" * 32, True, "No valid guarantee: made up for a test.")
READ = (14, 11, 12, 13, 10)  # the highest first
WHY = "Series 1: axial, 12.5 mm slices, lung kernel B60f, contrast agent not stated, 30 cm."


@functools.cache
def phantom(slices: int = SLICES, size: int = SIZE) -> CtPhantom:
    """Return the chest, drawn once."""
    return thorax(5, slices=slices, size=size, nodules=["ipn"])


def sent(slices: int = SLICES, size: int = SIZE, **elements: Any) -> list[Dataset]:
    """Return the study as a scanner sends it: scout, axial series, dose report."""
    drawn = phantom(slices, size)
    return [*as_localizer(drawn, seed="results"), *as_series(drawn, seed="results", **elements), dose_report(seed="results")]


def received(folder: Path, *, enhanced: bool = False, **elements: Any) -> tuple[Instance, ...]:
    """Return the instances; ``enhanced``: the axial series as one Enhanced CT object."""
    objects = sent(**elements)
    if enhanced:
        objects = [objects[0], multi_frame(objects[1:-1]), objects[-1]]
    return tuple(written(ds, folder) for ds in objects)


def finished(folder: Path, *, how: str = "automatic", enhanced: bool = False, **changes: Any) -> ResultContext:
    """Return the context of an analysed series of ``SLICES`` slices; ``changes``: fields of the context or of the run."""
    instances = received(folder, enhanced=enhanced)
    return context(analysed(instances, how=how), instances, **changes)


def context(findings: Findings, instances: tuple[Instance, ...], **changes: Any) -> ResultContext:
    """Return the context of a run on the study."""
    made = results_sources.context(findings, *instances, **{"pipeline": "ct_made_up", **changes})
    return dataclasses.replace(made, study=Study("st_abcdefghij", instances[0].study_instance_uid, instances))


def analysed(instances: tuple[Instance, ...], *, how: str = "automatic") -> Findings:
    """Return what a pipeline would say: five slices read, maps and pictures of three, lungs of all."""
    axial = [i for i in instances if "AXIAL" in i.facts.image_type]
    one = axial[0]
    places = [(one.sop_instance_uid, n + 1) for n in range(SLICES)] if len(axial) == 1 else _in_order(axial)
    drawn = phantom()
    rows, columns = drawn.hu.shape[1:]
    y, x = np.mgrid[0:rows, 0:columns]
    maps = tuple(
        SaliencyMap(
            "adenocarcinoma",
            codes.GRAD_CAM,
            "Grad-CAM",
            places[k][0],
            (5 * np.exp(-(((x - 20 - n) / 4) ** 2 + ((y - 24) / 5) ** 2))).astype(np.float32),
            0.9,
            0.01,
            places[k][1],
        )
        for n, k in enumerate(READ[:3])
    )
    pictures = tuple(
        Picture(places[k][0], (rows, columns), np.clip((drawn.hu[k] + 1350) / 1500 * 255, 0, 255).astype(np.uint8), places[k][1])
        for k in READ[:3]
    )
    read = [places[k][0] for k in READ[:3]] + [i.sop_instance_uid for i in axial]
    scores = {k: 0.9 - 0.1 * n for n, k in enumerate(READ)}
    return Findings(
        "ct_made_up",
        read=tuple(dict.fromkeys(read)),
        not_read=tuple(
            NotRead(i.sop_instance_uid, "localizer" if "LOCALIZER" in i.facts.image_type else "unsupported_object", "")
            for i in instances
            if i not in axial
        ),
        findings=(Finding("adenocarcinoma", codes.ABNORMAL, Decision.POSITIVE, 0.7, 0.5, 0.4, 0.6),),
        zone=Zone.GRAY if how == "automatic" else Zone.SUSPECTED,
        headline="Needs human review: slices chosen automatically - not the validated procedure."
        if how == "automatic"
        else "Suspected.",
        policy=POLICY,
        bundles=(BUNDLE,),
        flags=(Flag("automatic_slices", "Slices chosen automatically - not the validated procedure."),)
        if how == "automatic"
        else (),
        maps=maps,
        provenance={"series": WHY, "volume": {"spacing_mm": list(drawn.spacing_mm)}},
        slices=tuple(SliceScore(places[k][0], places[k][1], scores[k], how) for k in sorted(READ)),
        measurements=(Measurement("contribution", codes.PROBABILITY, -0.25, codes.UNITY),),
        lung_volume=LungVolume(
            tuple(places), np.array([0, RIGHT_LUNG, LEFT_LUNG], np.uint8)[drawn.lungs], "classical segmenter", None
        ),
        pictures=pictures,
    )


def _in_order(axial: list[Instance]) -> list[tuple[str, int | None]]:
    """Return the slices from feet to head."""
    return [(i.sop_instance_uid, None) for i in sorted(axial, key=lambda i: i.facts.image_position_mm[2])]
