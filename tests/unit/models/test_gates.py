"""Fitting the frontal chest gate, its thresholds and its error rates, on facts that are made up; and the pictures that are made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.training.data import read_index
from models.training.gates import fit as gates_fit
from models.training.gates import out_of_distribution
from models.training.gates import pictures as gates_pictures
from models.training.gates import real_files as gates
from models.training.gates.fit import Seen
from pipelines.blocks.frontal_gate import FRONTAL, KINDS, OTHER, ROTATED, load_gate
from pipelines.blocks.lungs import LungFacts, Lungs
from tests.factories.bundles import write_research_set

CHEST = np.outer(np.linspace(-1, 1, 16), np.ones(16))  # dark above, bright below
CHEST /= np.linalg.norm(CHEST)


def seen(kind: str, n: int, what: str = "", problem: str = "") -> Seen:
    rng = np.random.default_rng([n, KINDS.index(kind)])
    patch = {ROTATED: np.rot90(CHEST), OTHER: np.zeros_like(CHEST)}.get(kind, CHEST) + 0.02 * rng.standard_normal((16, 16))
    area = 0.02 if kind == OTHER else 0.3
    facts = LungFacts(area=area + 0.01 * rng.random(), side=0.45, main=1.0, height=0.7, confidence=0.9)
    lungs = Lungs(np.zeros((0, 0), np.uint8), (0, 0, 1, 1), facts, problem, patch, patch)
    return Seen(kind, what or (gates_pictures.ADULTS if kind == FRONTAL else kind), f"{kind} {n}", "", lungs)


@pytest.fixture(scope="module")
def learned() -> list[Seen]:
    return [seen(kind, n) for kind in (FRONTAL, ROTATED, OTHER) for n in range(40)]


def test_a_fitted_gate_passes_what_it_should_and_survives_its_file(tmp_path: Path, learned: list[Seen]) -> None:
    gate = gates_fit.fit(learned, [seen(FRONTAL, n) for n in range(100, 150)])
    gates_fit.write(tmp_path, gate)
    read = load_gate(tmp_path, "made up")
    assert read is not None
    for kind in (FRONTAL, ROTATED, OTHER):
        judged = read.judge(seen(kind, 999).lungs)
        assert judged.probabilities == pytest.approx(gate.judge(seen(kind, 999).lungs).probabilities, abs=1e-4)
        assert max(judged.probabilities, key=lambda k: judged.probabilities[k]) == kind
    assert judged.probabilities["lateral"] < 1e-6  # a kind that was not shown


def test_rates_count_one_picture_a_group_and_the_mask_refuses_too(learned: list[Seen]) -> None:
    gate = gates_fit.fit(learned, [seen(FRONTAL, n) for n in range(100, 150)])
    tested = [
        seen(FRONTAL, 1),
        seen(FRONTAL, 1),
        seen(FRONTAL, 2, problem="too small"),
        seen(OTHER, 3),
        seen(FRONTAL, 4, what=OTHER),
    ]
    table = {(row["what"], row["kind"]): row for row in gates_fit.rates(gate, tested)}
    adults = table[gates_pictures.ADULTS, FRONTAL]
    assert (adults["n"], adults["stated"]["refused"], adults["stated"]["gate_or_mask"]) == (2, 0, 1)
    assert table[OTHER, OTHER]["silent"]["gate_or_mask"] == 1
    assert table[OTHER, OTHER]["named"] == 1
    lines = gates_fit.for_card(list(table.values()))
    assert [(line["wrong_to"], line["hits"], line["n"]) for line in lines if line["people"] == gates_pictures.ADULTS] == [
        ("refuses", 1, 2),
        ("refuses", 1, 2),
    ]
    assert [line["hits"] for line in lines if line["wrong_to"] == "passes"] == [0]


def test_a_threshold_refuses_no_more_than_its_share() -> None:
    held = np.linspace(0.01, 1, 300)
    chosen = gates_fit.threshold(held, 0.01)
    assert (held < chosen).sum() == 3
    assert gates_fit.threshold(held, 0.001) == pytest.approx(held.min() / 2)


def test_weights_make_frontal_chests_as_heavy_as_all_the_rest(learned: list[Seen]) -> None:
    weights = gates_fit.balanced([*learned, *[seen(OTHER, n, what="another") for n in range(5)]])
    chest = np.array([s.kind == FRONTAL for s in learned] + [False] * 5)
    other = np.array([s.kind == OTHER for s in learned] + [True] * 5)
    assert weights.mean() == pytest.approx(1)
    assert weights[other].sum() / weights[chest].sum() == pytest.approx(0.25)
    assert weights[-5:].sum() == pytest.approx(weights[other].sum() / 2)


def test_pictures_of_every_kind_are_made_and_none_is_a_copy_of_its_chest(tmp_path: Path) -> None:
    data = write_research_set(tmp_path / "data", patients=1)
    rows = read_index(data)[:2]
    frontal = list(gates_pictures.chests(data, rows, disturbed=True))
    assert [p.kind for p in frontal] == [FRONTAL] * 2
    as_they_are = list(gates_pictures.chests(data, rows, disturbed=False))
    assert [np.array_equal(a.image, b.image) for a, b in zip(frontal, as_they_are, strict=True)] == [False, True]
    made = [*gates_pictures.spoiled(data, rows, 8), *gates_pictures.drawn([5], 96)]
    assert {p.kind for p in made} == set(KINDS)
    assert all(p.image.dtype == np.float32 and 0 <= p.image.min() <= p.image.max() <= 1 for p in made)
    assert {p.group for p in made} == {rows[0].patient, rows[1].patient, "phantom 5"}
    assert not any(np.array_equal(p.image, as_they_are[0].image) for p in made)


def test_what_passes_without_a_header_is_named() -> None:
    lines = [
        {"file": "knee.dcm", "chest": False, "header": "taken away", "answer": "refused", "reason": "lungs_not_found"},
        {"file": "odd.dcm", "chest": False, "header": "taken away", "answer": "refused", "reason": "unreadable_pixels"},
        {"file": "copy.dcm", "chest": True, "header": "taken away", "answer": "Abnormal", "reason": ""},
        {"file": "chest.dcm", "chest": True, "header": "as it is", "answer": "No finding", "reason": ""},
    ]
    assert gates.told(lines) == (
        "Of 1 real DICOM files of something else, with the whole header taken away, all are refused by their pixels; "
        "1 more could not be decoded."
    )
    hip = {"file": "hip.dcm", "chest": False, "header": "taken away", "answer": "Abnormal", "reason": ""}
    assert "NOT refused: hip.dcm;" in gates.told([*lines, hip])
    assert gates.told([]) == ""


def test_the_distance_has_a_centre_a_label_and_a_limit_that_new_images_set() -> None:
    rng = np.random.default_rng(4)
    learned = np.concatenate([rng.normal(0, 1, (80, 6)), rng.normal(3, 1, (60, 6))]).astype(np.float32)
    held = rng.normal(0, 1, (400, 6)).astype(np.float32)
    arrays = out_of_distribution.fit(learned, np.array([0] * 80 + [1] * 60), held)
    assert arrays["embedding_mean"].shape == (2, 6)
    assert arrays["embedding_mean"].mean(1) == pytest.approx([0, 3], abs=0.3)
    distances = out_of_distribution.nearest(
        held.astype(np.float64), *(arrays[name].astype(np.float64) for name in ("embedding_mean", "embedding_precision"))
    )
    assert (distances > arrays["distance_limit"] * (1 + 1e-5)).sum() <= 2  # 0.5 % of 400
    there = out_of_distribution.nearest(np.full((1, 6), 20.0), arrays["embedding_mean"].astype(float), np.eye(6))
    assert there[0] == pytest.approx(np.linalg.norm(20 - arrays["embedding_mean"][1]))
