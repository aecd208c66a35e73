"""Which unanswered cases teach most: the query score, and the strategies it is compared with. NumPy only, nothing of a database.

The score q adds five terms, each ranked to 0..1 among the cases that may be asked about::

    q = 0.30 U + 0.25 G + 0.20 D + 0.15 V + 0.10 R

    U  uncertainty    entropy of the probabilities
    G  gray zone      exp(-|logit p - logit threshold| / 0.5), the nearest class counts
    D  disagreement   Jensen-Shannon divergence between members, or what the caller gives (AI or reader, old or new bundle)
    V  novelty        distance of the embedding to the nearest labelled case
    R  rarity         one over how common the case's group is

Of the ten times as many cases with the highest q, and of a tenth of the pool at most, those are taken that lie furthest apart
(greedy k-centre). A tenth of every batch is drawn at random whatever the strategy: the only part that tells how well the model
does, and a guard against a score that is blind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

WEIGHTS: Mapping[str, float] = {"U": 0.30, "G": 0.25, "D": 0.20, "V": 0.15, "R": 0.10}
#: From how many times as many cases as are wanted the ones furthest apart are taken.
WIDER = 10
#: But from no more than this share of the open cases: in a pool of hundreds ten times as many would be nearly all of them.
WIDEST = 0.10
_TINY = 1e-12


@dataclass(frozen=True)
class Pool:
    """What is known of n cases.

    ``probabilities``: float (n, C), rows sum to 1. ``embeddings``: float (n, K). ``labelled``: bool (n,), never asked about again.
    ``thresholds``: float (C,), or (n, C), NaN where a class has none. ``members``: float (M, n, C), what several networks or heads
    say. ``disagreement``: float (n,), instead of members. ``groups``: n names of subgroups. What is not known has no say in q.
    """

    probabilities: Floats
    embeddings: Floats
    labelled: NDArray[np.bool_]
    thresholds: Floats | None = None
    members: Floats | None = None
    disagreement: Floats | None = None
    groups: Sequence[str] = ()

    @property
    def open(self) -> Indices:
        """The cases that may be asked about."""
        return np.flatnonzero(~self.labelled)


@dataclass(frozen=True)
class Batch:
    """Cases to ask about. ``chosen``: by the strategy, best first. ``audit``: drawn at random from the rest."""

    chosen: Indices
    audit: Indices

    @property
    def all(self) -> Indices:
        """Both."""
        return np.concatenate((self.chosen, self.audit))


def query(pool: Pool, count: int, strategy: str, rng: np.random.Generator, random_part: float = 0.10) -> Batch:
    """Return ``count`` open cases (all, if there are fewer), a part of them at random: at least one where any is wanted.

    Raises
    ------
    KeyError
        An unknown strategy.
    """
    choose = STRATEGIES[strategy]
    count = min(count, len(pool.open))
    by_chance = 0 if not random_part or count < 2 else max(1, round(count * random_part))
    chosen = choose(pool, count - by_chance, rng) if count > by_chance else np.zeros(0, np.intp)
    rest = np.setdiff1d(pool.open, chosen)
    return Batch(chosen, rng.choice(rest, by_chance, replace=False) if by_chance else np.zeros(0, np.intp))


def terms(pool: Pool) -> dict[str, Floats]:
    """Return U, G, D, V and R of the open cases, each ranked to 0..1; what is alike everywhere, or not known, is 0.5 throughout."""
    at = pool.open
    thresholds = pool.thresholds[at] if pool.thresholds is not None and pool.thresholds.ndim == 2 else pool.thresholds
    raw = {
        "U": entropy(pool.probabilities[at]),
        "G": nearness(pool.probabilities[at], thresholds),
        "D": _disagreement(pool, at),
        "V": _novelty(pool.embeddings, at, np.flatnonzero(pool.labelled)),
        "R": rarity(pool.groups)[at] if pool.groups else np.zeros(len(at)),
    }
    return {name: ranked(values) for name, values in raw.items()}


def scores(pool: Pool, weights: Mapping[str, float] = WEIGHTS) -> Floats:
    """Return q of the open cases, in the order of ``pool.open``."""
    return np.asarray(np.sum([weights[name] * values for name, values in terms(pool).items()], axis=0))


def entropy(probabilities: Floats) -> Floats:
    """Return H(p) / log C, 0..1."""
    p = np.clip(probabilities, _TINY, 1.0)
    return np.asarray(-(p * np.log(p)).sum(1) / np.log(p.shape[1]))


def nearness(probabilities: Floats, thresholds: Floats | None) -> Floats:
    """Return exp(-|logit p - logit threshold| / 0.5), the greatest over the classes that have a threshold; 0 where none has."""
    if thresholds is None:
        return np.zeros(len(probabilities))
    away = np.abs(_logit(probabilities) - _logit(thresholds))
    return np.asarray(np.nan_to_num(np.exp(-away / 0.5)).max(1))


def divergence(members: Floats) -> Floats:
    """Return the Jensen-Shannon divergence between members (M, n, C), 0..1: entropy of the mean less the mean entropy."""
    return np.asarray(entropy(members.mean(0)) - np.mean([entropy(one) for one in members], axis=0))


def rarity(groups: Sequence[str]) -> Floats:
    """Return one over the share of each case's group."""
    _, which, counts = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    return np.asarray(len(groups) / counts[which], np.float64)


