"""A policy applied to calibrated probabilities: decisions, zone, headline. The thresholds stand in the bundle, never here.

An operating point (``operating_points.yaml``)::

    policies:
      screening: {finding: abnormal, feasible: true, tau: 0.31, tau_low: 0.12, tau_high: 0.74, views: [PA],
                  guarantee: "sensitivity >= 0.90 with 95 % confidence on ..., n=..."}

Zones: at or above ``tau_high`` suspected; below ``tau_low`` not suspected; between, a person must look. A flagged image, an
infeasible policy, or a view that the policy was not fitted on is never called normal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dicom_node.core.codes import Code
from dicom_node.core.findings import Decision, Finding, Flag, PolicyRef, Zone

NO_GUARANTEE = "no valid guarantee"


@dataclass(frozen=True)
class Decided:
    """What the policy says of one image."""

    findings: tuple[Finding, ...]
    zone: Zone
    headline: str
    policy: PolicyRef


def decide(
    probabilities: Mapping[str, float],
    outputs: Sequence[Mapping[str, Any]],
    point: Mapping[str, Any],
    *,
    policy: str,
    policy_sha256: str,
    view: str,
    flags: Sequence[Flag],
) -> Decided:
    """Apply one operating point.

    Parameters
    ----------
    probabilities
        Calibrated, by class key.
    outputs
        ``outputs`` of the bundle: ``key``, ``code`` [value, scheme, meaning], ``assessed``, ``note``.
    point
        The operating point, as above.
    view
        ``PA``, ``AP`` or ``""`` (frontal by its pixels; the header does not say).
    """
    deciding = str(point.get("finding", "abnormal"))
    tau, low, high = (_number(point.get(k)) for k in ("tau", "tau_low", "tau_high"))
    views = tuple(str(v) for v in point.get("views", ("PA",)))
    obstacle = _obstacle(point, tau, view, views)
    findings = tuple(_finding(o, probabilities, deciding, tau, low, high) for o in outputs if o["key"] != "normal")
    p = probabilities[deciding]
    label = next((str(o["code"][2]) for o in outputs if o["key"] == deciding), deciding.capitalize())
    guarantee = f"{NO_GUARANTEE}: {obstacle}" if obstacle else str(point.get("guarantee", NO_GUARANTEE))
    zone, headline = _zone(p, tau, low, high, label, bool(obstacle), bool(flags))
    return Decided(findings, zone, headline, PolicyRef(policy, policy_sha256, bool(point.get("feasible")), guarantee))


def _obstacle(point: Mapping[str, Any], tau: float | None, view: str, views: tuple[str, ...]) -> str:
    if not point.get("feasible") or tau is None:
        return str(point.get("reason") or "the calibration sample is too small for this policy")
    if view and view not in views:
        return f"the policy was fitted on {', '.join(views)} images, this is {view}"
    if not view and set(views) != {"PA", "AP"}:
        return f"the policy was fitted on {', '.join(views)} images, this header does not name the view"
    return ""


def _zone(
    p: float, tau: float | None, low: float | None, high: float | None, label: str, obstructed: bool, flagged: bool
) -> tuple[Zone, str]:
    if obstructed or tau is None:
        return Zone.GRAY, "Needs human review: the policy gives no valid guarantee for this image."
    if high is not None and p >= max(high, tau):
        return Zone.SUSPECTED, f"{label}: suspected, at or above the upper threshold."
    if p >= tau:
        return Zone.GRAY, f"{label}: uncertain, in the gray zone at or above the threshold; needs human review."
    if low is None or p >= low:
        return Zone.GRAY, f"{label}: uncertain, in the gray zone below the threshold; needs human review."
    if flagged:
        return Zone.GRAY, f"{label}: below the threshold, but the image has warnings (see notes); needs human review."
    return Zone.NOT_SUSPECTED, f"{label}: not suspected, below the lower threshold."


def _finding(
    output: Mapping[str, Any],
    probabilities: Mapping[str, float],
    deciding: str,
    tau: float | None,
    low: float | None,
    high: float | None,
) -> Finding:
    key, code = str(output["key"]), Code(*(str(part) for part in output["code"]))
    note = str(output.get("note") or "")
    if not output.get("assessed") or key not in probabilities:
        return Finding(key, code, Decision.NOT_ASSESSED, note=note or "The model cannot speak about this class.")
    if key != deciding or tau is None:
        return Finding(key, code, Decision.NOT_ASSESSED, note=note or "The policy has no feasible operating point for this class.")
    p = probabilities[key]
    return Finding(key, code, Decision.POSITIVE if p >= tau else Decision.NEGATIVE, p, tau, low, high, note)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
