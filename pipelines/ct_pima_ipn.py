"""Chest CT: is a nodule invasive mucinous adenocarcinoma (PIMA), or an inflammatory nodule (IPN)? For slices that a person marked.

Headers choose the series, its slices become one volume in Hounsfield units, the lungs are found, the network reads each marked
slice, and the patient's probability is the mean of the slices'. Where nobody marked a slice, those with the largest dense piece are
taken: that is not the validated procedure, so such a result always goes to review. Every refusal is coded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dicom_node.core.findings import Findings, Flag, SliceScore, Zone
from dicom_node.core.maps import SaliencyMap
from dicom_node.core.run import Selection
from dicom_node.core.study import Study
from dicom_node.imaging.volume import SliceRef
from models.bundle import Bundle, load_bundle
from pipelines.blocks import read_ct, select_ct
from pipelines.blocks.aggregate import highest, patient_probability
from pipelines.blocks.candidate_slices import candidate_slices
from pipelines.blocks.classify import Classified, classify, session_for
from pipelines.blocks.decide import decide
from pipelines.blocks.prepare_ct import prepare_slice
from pipelines.blocks.prepare_cxr import Prepared
from pipelines.blocks.read_ct import CtSettings, Opened
from pipelines.blocks.saliency import place

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


def warm(bundles: Mapping[str, Path], settings: Settings) -> tuple[str, ...]:
    """Load the network before the first study comes; return the device that it runs on.

    Raises
    ------
    models.session.DeviceUnavailable
        The GPU was asked for and cannot be used.
    """
    return read_ct.warm(NAME, bundles, settings)


def run(study: Study, selection: Selection, bundles: Mapping[str, Path], policy: str, settings: Settings) -> Findings:
    """Read the marked slices of the selected series, decide, and explain.

    Raises
    ------
    models.bundle.BundleError
        A bundle is damaged or has no such policy. A refusal is returned, never raised.
    """
    bundle = load_bundle(bundles[NAME])
    point = bundle.operating_point(policy)
    base = Findings(NAME, not_read=selection.not_read, bundles=(read_ct.bundle_ref(bundle),))
    opened = read_ct.open_series(base, bundle, selection, settings)
    if isinstance(opened, Findings):
        return opened
    chosen, how, facts = _chosen(opened, selection, bundle.config["preprocessing"])
    trail = opened.trail | {"slices": facts}
    if not chosen:
        return read_ct.stopped(base, selection, trail, "no_nodule_slices", "")
    read = _read(opened, chosen, bundle, settings)

    key = str(point.get("finding", bundle.config["outputs"][0]["key"]))
    each = [one.said.probabilities[key] for one in read]
    top = [read[n] for n in highest(each, MAPS_OF)]
    maps = tuple(one for slice_ in top for one in _maps(key, slice_, opened))
    more = ["automatic_slices"] if how == "automatic" else []
    more += ["marks_not_in_series"] if facts["marks"] > facts["marks_in_series"] else []
    more += ["shortcut_suspect"] if any((m.border_share or 0.0) > settings.border_share for m in maps) else []
    more += ["out_of_distribution"] if any((one.said.distance or 0.0) > 1 for one in read) else []
    flags = read_ct.flags_of(opened, selection, settings, [Flag(name, FLAG_TEXTS[name]) for name in more])
    decided = decide(
        {key: patient_probability(each)},
        bundle.config["outputs"],
        point,
        policy=policy,
        policy_sha256=read_ct.policy_sha256(policy, point),
        view="axial",
        flags=flags,
    )
    zone, headline = decided.zone, decided.headline
    if how == "automatic":
        zone, headline = Zone.GRAY, f"Needs human review: {AUTOMATIC}."
    trail |= {
        "classifier": read[0].said.record | {"distance": [one.said.distance for one in read]},
        "preprocessing": [one.prepared.record for one in read],
    }
    window = bundle.config["preprocessing"]["window"]
    low, width = float(window["level"]) - float(window["width"]) / 2, float(window["width"])
    return replace(
        base,
        read=read_ct.key_first([one.ref.sop_instance_uid for one in top], selection),
        findings=decided.findings,
        zone=zone,
        headline=headline,
        policy=decided.policy,
        flags=flags,
        maps=maps,
        provenance=trail,
        slices=tuple(SliceScore(one.ref.sop_instance_uid, one.ref.frame, p, how) for one, p in zip(read, each, strict=True)),
        lung_volume=read_ct.lung_volume(opened.volume, opened.lungs),
        pictures=tuple(read_ct.picture(opened.volume, one.index, low, width) for one in top),
        embedding=tuple(round(float(v), 4) for v in np.mean([one.said.embedding for one in read], axis=0)),
    )


def _chosen(opened: Opened, selection: Selection, config: Mapping[str, Any]) -> tuple[tuple[int, ...], str, dict[str, Any]]:
    """Return the slices to read, feet to head, why these, and the facts: the marked ones, else those with the largest piece."""
    volume = opened.volume
    places = {(ref.sop_instance_uid, ref.frame): n for n, ref in enumerate(volume.slices) if ref is not None}
    marked = sorted({places[mark] for mark in selection.marked if mark in places})
    facts: dict[str, Any] = {"marks": len(set(selection.marked)), "marks_in_series": len(marked)}
    if marked:
        return tuple(marked), "marked", facts
    found, record = candidate_slices(volume.hu, volume.spacing_mm, opened.lungs.sides, config)
    return tuple(n for n in found if volume.slices[n] is not None), "automatic", facts | record


def _read(opened: Opened, chosen: tuple[int, ...], bundle: Bundle, settings: Settings) -> list[_Read]:
    """Let the network read each slice."""
    session = session_for(bundle.model, bundle.sha256, settings.threads, settings.device)
    volume, config = opened.volume, bundle.config["preprocessing"]
    mean, deviation = (np.float32(config["normalise"][name]) for name in ("mean", "deviation"))
    read = []
    for index in chosen:
        ref = volume.slices[index]
        assert ref is not None, "interpolated slices are never chosen"
        prepared = prepare_slice(volume.hu, volume.spacing_mm, opened.lungs.sides, index, config)
        normalised = replace(prepared, network_input=(prepared.network_input - mean) / deviation)
        read.append(_Read(index, ref, prepared, classify(normalised, bundle, session)))
    return read


def _maps(key: str, one: _Read, opened: Opened) -> tuple[SaliencyMap, ...]:
    """Place the maps of one slice on its image's own grid."""
    raw = {name: by_class[key] for name, by_class in one.said.maps.items()}
    placed = place(key, raw, one.prepared, one.ref.sop_instance_uid, (opened.lungs.sides[one.index] > 0).astype(np.uint8))
    return tuple(replace(m, frame=one.ref.frame, placed=opened.volume.source_plane(one.index, m.values).copy()) for m in placed)
