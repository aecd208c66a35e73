"""Drawn readers do what their profile says, and the tables count what they did."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.training.hitl import interaction
from models.training.hitl.protocol import HITL, REREAD, Outcome, ReExamined, Round, Shown, Taught
from models.training.hitl.readers import Profile, SimulatedReaders

LUNGS = np.ones((2, 4, 4), np.float32)
LESION = np.zeros_like(LUNGS)
LESION[0, :2, :2] = 1
HIT, MISS, NOTHING = LESION.copy(), LUNGS - LESION, np.zeros_like(LUNGS)
NAMES = [f"c{n}" for n in range(200)]
TRUTH = {name: n % 2 for n, name in enumerate(NAMES)}


def readers(*profiles: Profile, evidence: float = 2.0) -> SimulatedReaders:
    """Half of the cases are ill and have the lesion."""
    lesions = {name: LESION if TRUTH[name] else NOTHING for name in NAMES}
    return SimulatedReaders(
        profiles, {name: evidence * (2 * TRUTH[name] - 1) for name in NAMES}, lesions, dict.fromkeys(NAMES, LUNGS)
    )


def share_right(some: SimulatedReaders) -> float:
    return float(np.mean([(some.first_scores(name)[0] > 0.5) == TRUTH[name] for name in NAMES]))


def test_error_lean_and_evidence_shape_the_first_look() -> None:
    assert share_right(readers(Profile(error=0.1))) == 1.0
    assert 0.5 < share_right(readers(Profile(error=4.0))) < 0.85
    leaning = readers(Profile(error=0.5, lean=3.0))
    assert np.mean([leaning.first_scores(name)[0] > 0.5 for name in NAMES]) > 0.85
    assert readers(Profile()).first_scores("c3") == readers(Profile()).first_scores("c3")


def test_both_arms_draw_the_same_second_look_and_only_belief_moves_it() -> None:
    unmoved, believing = readers(Profile(belief=0.0)), readers(Profile(belief=2.0))
    shown = {name: Shown(0.98, MISS) for name in NAMES}
    alone = unmoved.ask_again(NAMES, {}, None, 1)
    with_it = unmoved.ask_again(NAMES, {}, shown, 1)
    assert {n: s.scores for n, s in alone.items()} == {n: s.scores for n, s in with_it.items()}
    assert all(not said.answers and not said.regions for said in alone.values())
    swayed = believing.ask_again(NAMES, {}, shown, 1)
    assert np.mean([s.scores[0] for s in swayed.values()]) > np.mean([s.scores[0] for s in alone.values()]) + 0.15
    assert unmoved.ask_again(NAMES, {}, None, 2) != alone  # a later round is another look


def test_maps_are_judged_by_where_their_energy_lies_and_regions_by_where_the_lesion_is() -> None:
    careful = readers(replace(Profile(), strays=0.0, jitter=0.0, draws=1.0))
    ill = NAMES[1]
    good, bad, empty = (careful.ask_again([ill], {}, {ill: Shown(0.9, heat)}, 1)[ill] for heat in (HIT, MISS, NOTHING))
    assert (good.answers, bad.answers, empty.answers) == ((1,), (-1,), (0,))
    assert good.usefulness[0] > bad.usefulness[0]
    assert good.regions == empty.regions == ()
    (region,) = bad.regions
    assert region.sign == 1
    assert np.array_equal(region.where, LESION)
    well = NAMES[0]
    (ignored,) = careful.ask_again([well], {}, {well: Shown(0.9, HIT)}, 1)[well].regions
    assert ignored.sign == -1
    assert np.array_equal(ignored.where, HIT)


def _rounds() -> tuple[Round, ...]:
    before = {"p": (1.0, 0.25, 0.0), "q": (0.0, 0.75, 0.25), "r": (0.75, 0.5, 0.75)}
    after = {
        "p": ReExamined((1.0, 1.0, 0.75), (1, 1, -1), (), (5, 4, 3)),
        "q": ReExamined((0.75, 0.75, 0.25), (-1, -1, 0), (), (1, 1, 1)),
        "r": ReExamined((1.0, 0.75, 0.75), (1, -1, 0), (), (3, 3, 3)),
    }
    shown = {"p": Shown(0.9, HIT), "q": Shown(0.8, HIT), "r": Shown(0.6, HIT)}
    return (Round(1, before, shown, after),)


def test_the_tables_count_what_was_said() -> None:
    rounds = _rounds()
    assert interaction.reached_consensus(rounds)["hits"] == 2
    helpful = interaction.helpful_maps(rounds)
    assert (helpful["cases"]["hits"], helpful["cases"]["n"]) == (1, 3)  # r is a tie
    assert helpful["answers"] == {"yes": 3, "no": 4, "none": 2}
    assert interaction.usefulness(rounds, 200)[0]["mean"][0] == pytest.approx((4 + 1 + 3) / 3)
    truth = {"p": 1, "q": 0, "r": 1}
    right = interaction.majority_right(rounds, truth)
    # means before: 0.42 (wrong), 0.33 (right), 0.67 (right); after: 0.92 (right), 0.58 (wrong), 0.83 (right)
    assert (right["before"]["hits"], right["after"]["hits"], right["became_right"], right["became_wrong"]) == (2, 2, 1, 1)


def test_automation_bias_counts_only_reads_that_were_not_of_the_model_s_wrong_opinion() -> None:
    rounds, taught = _rounds(), Taught((), {}, {}, frozenset())
    outcome = Outcome(HITL, (), rounds, taught)
    # the model calls q (wrong): readers said 0, 1, 0 before, 1, 1, 0 after; of the two who did not, one moved
    found = interaction.moved_to_wrong(outcome, outcome, {"p": 1, "q": 0, "r": 1})
    assert (found["hits"], found["n"]) == (1, 2)
    stayed = Round(1, rounds[0].before, {}, {n: ReExamined(s) for n, s in rounds[0].before.items()})
    control = interaction.moved_to_wrong(Outcome(REREAD, (), (stayed,), taught), outcome, {"p": 1, "q": 0, "r": 1})
    assert (control["hits"], control["n"]) == (0, 2)


def test_kappa_is_told_for_all_cases_beside_those_looked_at_again() -> None:
    rows = interaction.kappas(_rounds(), [(1.0, 1.0, 1.0)] * 6 + [(0.0, 0.0, 0.0)] * 6, 200)
    assert [(row["cases"], row["n"]) for row in rows] == [("looked at again", 3), ("all cases", 15)]
    assert rows[1]["before"][0] > rows[0]["before"][0]
