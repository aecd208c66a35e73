"""The 3D network: shapes, attention that starts even, closed forms that equal autograd, one graph that equals torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models.export import export_volume
from models.session import Session
from models.zoo.ntm_cnn3d import CLINICAL, FULL, LUNG, UNIT, NtmCnn3d, NtmGraph

CHANNELS = (4, 8, 8, 12)
SIDES = (16, 24, 24)


@pytest.fixture(scope="module")
def net() -> NtmCnn3d:
    torch.manual_seed(1)
    made = NtmCnn3d(CHANNELS)
    with torch.no_grad():
        made.attend.weight.normal_()
        made.head.weight.normal_()
    return made.eval()


@pytest.fixture(scope="module")
def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    image = 0.12 * torch.rand(2, 1, *SIDES, generator=generator)  # as dense as lungs are
    return image, torch.rand(2, CLINICAL, generator=generator)


def test_the_full_network_has_the_maps_of_the_design() -> None:
    """A quarter of the design's 64 x 128 x 128 a side: attention is a quarter of that, the last map an eighth."""
    with torch.no_grad():
        said = NtmCnn3d(FULL).read(torch.zeros(1, 1, 16, 32, 32), torch.zeros(1, CLINICAL))
    assert said.attention.shape == (1, 1, 4, 8, 8)
    assert said.maps.shape == (1, 256, 2, 4, 4)
    assert said.clinical.shape == (1, 16)
    assert said.logits.shape == (1, 1)


def test_attention_starts_even_and_nothing_normalises_over_the_batch(inputs: tuple[torch.Tensor, torch.Tensor]) -> None:
    torch.manual_seed(3)
    fresh = NtmCnn3d(CHANNELS)
    with torch.no_grad():
        assert torch.all(fresh.read(*inputs).attention == 0.5)
        together = fresh.train()(*inputs)
        alone = torch.cat([fresh(image[None], clinical[None]) for image, clinical in zip(*inputs, strict=True)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_the_logit_is_the_image_s_part_plus_the_clinical_part_plus_the_bias(
    net: NtmCnn3d, inputs: tuple[torch.Tensor, torch.Tensor]
) -> None:
    with torch.no_grad():
        said = net.read(*inputs)
        of_image = said.maps.mean((2, 3, 4)) @ net.head.weight[:, : CHANNELS[3]].T
        assert torch.allclose(of_image + net.clinical_contribution(said.clinical) + net.head.bias, said.logits, atol=1e-5)
        other = net(inputs[0], inputs[1] + 1) - said.logits
        moved = net.clinical_contribution(net.read(inputs[0], inputs[1] + 1).clinical) - net.clinical_contribution(said.clinical)
    assert torch.allclose(other, moved, atol=1e-5)


def test_the_class_maps_equal_autograd(net: NtmCnn3d, inputs: tuple[torch.Tensor, torch.Tensor]) -> None:
    said = net.read(*inputs)
    maps = said.maps.detach().double().requires_grad_(True)
    head = torch.nn.Linear(net.head.in_features, 1).double()
    head.load_state_dict(net.head.state_dict())
    head(torch.cat([maps.mean((2, 3, 4)), said.clinical.detach().double()], 1)).sum().backward()
    grad = maps.grad
    assert grad is not None
    places = maps[0, 0].numel()
    plain = torch.relu((grad.mean((2, 3, 4), keepdim=True) * places * maps).sum(1, keepdim=True))
    # Grad-CAM++ of exp(logit), over exp(logit), times the places: by the definition's own sums
    alpha = torch.where(grad > 0, grad**2 / (2 * grad**2 + maps.sum((2, 3, 4), keepdim=True) * grad**3), torch.zeros_like(grad))
    plus = torch.relu(((alpha * torch.relu(grad)).sum((2, 3, 4), keepdim=True) * maps).sum(1, keepdim=True))
    got = dict(zip(("logits", "p", "embedding", "cam", "campp"), NtmGraph(net)(*inputs)[:5], strict=True))
    for name, expected in (("cam", plain), ("campp", plus)):
        highest = float(expected.detach().max())
        assert highest > 0, name
        assert torch.allclose(got[name].double(), expected, atol=1e-5 * highest), name


def test_what_is_no_denser_than_aerated_lung_is_not_seen(net: NtmCnn3d, inputs: tuple[torch.Tensor, torch.Tensor]) -> None:
    with torch.no_grad():
        empty, thin, dense = (net(torch.full_like(inputs[0], value), inputs[1]) for value in (0.0, LUNG, LUNG + 5 * UNIT))
    assert torch.equal(empty, thin)
    assert not torch.allclose(empty, dense)


def test_one_graph_equals_torch_for_any_number_of_cases(
    net: NtmCnn3d, inputs: tuple[torch.Tensor, torch.Tensor], tmp_path: Path
) -> None:
    image, clinical = (value.numpy() for value in inputs)
    assert export_volume(net, tmp_path / "model.onnx", image, clinical) < 1e-4
    session = Session(tmp_path / "model.onnx", device="cpu")
    both = session.run({"image": image, "clinical": clinical})
    assert both["attention"].shape == (2, 1, 4, 6, 6)
    assert np.allclose(both["probabilities"], 1 / (1 + np.exp(-both["logits"])), atol=1e-6)
    three = {"image": np.concatenate([image, image[:1]]), "clinical": np.concatenate([clinical, clinical[:1]])}
    again = session.run(three)
    assert np.allclose(again["logits"], np.concatenate([both["logits"], both["logits"][:1]]), atol=1e-5)
