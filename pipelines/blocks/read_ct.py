"""Reading one chest CT of an adult: what pipelines for such series share, from the chosen series to its volume and lungs.

A pipeline gives its bundle; what is here refuses (coded, never raised) or opens the series. The lungs, flags and pictures that a
result shows are made the same way for all of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from dicom_node.core.errors import StudyError
from dicom_node.core.findings import Abstention, BundleRef, Findings, Flag, NotRead
from dicom_node.core.maps import LEFT_LUNG, RIGHT_LUNG, LungVolume, PackedSlices, Picture
from dicom_node.core.run import Selection
from dicom_node.imaging.overlay import reduced
from dicom_node.imaging.volume import Volume, hounsfield_volume
from models.bundle import Bundle, load_bundle
from pipelines.blocks import lungs_ct, select_ct
from pipelines.blocks.classify import session_for
from pipelines.blocks.lungs_ct import CtLungLimits, CtLungs, find_lungs
from pipelines.blocks.select_ct import SeriesLimits

FLAG_TEXTS = {
    **select_ct.FLAG_TEXTS,
    **lungs_ct.FLAG_TEXTS,
    "shortcut_suspect": "Much of the network's attention lies at the image border.",
}


class CtSettings(BaseModel):
    """What IT can set for a pipeline that reads chest CT."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    allow_synthetic: bool = Field(default=False, description="Run bundles that were trained on synthetic images.")
    threads: int = Field(default=2, ge=1, description="CPU threads of the network.")
    device: str = Field(default="auto", pattern="^(auto|cpu|cuda)$", description="auto, cpu or cuda.")
    border_share: float = Field(default=0.30, ge=0, le=1, description="Share of a map in the outer 5 % above which it is flagged.")
    accept_age_unknown: bool = Field(default=False, description="Read studies whose patient age is unknown; the result is flagged.")
    series: SeriesLimits = Field(default=SeriesLimits(), description="Which CT series is read.")
    lungs: CtLungLimits = Field(default=CtLungLimits(), description="What a plausible pair of lungs looks like.")

    @property
    def limits(self) -> SeriesLimits:
        """Which series is read, with what the rule says about patients of unknown age."""
        unknown = self.accept_age_unknown or self.series.accept_age_unknown
        return self.series.model_copy(update={"accept_age_unknown": unknown})


@dataclass(frozen=True)
class Opened:
    """A series that can be read. ``trail``: JSON facts so far; the pipeline adds its own."""

    volume: Volume
    lungs: CtLungs
    trail: dict[str, Any]


def open_series(base: Findings, bundle: Bundle, selection: Selection, settings: CtSettings) -> Opened | Findings:
    """Return volume and lungs, or the refusal: nothing to read, a synthetic bundle, slices that make no volume, no lungs."""
    if not selection.read:
        return replace(base, abstention=Abstention(selection.refusal or "no_image", selection.detail))
    if bundle.synthetic and not settings.allow_synthetic:
        return stopped(base, selection, {}, "synthetic_model", "")
    trail: dict[str, Any] = {
        "software": {name: version(name) for name in ("pydicom", "numpy", "scipy", "opencv-python-headless")},
        "series": select_ct.why_chosen(selection.read),
    }
    try:
        volume = hounsfield_volume(selection.read)
    except StudyError as error:
        return stopped(base, selection, trail, error.code, str(error))
    trail["volume"] = volume.record
    lungs = find_lungs(volume, settings.lungs)
    trail["lungs"] = lungs.record
    if lungs.problem:
        return stopped(base, selection, trail, lungs.code, lungs.problem)
    return Opened(volume, lungs, trail)


def stopped(base: Findings, selection: Selection, trail: dict[str, Any], reason: str, detail: str) -> Findings:
    """Return a refusal of the whole series."""
    unread = tuple(NotRead(i.sop_instance_uid, reason, detail) for i in selection.read)
    return replace(base, abstention=Abstention(reason, detail), not_read=(*base.not_read, *unread), provenance=trail)


def warm(name: str, bundles: Mapping[str, Path], settings: CtSettings) -> tuple[str, ...]:
    """Load the network before the first study comes; return the device that it runs on.

    Raises
    ------
    models.session.DeviceUnavailable
        The GPU was asked for and cannot be used.
    """
    bundle = load_bundle(bundles[name])
    return (session_for(bundle.model, bundle.sha256, settings.threads, settings.device).device,)


def flags_of(opened: Opened, selection: Selection, settings: CtSettings, more: Iterable[Flag] = ()) -> tuple[Flag, ...]:
    """Return what a reader must know of headers, volume and lungs, each once, then what the pipeline adds."""
    keys = [gate.code for gate in select_ct.header_flags(selection.read, settings.series)]
    keys += [*opened.volume.flags, *opened.lungs.flags]
    return tuple(dict.fromkeys([*(Flag(key, FLAG_TEXTS[key]) for key in keys), *more]))


def lung_volume(volume: Volume, lungs: CtLungs) -> LungVolume:
    """Return right and left lung on the grids of the images; interpolated slices have no image, so they are left out."""
    real = [(n, ref) for n, ref in enumerate(volume.slices) if ref is not None]
    assert (RIGHT_LUNG, LEFT_LUNG) == (2, 3), "one more than the sides, which are 1 and 2"
    planes: list[NDArray[np.uint8]] = [volume.source_plane(n, side + (side > 0)) for n, _ in real for side in (lungs.sides[n],)]
    slices = tuple((ref.sop_instance_uid, ref.frame) for _, ref in real)
    return LungVolume(slices, PackedSlices.of(np.stack(planes)), str(lungs.record["method"]), None)


def picture(volume: Volume, index: int, low: float, width: float) -> Picture:
    """Return slice ``index`` (not an interpolated one) as displayed: ``low`` HU black, ``low + width`` white."""
    ref = volume.slices[index]
    assert ref is not None, "an interpolated slice has no image"
    plane = np.ascontiguousarray(volume.source_plane(index, volume.hu[index]))
    shown = reduced(np.clip((plane - np.float32(low)) / np.float32(width), 0, 1).astype(np.float32))
    return Picture(ref.sop_instance_uid, (plane.shape[0], plane.shape[1]), shown, ref.frame)


def key_first(keys: Sequence[str], selection: Selection) -> tuple[str, ...]:
    """Return the SOP Instance UIDs that were read, those of the key slices first."""
    return tuple(dict.fromkeys([*keys, *(i.sop_instance_uid for i in selection.read)]))


def bundle_ref(bundle: Bundle) -> BundleRef:
    """Return which model answers, for the findings."""
    return BundleRef(bundle.name, bundle.version, bundle.sha256, bundle.evidence, bundle.synthetic, bundle.twin)


def policy_sha256(policy: str, point: Mapping[str, Any]) -> str:
    """Return the hash of an operating point under its name."""
    return hashlib.sha256(json.dumps([policy, point], sort_keys=True, default=str).encode()).hexdigest()
