"""Who trains, who validates, who tests, and in which fold the cases lie on which readers differ.

By patient, by keyed hash: a patient never changes side, and all cases of a patient lie together. A patient with any case without
consensus belongs to the folds with all cases: otherwise one of them could train and another test.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from models.training.hitl.cases import Case, is_consensus

PARTS = {"train": range(60), "validation": range(60, 75), "test": range(75, 100)}  # hundredths of the consensus patients
_KEY = b"ntm-hitl-split-1"


@dataclass(frozen=True)
class Folds:
    """Names of cases. ``low``: R + 1 folds of the patients with a case on which readers differ."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    low: tuple[tuple[str, ...], ...]


def divide(cases: Sequence[Case], rounds: int) -> Folds:
    """Divide cases for ``rounds`` rounds of re-examination: consensus to train, validation and test, the rest to folds 0..rounds.

    Folds are of even size in patients; parts are not (each patient's hash decides), so a later case moves nobody.

    Raises
    ------
    ValueError
        A case has fewer than three readers, or a fold would be empty.
    """
    unclear = {case.patient for case in cases if not is_consensus(case.scores)}
    parts: dict[str, list[str]] = {name: [] for name in PARTS}
    for case in cases:
        if case.patient not in unclear:
            bucket = keyed_number(case.patient) % 100
            parts[next(name for name, buckets in PARTS.items() if bucket in buckets)].append(case.name)
    if len(unclear) <= rounds:
        raise ValueError(f"readers differ on {len(unclear)} patients: too few for {rounds + 1} folds")
    order = {patient: n for n, patient in enumerate(sorted(unclear, key=lambda p: (keyed_number(p), p)))}
    low = [tuple(c.name for c in cases if order.get(c.patient, -1) % (rounds + 1) == fold and c.patient in order)
           for fold in range(rounds + 1)]  # fmt: skip
    return Folds(tuple(parts["train"]), tuple(parts["validation"]), tuple(parts["test"]), tuple(low))


def keyed_number(patient: str) -> int:
    """Return a number that is the same for a patient for ever, and tells nothing about them."""
    return int.from_bytes(hmac.new(_KEY, patient.encode(), hashlib.sha256).digest()[:8])
