"""Chest CT with clinical data: how likely is disease by nontuberculous mycobacteria (NTM), and where does the network see it.

Headers choose the series, its slices become one volume in Hounsfield units, the lungs are found, and a 3D network reads their box
together with age, sex, acid-fast smear and mycobacterial species. What of these nobody knows is told; the network was trained to do
without. Its class map is shown on the slices that hold most of it, and what the clinical data contributed is a number of its own.
Every refusal is coded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import Field

from dicom_node.core import codes
from dicom_node.core.findings import Findings, Flag, Measurement
from dicom_node.core.maps import SaliencyMap
from dicom_node.core.run import Selection
from dicom_node.core.study import Study
from models.bundle import load_bundle
from pipelines.blocks import read_ct, select_ct
from pipelines.blocks.classify import Classified, classify, session_for
from pipelines.blocks.clinical import Clinical, LabCodes, encoded, from_header, with_labs
from pipelines.blocks.decide import decide
from pipelines.blocks.key_slices import key_slices
from pipelines.blocks.prepare_ct import PreparedVolume, prepare_volume
from pipelines.blocks.read_ct import CtSettings, Opened
from pipelines.blocks.saliency import place

NEEDS = ("ct_ntm",)
NAME = "ct_ntm"
MAPS_OF = 3  # slices
SHOWN_LOW, SHOWN_WIDTH = -1350.0, 1500.0  # HU of the pictures: level -600, as lungs are read


class Settings(CtSettings):
    """What IT can set for this pipeline."""

    labs: LabCodes = Field(default=LabCodes(), description="Which laboratory results say what.")


def select_images(study: Study, settings: Settings) -> Selection:
    """Say by header alone which series would be read, and why the others are not."""
    return select_ct.select_series(study, settings.limits)


def warm(bundles: Mapping[str, Path], settings: Settings) -> tuple[str, ...]:
    """Load the network before the first study comes; return the device that it runs on.

    Raises
    ------
    models.session.DeviceUnavailable
        The GPU was asked for and cannot be used.
    """
    return read_ct.warm(NAME, bundles, settings)


def run(study: Study, selection: Selection, bundles: Mapping[str, Path], policy: str, settings: Settings) -> Findings:
    """Read the selected series with what is known of the patient, decide, and explain.

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
    volume, lungs, trail = opened.volume, opened.lungs, opened.trail
    prepared = prepare_volume(volume.hu, volume.spacing_mm, lungs.sides, bundle.config["preprocessing"])
    clinical = known_of(study, selection, settings)
    session = session_for(bundle.model, bundle.sha256, settings.threads, settings.device)
    said = classify(prepared, bundle, session, {"clinical": encoded(clinical)[None]})

    key = str(point.get("finding", bundle.config["outputs"][0]["key"]))
    shown = _key_slices(said, key, prepared, opened)
    maps = tuple(one for index in shown for one in _maps(said, key, prepared, opened, index))
    more = _missing(clinical)
    more += [Flag("shortcut_suspect", read_ct.FLAG_TEXTS["shortcut_suspect"])] if _at_border(maps, settings.border_share) else []
    if said.distance is not None and said.distance > 1:
        more.append(Flag("out_of_distribution", "The scan is unlike those the model was made with."))
    flags = read_ct.flags_of(opened, selection, settings, more)
    decided = decide(
        said.probabilities,
        bundle.config["outputs"],
        point,
        policy=policy,
        policy_sha256=read_ct.policy_sha256(policy, point),
        view="axial",
        flags=flags,
    )
    temperature = float(said.record["temperature"][key])
    contribution = round(said.numbers["clinical_contribution"] / temperature, 4)
    trail |= {"preprocessing": prepared.record, "clinical": {"missing": list(clinical.missing())}, "classifier": said.record}
    pictures = tuple(read_ct.picture(volume, index, SHOWN_LOW, SHOWN_WIDTH) for index in shown)
    return replace(
        base,
        read=read_ct.key_first([p.sop_instance_uid for p in pictures], selection),
        findings=decided.findings,
        zone=decided.zone,
        headline=decided.headline,
        policy=decided.policy,
        flags=flags,
        maps=maps,
        provenance=trail,
        measurements=(Measurement("clinical_contribution", codes.CLINICAL_CONTRIBUTION, contribution, codes.UNITY),),
        lung_volume=read_ct.lung_volume(volume, lungs),
        pictures=pictures,
        embedding=tuple(round(float(v), 4) for v in said.embedding),
    )


def known_of(study: Study, selection: Selection, settings: Settings) -> Clinical:
    """Return what header and laboratory know of the patient."""
    facts = selection.read[0].facts
    return with_labs(from_header(facts), study.labs, facts.study_date, settings.labs)


def _missing(clinical: Clinical) -> list[Flag]:
    gone = clinical.missing()
    return [Flag("clinical_missing", f"Clinical data missing: {', '.join(gone)}; the model went on without.")] if gone else []


def _at_border(maps: tuple[SaliencyMap, ...], most: float) -> bool:
    return any((one.border_share or 0.0) > most for one in maps)


def _key_slices(said: Classified, key: str, prepared: PreparedVolume, opened: Opened) -> tuple[int, ...]:
    """Return the slices that hold most of the class map, a layer of it apart; without evidence the one with most lung."""
    found = said.maps["Grad-CAM"][key]
    lung = opened.lungs.sides.astype(np.bool_).sum((1, 2))
    real = [ref is not None for ref in opened.volume.slices]
    energy = [float(prepared.plane_at(found, n).sum()) * bool(lung[n]) for n in range(len(lung))]
    layer = max(1, round(prepared.scale[0] * prepared.network_input.shape[2] / found.shape[0]))
    return key_slices(energy, real, MAPS_OF, layer) or key_slices(lung, real, 1)


def _maps(said: Classified, key: str, prepared: PreparedVolume, opened: Opened, index: int) -> tuple[SaliencyMap, ...]:
    """Place the maps of one slice on its image's own grid."""
    ref = opened.volume.slices[index]
    assert ref is not None, "key slices are images"
    raw = {name: prepared.plane_at(by_class[key], index) for name, by_class in said.maps.items()}
    mask = (opened.lungs.sides[index] > 0).astype(np.uint8)
    placed = place(key, raw, prepared.flat(), ref.sop_instance_uid, mask)
    return tuple(replace(m, frame=ref.frame, placed=opened.volume.source_plane(index, m.values).copy()) for m in placed)
