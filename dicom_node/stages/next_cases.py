"""inference -> learning: the pool of results that stand, and which unanswered ones teach most (``dicom-node learning next``).

What the network made of each image was kept with its findings; groups (sex, view, maker) come of the headers. Nothing of either is
shown. Patients who opted out of learning are not asked about.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from dicom_node.core.findings import Finding, Findings
from dicom_node.home import Home
from dicom_node.inference.findings_store import load_outcome
from dicom_node.learning import repository
from dicom_node.learning.sampling import Pool, query, scores
from dicom_node.stages.opt_outs import has_opted_out
from dicom_node.store.tables import instance
from dicom_node.studies.opt_outs import LEARNING


@dataclass(frozen=True)
class NextCase:
    """A result to ask about. ``score``: q, 0..1. ``by_chance``: drawn at random, so that the batch also tells how well it does."""

    run_key: str
    study_key: str
    score: float
    by_chance: bool


@dataclass(frozen=True)
class Chosen:
    """``left_out``: results without what the choice needs (made before it was kept, or by a network that gives none)."""

    cases: tuple[NextCase, ...]
    open: int
    left_out: int


@dataclass(frozen=True)
class _Known:
    run_key: str
    study_key: str
    finding: Finding
    embedding: tuple[float, ...]
    bundle: str
    group: str


def choose_next(connection: sa.Connection, home: Home, count: int, strategy: str, random_part: float, seed: int = 0) -> Chosen:
    """Return which unanswered results to ask about next. The same rows and seed give the same choice."""
    rows = repository.results_since(connection, 0.0)
    read = [one for row in rows if (one := _known(connection, home, row)) is not None]
    # distances mean something within one network only: the one that spoke last
    newest = read[-1].bundle if read else ""
    known = [one for one in read if one.bundle == newest]
    if not known:
        return Chosen((), 0, len(rows))
    answered = repository.answered_runs(connection, [one.run_key for one in known])
    p = np.array([one.finding.probability or 0.0 for one in known])
    spread = np.array([one.embedding for one in known], np.float64)
    spread = (spread - spread.mean(0)) / np.maximum(spread.std(0), 1e-6)
    tau = np.array([np.nan if one.finding.threshold is None else one.finding.threshold for one in known])
    pool = Pool(
        probabilities=np.stack([1 - p, p], 1),
        embeddings=spread,
        labelled=np.array([one.run_key in answered for one in known]),
        thresholds=np.stack([np.full(len(tau), np.nan), tau], 1),
        groups=[one.group for one in known],
    )
    batch = query(pool, count, strategy, np.random.default_rng(seed), random_part)
    scored = dict(zip(pool.open.tolist(), scores(pool).tolist(), strict=True))
    chosen = [(int(n), False) for n in batch.chosen] + [(int(n), True) for n in batch.audit]
    cases = tuple(NextCase(known[n].run_key, known[n].study_key, scored[n], by_chance) for n, by_chance in chosen)
    return Chosen(cases, len(pool.open), len(rows) - len(known))


def _known(connection: sa.Connection, home: Home, row: Any) -> _Known | None:
    findings = _outcome(home.results / row.run_key)
    assessed = [one for one in findings.findings if one.probability is not None] if findings else []
    if findings is None or not assessed or not findings.embedding or not findings.bundles:
        return None
    facts = connection.execute(
        sa.select(instance.c.facts).where(instance.c.study_key == row.study_key, instance.c.sop_instance_uid.in_(findings.read))
    ).scalar()
    facts = facts or {}
    identity = (facts.get("patient_id", ""), facts.get("issuer_of_patient_id", ""))  # the row has them as they are
    if has_opted_out(connection, home, [identity], LEARNING):
        return None
    group = "|".join(str(facts.get(name) or "?") for name in ("patient_sex", "view_position", "manufacturer"))
    return _Known(row.run_key, row.study_key, assessed[0], findings.embedding, findings.bundles[0].sha256, group)


def _outcome(folder: Path) -> Findings | None:
    try:
        return load_outcome(folder)
    except (OSError, ValueError, KeyError):  # deleted by retention or an erasure
        return None
