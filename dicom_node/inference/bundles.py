"""Which bundles a run uses: the versions a rule names, else the highest found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import models.bundle
from dicom_node.inference.settings import InferenceSettings
from dicom_node.plugins import load_kind

#: The bundles that come with the package.
SHIPPED = (models.bundle.SHIPPED,)


@dataclass(frozen=True)
class ChosenBundles:
    """Folders by bundle name, their hashes, the policy's hash; ``problem`` says in a sentence why a run cannot use them."""

    folders: Mapping[str, Path] = field(default_factory=dict)
    hashes: tuple[str, ...] = ()
    policy_hash: str = ""
    problem: str = ""
    unknown_policy: bool = False


def choose(
    needs: tuple[str, ...],
    versions: Mapping[str, str],
    roots: tuple[Path, ...],
    policy: str,
    given: tuple[Path, ...] = (),
) -> ChosenBundles:
    """Find and verify the bundles a pipeline needs; the first one decides and holds the policy. ``given`` folders win."""
    folders: dict[str, Path] = {}
    hashes: list[str] = []
    policy_hash = ""
    try:
        named = {models.bundle.load_bundle(folder).name: folder for folder in given}
        for name in needs:
            folder = named.get(name) or models.bundle.find_bundle(name, versions.get(name), roots)
            bundle = models.bundle.load_bundle(folder)
            folders[name] = folder
            hashes.append(bundle.sha256)
            if name == needs[0]:
                policy_hash = bundle.policy_sha256(policy)
    except models.bundle.BundleError as error:
        return ChosenBundles(problem=str(error), unknown_policy=isinstance(error, models.bundle.UnknownOperatingPoint))
    return ChosenBundles(folders, tuple(hashes), policy_hash)


def evidence_of(folders: list[Path]) -> str:
    """Return the evidence of the first bundle, ``""`` (which releases nothing) when there is none or it cannot be read."""
    try:
        return models.bundle.load_bundle(folders[0]).evidence if folders else ""
    except models.bundle.BundleError:
        return ""


def pipeline_settings(settings: InferenceSettings, rule: Any) -> dict[str, Any]:
    """Return what the pipeline's own ``Settings`` model gets: the site's, then what the rule narrows.

    Of the rule's only what the pipeline has: a series of CT slices knows no AP view.
    """
    has = load_kind("pipeline", rule.pipeline).Settings.model_fields
    of_rule = {"accept_age_unknown": rule.accept_age_unknown, "accept_ap": rule.accept_ap}
    return {
        **settings.pipelines.get(rule.pipeline, {}),
        **{name: value for name, value in of_rule.items() if name in has},
        "allow_synthetic": settings.allow_synthetic,
        "threads": settings.threads,
        "device": settings.device,
    }
