"""Reading one chest CT of an adult: what pipelines for such series share, from the chosen series to its volume and lungs.

A pipeline gives its bundle; what is here refuses (coded, never raised) or opens the series. The lungs, flags and pictures that a
result shows are made the same way for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, DirectoryPath, Field

from dicom_node.core.bundle_ref import BundleRef
from dicom_node.core.errors import StudyError
from dicom_node.core.findings import Abstention, Findings, Flag, NotRead
from dicom_node.core.maps import LEFT_LUNG, RIGHT_LUNG, LungVolume, PackedSlices, Picture
from dicom_node.core.run import Selection
from dicom_node.imaging.overlay import reduced
from dicom_node.imaging.volume import Volume, hounsfield_volume
from models.bundle import Bundle, load_bundle
from pipelines.blocks import lungs_ct, select_ct
from pipelines.blocks.classify import bundle_ref, session_for
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
    slice_threads: int = Field(default=2, ge=1, description="Threads that decode slices and look for lungs.")
    device: str = Field(default="auto", pattern="^(auto|cpu|cuda)$", description="auto, cpu or cuda.")
    border_share: float = Field(default=0.30, ge=0, le=1, description="Share of a map in the outer 5 % above which it is flagged.")
    accept_age_unknown: bool = Field(default=False, description="Read studies whose patient age is unknown; the result is flagged.")
    series: SeriesLimits = Field(default=SeriesLimits(), description="Which CT series is read.")
    lungs: CtLungLimits = Field(default=CtLungLimits(), description="What a plausible pair of lungs looks like.")
    lung_bundle: DirectoryPath | None = Field(
        default=None,
        description="Folder of a bundle whose network finds the lungs. Default: by grey values and shape.",
    )

    @property
    def limits(self) -> SeriesLimits:
        """Which series is read, with what the rule says about patients of unknown age."""
        unknown = self.accept_age_unknown or self.series.accept_age_unknown
        return self.series.model_copy(update={"accept_age_unknown": unknown})


@dataclass(frozen=True)
class Opened:
    """A series that can be read.

    ``trail``: JSON facts so far; the pipeline adds its own. ``finder``: whose network found the lungs; ``None``: none did.
    """

    volume: Volume
    lungs: CtLungs
    trail: dict[str, Any]
    finder: BundleRef | None = None


def open_series(base: Findings, selection: Selection, settings: CtSettings, finder: Bundle | None) -> Opened | Findings:
    """Return volume and lungs, or the refusal: nothing to read, a synthetic bundle, slices that make no volume, no lungs.

    ``finder``: the bundle whose network finds the lungs; ``None``: by grey values and shape.
    """
    if not selection.read:
        return replace(base, abstention=Abstention(selection.refusal or "no_image", selection.detail))
    if any(bundle.synthetic for bundle in base.bundles) and not settings.allow_synthetic:
        return stopped(base, selection, {}, "synthetic_model", "")
    trail: dict[str, Any] = {
        "software": {name: version(name) for name in ("pydicom", "numpy", "scipy", "opencv-python-headless")},
        "series": select_ct.why_chosen(selection.read),
    }
    try:
        volume = hounsfield_volume(selection.read, settings.slice_threads)
    except StudyError as error:
        return stopped(base, selection, trail, error.code, str(error))
    trail["volume"] = volume.record
    lungs = _lungs(volume, settings, finder)
    trail["lungs"] = lungs.record
    if lungs.problem:
        return stopped(base, selection, trail, lungs.code, lungs.problem)
    return Opened(volume, lungs, trail, bundle_ref(finder) if finder else None)


def _lungs(volume: Volume, settings: CtSettings, finder: Bundle | None) -> CtLungs:
    if finder is None:
        return find_lungs(volume, settings.lungs, threads=settings.slice_threads)
    session = session_for(finder.model, finder.sha256, settings.threads, settings.device)
    return find_lungs(volume, settings.lungs, session=session, config=finder.config)


def finder_of(settings: CtSettings) -> Bundle | None:
    """Return the bundle whose network finds the lungs, where IT named one.

    Raises
    ------
    models.bundle.BundleError
        It is damaged.
    """
    return load_bundle(settings.lung_bundle) if settings.lung_bundle else None


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
    finder = finder_of(settings)
    wanted = (load_bundle(bundles[name]), *([finder] if finder else []))
    return tuple(session_for(b.model, b.sha256, settings.threads, settings.device).device for b in wanted)


def flags_of(opened: Opened, selection: Selection, settings: CtSettings, more: Iterable[Flag] = ()) -> tuple[Flag, ...]:
    """Return what a reader must know of headers, volume and lungs, each once, then what the pipeline adds."""
    keys = [gate.code for gate in select_ct.header_flags(selection.read, settings.series)]
    keys += [*opened.volume.flags, *opened.lungs.flags]
    return tuple(dict.fromkeys([*(Flag(key, FLAG_TEXTS[key]) for key in keys), *more]))


def lung_volume(opened: Opened) -> LungVolume:
    """Return right and left lung on the grids of the images; interpolated slices have no image, so they are left out."""
    volume, lungs = opened.volume, opened.lungs
    real = [(n, ref) for n, ref in enumerate(volume.slices) if ref is not None]
    planes: list[NDArray[np.uint8]] = [volume.source_plane(n, lungs.sides[n]) for n, _ in real]
    slices = tuple((ref.sop_instance_uid, ref.frame) for _, ref in real)
    sides = PackedSlices.of(planes)
    named = {lungs_ct.RIGHT: RIGHT_LUNG, lungs_ct.LEFT: LEFT_LUNG}
    packed = PackedSlices({named[side]: plane for side, plane in sides.planes.items()}, sides.columns)
    return LungVolume(slices, packed, str(lungs.record["method"]), opened.finder)


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
