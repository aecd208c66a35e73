"""The recipe of attention-aligned training runs from a folder of images to a verified bundle, its card and its page."""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from models.bundle import load_bundle
from models.recipes import cxr_hegl
from models.training.cxr.chest_set import ChestSet
from models.training.data import read_index
from models.training.hegl import study as hegl_study
from models.training.hegl import training_set as hegl_set
from models.training.hegl.page import page
from models.zoo.hegl_vit import HeglVit
from tests.factories.bundles import write_research_set

BOX = json.dumps([{"x": 20, "y": 30, "w": 20, "h": 40}])


@pytest.fixture(scope="module")
def marked_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn chests; half of the pneumonias of one source have a box and words of a report."""
    data = write_research_set(tmp_path_factory.mktemp("set") / "data", patients=10)
    with (data / "index.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    for n, row in enumerate(rows):
        sick = row["source"] == "north" and row["label"] == "pneumonia"
        row |= {"boxes": BOX if sick and n % 2 else "", "subtype": ("Pneumonia", "Pneumonia|Infiltration")[n % 2] if sick else ""}
    with (data / "index.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return data


def _chest(data: Path) -> ChestSet:
    rows = read_index(data)
    rng = np.random.default_rng(2)
    images = rng.random((len(rows), 64, 64), np.float32) * 0.2
    for n, row in enumerate(rows):
        if row.abnormal:
            images[n, 20:40, 16:28] += 0.6
    config = {**cxr_hegl.BASE, "size": 64, "crop": "none", "mean": 0.2, "std": 0.2}
    spread = np.ones(len(rows))
    return ChestSet(rows, images, np.ones((len(rows), 64, 64), np.float32), spread, spread, config, 0)


def _no_graph(net: HeglVit, size: int, path: Path, probe: np.ndarray) -> float:
    assert probe.shape[1:] == (1, size, size)
    path.write_bytes(b"not a graph")
    return 0.0


def test_the_recipe_writes_a_bundle_whose_tables_card_and_page_tell_every_variant(
    marked_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (hegl_set, hegl_study):
        monkeypatch.setattr(module, "REPORTED", "north")
    monkeypatch.setattr(hegl_study, "GRID", (1.0,))  # few of everything: this test is about the way, not about the figures
    monkeypatch.setattr(hegl_study, "SIGMAS", (0.0, 0.1))
    monkeypatch.setattr(hegl_study, "OTHERS", hegl_study.OTHERS[-1:])
    monkeypatch.setattr(hegl_study, "CNN", hegl_study.CNN[-1:])
    monkeypatch.setattr(cxr_hegl, "SHORT", (1, 2))
    monkeypatch.setattr(cxr_hegl, "export_attention", _no_graph)  # what it writes is tested in test_hegl_network, and takes long
    torch.set_num_threads(1)
    options = argparse.Namespace(
        data=marked_set, out=tmp_path / "bundle", work=tmp_path / "work", lungs=cxr_hegl.shipped_lungs(), epochs=1, steps=2,
        threads=1, quick=True, grid=True, full=False, date="2026-01-01",
    )  # fmt: skip
    cxr_hegl.run(options, _chest(marked_set))
    bundle = load_bundle(options.out)
    assert (bundle.label, bundle.twin, bundle.config["saliency"]) == ("cxr_hegl@0.1.0", True, "attention")
    metrics = json.loads((options.out / "metrics.json").read_text())
    study = metrics["hegl"]
    assert [row[0] for row in metrics["tables"][0]["rows"]] == ["baseline", "DAL only", "HA only", "H-EGL"]
    assert study["localisation"]["H-EGL"]["images"] > 2
    assert [(cell["alpha"], cell["beta"]) for cell in study["grid"]] == [(1.0, 1.0)]
    assert set(study["others"]) == {"baseline", "DAL only", "HA only", "H-EGL", "H-EGL, prior pairs", "CNN, HA 0.3"}
    card = (options.out / "MODEL_CARD.md").read_text()
    assert "TWIN" in card
    text = page(metrics, bundle.label)
    for told in ("A small twin on CPU", "alpha (human alignment) x beta", "guess at the middle of that lung", "CNN, HA 0.3"):
        assert told in text, told


def test_the_rule_ships_alignment_only_where_it_costs_no_auc() -> None:
    tables = {"baseline": {"auc": [0.80]}, "DAL only": {"auc": [0.9]}, "HA only": {"auc": [0.795]}, "H-EGL": {"auc": [0.81]}}
    energy = {"baseline": 0.1, "DAL only": 0.9, "HA only": 0.3, "H-EGL": 0.2}
    assert hegl_study.choose(tables, energy) == "HA only"
    assert hegl_study.choose({**tables, "HA only": {"auc": [0.78]}}, energy) == "H-EGL"
    lost = {**tables, "HA only": {"auc": [0.78]}, "H-EGL": {"auc": [0.78]}}
    assert hegl_study.choose(lost, energy) == "baseline"
