"""The policy of three classes with a TB gate: whether the numbers carry it, and why it is no guarantee here all the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.training.data import Row
from models.training.operating import DELTA, one_per_patient
from models.training.policy import Infeasible, TwoClassPolicy, fit_policy, predict
from models.training.statistics import clopper_pearson

Floats = NDArray[np.float64]


def three_classes(
    fit_rows: Sequence[Row], fit: Floats, test_rows: Sequence[Row], test: Floats, views: Sequence[str]
) -> dict[str, Any]:
    """Return the policy with a TB gate: whether the numbers carry it, why it is no guarantee, and what it does on test.

    ``fit``, ``test``: (n, 2) softmax probabilities of tuberculosis and pneumonia. No threshold is in the result.
    """
    chosen = [n for n in one_per_patient(fit_rows) if fit_rows[n].view in views]
    labels = _words([fit_rows[n] for n in chosen])
    report: dict[str, Any] = {
        "alpha": {"tuberculosis": 0.90, "pneumonia": 0.85},
        "joint_confidence": 1 - DELTA,
        "n": {"tuberculosis": int((labels == "TB").sum()), "pneumonia": int((labels == "PN").sum())},
        "feasible": False,
        "guarantee": "no valid guarantee: tuberculosis comes from one source without normals, so its threshold would be one on a "
        "hospital's style; the policy works on abnormal and sends the question of which to review",
    }
    try:
        policy = fit_policy(fit[chosen, 0], fit[chosen, 1], labels, 0.90, 0.85, DELTA)
    except Infeasible as missing:
        return {**report, "numbers_suffice": False, "numbers": str(missing)}
    return {
        **report,
        "numbers_suffice": True,
        "numbers": "thresholds exist for this mix",
        "on_test": _on_test(policy, test_rows, test, views),
    }


def _on_test(policy: TwoClassPolicy, rows: Sequence[Row], scores: Floats, views: Sequence[str]) -> dict[str, Any]:
    chosen = [n for n in one_per_patient(rows) if rows[n].view in views]
    labels, said = _words([rows[n] for n in chosen]), predict(policy, scores[chosen, 0], scores[chosen, 1])
    table = {}
    for name, word in (("tuberculosis", "TB"), ("pneumonia", "PN"), ("normal", "Normal")):
        hits, n = int(((said == word) & (labels == word)).sum()), int((labels == word).sum())
        if n:
            table[name] = {"hits": hits, "n": n, "clopper_pearson": list(clopper_pearson(hits, n))}
    return table


def _words(rows: Sequence[Row]) -> NDArray[np.str_]:
    return np.array([{"tuberculosis": "TB", "pneumonia": "PN", "normal": "Normal"}.get(row.label, "other") for row in rows])
