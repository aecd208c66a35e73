"""Reading one frontal chest radiograph of an adult: what every pipeline for such images shares, from header to findings.

Header gates choose the image, pixel gates may refuse it, a lung network finds the lungs, a classifier bundle says how likely its
findings are, the policy of that bundle decides, its maps are placed. A pipeline gives its name and the two bundles it needs; what
differs between pipelines stands in the bundles. Every refusal is coded; every step leaves its facts in ``Findings.provenance``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from dicom_node.core.errors import StudyError
from dicom_node.core.findings import Abstention, Findings, Flag, LungMask, Measurement, NotRead, Picture, SaliencyMap
from dicom_node.core.run import Selection
from dicom_node.core.study import Instance, Study
from dicom_node.imaging.grayscale import GrayImage, grayscale
from dicom_node.imaging.overlay import reduced
from dicom_node.imaging.pixels import read_dataset
from models.bundle import Bundle, load_bundle
from pipelines.blocks import quality
from pipelines.blocks.classify import Classified, bundle_ref, classify, session_for
from pipelines.blocks.decide import decide
from pipelines.blocks.frontal_gate import load_gate
from pipelines.blocks.lungs import LungLimits, Lungs, find_lungs, not_frontal
from pipelines.blocks.prepare_cxr import CONSTANT, Prepared, prepare
from pipelines.blocks.quality import Gate, Outcome
from pipelines.blocks.saliency import place
from pipelines.blocks.select_cxr import select_frontal
from pipelines.blocks.smooth_saliency import smooth_maps

FLAG_TEXTS = {
    "age_unknown": "Patient age unknown; the model is for adults only.",
    "ap_view": "AP view.",
    "asymmetric_lungs": "The two lungs differ much in shape.",
    "burned_in": "The image may carry burned-in text.",
    "low_resolution": "Low image resolution.",
    "lossy": "The image was compressed with loss.",
    "lungs_cut_off": "The lungs are cut off at the edge of the image.",
    "odd_field_of_view": "Unusual field of view for an adult chest.",
    "out_of_distribution": "The image is unlike those the model was made with.",
    "over_exposed": "Over-exposed compared with the training images.",
    "polarity_contradiction": "Photometric Interpretation and Presentation LUT Shape contradict each other.",
    "saturated": "Part of the picture is clipped to white.",
    "shortcut_suspect": "Much of the network's attention lies at the image border.",
    "under_exposed": "Under-exposed compared with the training images.",
    "view_not_stated": "The header does not state the view; it is frontal by its pixels.",
    "wide_border": "A wide dark border had to be cut away.",
    "window_unusable": "The window in the header could not be used.",
}


class RadiographSettings(BaseModel):
    """What IT can set for a pipeline that reads chest radiographs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_age_years: float = Field(default=15, ge=0, description="Younger patients are refused. Default 15: the model is for adults.")
    accept_age_unknown: bool = Field(default=False, description="Read images whose patient age is unknown; the result is flagged.")
    accept_ap: bool = Field(default=False, description="Read AP (bedside) views. Needs an operating point valid for AP.")
    allow_synthetic: bool = Field(default=False, description="Run bundles that were trained on synthetic images.")
    threads: int = Field(default=1, ge=1, description="CPU threads of one network.")
    device: str = Field(default="auto", pattern="^(auto|cpu|cuda)$", description="auto, cpu or cuda.")
    least_matrix: int = Field(default=256, ge=32, description="Pixels of the short side below which an image is refused.")
    low_matrix: int = Field(default=512, ge=32, description="Pixels of the short side below which an image is flagged.")
    most_matrix: int = Field(default=10_000, le=10_000, description="Pixels of the long side above which an image is refused.")
    least_field_mm: float = Field(default=200, description="Field of view (mm) below which an image is flagged, where known.")
    most_field_mm: float = Field(default=520, description="Field of view (mm) above which an image is flagged, where known.")
    saturated: float = Field(default=0.05, ge=0, le=1, description="Share of clipped white pixels above which an image is flagged.")
    border_share: float = Field(default=0.30, ge=0, le=1, description="Share of a map in the outer 5 % above which it is flagged.")
    saliency: str = Field(
        default="plain",
        pattern="^(plain|smooth)$",
        description="plain, or smooth: the mean map of 16 noisy copies of the image, its stability, and where it is unstable. "
        "Costs 16 more passes of the network.",
    )
    lungs: LungLimits = Field(default=LungLimits(), description="What a plausible pair of lungs looks like.")


def select_images(study: Study, settings: RadiographSettings) -> Selection:
    """Say by header alone which radiograph would be read, and why the others are not."""
    return select_frontal(study, accept_ap=settings.accept_ap, least=settings.least_matrix, most=settings.most_matrix)


