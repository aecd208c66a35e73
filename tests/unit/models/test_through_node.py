"""Drawn patients through the pipeline itself: who is read, who is refused, and that the figure counts patients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from models.bundle import find_bundle
from models.phantoms.ct import CtPhantom, thorax
from models.training.slices import through_node
from models.training.slices.phantom_cohort import who

BUNDLES = Path(__file__).parents[3] / "models" / "bundles"
SIZE = 128


@pytest.fixture(scope="module")
def bundle() -> Path:
    return find_bundle("ct_pima_ipn", None, [BUNDLES])


def kinds(wanted: str) -> Iterator[int]:
    return (seed for seed in range(40, 80) if who(seed).kind == wanted)


def test_patients_are_read_by_the_pipeline_and_counted_with_those_refused(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = [next(kinds("pima")), next(kinds("ipn")), 81]
    whole = through_node.chest

    def cut(seed: int, size: int) -> CtPhantom:
        return whole(seed, size) if seed != 81 else thorax(81, slices=20, size=size, spacing_mm=(2.0, 3.0, 3.0), nodules=("ipn",))

    monkeypatch.setattr(through_node, "chest", cut)
    found = through_node.figures(seeds, bundle, SIZE, resamples=50)
    assert (found["patients"], found["pima"]) == (2, 1)
    assert found["refused"] == {"short_coverage": 1}
    assert "2 drawn patients (1 PIMA); refused: short_coverage: 1" in through_node.in_words(found)


def test_a_patient_gets_the_same_answer_each_time(bundle: Path) -> None:
    seed = next(kinds("pima"))
    one, again = (through_node.read(through_node.chest(seed, SIZE), bundle, seed) for _ in range(2))
    assert one == again
    assert one[0] is not None
    assert 0 < one[0] < 1
