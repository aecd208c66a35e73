"""SE-DAS ResNet-50: its start, its gates, its graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models.export import export_classifier
from models.session import Session
from models.zoo.se_das_resnet50 import ATTENTIONS, FUSES, Attend, SeDasResNet50
from tests.factories.class_maps import grad_cam, grad_cam_plus_plus

WIDTH, SIDE = 8, 64


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.randn(2, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(3))


def plain() -> SeDasResNet50:
    torch.manual_seed(5)
    return SeDasResNet50(WIDTH, "none").eval()


@pytest.mark.parametrize(("attention", "fuse"), [*(("das", fuse) for fuse in FUSES), *((a, "add") for a in ATTENTIONS)])
def test_attention_changes_nothing_at_its_start(attention: str, fuse: str, image: torch.Tensor) -> None:
    base, net = plain(), SeDasResNet50(WIDTH, attention, fuse).eval()  # type: ignore[arg-type]
    net.load_state_dict({**net.state_dict(), **base.state_dict()})
    with torch.no_grad():
        assert float((net(image) - base(image)).abs().max()) == 0.0
        assert float((net.features(image) - base.features(image)).abs().max()) == 0.0


def test_attention_changes_something_once_its_gates_have_learned(image: torch.Tensor) -> None:
    base = plain()
    for attention in ("das", "se", "spatial", "cbam"):
        net = SeDasResNet50(WIDTH, attention).eval()  # type: ignore[arg-type]
        net.load_state_dict({**net.state_dict(), **base.state_dict()})
        with torch.no_grad():
            for gate in net.gates():
                gate.add_(0.3)
            assert float((net(image) - base(image)).abs().max()) > 1e-4, attention


def test_the_two_branches_stand_side_by_side() -> None:
    attend = Attend(4, "das", "add", 2)
    x = torch.randn(1, 4, 3, 3, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        attend.channel.excite.bias.copy_(torch.tensor([0.0, 1.0, -1.0, 3.0]))
        attend.spatial.conv.weight.fill_(0.5)
        s = torch.sigmoid(torch.tensor([0.0, 1.0, -1.0, 3.0]))[None, :, None, None]
        m = torch.sigmoid(0.5 * x.sum(1, keepdim=True))
        assert torch.allclose(attend(x), x * s + x * m, atol=1e-6)


def test_the_full_network_has_the_size_of_the_paper() -> None:
    with torch.device("meta"):
        full, base = SeDasResNet50(), SeDasResNet50(attention="none")
    assert round(sum(p.numel() for p in full.parameters()) / 1e6, 1) == 26.0
    assert round(sum(p.numel() for p in base.parameters()) / 1e6, 1) == 23.5
    assert full.features(torch.zeros(1, 1, 512, 512, device="meta")).shape == (1, 2048, 16, 16)


def test_published_weights_of_three_channels_give_what_three_equal_channels_gave() -> None:
    torch.manual_seed(9)
    net = SeDasResNet50(WIDTH)
    given = {name: torch.randn_like(value) for name, value in net.state_dict().items() if value.is_floating_point()}
    given["conv1.weight"] = torch.randn(WIDTH, 3, 7, 7)
    net.start_from({name: value for name, value in given.items() if ".attend." not in name and not name.startswith("head.")})
    assert torch.equal(net.conv1.weight, given["conv1.weight"].sum(1, keepdim=True))
    assert torch.equal(net.layer4[2].bn3.bias, given["layer4.2.bn3.bias"])
    assert all(not gate.detach().any() for name, gate in net.named_parameters() if ".excite." in name)
    with pytest.raises(ValueError, match=r"bn1\.weight is missing"):
        net.start_from({"conv1.weight": given["conv1.weight"]})


def test_an_unknown_attention_is_refused() -> None:
    with pytest.raises(ValueError, match="not known"):
        SeDasResNet50(WIDTH, "both")  # type: ignore[arg-type]


def test_one_graph_gives_score_and_maps_that_equal_autograd(tmp_path: Path, image: torch.Tensor) -> None:
    torch.manual_seed(4)
    net = SeDasResNet50(WIDTH, depths=(1, 1, 1, 1))  # the exporter takes seconds a block, and all blocks are alike
    with torch.no_grad():
        for gate in net.gates():
            gate.add_(0.2)
        net.head.weight.normal_()
        for _ in range(20):  # statistics of real activations: without them the maps are huge, and so is any rounding
            net(image)
    net.eval()
    assert export_classifier(net, SIDE, tmp_path / "model.onnx", image.numpy()) < 1e-4
    got = Session(tmp_path / "model.onnx", device="cpu").run({"image": image.numpy()})
    assert got["probabilities"].shape == (2, 1)
    assert np.allclose(got["probabilities"], 1 / (1 + np.exp(-got["logits"])), atol=1e-6)
    for name, by_autograd in (("cam", grad_cam), ("campp", grad_cam_plus_plus)):
        expected = by_autograd(net, image, 0)
        assert np.abs(got[name][:, 0] - expected).max() < 1e-4 * max(1.0, float(np.abs(expected).max())), name
