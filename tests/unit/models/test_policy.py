"""A fitted threshold keeps its promise on new patients, and says so when it cannot."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.training.data import Row
from models.training.operating import fit_points, one_per_patient
from models.training.policy import Infeasible, fit_policy, k_largest, n_needed, predict, threshold, threshold_high, threshold_naive
from models.training.statistics import clopper_pearson


@pytest.mark.parametrize(("n", "k"), [(28, 0), (30, 1), (50, 2), (100, 5), (200, 13), (500, 39), (1064, 91)])
def test_the_rank_has_its_fixed_values(n: int, k: int) -> None:
    assert k_largest(n, 0.90, 0.05) == k


@pytest.mark.parametrize(("alpha", "n"), [(0.90, 29), (0.85, 19), (0.95, 59), (0.98, 149), (0.97, 99)])
def test_the_fewest_positives_have_their_fixed_values(alpha: float, n: int) -> None:
    assert n_needed(alpha, 0.05) == n
    assert k_largest(n, alpha, 0.05) >= 1
    assert k_largest(n - 1, alpha, 0.05) == 0


@pytest.mark.parametrize("n", [40, 77, 150, 300])
def test_the_rank_is_the_largest_whose_clopper_pearson_bound_reaches_the_target(n: int) -> None:
    k = k_largest(n, 0.90, 0.05)
    assert clopper_pearson(n - k + 1, n, 0.90).low >= 0.90  # one-sided 95 %
    assert clopper_pearson(n - k, n, 0.90).low < 0.90


def test_too_few_positives_are_infeasible_and_the_number_needed_is_named() -> None:
    with pytest.raises(Infeasible, match="29") as raised:
        threshold(np.linspace(0, 1, 28), 0.90, 0.05)
    assert raised.value.n_needed == 29


def test_pneumonia_that_the_first_gate_takes_is_missed_unless_flagged_counts() -> None:
    rng = np.random.default_rng(4)
    labels = np.array(["TB"] * 100 + ["PN"] * 100)
    tb, pn = rng.random(200), rng.random(200)  # the gate takes nearly all pneumonia
    with pytest.raises(Infeasible, match="earlier class"):
        fit_policy(tb, pn, labels)
    policy = fit_policy(tb, pn, labels, hit="flagged")
    flagged = predict(policy, tb, pn)[labels == "PN"]
    assert np.mean(flagged != "Normal") >= 0.85


def test_both_promises_hold_together_in_at_least_94_percent_of_repeats() -> None:
    rng = np.random.default_rng(5)
    repeats, n = 2000, 150
    held = silent = 0
    for _ in range(repeats):
        tb_tb, tb_pn, pn_pn = rng.normal(3, 1, n), rng.normal(-1, 1, n), rng.normal(2, 1, n)
        labels = np.array(["TB"] * n + ["PN"] * n)
        try:
            policy = fit_policy(np.concatenate([tb_tb, tb_pn]), np.concatenate([np.zeros(n), pn_pn]), labels)
        except Infeasible:  # said so, so no promise was made
            silent += 1
            continue
        # true sensitivities of the fitted thresholds, in closed form
        first = 1 - _phi(policy.tau_tb - 3)
        second = _phi(policy.tau_tb + 1) * (1 - _phi(policy.tau_pn - 2))
        held += first >= 0.90 and second >= 0.85
    assert silent / repeats <= 0.02
    assert held / (repeats - silent) >= 0.94


def test_the_naive_sweep_misses_its_target_about_every_second_time() -> None:
    rng = np.random.default_rng(6)
    true = [1 - _phi(threshold_naive(rng.normal(0, 1, 200), 0.90)) for _ in range(1000)]
    assert 0.4 < np.mean(np.array(true) < 0.90) < 0.7


def test_the_upper_threshold_has_the_precision_it_claims() -> None:
    rng = np.random.default_rng(7)
    up, down = rng.normal(2, 1, 120), rng.normal(0, 1, 120)
    high = threshold_high(up, down, 0.0, 0.80)
    assert high is not None
    hits, false = int((up >= high).sum()), int((down >= high).sum())
    assert clopper_pearson(hits, hits + false).low >= 0.80
    assert threshold_high(down, up, 0.0, 0.99) is None


def _row(name: str, source: str, label: str, view: str = "PA") -> Row:
    return Row(name, "", label, source, name.split("-")[0], view, "calibration")


def test_repeated_films_of_a_patient_count_once_in_a_policy() -> None:
    rows = [_row("b-2", "s", "normal"), _row("a-1", "s", "normal"), _row("a-0", "s", "normal"), _row("a-3", "s", "pneumonia")]
    assert one_per_patient(rows) == [0, 2, 3]


def _mixed(rng: np.random.Generator) -> tuple[list[Row], np.ndarray]:
    rows = [_row(f"n{i}", "north", "normal") for i in range(60)]
    rows += [_row(f"p{i}", "north", "pneumonia") for i in range(40)]
    rows += [_row(f"t{i}", "south", "tuberculosis") for i in range(40)]
    rows += [_row(f"c{i}", "style", "normal") for i in range(3)]  # normals recognised as sick by their style
    rows += [_row(f"v{i}", "north", "pneumonia", "AP") for i in range(50)]
    p = np.concatenate([rng.uniform(0, 0.5, 60), rng.uniform(0.3, 1, 40), rng.uniform(0.7, 1, 40), np.ones(3), np.zeros(50)])
    return rows, p


def test_operating_points_promise_what_the_order_statistics_carry_and_name_what_they_cannot() -> None:
    rows, p = _mixed(np.random.default_rng(8))
    points = fit_points(rows, p, ("PA",), "2026-01-01")["policies"]
    screening, triage, rule_out = points["screening"], points["triage"], points["rule_out"]
    positives = np.sort(p[60:140])
    assert screening["n_by_source"] == {"north": 40, "south": 40}  # the AP images stay out
    assert screening["tau"] == pytest.approx(positives[k_largest(80, 0.90, 0.05) - 1], abs=1.1e-6)
    assert (positives >= screening["tau"]).sum() == 80 - k_largest(80, 0.90, 0.05) + 1
    assert "sensitivity >= 0.90 with 95 % confidence" in screening["guarantee"]
    assert screening["guarantee"].endswith("n=80")
    assert screening["tau_low"] <= screening["tau"] <= screening["tau_high"]
    assert "no guarantee" in screening["tau_low_meaning"]
    assert screening["in_sample"]["sensitivity_by_source"]["south"]["hits"] == 40
    assert (rule_out["feasible"], rule_out["n_needed"], rule_out["tau"]) == (False, 99, None)
    assert "99 are needed" in rule_out["reason"]
    assert screening["cohort_sha256"] == triage["cohort_sha256"]


def test_a_specificity_is_promised_on_sources_with_both_labels_only() -> None:
    rows, p = _mixed(np.random.default_rng(9))
    triage = fit_points(rows, p, ("PA",), "2026-01-01")["policies"]["triage"]
    assert triage["n_by_source"] == {"north": 60}
    assert clopper_pearson(int((p[:60] < triage["tau"]).sum()), 60, 0.90).low >= 0.70
    assert "no guarantee on sensitivity" in triage["guarantee"]


def _phi(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))
