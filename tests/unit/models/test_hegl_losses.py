"""The losses of aligned attention against values computed by hand, and the four ways to weigh them."""

from __future__ import annotations

import math

import pytest
import torch

from models.training.hegl.losses import (
    Agree,
    Anneal,
    Losses,
    Static,
    Uncertainty,
    cross_entropy,
    discriminative_attention,
    disowned,
    human_alignment,
)

LEFT = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
RIGHT = torch.tensor([[0.0, 1.0], [0.0, 0.0]])


def test_an_unknown_label_adds_nothing_to_the_cross_entropy() -> None:
    logits = torch.tensor([[0.0, 5.0], [math.log(3), -5.0]])
    labels = torch.tensor([[1, -1], [0, -1]])
    assert float(cross_entropy(logits, labels)) == pytest.approx((math.log(2) + math.log(4)) / 2)
    assert float(cross_entropy(logits, -torch.ones_like(labels))) == 0.0


@pytest.mark.parametrize(
    ("drawn", "expected"),
    [
        (LEFT * 0.7, 0.0),  # the same place, whatever its height: 1 - (2 + 1) / (1 + 1 + 0 + 1)
        (RIGHT, 1 - 1 / 4),  # elsewhere: 1 - (0 + 1) / (1 + 1 + 1 + 1)
        (torch.ones(2, 2), 1 - 3 / 9),  # everywhere: 1 - (2 + 1) / (4 + 1 + 3 + 1)
    ],
)
def test_the_penalised_dice_is_what_the_formula_gives(drawn: torch.Tensor, expected: float) -> None:
    got = human_alignment(drawn[None, None], LEFT[None, None], torch.ones(1, 1))
    assert float(got) == pytest.approx(expected)


def test_a_map_without_a_mark_is_not_aligned_and_a_weak_mark_counts_weakly() -> None:
    maps, masks = torch.stack([RIGHT, LEFT])[None], torch.stack([LEFT, LEFT])[None]
    assert float(human_alignment(maps, masks, torch.tensor([[0.0, 1.0]]))) == pytest.approx(0.0)
    assert float(human_alignment(maps, masks, torch.tensor([[0.25, 1.0]]))) == pytest.approx(0.75 * 0.25 / 1.25)
    assert float(human_alignment(maps, masks, torch.zeros(1, 2))) == 0.0


def test_maps_apart_cost_nothing_and_equal_maps_cost_one() -> None:
    apart, equal = torch.stack([LEFT, RIGHT])[None], torch.stack([LEFT, 3 * LEFT])[None]
    half = torch.stack([LEFT, LEFT + RIGHT])[None]
    assert [float(discriminative_attention(m)) for m in (apart, equal, half)] == pytest.approx([0.0, 1.0, math.sqrt(0.5)])


def test_pairs_may_be_those_present_together_or_weighed_by_their_overlap() -> None:
    maps = torch.stack([LEFT, LEFT, RIGHT])[None]  # cosines: 01 -> 1, 02 -> 0, 12 -> 0
    assert float(discriminative_attention(maps)) == pytest.approx(1 / 3)
    present = torch.tensor([[1, 1, 0]])
    assert float(discriminative_attention(maps, "copresent", present=present)) == pytest.approx(1.0)
    prior = torch.zeros(3, 3)
    prior[0, 1] = prior[1, 0] = 0.5
    assert float(discriminative_attention(maps, "prior", prior=prior)) == pytest.approx(0.5 / 2.5)
    with pytest.raises(ValueError, match="Known: all, copresent"):
        discriminative_attention(maps, "some")


def test_of_fifty_findings_128_pairs_are_drawn_and_the_seed_decides_which() -> None:
    maps = torch.rand(1, 50, 4, 4)
    first, again, other = (discriminative_attention(maps, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert float(first) == float(again) != float(other)


def test_a_rejected_map_is_left() -> None:
    assert float(disowned(LEFT[None, None], LEFT[None, None], torch.ones(1, 1))) == pytest.approx(1.0)
    assert float(disowned(RIGHT[None, None], LEFT[None, None], torch.ones(1, 1))) == pytest.approx(0.0)


def _losses() -> tuple[torch.Tensor, Losses]:
    w = torch.tensor([1.0, 0.0], requires_grad=True)
    return w, Losses(
        (w * torch.tensor([1.0, 0.0])).sum(), (w * torch.tensor([1.0, 1.0])).sum(), (w * torch.tensor([-1.0, 0.0])).sum()
    )


def test_each_schedule_weighs_as_it_says() -> None:
    w, losses = _losses()  # values 1, 1, -1
    assert Static(0.5, 2.0).combine(losses, 0.3, [w]).item() == pytest.approx(1 + 0.5 - 2)
    anneal = Anneal()
    assert float(anneal.combine(losses, 0.0, [w])) == pytest.approx(1 + 1.5 - 0.5)
    assert float(anneal.combine(losses, 1.0, [w])) == pytest.approx(1 + 0.5 - 1.5)
    agree = Agree()
    agree.combine(losses, 0.0, [w])
    assert (agree.alpha, agree.beta) == pytest.approx((0.25 + math.sqrt(0.5), 0.0))  # gradients (1, 0), (1, 1), (-1, 0)


def test_a_learned_weighting_starts_even_and_is_trained_along() -> None:
    w, losses = _losses()
    learned = Uncertainty()
    total = learned.combine(losses, 0.0, [w])
    assert float(total) == pytest.approx(1.0)
    total.backward()
    assert learned.u.grad is not None
    assert learned.u.grad.tolist() == pytest.approx([0.0, 0.0, 2.0])  # 1 - L_i


def test_weights_of_nought_leave_the_cross_entropy_alone() -> None:
    w, losses = _losses()
    assert Static(0.0, 0.0).combine(losses, 0.0, [w]) is losses.ce
