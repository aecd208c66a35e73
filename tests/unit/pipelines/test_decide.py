"""A policy applied: every zone, and what is never called normal."""

from __future__ import annotations

from typing import Any

import pytest

from dicom_node.core.findings import Decision, Flag, Zone
from pipelines.blocks.decide import decide

OUTPUTS = [
    {"key": "abnormal", "code": ["263654008", "SCT", "Abnormal"], "assessed": True},
    {"key": "tuberculosis", "code": ["56717001", "SCT", "Tuberculosis"], "assessed": False, "note": "one source only"},
    {"key": "normal", "code": ["17621005", "SCT", "Normal"], "assessed": False},
]
POINT: dict[str, Any] = {
    "finding": "abnormal", "feasible": True,
    "tau": 0.4, "tau_low": 0.2, "tau_high": 0.8, "views": ["PA"], "guarantee": "as promised",
}  # fmt: skip
FLAG = (Flag("lossy", "lossy"),)


def apply(p: float, *, view: str = "PA", flags: tuple[Flag, ...] = (), **changes: Any) -> Any:
    return decide(
        {"abnormal": p, "tuberculosis": 0.9, "normal": 1 - p},
        OUTPUTS,
        {**POINT, **changes},
        policy="screening",
        policy_sha256="0" * 64,
        view=view,
        flags=flags,
    )


@pytest.mark.parametrize(
    ("p", "zone", "decision"),
    [
        (0.0, Zone.NOT_SUSPECTED, Decision.NEGATIVE),
        (0.1999, Zone.NOT_SUSPECTED, Decision.NEGATIVE),
        (0.2, Zone.GRAY, Decision.NEGATIVE),
        (0.3999, Zone.GRAY, Decision.NEGATIVE),
        (0.4, Zone.GRAY, Decision.POSITIVE),
        (0.7999, Zone.GRAY, Decision.POSITIVE),
        (0.8, Zone.SUSPECTED, Decision.POSITIVE),
        (1.0, Zone.SUSPECTED, Decision.POSITIVE),
    ],
)
def test_the_zones_meet_at_their_thresholds_and_ties_are_positive(p: float, zone: Zone, decision: Decision) -> None:
    decided = apply(p)
    assert (decided.zone, decided.findings[0].decision) == (zone, decision)
    assert decided.policy.guarantee == "as promised"


@pytest.mark.parametrize("p", [0.0, 0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize(
    "changes",
    [{"feasible": False}, {"tau": None}, {"view": "AP"}, {"view": ""}, {"feasible": False, "reason": "n is 12, 29 are needed"}],
)
def test_without_a_valid_guarantee_every_image_goes_to_review(p: float, changes: dict[str, Any]) -> None:
    decided = apply(p, **changes)
    assert decided.zone is Zone.GRAY
    assert decided.policy.guarantee.startswith("no valid guarantee: ")
    assert str(changes.get("reason", "")) in decided.policy.guarantee


def test_a_flagged_image_is_never_called_normal_but_stays_suspected() -> None:
    assert apply(0.05, flags=FLAG).zone is Zone.GRAY
    assert "the image has warnings" in apply(0.05, flags=FLAG).headline
    assert apply(0.95, flags=FLAG).zone is Zone.SUSPECTED


def test_without_a_lower_threshold_nothing_is_called_normal_and_without_an_upper_nothing_suspected() -> None:
    assert apply(0.0, tau_low=None).zone is Zone.GRAY
    assert apply(1.0, tau_high=None).zone is Zone.GRAY


def test_a_policy_fitted_on_both_views_holds_for_a_view_that_is_not_stated() -> None:
    assert apply(0.05, view="", views=["PA", "AP"]).zone is Zone.NOT_SUSPECTED


def test_a_class_that_is_not_assessed_has_no_probability_and_normal_is_no_finding() -> None:
    findings = {f.key: f for f in apply(0.5).findings}
    assert set(findings) == {"abnormal", "tuberculosis"}
    assert findings["tuberculosis"].probability is None
    assert findings["tuberculosis"].decision is Decision.NOT_ASSESSED
    assert findings["tuberculosis"].note == "one source only"


def test_an_infeasible_policy_still_names_the_finding_without_a_decision() -> None:
    finding = apply(0.9, tau=None, feasible=False).findings[0]
    assert (finding.decision, finding.probability) == (Decision.NOT_ASSESSED, None)
