"""What stays as it was at round 0, in ``protocol.json``: the parts, what was said at first, which bundle each round made.

Later rounds go on from this file: a patient who comes later, or a first read that changes, would move others between folds and undo
what readers were shown. The file is the site's own: it names patients as the index does.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from models.training.hitl.cases import Case
from models.training.hitl.folds import Folds, divide

FILE = "protocol.json"


@dataclass(frozen=True)
class ProtocolState:
    """``first``: score by reader, by patient. ``bundles``: hashes of the bundles that were made after a round, by its number."""

    folds: Folds
    first: Mapping[str, Mapping[str, float]]
    bundles: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

    def scores(self) -> dict[str, tuple[float, ...]]:
        """Return the first reads of each patient, in the order of the readers' names."""
        return {name: tuple(said[reader] for reader in sorted(said)) for name, said in self.first.items()}

    def with_bundle(self, number: int, sha256: str) -> ProtocolState:
        """Return the state with one more bundle of a round."""
        made = self.bundles.get(number, ())
        return replace(self, bundles={**self.bundles, number: made if sha256 in made else (*made, sha256)})

    def among(self, there: Collection[str]) -> ProtocolState:
        """Return the state without patients who are gone: whose scan cannot be read any more, or who opted out."""
        here = set(there)

        def left(names: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(name for name in names if name in here)

        f = self.folds
        folds = Folds(left(f.train), left(f.validation), left(f.test), tuple(left(fold) for fold in f.low))
        return replace(self, folds=folds, first={name: said for name, said in self.first.items() if name in here})


def begin(first: Mapping[str, Mapping[str, float]], rounds: int) -> ProtocolState:
    """Divide patients by their first reads.

    Raises
    ------
    ValueError
        A patient has fewer than three first reads, or readers differ on too few for ``rounds + 1`` folds.
    """
    folds = divide([Case(name, name, tuple(said[r] for r in sorted(said))) for name, said in first.items()], rounds)
    return ProtocolState(folds, first)


def load(folder: Path) -> ProtocolState | None:
    """Return what round 0 left; ``None`` where there was none."""
    path = folder / FILE
    if not path.exists():
        return None
    told = json.loads(path.read_text(encoding="utf-8"))
    parts = {name: tuple(told[name]) for name in ("train", "validation", "test")}
    folds = Folds(**parts, low=tuple(tuple(fold) for fold in told["low"]))
    return ProtocolState(folds, told["first"], {int(number): tuple(made) for number, made in told["bundles"].items()})


def save(state: ProtocolState, folder: Path) -> None:
    """Write the file."""
    f = state.folds
    told = {
        "train": f.train,
        "validation": f.validation,
        "test": f.test,
        "low": f.low,
        "first": state.first,
        "bundles": {str(number): made for number, made in sorted(state.bundles.items())},
    }
    (folder / FILE).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
