"""Chest CT with clinical data: how likely is disease by nontuberculous mycobacteria (NTM), and where does the network see it.

Headers choose the series, its slices become one volume in Hounsfield units, the lungs are found, and a 3D network reads their box
together with age, sex, acid-fast smear and mycobacterial species. What of these nobody knows is told; the network was trained to do
without. Its class map is shown on the slices that hold most of it, and what the clinical data contributed is a number of its own.
Every refusal is coded.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from dicom_node.core import codes
from dicom_node.core.findings import Findings, Flag, Measurement
from dicom_node.core.laboratory import LabInput
from dicom_node.core.maps import SaliencyMap
from dicom_node.core.run import Selection
from dicom_node.core.study import HeaderFacts, LabValue, Study
from pipelines.blocks import laboratory, read_ct, select_ct
from pipelines.blocks.classify import Classified, classify, session_for
from pipelines.blocks.clinical import PARTS, Clinical, encoded, from_header
from pipelines.blocks.key_slices import key_slices
from pipelines.blocks.laboratory import LabCodes
from pipelines.blocks.prepare_ct import PreparedVolume, prepare_volume
from pipelines.blocks.read_ct import CtSettings, Opened
from pipelines.blocks.run_ct import CtRun, begin

NEEDS = ("ct_ntm",)
NAME = "ct_ntm"
MAPS_OF = 3  # slices
SHOWN_LOW, SHOWN_WIDTH = -1350.0, 1500.0  # HU of the pictures: level -600, as lungs are read

warm = partial(read_ct.warm, NAME)


class Settings(CtSettings):
    """What IT can set for this pipeline."""

    labs: LabCodes = Field(default=LabCodes(), description="Which laboratory results say what.")


def select_images(study: Study, settings: Settings) -> Selection:
    """Say by header alone which series would be read, and why the others are not."""
    return select_ct.select_series(study, settings.limits)


def lab_inputs(facts: HeaderFacts, labs: Sequence[LabValue], settings: Settings) -> tuple[LabInput, ...]:
    """Say what of a laboratory's results is taken, and which of it nothing need be waited for any more."""
    return laboratory.inputs(labs, facts.study_date, settings.labs)


def run(study: Study, selection: Selection, bundles: Mapping[str, Path], policy: str, settings: Settings) -> Findings:
    """Read the selected series with what is known of the patient, decide, and explain.

    Raises
    ------
    models.bundle.BundleError
        A bundle is damaged or has no such policy. A refusal is returned, never raised.
    """
    begun = begin(NAME, selection, bundles, policy, settings)
    if isinstance(begun, Findings):
        return begun
    bundle, opened, key = begun.bundle, begun.opened, begun.key
    volume, lungs = opened.volume, opened.lungs
    prepared = prepare_volume(volume.hu, volume.spacing_mm, lungs.sides, bundle.config["preprocessing"])
    clinical, origins = known_of(study, selection, settings)
    session = session_for(bundle.model, bundle.sha256, settings.threads, settings.device)
    said = classify(prepared, bundle, session, {"clinical": encoded(clinical)[None]})

    shown = _key_slices(said, key, prepared, opened)
    maps = tuple(one for index in shown for one in _maps(begun, said, prepared, index))
    more = _missing(clinical, study, selection, settings)
    if said.distance is not None and said.distance > 1:
        more.append(Flag("out_of_distribution", "The scan is unlike those the model was made with."))
    answer = begun.answer(said.probabilities, shown, maps, more, (SHOWN_LOW, SHOWN_WIDTH))
    temperature = float(said.record["temperature"][key])
    contribution = round(said.numbers["clinical_contribution"] / temperature, 4)
    told = {"missing": list(clinical.missing()), "known": origins}
    trail = opened.trail | {"preprocessing": prepared.record, "clinical": told, "classifier": said.record}
    return replace(
        answer,
        provenance=trail,
        measurements=(Measurement("clinical_contribution", codes.CLINICAL_CONTRIBUTION, contribution, codes.UNITY),),
        embedding=tuple(round(float(v), 4) for v in said.embedding),
    )


def known_of(study: Study, selection: Selection, settings: Settings) -> tuple[Clinical, dict[str, dict[str, Any]]]:
    """Return what header, laboratory and form know of the patient; and of each known part who said it, and when it was observed."""
    facts = selection.read[0].facts
    labs = laboratory.taken(study.labs, facts.study_date, settings.labs)
    clinical = laboratory.with_labs(from_header(facts), labs)
    in_header = {"age": "birth_date", "sex": "patient_sex"}
    origins: dict[str, dict[str, Any]] = {}
    for part in PARTS:
        if part in labs:
            origins[part] = {"source": labs[part].source, "observed": _moment(labs[part].observed_utc)}
        elif part not in clinical.missing():
            origins[part] = {"source": "hl7" if in_header[part] in study.told else "header", "observed": ""}
    return clinical, origins


def _moment(utc: float | None) -> str:
    return "" if utc is None else dt.datetime.fromtimestamp(utc, dt.UTC).isoformat(timespec="seconds")


def _missing(clinical: Clinical, study: Study, selection: Selection, settings: Settings) -> list[Flag]:
    gone = clinical.missing()
    if not gone:
        return []
    asked = laboratory.said_unknown(study.labs, settings.labs)
    otherwise = laboratory.said_otherwise(study.labs, selection.read[0].facts.study_date, settings.labs)
    late = f" (did not come within {study.waited_minutes:g} minutes)" if study.waited_minutes else ""
    notes = {part: " (a person says: not known)" if part in asked else late for part in laboratory.NAMES}
    notes |= dict.fromkeys(otherwise, " (the laboratory's result is none that the model takes)")
    said = ", ".join(part + notes.get(part, "") for part in gone)
    return [Flag("clinical_missing", f"Clinical data missing: {said}; the model went on without.")]


def _key_slices(said: Classified, key: str, prepared: PreparedVolume, opened: Opened) -> tuple[int, ...]:
    """Return the slices that hold most of the class map, a layer of it apart; without evidence the one with most lung."""
    found = said.maps["Grad-CAM"][key]
    lung = opened.lungs.sides.astype(np.bool_).sum((1, 2))
    real = [ref is not None for ref in opened.volume.slices]
    energy = [float(prepared.plane_at(found, n).sum()) * bool(lung[n]) for n in range(len(lung))]
    layer = max(1, round(prepared.scale[0] * prepared.network_input.shape[2] / found.shape[0]))
    return key_slices(energy, real, MAPS_OF, layer) or key_slices(lung, real, 1)


def _maps(begun: CtRun, said: Classified, prepared: PreparedVolume, index: int) -> tuple[SaliencyMap, ...]:
    """Return the maps of one slice on its image's own grid."""
    raw = {name: prepared.plane_at(by_class[begun.key], index) for name, by_class in said.maps.items()}
    return begun.maps(index, raw, prepared.flat())