def warm(needs: tuple[str, str], bundles: Mapping[str, Path], settings: RadiographSettings) -> tuple[str, ...]:
    """Load the networks before the first study comes; return the devices that they run on.

    Raises
    ------
    models.session.DeviceUnavailable
        The GPU was asked for and cannot be used.
    """
    loaded = [load_bundle(bundles[name]) for name in needs]
    return tuple(session_for(b.model, b.sha256, settings.threads, settings.device).device for b in loaded)


def run(
    pipeline: str,
    needs: tuple[str, str],
    study: Study,
    selection: Selection,
    bundles: Mapping[str, Path],
    policy: str,
    settings: RadiographSettings,
) -> Findings:
    """Read the selected image, decide, and explain.

    Where several candidates are given (no header says which is the frontal chest) the first that passes the pixel gates is read.

    Parameters
    ----------
    pipeline
        Name of the pipeline, for the findings.
    needs
        Names of the classifier bundle and of the lung bundle.

    Raises
    ------
    models.bundle.BundleError
        A bundle is damaged or has no such policy. A refusal is returned, never raised.
    """
    classifier, segmenter = load_bundle(bundles[needs[0]]), load_bundle(bundles[needs[1]])
    point = classifier.operating_point(policy)
    refs = (bundle_ref(classifier), bundle_ref(segmenter))
    base = Findings(pipeline, not_read=selection.not_read, bundles=refs)
    if not selection.read:
        return _refusal(base, selection.refusal or "no_image", selection.detail)
    if any(ref.synthetic for ref in refs) and not settings.allow_synthetic:
        return _refusal(_unread(base, selection.read, "synthetic_model"), "synthetic_model")

    first: Abstention | None = None
    for n, instance in enumerate(selection.read):
        outcome = _read(instance, base, classifier, segmenter, point, policy, settings)
        if outcome.abstention is None:
            return _unread(outcome, selection.read[n + 1 :], "not_needed")
        base = _unread(base, (instance,), outcome.abstention.reason, outcome.abstention.detail)
        if first is None:
            first, base = outcome.abstention, replace(base, provenance=outcome.provenance)
    assert first is not None
    return replace(base, abstention=first)


def _read(
    instance: Instance,
    base: Findings,
    classifier: Bundle,
    segmenter: Bundle,
    point: Mapping[str, Any],
    policy: str,
    settings: RadiographSettings,
) -> Findings:
    facts = instance.facts
    trail: dict[str, Any] = {"software": {name: version(name) for name in ("pydicom", "numpy", "opencv-python-headless")}}
    gates = [
        quality.body_part_gate(facts),
        quality.view_gate(facts, accept_ap=settings.accept_ap),
        quality.age_gate(facts, youngest=settings.min_age_years, accept_unknown=settings.accept_age_unknown),
        quality.spacing_gate(facts, least_mm=settings.least_field_mm, most_mm=settings.most_field_mm),
    ]
    if rejected := _rejected(gates):
        return _stopped(base, trail, gates, rejected.code, rejected.detail)
    try:
        picture = grayscale(read_dataset(instance.path))
    except StudyError as error:
        return _stopped(base, trail, gates, error.code, str(error))
    trail["pixels"] = picture.record
    gates += [
        quality.matrix_gate(*picture.values.shape, least=settings.least_matrix, low=settings.low_matrix, most=settings.most_matrix),
        quality.contrast_gate(picture.values, saturated=settings.saturated),
    ]
    if rejected := _rejected(gates):
        return _stopped(base, trail, gates, rejected.code, rejected.detail)

    reductions: dict[int, NDArray[np.float32]] = {}
    view_stated = bool(quality.view_of(facts))
    stated = view_stated and quality.body_part_gate(facts).outcome is Outcome.PASS
    lungs, gate, trail["lungs"] = _lungs(picture, segmenter, settings, reductions, view_stated=view_stated, stated=stated)
    gates.append(gate)
    if gate.outcome is Outcome.REJECT:
        return _stopped(base, trail, gates, gate.code, gate.detail)

    prepared = prepare(picture.values, classifier.config["preprocessing"], lungs.box, lungs=lungs.mask, reductions=reductions)
    if CONSTANT in prepared.flags:
        return _stopped(base, trail, gates, "poor_quality", "the picture has almost no grey levels")
    session = session_for(classifier.model, classifier.sha256, settings.threads, settings.device)
    said = classify(prepared, classifier, session)
    finding = str(point.get("finding", "abnormal"))
    maps = _maps(finding, said, prepared, instance, lungs)
    unsteady: tuple[SaliencyMap, ...] = ()
    steadiness: tuple[Measurement, ...] = ()
    if settings.saliency == "smooth" and maps:
        smooth = smooth_maps(finding, classifier.config, session, prepared, instance.sop_instance_uid, lungs.mask)
        maps, unsteady, steadiness, trail["saliency"] = smooth.maps, smooth.unsteady, smooth.stability, smooth.record
    keys = [gate.code for gate in gates if gate.outcome is Outcome.FLAG]
    keys += [*picture.flags, *prepared.flags]
    keys += ["view_not_stated"] if not quality.view_of(facts) else []
    keys += ["burned_in"] if facts.burned_in_annotation == "YES" else []
    keys += ["out_of_distribution"] if said.distance is not None and said.distance > 1 else []
    keys += ["shortcut_suspect"] if any((m.border_share or 0.0) > settings.border_share for m in maps) else []
    flags = tuple(Flag(key, FLAG_TEXTS[key]) for key in dict.fromkeys(keys))
    decided = decide(
        said.probabilities,
        classifier.config["outputs"],
        point,
        policy=policy,
        policy_sha256=classifier.policy_sha256(policy),
        view=quality.view_of(facts),
        flags=flags,
    )
    trail |= {"preprocessing": prepared.record, "classifier": said.record | {"distance": said.distance}, "gates": _gates(gates)}
    return replace(
        base,
        read=(instance.sop_instance_uid,),
        findings=decided.findings,
        zone=decided.zone,
        headline=decided.headline,
        policy=decided.policy,
        flags=flags,
        maps=(*maps, *unsteady),
        measurements=steadiness,
        lungs=LungMask(instance.sop_instance_uid, lungs.mask, bundle_ref(segmenter)),
        picture=Picture(instance.sop_instance_uid, picture.values.shape, reduced(picture.values)),
        provenance=trail,
        embedding=tuple(round(float(value), 4) for value in said.embedding),
    )


