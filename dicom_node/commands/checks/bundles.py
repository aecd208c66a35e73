"""Bundles that rules need, their operating points, and the device that runs them."""

from __future__ import annotations

from collections.abc import Iterator

import models.bundle
from dicom_node.commands.checks.line import Line, Mark
from dicom_node.config.model import NodeSettings
from dicom_node.core.run import Release
from dicom_node.delivery.plan import RELEASABLE_EVIDENCE
from dicom_node.home import Home
from dicom_node.inference.bundles import SHIPPED
from dicom_node.plugins import load_kind


def check_bundles(home: Home, settings: NodeSettings) -> Iterator[Line]:
    """Verify every bundle that a rule needs, its operating point, and the device that runs it."""
    asked: set[tuple[str, str | None]] = set()
    for rule in settings.routing.rules:
        needs: tuple[str, ...] = load_kind("pipeline", rule.pipeline).NEEDS
        for name in needs:
            version = rule.bundles.get(name)
            try:
                bundle = models.bundle.load_bundle(models.bundle.find_bundle(name, version, (home.bundles, *SHIPPED)))
                if name == needs[0]:
                    point = bundle.operating_point(rule.policy)
                    yield from _policy(rule.name, rule.policy, bundle, bool(point.get("feasible", True)))
                    yield from _evidence(rule.name, rule.release, rule.destinations, bundle, settings)
            except models.bundle.BundleError as error:
                yield Line(Mark.FAIL, f"rule {rule.name}", str(error))
                continue
            if (name, version) not in asked:
                asked.add((name, version))
                yield Line(Mark.OK, f"bundle {bundle.label}", f"verified; evidence: {bundle.evidence}{_origin(bundle)}")
                yield _device(bundle, settings)


def _policy(rule: str, policy: str, bundle: models.bundle.Bundle, feasible: bool) -> Iterator[Line]:
    if not feasible:
        text = f'the policy "{policy}" of {bundle.label} could not be reached in its validation; every result is for review'
        yield Line(Mark.NOTE, f"rule {rule}", text)


def _evidence(
    rule: str, release: Release, destinations: tuple[str, ...], bundle: models.bundle.Bundle, settings: NodeSettings
) -> Iterator[Line]:
    if release is Release.SILENT:
        yield Line(Mark.NOTE, f"rule {rule}", "release is silent: results stay on the node")
        return
    if release is Release.AFTER_ANSWER and not any(reader.role == "radiologist" for reader in settings.readers):
        text = "release is after_answer, and readers names no radiologist: nobody's answer releases a result"
        yield Line(Mark.NOTE, f"rule {rule}", text)
    closed = [name for name in destinations if not settings.destinations[name].allow_unvalidated]
    if bundle.evidence != RELEASABLE_EVIDENCE and closed:
        why = f'the evidence for {bundle.label} is "{bundle.evidence}" and allow_unvalidated is false there'
        yield Line(Mark.NOTE, f"rule {rule}", f"nothing goes to {', '.join(closed)}: {why}")


def _origin(bundle: models.bundle.Bundle) -> str:
    return (", trained on synthetic images" if bundle.synthetic else "") + (", reduced-width twin" if bundle.twin else "")


def _device(bundle: models.bundle.Bundle, settings: NodeSettings) -> Line:
    import models.session  # loads the inference library: only where a bundle is really there

    wanted = settings.inference.device
    try:
        session = models.session.Session(bundle.model, threads=settings.inference.threads, device=wanted)
    except Exception as error:  # the library has its own exception for every kind of failure, none of a common class
        text = f"the network cannot be loaded with device: {wanted} ({type(error).__name__}: {error})"
        return Line(Mark.FAIL, f"device for {bundle.label}", text)
    return Line(Mark.OK, f"device for {bundle.label}", {"cuda": "GPU", "cpu": "CPU"}.get(session.device, session.device))
