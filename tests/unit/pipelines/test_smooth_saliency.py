"""The smooth map is the plain one where there is no noise, says how steady it is, and leaves the decision alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dicom_node.core import codes
from models.bundle import SHIPPED, find_bundle
from models.export import OUTPUTS, ClassifierGraph
from models.session import Session
from models.zoo.policy_cxr import Cnn3
from pipelines.blocks.smooth_saliency import noisy, smoothed
from pipelines.cxr_tb import Settings, run, select_images
from tests.factories import phantom_dicom as made
from tests.factories.cxr import POINT, SIZE, classifier_bundle

CONFIG = {"saliency": "cam", "outputs": [{"key": "abnormal"}, {"key": "tuberculosis"}]}


class Counting:
    """A session whose graph is torch's, which counts its calls."""

    def __init__(self, free: bool = True) -> None:
        torch.manual_seed(4)
        net = Cnn3((4, 8), 2).eval()
        net.head.weight.data[0] = torch.tensor([1.0, -0.5, 0.5, 1.0, -0.2, 0.3, 1.0, 0.7])
        self.graph = ClassifierGraph(net)
        self.input_shapes = {"image": ["n" if free else 1, 1, 32, 32]}
        self.asked: list[int] = []

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.asked.append(len(inputs["image"]))
        with torch.no_grad():
            got = self.graph(torch.from_numpy(inputs["image"]))
        return {name: value.numpy() for name, value in zip(OUTPUTS, got, strict=True)}


IMAGE = np.random.default_rng(1).normal(0, 1, (1, 1, 32, 32)).astype(np.float32)


def test_without_noise_it_is_the_plain_map_and_wholly_steady() -> None:
    session = Counting()
    found = smoothed(IMAGE, CONFIG, session, "abnormal", sigma=0.0)  # type: ignore[arg-type]
    plain = session.run({"image": IMAGE})
    for method, output in (("Grad-CAM", "cam"), ("Grad-CAM++", "campp")):
        assert found[method].mean == pytest.approx(plain[output][0, 0], abs=1e-6)
        assert found[method].instability.max() < 1e-6
        assert found[method].stability == pytest.approx(1.0)


def test_with_clean_activations_averaged_derivatives_give_grad_cam_plus_plus_itself() -> None:
    """The paper's own form, by autograd: the head is linear, so noise never reaches the derivatives."""
    session = Counting()
    net, weights = session.graph.net, []
    clean = net.features(torch.from_numpy(IMAGE)).detach()
    for copy in noisy(IMAGE, 4, 0.1, 5):
        features = net.features(torch.from_numpy(copy[None])).detach().requires_grad_(True)
        net.head(features.mean((2, 3)))[:, 0].sum().backward()
        weights.append(features.grad)
    g = torch.stack(weights).mean(0)
    alpha = torch.where(g > 0, g**2 / (2 * g**2 + clean.sum((2, 3), keepdim=True) * g**3), torch.zeros_like(g))
    smooth = torch.relu(((alpha * torch.relu(g)).sum((2, 3), keepdim=True) * clean).sum(1))[0].numpy()
    assert smooth == pytest.approx(session.run({"image": IMAGE})["campp"][0, 0], rel=1e-4, abs=1e-6)


def test_noise_moves_it_the_same_way_each_time_in_one_pass() -> None:
    session = Counting()
    one, two = (smoothed(IMAGE, CONFIG, session, "abnormal")["Grad-CAM++"] for _ in range(2))  # type: ignore[arg-type]
    assert session.asked == [16, 16]
    assert np.array_equal(one.mean, two.mean)
    assert one.instability.max() > 0
    assert one.stability is not None
    assert 0 < one.stability < 1
    more = smoothed(IMAGE, CONFIG, session, "abnormal", sigma=0.5)["Grad-CAM++"]  # type: ignore[arg-type]
    assert more.stability is not None
    assert more.stability < one.stability


def test_a_graph_for_single_images_gives_the_same(tmp_path: Path) -> None:
    single, many = Counting(free=False), Counting()
    one, other = (smoothed(IMAGE, CONFIG, s, "abnormal")["Grad-CAM"] for s in (single, many))  # type: ignore[arg-type]
    assert single.asked == [1] * 16
    assert one.mean == pytest.approx(other.mean, abs=1e-6)


def test_the_setting_changes_the_maps_and_not_the_answer(tmp_path: Path) -> None:
    bundles = {
        "cxr_tb": classifier_bundle(tmp_path / "cxr_tb", {"screening": POINT}),
        "lungs_cxr": find_bundle("lungs_cxr", None, (SHIPPED,)),
    }
    study = made.study_of(tmp_path, made.chest())
    plain, smooth = (
        run(study, select_images(study, settings), bundles, "screening", settings)
        for settings in (Settings(device="cpu"), Settings(device="cpu", saliency="smooth"))
    )
    assert smooth.findings == plain.findings
    assert (smooth.zone, smooth.headline, plain.measurements) == (plain.zone, plain.headline, ())
    assert [m.method_name.split(", stability ")[0] for m in smooth.maps[:2]] == ["Smooth Grad-CAM", "SmoothGrad-CAM++"]
    assert [m.method for m in smooth.maps] == [codes.GRAD_CAM, codes.GRAD_CAM, codes.SALIENCY]
    (told,) = smooth.measurements
    assert (told.code, 0 < told.value <= 1) == (codes.MAP_STABILITY, True)
    assert smooth.maps[1].method_name.endswith(f"{told.value:.2f}")
    assert smooth.provenance["saliency"] == {"copies": 16, "sigma": 0.1, "seed": 16, "map_stability": told.value}
    assert all(m.values.shape == plain.maps[0].values.shape for m in smooth.maps)
    assert type(smooth).from_json(smooth.to_json(), smooth.arrays()).measurements == smooth.measurements


def test_a_map_without_evidence_has_no_stability(tmp_path: Path) -> None:
    bundle = classifier_bundle(tmp_path / "b", {"screening": POINT})
    session = Session(bundle / "model.onnx", device="cpu")
    config = {"saliency": "cam", "outputs": [{"key": k} for k in ("abnormal", "tuberculosis", "pneumonia", "normal")]}
    dark = np.full((1, 1, SIZE, SIZE), -1.0, np.float32)
    assert smoothed(dark, config, session, "abnormal")["Grad-CAM"].stability is None