def _maps(finding: str, said: Classified, prepared: Prepared, instance: Instance, lungs: Lungs) -> tuple[SaliencyMap, ...]:
    """Place the maps of the deciding finding; a graph without maps gives none."""
    raw = {name: by_class[finding] for name, by_class in said.maps.items()}
    return place(finding, raw, prepared, instance.sop_instance_uid, lungs.mask)


def _lungs(
    picture: GrayImage,
    segmenter: Bundle,
    settings: RadiographSettings,
    reductions: dict[int, NDArray[np.float32]],
    *,
    view_stated: bool,
    stated: bool,
) -> tuple[Lungs, Gate, dict[str, Any]]:
    """Find the lungs and say whether this is an upright frontal chest; the facts of both. ``stated``: by the header it is one."""
    session = session_for(segmenter.model, segmenter.sha256, settings.threads, settings.device)
    lungs = find_lungs(picture.values, session, segmenter.config, settings.lungs, reductions)
    record = lungs.record()
    fitted = load_gate(segmenter.folder, segmenter.sha256)
    if fitted is None and not stated:
        silent = "the header does not state a frontal chest, and the lung bundle has no gate to judge it"
        return lungs, Gate("frontal", Outcome.REJECT, "not_frontal", silent), record
    if fitted is not None:
        judged = fitted.judge(lungs)
        record["kinds"] = {kind: round(p, 4) for kind, p in judged.probabilities.items()}
        code, why = fitted.refusal(judged, stated=stated)
        if code:
            return lungs, Gate("frontal", Outcome.REJECT, code, why), record
    return lungs, _usable(lungs, settings, view_stated), record


def _usable(lungs: Lungs, settings: RadiographSettings, view_stated: bool) -> Gate:
    """Judge the mask itself by the site's limits."""
    if lungs.problem:
        return Gate("lungs", Outcome.REJECT, "lungs_not_found", lungs.problem)
    sideways = not_frontal(lungs.facts, settings.lungs)
    if sideways and not view_stated:
        return Gate("frontal", Outcome.REJECT, "not_frontal", sideways)
    if sideways:
        return Gate("frontal", Outcome.FLAG, "asymmetric_lungs", sideways)
    if lungs.facts.cut_off > settings.lungs.most_cut_off:
        return Gate("coverage", Outcome.FLAG, "lungs_cut_off", f"{lungs.facts.cut_off:.0%} of one border is lung")
    return Gate("lungs", Outcome.PASS)


def _rejected(gates: list[Gate]) -> Gate | None:
    return next((gate for gate in gates if gate.outcome is Outcome.REJECT), None)


def _stopped(base: Findings, trail: dict[str, Any], gates: list[Gate], reason: str, detail: str) -> Findings:
    return replace(base, abstention=Abstention(reason, detail), provenance=trail | {"gates": _gates(gates)})


def _gates(gates: list[Gate]) -> list[dict[str, str]]:
    return [{"name": g.name, "outcome": str(g.outcome), "code": g.code, "detail": g.detail} for g in gates]


def _refusal(base: Findings, reason: str, detail: str = "") -> Findings:
    return replace(base, abstention=Abstention(reason, detail))


def _unread(base: Findings, instances: tuple[Instance, ...], reason: str, detail: str = "") -> Findings:
    return replace(base, not_read=(*base.not_read, *(NotRead(i.sop_instance_uid, reason, detail) for i in instances)))
