"""The frame of a run on one chest CT: a model under a policy and the opened series; then what was found, placed and decided.

A pipeline fills what lies between: which slices, which network, what else a reader must know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_node.core.findings import Findings, Flag
from dicom_node.core.maps import SaliencyMap
from dicom_node.core.run import Selection
from models.bundle import Bundle, load_bundle
from pipelines.blocks import read_ct
from pipelines.blocks.classify import bundle_ref
from pipelines.blocks.decide import decide
from pipelines.blocks.prepare_cxr import Prepared
from pipelines.blocks.read_ct import CtSettings, Opened
from pipelines.blocks.saliency import place


@dataclass(frozen=True)
class CtRun:
    """A run whose series is open. ``base``: the findings so far. ``key``: the finding that the policy decides on."""

    bundle: Bundle
    policy: str
    point: Mapping[str, Any]
    selection: Selection
    settings: CtSettings
    base: Findings
    opened: Opened

    @property
    def key(self) -> str:
        """The policy's own word for it, else the bundle's first output."""
        return str(self.point.get("finding", self.bundle.config["outputs"][0]["key"]))

    def maps(self, index: int, raw: Mapping[str, NDArray[np.float32]], prepared: Prepared) -> tuple[SaliencyMap, ...]:
        """Place the maps of slice ``index`` (an image, none that was interpolated), by method, on its image's own grid."""
        volume, ref = self.opened.volume, self.opened.volume.slices[index]
        assert ref is not None, "an interpolated slice has no image"
        mask = (self.opened.lungs.sides[index] > 0).astype(np.uint8)
        placed = place(self.key, raw, prepared, ref.sop_instance_uid, mask)
        return tuple(replace(m, frame=ref.frame, placed=volume.source_plane(index, m.values).copy()) for m in placed)

    def answer(
        self,
        probabilities: Mapping[str, float],
        shown: Sequence[int],
        maps: tuple[SaliencyMap, ...],
        flags: Sequence[Flag],
        window: tuple[float, float],
    ) -> Findings:
        """Decide under the policy.

        Parameters
        ----------
        probabilities
            Of the patient, calibrated, by class.
        shown
            The key slices, the first first.
        flags
            The pipeline's own; those of headers, volume and lungs, and of maps at the border, are added.
        window
            Of the pictures: HU shown black, and how many above it are white.
        """
        volume, most = self.opened.volume, self.settings.border_share
        border = any((one.border_share or 0.0) > most for one in maps)
        suspect = [Flag("shortcut_suspect", read_ct.FLAG_TEXTS["shortcut_suspect"])] if border else []
        told = read_ct.flags_of(self.opened, self.selection, self.settings, [*flags, *suspect])
        decided = decide(
            probabilities,
            self.bundle.config["outputs"],
            self.point,
            policy=self.policy,
            policy_sha256=self.bundle.policy_sha256(self.policy),
            view="axial",
            flags=told,
        )
        pictures = tuple(read_ct.picture(volume, index, *window) for index in shown)
        return replace(
            self.base,
            read=read_ct.key_first([one.sop_instance_uid for one in pictures], self.selection),
            findings=decided.findings,
            zone=decided.zone,
            headline=decided.headline,
            policy=decided.policy,
            flags=told,
            maps=maps,
            provenance=self.opened.trail,
            lung_volume=read_ct.lung_volume(self.opened),
            pictures=pictures,
        )


def begin(name: str, selection: Selection, bundles: Mapping[str, Path], policy: str, settings: CtSettings) -> CtRun | Findings:
    """Load the model and open the selected series; return the run, or the coded refusal.

    Raises
    ------
    models.bundle.BundleError
        The bundle is damaged or has no such policy.
    """
    bundle = load_bundle(bundles[name])
    point = bundle.operating_point(policy)
    finder = read_ct.finder_of(settings)
    refs = (bundle_ref(bundle), *([bundle_ref(finder)] if finder else []))
    base = Findings(name, not_read=selection.not_read, bundles=refs)
    opened = read_ct.open_series(base, selection, settings, finder)
    if isinstance(opened, Findings):
        return opened
    return CtRun(bundle, policy, point, selection, settings, base, opened)
