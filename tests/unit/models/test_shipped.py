"""The bundles that are shipped are what their manifests, tables and cards say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from models.bundle import Bundle, find_bundle, list_bundles, load_bundle
from models.card import render
from models.session import Session
from models.training.networks import network_of
from models.zoo.policy_cxr import CLASSES
from tests.factories.class_maps import grad_cam, grad_cam_plus_plus

ROOT = Path(__file__).parents[3] / "models" / "bundles"
FOLDERS = list_bundles([ROOT])
RADIOGRAPH = [folder for folder in FOLDERS if folder.parent.name in ("cxr_hegl", "cxr_tb", "lungs_cxr")]
TWINS = {"cxr_hegl", "ct_ntm", "ct_pima_ipn"}
SYNTHETIC = {"ct_ntm", "ct_pima_ipn"}


def _label(folder: Path) -> str:
    return f"{folder.parent.name}@{folder.name}"


@pytest.fixture(params=FOLDERS, ids=_label)
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return load_bundle(request.param)


@pytest.fixture(params=RADIOGRAPH, ids=_label)
def radiograph_bundle(request: pytest.FixtureRequest) -> Bundle:
    return load_bundle(request.param)


def _images(bundle: Bundle, count: int) -> np.ndarray:
    size = bundle.config["preprocessing"]["size"]
    low, high = bundle.config["inputs"]["image"]["value_range"]
    coarse = torch.from_numpy(np.random.default_rng(9).random((count, 1, 12, 12), np.float32))
    smooth = nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1).numpy()
    return (low + (high - low) * smooth).astype(np.float32)


def test_one_version_of_each_bundle_is_there_and_all_together_are_small() -> None:
    names = [folder.parent.name for folder in FOLDERS]
    assert {"cxr_hegl", "cxr_tb", "lungs_cxr"} <= set(names)
    assert len(names) == len(set(names))
    assert sum(path.stat().st_size for path in ROOT.rglob("*") if path.is_file()) < 40_000_000


def test_a_shipped_bundle_verifies_and_claims_no_evidence(bundle: Bundle) -> None:
    assert bundle.folder.parent.name == bundle.name
    assert bundle.folder.name == bundle.version
    assert bundle.evidence == "demo"
    assert (bundle.synthetic, bundle.twin) == (bundle.name in SYNTHETIC, bundle.name in TWINS)


def test_the_graph_equals_the_network_of_the_weights(radiograph_bundle: Bundle) -> None:
    bundle = radiograph_bundle
    net, images = network_of(bundle), _images(bundle, 2)
    got = Session(bundle.model, device="cpu").run({"image": images})
    with torch.no_grad():
        expected = net(torch.from_numpy(images)).numpy()
    name = "logits" if "logits" in got else "mask_probability"
    assert got[name] == pytest.approx(expected, abs=bundle.config["parity_tolerance"])


def test_every_saliency_map_of_the_graph_is_within_1e_4_of_autograd() -> None:
    bundle = load_bundle(find_bundle("cxr_tb", None, [ROOT]))
    net, images = network_of(bundle), _images(bundle, 3)
    got = Session(bundle.model, device="cpu").run({"image": images})
    for index in range(len(CLASSES)):
        for name, reference in (("cam", grad_cam), ("campp", grad_cam_plus_plus)):
            expected = reference(net, torch.from_numpy(images), index)
            assert np.abs(got[name][:, index] - expected).max() / max(1.0, float(expected.max())) <= 1e-4


def test_attention_of_the_graph_is_within_1e_4_of_torch_and_sums_to_one() -> None:
    bundle = load_bundle(find_bundle("cxr_hegl", None, [ROOT]))
    net, images = network_of(bundle), _images(bundle, 3)
    assert bundle.config["saliency"] == "attention"
    got = Session(bundle.model, device="cpu").run({"image": images})["attention"]
    with torch.no_grad():
        expected = net.read(net.features(torch.from_numpy(images))).attention.numpy()
    assert np.abs(got - expected).max() <= 1e-4
    assert got.sum((2, 3)) == pytest.approx(np.ones(got.shape[:2]), abs=1e-5)
    assert np.abs(got - 1 / 196).max() > 1e-3


def test_the_card_is_what_the_tables_give_and_names_every_source_and_licence(bundle: Bundle) -> None:
    card = (bundle.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert card == render(bundle.folder)
    assert card.split("\n\n")[1].startswith("RESEARCH USE ONLY - NOT FOR DIAGNOSIS")
    provenance = yaml.safe_load((bundle.folder / "provenance.yaml").read_text(encoding="utf-8"))
    for source in provenance["sources"].values():
        assert source["licence"] in card
        assert source["title"] in card
    assert bundle.synthetic or "non-commercial" in card


def test_manifest_and_tables_agree(radiograph_bundle: Bundle) -> None:
    bundle = radiograph_bundle
    metrics = json.loads((bundle.folder / "metrics.json").read_text(encoding="utf-8"))
    provenance = yaml.safe_load((bundle.folder / "provenance.yaml").read_text(encoding="utf-8"))
    assert provenance["split_sha256"] == metrics["split_hash"]
    assert provenance["epochs"] == len(metrics["history"])
    assert provenance["parity"] <= bundle.config["parity_tolerance"]
    assert bundle.config["architecture"]["parameters"] == sum(p.numel() for p in network_of(bundle).parameters())
    for key, judged in metrics.get("assessable", {}).items():
        output = next(o for o in bundle.config["outputs"] if o["key"] == key)
        assert output["assessed"] == judged["assessed"]
        assert output["assessed"] or output["note"].startswith("Not assessed")


def test_a_bundle_is_small_and_holds_no_code(bundle: Bundle) -> None:
    files = [path for path in bundle.folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 8_000_000
    assert {path.suffix for path in files} <= {".yaml", ".onnx", ".safetensors", ".npz", ".json", ".md"}
    for path in bundle.folder.glob("*.npz"):
        with np.load(path, allow_pickle=False) as arrays:
            assert all(np.isfinite(arrays[name]).all() for name in arrays.files if arrays[name].dtype.kind == "f")


def test_the_classifier_decides_on_abnormal_alone_and_only_for_pa() -> None:
    bundle = load_bundle(find_bundle("cxr_tb", None, [ROOT]))
    assert tuple(output["key"] for output in bundle.config["outputs"]) == CLASSES
    points = bundle.operating_points()
    assert set(points) == {"screening", "triage", "rule_out"}
    for point in points.values():
        assert (point["finding"], point["views"]) == ("abnormal", ["PA"])
        if point["feasible"]:
            assert 0 < point["tau_low"] <= point["tau"] < 1
            assert f"n={point['n']}" in point["guarantee"]
        else:
            assert point["tau"] is None
            assert point["reason"] in point["guarantee"]
    assert points["screening"]["feasible"]
    assert "sensitivity >= 0.90 with 95 % confidence" in points["screening"]["guarantee"]
    tuberculosis = next(o for o in bundle.config["outputs"] if o["key"] == "tuberculosis")
    assert not tuberculosis["assessed"]
