"""The query score and its strategies; those that are others' are compared with scikit-activeml's."""

from __future__ import annotations

import numpy as np
import pytest

from dicom_node.learning.sampling import (
    STRATEGIES,
    Pool,
    divergence,
    entropy,
    furthest_apart,
    nearness,
    query,
    ranked,
    rarity,
    scores,
    terms,
)


def pool(n: int = 60, labelled: int = 10, seed: int = 3) -> Pool:
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.01, 0.99, n)
    known = np.zeros(n, bool)
    known[rng.choice(n, labelled, replace=False)] = True
    return Pool(np.stack([1 - p, p], 1), rng.normal(size=(n, 5)), known)


def test_uncertainty_is_entropy_over_its_most() -> None:
    assert entropy(np.array([[0.5, 0.5], [1.0, 0.0], [0.9, 0.1]])) == pytest.approx([1.0, 0.0, 0.468996], abs=1e-6)
    assert entropy(np.full((1, 4), 0.25)) == pytest.approx([1.0])


def test_gray_is_what_lies_near_a_threshold() -> None:
    # logit 0.5 = 0; logit 0.62246 = 0.5: exp(-0.5 / 0.5) = 0.367879
    p = np.array([[0.5, 0.5], [1 - 0.6224593, 0.6224593]])
    assert nearness(p, np.array([np.nan, 0.5])) == pytest.approx([1.0, np.exp(-1)])
    assert nearness(p, np.array([[np.nan, np.nan], [np.nan, 0.6224593]])) == pytest.approx([0.0, 1.0])
    assert nearness(p, None) == pytest.approx([0.0, 0.0])


def test_members_who_agree_do_not_diverge_and_opposite_ones_do_fully() -> None:
    agree, differ = [[[0.3, 0.7]], [[0.3, 0.7]]], [[[1.0, 0.0]], [[0.0, 1.0]]]
    assert divergence(np.array(agree)) == pytest.approx([0.0])
    assert divergence(np.array(differ)) == pytest.approx([1.0], abs=1e-6)


def test_a_rare_group_scores_above_a_common_one() -> None:
    assert rarity(["AP", "PA", "PA", "PA"]) == pytest.approx([4.0, 4 / 3, 4 / 3, 4 / 3])


def test_ranks_lie_between_nought_and_one_and_equals_share_one() -> None:
    assert ranked(np.array([3.0, 1.0, 1.0, 9.0])) == pytest.approx([2 / 3, 1 / 6, 1 / 6, 1.0])
    assert ranked(np.zeros(3)) == pytest.approx([0.5] * 3)
    assert ranked(np.zeros(1)) == pytest.approx([0.5])


def test_the_score_is_the_weighted_sum_of_ranked_terms() -> None:
    cases = pool()
    by_hand = terms(cases)
    expected = 0.30 * by_hand["U"] + 0.25 * by_hand["G"] + 0.20 * by_hand["D"] + 0.15 * by_hand["V"] + 0.10 * by_hand["R"]
    assert scores(cases) == pytest.approx(expected)
    assert (by_hand["D"] == 0.5).all()  # not known: no say
    far = cases.open[np.argmax(by_hand["V"])]
    away = np.linalg.norm(cases.embeddings[cases.open][:, None] - cases.embeddings[cases.labelled][None], axis=2).min(1)
    assert far == cases.open[np.argmax(away)]


def test_furthest_apart_takes_the_corners_of_a_line() -> None:
    line = np.array([[0.0], [1.0], [5.0], [10.0], [4.0]])
    assert list(furthest_apart(line, np.array([1, 2, 3, 4]), np.array([0]), 3)) == [3, 2, 1]
    assert list(furthest_apart(line, np.array([2, 4]), np.zeros(0, int), 5)) == [2, 4]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_asks_for_open_cases_once_and_a_tenth_at_random(strategy: str) -> None:
    cases = pool()
    batch = query(cases, 20, strategy, np.random.default_rng(0))
    assert len(batch.chosen) == 18
    assert len(batch.audit) == 2
    assert len(set(batch.all)) == 20
    assert not cases.labelled[batch.all].any()
    assert len(query(cases, 500, strategy, np.random.default_rng(0)).all) == 50
    assert len(query(cases, 1, strategy, np.random.default_rng(0)).chosen) == 1
    again = query(cases, 20, strategy, np.random.default_rng(0))
    assert (again.all == batch.all).all()


def test_the_random_part_is_uniform() -> None:
    cases = pool(40, 0)
    met = np.zeros(40)
    for seed in range(600):
        batch = query(cases, 10, "uncertainty", np.random.default_rng(seed), random_part=0.5)
        met[batch.audit] += 1
    never = query(cases, 10, "uncertainty", np.random.default_rng(0), random_part=0.5).chosen
    assert (met[never] == 0).all()
    rest = np.delete(met, never)
    assert rest.mean() == pytest.approx(600 * 5 / 35)
    assert np.abs(rest - rest.mean()).max() < 4 * np.sqrt(rest.mean())


def test_nothing_known_and_nothing_left_are_no_mistake() -> None:
    empty = Pool(np.zeros((0, 2)), np.zeros((0, 5)), np.zeros(0, bool))
    for strategy in STRATEGIES:
        assert not len(query(empty, 5, strategy, np.random.default_rng(0)).all)
        assert len(query(pool(30, 0), 5, strategy, np.random.default_rng(0)).all) == 5


def test_identical_cases_do_not_stop_badge() -> None:
    same = Pool(np.tile([0.4, 0.6], (8, 1)), np.ones((8, 3)), np.zeros(8, bool))
    assert len(set(query(same, 6, "badge", np.random.default_rng(0), random_part=0).chosen)) == 6


def test_uncertainty_and_coreset_choose_as_scikit_activeml_does() -> None:
    from skactiveml.classifier import SklearnClassifier
    from skactiveml.pool import CoreSet, UncertaintySampling
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(5)
    x = rng.normal(size=(80, 6))
    truth = (x[:, 0] + 0.5 * rng.normal(size=80) > 0).astype(float)
    y = np.where(np.arange(80) < 15, truth, np.nan)
    clf = SklearnClassifier(LogisticRegression(), classes=[0, 1]).fit(x, y)
    cases = Pool(clf.predict_proba(x), x, ~np.isnan(y))
    none = np.random.default_rng(0)
    theirs = UncertaintySampling(method="entropy", random_state=0).query(x, y, clf, fit_clf=False, batch_size=8)
    assert set(query(cases, 8, "uncertainty", none, random_part=0).chosen) == set(theirs)
    theirs = CoreSet(random_state=0).query(x, y, batch_size=8)
    assert list(query(cases, 8, "coreset", none, random_part=0).chosen) == list(theirs)