def ranked(values: Floats) -> Floats:
    """Return ranks as 0..1; equals share one, and all equal means 0.5."""
    if len(values) < 2:
        return np.full(len(values), 0.5)
    # a rounding error must not make a rank
    return np.asarray((rankdata(np.round(values, 9)) - 1) / (len(values) - 1))


def furthest_apart(embeddings: Floats, candidates: Indices, centres: Indices, count: int) -> Indices:
    """Return ``count`` candidates, each the furthest from all centres and those taken before (greedy k-centre).

    Sener, Savarese: "Active Learning for Convolutional Neural Networks: A Core-Set Approach", ICLR 2018. Without a centre the first
    candidate is taken first.
    """
    if not count:
        return np.zeros(0, np.intp)
    taken: list[int] = []
    nearest = _nearest(embeddings, candidates, centres)
    while len(taken) < min(count, len(candidates)):
        best = int(np.argmax(nearest))
        taken.append(best)
        nearest = np.minimum(nearest, np.linalg.norm(embeddings[candidates] - embeddings[candidates[best]], axis=1))
        nearest[taken] = -1.0
    return candidates[taken]


def _random(pool: Pool, count: int, rng: np.random.Generator) -> Indices:
    return np.asarray(rng.choice(pool.open, count, replace=False))


def _uncertainty(pool: Pool, count: int, _rng: np.random.Generator) -> Indices:
    """The highest entropy first (Lewis, Gale, SIGIR 1994)."""
    order = np.argsort(-entropy(pool.probabilities[pool.open]), kind="stable")
    return pool.open[order[:count]]


def _coreset(pool: Pool, count: int, _rng: np.random.Generator) -> Indices:
    return furthest_apart(pool.embeddings, pool.open, np.flatnonzero(pool.labelled), count)


def _badge(pool: Pool, count: int, rng: np.random.Generator) -> Indices:
    """Diverse and uncertain by the gradient that the likeliest label would give the last layer; drawn as k-means++ draws its seeds.

    Ash et al.: "Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds", ICLR 2020.
    """
    at = pool.open
    p = pool.probabilities[at]
    error = p - np.eye(p.shape[1])[p.argmax(1)]
    gradient = (error[:, :, None] * pool.embeddings[at][:, None, :]).reshape(len(at), -1)
    taken = [int(np.argmax((gradient**2).sum(1)))]
    away = ((gradient - gradient[taken[0]]) ** 2).sum(1)
    while len(taken) < count:
        away[taken] = 0.0
        total = away.sum()
        left = np.setdiff1d(np.arange(len(at)), taken)
        one = int(rng.choice(len(at), p=away / total)) if total > 0 else int(rng.choice(left))
        taken.append(one)
        away = np.minimum(away, ((gradient - gradient[one]) ** 2).sum(1))
    return at[taken]


def _hybrid(pool: Pool, count: int, _rng: np.random.Generator) -> Indices:
    order = np.argsort(-scores(pool), kind="stable")
    wide = max(count, min(WIDER * count, round(WIDEST * len(order))))
    return furthest_apart(pool.embeddings, pool.open[order[:wide]], np.flatnonzero(pool.labelled), count)


#: name in the settings -> what chooses
STRATEGIES: Mapping[str, Callable[[Pool, int, np.random.Generator], Indices]] = {
    "random": _random,
    "uncertainty": _uncertainty,
    "coreset": _coreset,
    "badge": _badge,
    "hybrid": _hybrid,
}


def _disagreement(pool: Pool, at: Indices) -> Floats:
    if pool.disagreement is not None:
        return pool.disagreement[at]
    return divergence(pool.members[:, at]) if pool.members is not None else np.zeros(len(at))


def _novelty(embeddings: Floats, at: Indices, labelled: Indices) -> Floats:
    return _nearest(embeddings, at, labelled) if len(labelled) else np.zeros(len(at))


def _nearest(embeddings: Floats, candidates: Indices, centres: Indices) -> Floats:
    """Return the distance of each candidate to its nearest centre, a thousand candidates at a time; infinite without one."""
    nearest = np.full(len(candidates), np.inf)
    if not len(centres):
        return nearest
    others = embeddings[centres]
    squares = (others**2).sum(1)
    for start in range(0, len(candidates), 1000):
        mine = embeddings[candidates[start : start + 1000]]
        squared = (mine**2).sum(1)[:, None] - 2 * mine @ others.T + squares
        nearest[start : start + 1000] = np.sqrt(np.maximum(squared.min(1), 0.0))
    return nearest


def _logit(p: Floats) -> Floats:
    kept = np.clip(p, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(kept / (1 - kept)))
