"""The protocol with physicians: labels, folds, targets by hand, losses by hand, rounds with a network that only takes notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from models.training.hegl.losses import human_alignment
from models.training.hitl.attention_target import Region, mean_answer, start, updated
from models.training.hitl.cases import Case, is_consensus, on_the_scale, soft_label
from models.training.hitl.folds import Folds, divide
from models.training.hitl.losses import attention_loss, map_loss, total_loss
from models.training.hitl.protocol import FIRST, HITL, REREAD, ReExamined, Shown, Taught, run
from models.training.hitl.training import SHIFT, UNKNOWN, FitSettings, Lesson, Volumes, batches
from models.zoo.ntm_cnn3d import NtmCnn3d
from pipelines.blocks.clinical import Clinical, encoded

# --- labels ------------------------------------------------------------------------------------------------------------


def test_a_soft_label_is_the_weighted_mean_of_what_readers_said() -> None:
    assert soft_label([1, 0.5, 0]) == 0.5
    assert soft_label([1, 0.75, 0], [2, 1, 1]) == pytest.approx(2.75 / 4)
    for wrong in ([], [1.2], [-0.1]):
        with pytest.raises(ValueError, match="a label needs"):
            soft_label(wrong)
    with pytest.raises(ValueError, match="nought"):
        soft_label([1.0, 0.0], [0, 0])


def test_consensus_is_all_on_one_side_and_one_half_is_on_neither() -> None:
    assert is_consensus([0.75, 1, 1])
    assert is_consensus([0, 0.25, 0.25])
    assert not is_consensus([0.75, 1, 0.5])
    assert not is_consensus([0.75, 1, 0.25])
    with pytest.raises(ValueError, match="at least 3"):
        is_consensus([1, 1])
    assert on_the_scale([-1, 0.12, 0.13, 0.9, 7]).tolist() == [0, 0, 0.25, 1, 1]


def test_parts_and_folds_hold_every_case_once_and_a_patient_never_lies_on_two_sides() -> None:
    clear, unclear = (1.0, 0.75, 1.0), (1.0, 0.25, 1.0)
    cases = [Case(f"c{n}", f"p{n // 2}", unclear if n % 10 == 0 else clear) for n in range(400)]  # two cases a patient
    folds = divide(cases, rounds=2)
    parts = [folds.train, folds.validation, folds.test, *folds.low]
    names = [name for part in parts for name in part]
    assert sorted(names) == sorted(case.name for case in cases)
    of = {case.name: case.patient for case in cases}
    patients = [{of[name] for name in part} for part in parts]
    assert sum(len(p) for p in patients) == len(set().union(*patients))
    assert len(folds.low) == 3
    assert {len(p) for p in patients[3:]} <= {13, 14}  # 40 patients with a case on which readers differ
    more = divide([*cases, Case("new", "another", clear)], rounds=2)
    assert set(folds.train) <= set(more.train)
    assert set(folds.test) <= set(more.test)
    with pytest.raises(ValueError, match="too few for 3 folds"):
        divide([*cases[1:30:2], Case("a", "a", unclear), Case("b", "b", unclear)], rounds=2)


# --- the attention target ----------------------------------------------------------------------------------------------

LUNGS = np.array([[[1, 1, 1, 0]]], np.float32)
SHOWN = np.array([[[0.0, 0.5, 1.0, 1.0]]], np.float32)


def test_the_target_moves_as_computed_by_hand() -> None:
    first = start(LUNGS)
    assert first.tolist() == [[[1, 1, 1, 0]]]
    # all three say "right place": 1 + 0.5 * 1 * h
    liked = updated(first, LUNGS, SHOWN, (1, 1, 1))
    assert liked.tolist() == [[[1, 1.25, 1.5, 0]]]
    # two yes, one no: fbar = 1/3
    assert updated(liked, LUNGS, SHOWN, (1, 1, -1))[0, 0].tolist() == pytest.approx([1, 1.25 + 0.5 / 6, 1.5 + 0.5 / 3, 0])
    # "not at the right place", again and again: never below a quarter
    low = first
    for _ in range(4):
        low = updated(low, LUNGS, SHOWN, (-1, -1, 0))
    assert low.tolist() == [[[1, 0.25, 0.25, 0]]]
    # and never above two
    high = first
    for _ in range(4):
        high = updated(high, LUNGS, SHOWN, (1, 0, 0))
    assert high.tolist() == [[[1, 2, 2, 0]]]


@pytest.mark.parametrize("answers", [(), (0, 0, 0), (1, -1, 0)])
def test_no_answer_and_a_tie_leave_the_target_as_it_is(answers: tuple[int, ...]) -> None:
    before = np.array([[[1, 1.25, 0.5, 0]]], np.float32)
    assert np.array_equal(updated(before, LUNGS, SHOWN, answers), before)


def test_a_drawn_region_takes_the_place_of_the_map_where_it_lies() -> None:
    here = Region(np.array([[[1, 0, 0, 1]]], np.float32), 1)
    not_here = Region(np.array([[[0, 0, 1, 0]]], np.float32), -1)
    # here: +0.5 in the first cell; not here: -0.5 in the third; between them the map, disliked: -0.5 * 0.5
    assert updated(start(LUNGS), LUNGS, SHOWN, (-1,), (here, not_here))[0, 0].tolist() == [1.5, 0.75, 0.5, 0]


def test_the_map_counts_by_its_maximum_and_an_empty_map_changes_nothing() -> None:
    assert np.array_equal(updated(start(LUNGS), LUNGS, SHOWN * 7, (1,)), updated(start(LUNGS), LUNGS, SHOWN, (1,)))
    assert np.array_equal(updated(start(LUNGS), LUNGS, SHOWN * 0, (-1,)), LUNGS)
    half = np.array([[[0.5, 0.5, 0.5, 0]]], np.float32)  # a cell that lung fills by half keeps half of everything
    assert updated(start(half), half, SHOWN, (1,)).tolist() == [[[0.5, 0.625, 0.75, 0]]]


def test_an_unknown_answer_and_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="an answer to a map"):
        mean_answer((1, 2))
    with pytest.raises(ValueError, match="one shape"):
        updated(start(LUNGS), LUNGS, SHOWN[..., :2], (1,))


# --- losses ------------------------------------------------------------------------------------------------------------


def test_the_attention_loss_is_the_dice_of_the_design() -> None:
    attention, target = torch.tensor([0.5, 1.0, 0.0, 0.5]), torch.tensor([1.0, 1.0, 0.0, 0.0])
    # sums: A a = 1.5, A^2 = 1.5, a^2 = 2
    assert float(attention_loss(attention.view(1, 1, 1, 2, 2), target.view(1, 1, 1, 2, 2))) == pytest.approx(1 - 4 / 4.5)


def test_the_map_loss_is_the_penalised_dice_and_counts_only_where_it_has_weight() -> None:
    maps, targets = torch.rand(2, 1, 2, 3, 3), torch.rand(2, 1, 4, 6, 6)
    small = torch.nn.functional.avg_pool3d(targets, 2)
    by_hand = human_alignment(maps.view(2, 1, 3, 6), small.view(2, 1, 3, 6), torch.tensor([[1.0], [0.0]]))
    assert float(map_loss(maps, targets, torch.tensor([1.0, 0.0]))) == pytest.approx(float(by_hand))
    assert float(map_loss(maps, targets, torch.zeros(2))) == 0


def test_a_map_is_taught_only_to_likely_cases_that_were_answered() -> None:
    torch.manual_seed(0)
    net = NtmCnn3d((4, 4, 4, 4))
    batch = torch.rand(2, 1, 8, 8, 8), torch.rand(2, 11)
    targets = torch.rand(2, 1, 2, 2, 2)

    def loss(labels: list[float], answered: list[float], weight: float) -> float:
        with torch.no_grad():
            net.head.weight.fill_(0.1)
            return float(total_loss(net, *batch, torch.tensor(labels), targets, torch.tensor(answered), 0.3, weight))

    assert loss([0.75, 0.25], [0, 1], 0.3) == loss([0.75, 0.25], [0, 1], 0.0)
    assert loss([0.75, 0.25], [1, 0], 0.3) > loss([0.75, 0.25], [1, 0], 0.0)


def test_clinical_data_is_withheld_at_random_and_image_and_target_turn_alike() -> None:
    known = np.arange(11, dtype=np.float32)[None].repeat(8, 0)
    image = np.random.default_rng(1).random((8, 4, 8, 8)).astype(np.float16)
    lesson = Lesson(Volumes(image, known), np.linspace(0, 1, 8), image.astype(np.float32), np.zeros(8, np.float32))
    ((turned, clinical, labels, target, _),) = batches(lesson, FitSettings(forget=1.0), 3)
    assert np.array_equal(clinical.numpy(), UNKNOWN[None].repeat(8, 0))
    assert np.array_equal(UNKNOWN, encoded(Clinical()))
    shift = (turned - target)[(turned > 0.1) & (turned < 0.9)]  # what differs is the shift of the grey values, one a case
    assert 0 < float(shift.abs().max()) <= SHIFT + 1e-3
    assert sorted(labels.tolist()) == pytest.approx(np.linspace(0, 1, 8).tolist())
    ((_, clinical, *_),) = batches(lesson, FitSettings(forget=0.0), 3)
    assert np.array_equal(clinical.numpy(), known)


# --- rounds ------------------------------------------------------------------------------------------------------------


class Notes:
    """A network that learns nothing and notes what it was taught; its map lies in the first cell."""

    def __init__(self) -> None:
        self.taught: list[tuple[Any, Taught, int]] = []

    def learn(self, before: Any | None, taught: Taught, number: int) -> Any:
        self.taught.append((before, taught, number))
        return f"state {number}"

    def show(self, state: Any, names: Sequence[str]) -> dict[str, Shown]:
        heat = np.array([[[1, 0, 0, 0]]], np.float32)
        return {name: Shown(0.9 if state == "state 0" else 0.8, heat) for name in names}


FOLDS = Folds(("t1", "t2"), ("v",), ("x",), (("a",), ("b",), ("c",)))
READS = {"t1": (1.0, 1.0, 1.0), "t2": (0.0, 0.0, 0.0), "a": (1.0, 0.0, 0.5), "b": (1.0, 0.0, 0.0), "c": (0.75, 0.25, 0.0)}


def ask(
    names: Sequence[str], before: Mapping[str, tuple[float, ...]], shown: Mapping[str, Shown] | None, number: int
) -> dict[str, ReExamined]:
    """With the model all agree and call the map right; without it nobody moves."""
    if shown is None:
        return {name: ReExamined(before[name]) for name in names}
    return {name: ReExamined((shown[name].probability,) * 3, (1, 1, 0), (), (4, 4, 3)) for name in names}


def test_each_round_shows_the_network_before_it_and_teaches_all_folds_so_far() -> None:
    notes = Notes()
    found = run(HITL, FOLDS, READS, dict.fromkeys(READS, LUNGS), notes, ask)
    assert [(before, number) for before, _, number in notes.taught] == [(None, 0), ("state 0", 1), ("state 1", 2)]
    assert [taught.names for _, taught, _ in notes.taught] == [
        ("t1", "t2", "a"),
        ("t1", "t2", "a", "b"),
        ("t1", "t2", "a", "b", "c"),
    ]
    assert notes.taught[0][1].labels == {"t1": 1.0, "t2": 0.0, "a": 0.5}
    last = found.taught
    assert last.labels["a"] == 0.5  # fold 0 is never looked at again
    assert last.labels["b"] == pytest.approx(0.9)
    assert last.labels["c"] == pytest.approx(0.8)  # shown by the network of round 1
    assert last.answered == {"b", "c"}
    assert last.targets["b"].tolist() == [[[1.5, 1, 1, 0]]]
    assert last.targets["a"].tolist() == last.targets["t1"].tolist() == [[[1, 1, 1, 0]]]
    assert [tuple(one.before) for one in found.rounds] == [("b",), ("c",)]
    assert found.rounds[0].before["b"] == (1.0, 0.0, 0.0)


def test_in_the_control_nothing_is_shown_and_no_target_moves() -> None:
    notes = Notes()
    found = run(REREAD, FOLDS, READS, dict.fromkeys(READS, LUNGS), notes, ask)
    assert [len(one.shown) for one in found.rounds] == [0, 0]
    assert found.taught.labels["b"] == pytest.approx(1 / 3)
    assert found.taught.answered == frozenset()
    assert all(np.array_equal(target, LUNGS) for target in found.taught.targets.values())
    assert len(found.states) == 3


def test_without_a_second_look_the_same_cases_are_taught_as_often() -> None:
    notes = Notes()

    def nobody(*_: Any) -> Mapping[str, ReExamined]:
        raise AssertionError("nobody is asked in this arm")

    found = run(FIRST, FOLDS, READS, dict.fromkeys(READS, LUNGS), notes, nobody)
    assert found.rounds == ()
    assert [taught.names for _, taught, _ in notes.taught] == [
        ("t1", "t2", "a"),
        ("t1", "t2", "a", "b"),
        ("t1", "t2", "a", "b", "c"),
    ]
    assert found.taught.labels["c"] == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="not known"):
        run("another", FOLDS, READS, dict.fromkeys(READS, LUNGS), notes, ask)
