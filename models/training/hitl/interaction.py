"""What the rounds did to the readers: were the maps of use, do they agree now, were they right to move, and was it the model?

Every figure of the arm with the model stands beside that of the control, in which the same readers looked again without it. The
unit is the case, one a patient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.training.hitl.attention_target import mean_answer
from models.training.hitl.cases import binary, is_consensus
from models.training.hitl.protocol import Outcome, Round
from models.training.statistics import (
    automation_bias,
    fleiss_kappa,
    interval_by_patient,
    mcnemar_exact,
    mean_by_patient,
    share,
)


def helpful_maps(rounds: Sequence[Round]) -> dict[str, Any]:
    """Return how many cases had a map that readers, on the whole, found at the right place, and how many answers said so."""
    cases = [mean_answer(said.answers) for one in rounds for said in one.after.values()]
    answers = [answer for one in rounds for said in one.after.values() for answer in said.answers]
    return {
        "cases": share(sum(mean > 0 for mean in cases), len(cases)).told(),
        "answers": {"yes": answers.count(1), "no": answers.count(-1), "none": answers.count(0)},
    }


def reached_consensus(rounds: Sequence[Round]) -> dict[str, Any]:
    """Return how many cases without consensus have one after looking again."""
    after = [is_consensus(said.scores) for one in rounds for said in one.after.values()]
    return share(sum(after), len(after)).told()


def usefulness(rounds: Sequence[Round], resamples: int = 10_000) -> list[dict[str, Any]]:
    """Return for every round the mean of 1..5 that readers gave to the maps, with an interval from drawing patients."""
    rows = []
    for one in rounds:
        means = [float(np.mean(said.usefulness)) for said in one.after.values() if said.usefulness]
        if means:
            rows.append({"round": one.number, "cases": len(means), "mean": list(_mean(means, resamples))})
    return rows


def kappas(rounds: Sequence[Round], others: Sequence[Sequence[float]], resamples: int = 2_000) -> list[dict[str, Any]]:
    """Return Fleiss' kappa of the binary calls before and after, of the cases looked at again and of all cases, with intervals.

    ``others``: first scores of the cases that nobody looked at again. Cases without consensus have a low kappa before by selection
    alone, and any second look brings it up: read the row of all cases, beside the control.
    """
    before = [binary(one.before[name]) for one in rounds for name in one.after]
    after = [binary(said.scores) for one in rounds for said in one.after.values()]
    rest = [binary(scores) for scores in others]
    rows = []
    for kind, extra in (("looked at again", []), ("all cases", rest)):
        first, then = np.array(before + extra), np.array(after + extra)
        who = np.arange(len(first))
        rows.append(
            {
                "cases": kind,
                "n": len(first),
                "before": _or_none(lambda a: fleiss_kappa(a), (first,), who, resamples),
                "after": _or_none(lambda a: fleiss_kappa(a), (then,), who, resamples),
                "change": _or_none(lambda a, b: fleiss_kappa(b) - fleiss_kappa(a), (first, then), who, resamples),
            }
        )
    return rows


def majority_right(rounds: Sequence[Round], truth: Mapping[str, int]) -> dict[str, Any]:
    """Return how often the readers' mean is right before and after, and McNemar's exact test of the cases that changed."""
    names = [name for one in rounds for name in one.after]
    before = np.array([_majority(one.before[name]) == truth[name] for one in rounds for name in one.after])
    after = np.array([_majority(said.scores) == truth[name] for one in rounds for name, said in one.after.items()])
    flips = mcnemar_exact(after, before)
    return {
        "before": share(int(before.sum()), len(names)).told(),
        "after": share(int(after.sum()), len(names)).told(),
        "became_right": flips.only_first,
        "became_wrong": flips.only_second,
        "p_value": flips.p_value,
    }


def moved_to_wrong(outcome: Outcome, shown_by: Outcome, truth: Mapping[str, int]) -> dict[str, Any]:
    """Return automation bias: of the reads where the model is wrong and the reader was not of its opinion, those that are then.

    ``shown_by``: the arm with the model, whose calls are compared; in the control nobody saw them, so its share is what looking
    again does alone.
    """
    called = {name: int(shown.probability >= 0.5) for one in shown_by.rounds for name, shown in one.shown.items()}
    rows = [
        (int(b > 0.5), int(a > 0.5), called[name], truth[name])
        for one in outcome.rounds
        for name, said in one.after.items()
        for b, a in zip(one.before[name], said.scores, strict=True)
    ]
    return automation_bias(*np.array(rows).T).told()


def _majority(scores: Sequence[float]) -> int:
    return int(np.mean(scores) > 0.5)


def _mean(values: Sequence[float], resamples: int) -> Any:
    return mean_by_patient(values, np.arange(len(values)), resamples)


def _or_none(metric: Any, columns: Any, who: NDArray[np.intp], resamples: int) -> list[float] | None:
    try:
        return list(interval_by_patient(metric, columns, who, resamples))
    except ValueError:  # all readers alike in the sample, or in most draws: there is no kappa
        return None
