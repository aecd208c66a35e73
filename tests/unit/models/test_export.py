"""One forward pass of the graph gives what autograd gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from models.export import export_classifier
from models.session import DeviceUnavailable, Session
from models.zoo.lite_cxr import LiteCxr
from models.zoo.policy_cxr import CLASSES, Cnn3
from tests.factories.class_maps import grad_cam, grad_cam_plus_plus


@pytest.fixture(scope="module", params=[Cnn3, LiteCxr])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Session, np.ndarray]:
    torch.manual_seed(1)
    net = request.param()
    with torch.no_grad():
        for _ in range(8):  # batch statistics, so that no layer fades out
            net.train()(torch.randn(8, 1, 64, 64))
    net.eval()
    probe = np.random.default_rng(1).normal(size=(3, 1, 64, 64)).astype(np.float32)
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    assert export_classifier(net, 64, path, probe) <= 1e-4
    return net, Session(path, device="cpu"), probe


def test_class_maps_equal_autograd(exported: tuple[nn.Module, Session, np.ndarray]) -> None:
    net, session, probe = exported
    got = session.run({"image": probe})
    for index in range(len(CLASSES)):
        for name, reference in (("cam", grad_cam), ("campp", grad_cam_plus_plus)):
            expected = reference(net, torch.from_numpy(probe), index)
            assert got[name][:, index] == pytest.approx(expected, abs=1e-4)
    assert got["cam"].max() > 1e-3
    assert got["campp"].max() > 1e-3
    assert min(got["cam"].min(), got["campp"].min()) >= 0


def test_the_first_class_is_a_question_of_its_own_and_the_others_share_one(exported: tuple[nn.Module, Session, np.ndarray]) -> None:
    _, session, probe = exported
    got = session.run({"image": probe})
    assert got["probabilities"][:, 0] == pytest.approx(1 / (1 + np.exp(-got["logits"][:, 0])), abs=1e-6)
    assert got["probabilities"][:, 1:].sum(1) == pytest.approx(np.ones(3), abs=1e-6)


def test_a_batch_gives_what_single_images_give_and_twice_the_same_bytes(exported: tuple[nn.Module, Session, np.ndarray]) -> None:
    _, session, probe = exported
    together, again = session.run({"image": probe}), session.run({"image": probe})
    alone = [session.run({"image": probe[n : n + 1]}) for n in range(3)]
    for name in session.output_names:
        assert together[name].tobytes() == again[name].tobytes()
        assert np.concatenate([one[name] for one in alone]) == pytest.approx(together[name], abs=1e-5)


def test_a_graph_names_no_file_of_the_machine_that_made_it(tmp_path: Path) -> None:
    probe = np.zeros((1, 1, 32, 32), np.float32)
    torch.manual_seed(2)
    export_classifier(Cnn3(), 32, tmp_path / "model.onnx", probe)
    assert b"policy_cxr.py" not in (tmp_path / "model.onnx").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_a_network_whose_last_map_may_be_negative_is_refused(tmp_path: Path) -> None:
    class Wrong(Cnn3):
        def features(self, image: torch.Tensor) -> torch.Tensor:
            return super().features(image) - 1

    with pytest.raises(ValueError, match="negative"):
        export_classifier(Wrong(), 32, tmp_path / "model.onnx", np.zeros((1, 1, 32, 32), np.float32))


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="this machine has a GPU")
def test_a_gpu_that_was_asked_for_and_is_not_in_use_is_an_error(tmp_path: Path) -> None:
    export_classifier(Cnn3(), 32, tmp_path / "model.onnx", np.zeros((1, 1, 32, 32), np.float32))
    with pytest.raises(DeviceUnavailable, match="CPU"):
        Session(tmp_path / "model.onnx", device="cuda")
    assert Session(tmp_path / "model.onnx", device="auto").device == "cpu"
    with pytest.raises(ValueError, match="auto, cpu, cuda"):
        Session(tmp_path / "model.onnx", device="tpu")
