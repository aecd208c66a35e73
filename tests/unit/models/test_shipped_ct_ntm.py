"""The shipped ``ct_ntm`` is what its manifest, tables and card say, and nobody can take it for more than it is."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from models.bundle import SHIPPED, Bundle, find_bundle, load_bundle
from models.card import render
from models.session import Session
from models.zoo.ntm_cnn3d import CLINICAL, FULL, NtmCnn3d, NtmGraph

OUTPUTS = ("logits", "probabilities", "embedding", "cam", "campp", "attention", "clinical_contribution")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(find_bundle("ct_ntm", None, [SHIPPED]))


def net_of(bundle: Bundle) -> NtmCnn3d:
    net = NtmCnn3d(tuple(bundle.config["architecture"]["channels"]))
    net.load_state_dict(load_file(bundle.folder / "weights.safetensors"))
    return net.eval()


def test_it_says_what_it_is_and_is_small(bundle: Bundle) -> None:
    assert (bundle.evidence, bundle.synthetic, bundle.twin) == ("demo", True, True)
    assert tuple(bundle.config["architecture"]["channels"]) != FULL
    assert bundle.config["architecture"]["parameters"] == sum(p.numel() for p in net_of(bundle).parameters())
    files = [path for path in bundle.folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 5_000_000
    assert {path.suffix for path in files} <= {".yaml", ".onnx", ".safetensors", ".npz", ".json", ".md"}
    assert bundle.config["assumed"]


def test_the_graph_equals_the_network_of_the_weights(bundle: Bundle) -> None:
    image = np.random.default_rng(4).random((2, 1, *bundle.config["preprocessing"]["size"]), np.float32)
    clinical = np.random.default_rng(5).random((2, CLINICAL), np.float32)
    got = Session(bundle.model, device="cpu").run({"image": image, "clinical": clinical})
    with torch.no_grad():
        expected = NtmGraph(net_of(bundle))(torch.from_numpy(image), torch.from_numpy(clinical))
    for name, value in zip(OUTPUTS, expected, strict=True):
        assert got[name] == pytest.approx(value.numpy(), abs=bundle.config["parity_tolerance"]), name


def test_the_card_is_what_the_tables_give_and_warns_first(bundle: Bundle) -> None:
    card = (bundle.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert card == render(bundle.folder)
    assert card.index("SYNTHETIC") < card.index("## ")
    provenance = yaml.safe_load((bundle.folder / "provenance.yaml").read_text(encoding="utf-8"))
    metrics = json.loads((bundle.folder / "metrics.json").read_text(encoding="utf-8"))
    assert provenance["split_sha256"] == metrics["split_hash"]
    assert provenance["feedback"] == "simulated readers"


def test_every_policy_speaks_of_drawn_chests_alone(bundle: Bundle) -> None:
    points = bundle.operating_points()
    assert set(points) == {"screening", "rule_out"}
    for point in points.values():
        assert (point["finding"], point["views"]) == ("ntm_disease", ["axial"])
        if point["feasible"]:
            assert 0 < point["tau_low"] <= point["tau"] < 1
            assert "nothing about patients" in point["guarantee"]
        else:
            assert point["reason"] in point["guarantee"]


def test_whether_it_beats_what_needs_no_lungs_stands_before_every_table(bundle: Bundle) -> None:
    first = (bundle.folder / "MODEL_CARD.md").read_text(encoding="utf-8").split("\n## ")[0]
    metrics = json.loads((bundle.folder / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["discrimination"]
    for row in metrics["discrimination"]:
        told = first[first.index(f"On {row['cohort']}") :].split("**")[1]
        assert told.startswith("clearly beaten" if row["difference"][1] > 0 else "NOT clearly beaten"), row["cohort"]
