"""Chest CT: is a nodule invasive mucinous adenocarcinoma (PIMA), or an inflammatory nodule (IPN)? For slices that a person marked.

Headers choose the series, its slices become one volume in Hounsfield units, the lungs are found, the network reads each marked
slice, and the patient's probability is the mean of the slices'. A mark on another reconstruction of the same scan is mapped by its
position. Where nobody marked a slice, those with the largest dense piece are taken: that is not the validated procedure, so such a
result always goes to review. Every refusal is coded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dicom_node.core.findings import Findings, Flag, SliceScore, Zone
from dicom_node.core.maps import SaliencyMap
from dicom_node.core.run import Selection
from dicom_node.core.study import Study
from dicom_node.imaging.volume import SliceRef
from pipelines.blocks import read_ct, select_ct
from pipelines.blocks.aggregate import highest, patient_probability
from pipelines.blocks.candidate_slices import candidate_slices
from pipelines.blocks.classify import Classified, classify_all, session_for
from pipelines.blocks.marked_places import MarkedPlaces, marked_places
from pipelines.blocks.prepare_ct import prepare_slice
from pipelines.blocks.prepare_cxr import Prepared
from pipelines.blocks.read_ct import CtSettings, Opened
from pipelines.blocks.run_ct import CtRun, begin

NEEDS = ("ct_pima_ipn",)
NAME = "ct_pima_ipn"
AUTOMATIC = "slices chosen automatically - not the validated procedure"
MAPS_OF = 3  # slices with the highest probabilities

FLAG_TEXTS = {
    **read_ct.FLAG_TEXTS,
    "automatic_slices": f"{AUTOMATIC[0].upper()}{AUTOMATIC[1:]}.",
    "marks_not_in_series": "Some marked slices lie outside the series that was read.",
    "out_of_distribution": "Some slices are unlike those the model was made with.",
}

warm = partial(read_ct.warm, NAME)


class Settings(CtSettings):
    """What IT can set for this pipeline."""


@dataclass(frozen=True)
class _Read:
    """One slice that the network read."""

    index: int  # in the volume
    ref: SliceRef
    prepared: Prepared
    said: Classified


def select_images(study: Study, settings: Settings) -> Selection:
    """Say by header alone which series would be read, and why the others are not."""
    return select_ct.select_series(study, settings.limits, study.marks)


def run(study: Study, selection: Selection, bundles: Mapping[str, Path], policy: str, settings: Settings) -> Findings:
    """Read the marked slices of the selected series, decide, and explain.

    Raises
    ------
    models.bundle.BundleError
        A bundle is damaged or has no such policy. A refusal is returned, never raised.
    """
    begun = begin(NAME, selection, bundles, policy, settings)
    if isinstance(begun, Findings):
        return begun
    opened, config = begun.opened, begun.bundle.config["preprocessing"]
    marks = marked_places(selection.marked, study, selection.read, opened.volume, settings.series.most_thickness_mm)
    chosen, how, facts = _chosen(opened, marks, config, settings.slice_threads)
    trail = opened.trail | {"slices": facts}
    if not chosen:
        return read_ct.stopped(begun.base, selection, trail, "no_nodule_slices", "")
    read = _read(begun, chosen)

    each = [one.said.probabilities[begun.key] for one in read]
    top = [read[n] for n in highest(each, MAPS_OF)]
    maps = tuple(one for slice_ in top for one in _maps(begun, slice_))
    more = ["out_of_distribution"] if any((one.said.distance or 0.0) > 1 for one in read) else []
    more += ["automatic_slices"] if how == "automatic" else []
    flags = [*_about_marks(marks), *(Flag(name, FLAG_TEXTS[name]) for name in more)]
    level, width = (float(config["window"][name]) for name in ("level", "width"))
    shown = [one.index for one in top]
    answer = begun.answer({begun.key: patient_probability(each)}, shown, maps, flags, (level - width / 2, width))
    if how == "automatic":
        answer = replace(answer, zone=Zone.GRAY, headline=f"Needs human review: {AUTOMATIC}.")
    trail |= {
        "classifier": read[0].said.record | {"distance": [one.said.distance for one in read]},
        "preprocessing": [one.prepared.record for one in read],
    }
    return replace(
        answer,
        provenance=trail,
        slices=tuple(SliceScore(one.ref.sop_instance_uid, one.ref.frame, p, how) for one, p in zip(read, each, strict=True)),
        embedding=tuple(round(float(v), 4) for v in np.mean([one.said.embedding for one in read], axis=0)),
    )


def _chosen(
    opened: Opened, marks: MarkedPlaces, config: Mapping[str, Any], threads: int
) -> tuple[tuple[int, ...], str, dict[str, Any]]:
    """Return the slices to read, feet to head, why these, and the facts: the marked ones, else those with the largest piece."""
    volume = opened.volume
    facts: dict[str, Any] = {
        "marks_in_series": len(marks.own),
        "marks_by_position": [{"series": one.series, "slices": len(one.places)} for one in marks.by_position],
        "marks_elsewhere": dict(sorted(Counter(marks.nowhere).items())),
    }
    if marks.places:
        return marks.places, "marked", facts
    found, record = candidate_slices(volume.hu, volume.spacing_mm, opened.lungs.sides, config, threads)
    return tuple(n for n in found if volume.slices[n] is not None), "automatic", facts | record


def _about_marks(marks: MarkedPlaces) -> list[Flag]:
    """Return what a reader must know of marks that were not made on the slices that were read, with the series and the reasons."""
    flags = []
    if marks.by_position:
        series = sorted({one.series for one in marks.by_position if one.series.isdigit()}, key=int)
        named = f"series {', '.join(series)}" if series else "another series"
        flags.append(Flag("marks_by_position", f"Marked slices were mapped by position from {named} to the series that was read."))
    if marks.nowhere:
        reasons = "; ".join(sorted(set(marks.nowhere)))
        flags.append(Flag("marks_not_in_series", f"{FLAG_TEXTS['marks_not_in_series']} Reason: {reasons}."))
    return flags


def _read(begun: CtRun, chosen: tuple[int, ...]) -> list[_Read]:
    """Let the network read each slice."""
    bundle, settings, volume = begun.bundle, begun.settings, begun.opened.volume
    session, config = session_for(bundle.model, bundle.sha256, settings.threads, settings.device), bundle.config["preprocessing"]
    mean, deviation = (np.float32(config["normalise"][name]) for name in ("mean", "deviation"))
    prepared = [prepare_slice(volume.hu, volume.spacing_mm, begun.opened.lungs.sides, index, config) for index in chosen]
    normalised = [replace(one, network_input=(one.network_input - mean) / deviation) for one in prepared]
    read = []
    for index, one, said in zip(chosen, prepared, classify_all(normalised, bundle, session), strict=True):
        ref = volume.slices[index]
        assert ref is not None, "interpolated slices are never chosen"
        read.append(_Read(index, ref, one, said))
    return read


def _maps(begun: CtRun, one: _Read) -> tuple[SaliencyMap, ...]:
    """Return the maps of one slice on its image's own grid."""
    return begun.maps(one.index, {name: by_class[begun.key] for name, by_class in one.said.maps.items()}, one.prepared)
