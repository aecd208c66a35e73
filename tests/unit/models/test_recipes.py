"""Both recipes run from a folder of images to a verified bundle."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.bundle import load_bundle
from models.recipes import cxr_tb, lungs_cxr
from models.training import thumbnail
from models.training.cxr import chest_set
from models.training.cxr.stability import CHANGES
from models.training.cxr.start import BASE
from models.training.data import Row, part_of, read_index
from models.training.gates import fit as gates_fit
from models.training.loop import LoopSettings
from pipelines.blocks.frontal_gate import load_gate
from tests.factories.bundles import write_research_set


@pytest.fixture(scope="module")
def research_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_research_set(tmp_path_factory.mktemp("set") / "data", patients=34)


@pytest.fixture(scope="module")
def lungs(research_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("lungs")
    options = argparse.Namespace(data=research_set, out=out, date="2026-01-01", ct=None, start=None, note="", version="9.9.9")
    rows = [row for row in read_index(research_set) if row.lung_mask]
    learn = [row for row in rows if row.part in ("train", "selection")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lungs_cxr, "PREPROCESSING", {**lungs_cxr.PREPROCESSING, "size": 64})
        patch.setattr(gates_fit, "ROW_STEP", 8)
        patch.setattr(gates_fit, "LEARN_SEEDS", range(1000, 1001))
        patch.setattr(gates_fit, "TEST_SEEDS", range(5000, 5001))
        return _lung_bundle(research_set, out, options, learn, rows)


def _lung_bundle(research_set: Path, out: Path, options: argparse.Namespace, learn: list[Row], rows: list[Row]) -> Path:
    images, masks = lungs_cxr.prepare_pairs(research_set, learn, lungs_cxr.PREPROCESSING)
    mean, std = float(images.mean()), float(images.std())
    net, history = lungs_cxr.fit(images, masks, learn, mean, std, LoopSettings(3, 1e-2), 4)
    lungs_cxr.write(options, net, mean, std, history, rows)
    return out


def test_the_lung_recipe_learns_drawn_lungs_and_writes_a_verified_bundle(lungs: Path) -> None:
    bundle = load_bundle(lungs)
    assert bundle.label == "lungs_cxr@9.9.9"
    assert "2026-01-01" in (lungs / "provenance.yaml").read_text()
    assert (lungs / "MODEL_CARD.md").read_text().startswith("# lungs_cxr 9.9.9")
    assert "How often its gates err" in (lungs / "MODEL_CARD.md").read_text()
    gate = load_gate(bundle.folder, bundle.sha256)
    assert gate is not None
    assert 0 < gate.thresholds["stated"] <= gate.thresholds["silent"] < 1


def test_the_classifier_recipe_writes_a_verified_bundle_with_policies(
    research_set: Path, lungs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cxr_tb, "BASE", {**BASE, "size": 64, "crop": "none"})
    out = tmp_path / "bundle"
    options = argparse.Namespace(data=research_set, out=out, work=None, lungs=lungs, threads=1, date="2026-01-01")
    cxr_tb.run(options, replace(cxr_tb.CNN3, epochs=4))
    bundle = load_bundle(out)
    points = bundle.operating_points()
    assert points["screening"]["feasible"]
    assert points["screening"]["n_by_source"].keys() == {"north", "south"}
    assert set(points) == {"screening", "triage", "rule_out"}
    assert not next(o for o in bundle.config["outputs"] if o["key"] == "tuberculosis")["assessed"]
    assert "16 x 16" in (out / "MODEL_CARD.md").read_text()
    simple = thumbnail.read(out)
    assert simple.rows == sum(row.part == "train" for row in read_index(research_set))
    metrics = json.loads((out / "metrics.json").read_text())
    assert {entry["change"] for entry in metrics["stability"]} == set(CHANGES)
    assert metrics["three_classes"]["guarantee"].startswith("no valid guarantee")
    assert metrics["speed"]["ms_per_image"] > 0
    assert all(row["above_thumbnail"] == (row["difference"][1] > 0) for row in metrics["discrimination"])


def test_a_patient_never_changes_side() -> None:
    parts = {f"p{n}": part_of(f"p{n}", "train") for n in range(4000)}
    assert parts == {patient: part_of(patient, "train") for patient in parts}
    share = {name: np.mean([part == name for part in parts.values()]) for name in ("train", "selection", "calibration")}
    assert share == pytest.approx({"train": 0.65, "selection": 0.10, "calibration": 0.25}, abs=0.03)
    assert {part_of("p1", "test"), part_of("p1", "val")} == {"test", "calibration"}


def test_half_of_what_is_drawn_is_normal_and_pasted_opacities_have_no_class(research_set: Path, lungs: Path) -> None:
    rows = [row for row in read_index(research_set) if row.part == "train"]
    chest = chest_set.load(research_set, rows, lungs, {"size": 48, "percentiles": [0.5, 99.5]})
    drawn = list(chest_set.batches(chest, chest.of("train"), 30, 16, seed=1))
    abnormal = np.concatenate([batch[1].numpy() for batch in drawn])
    classes = np.concatenate([batch[2].numpy() for batch in drawn])
    assert abnormal.mean() == pytest.approx(0.5, abs=0.08)
    assert set(classes[abnormal == 0]) == {chest_set.CLASS_INDEX["normal"]}
    assert np.mean(classes[abnormal == 1] == -1) == pytest.approx(0.28, abs=0.1)


def test_a_normal_without_lung_pixels_stays_normal_for_nothing_can_be_pasted(research_set: Path, lungs: Path) -> None:
    rows = [row for row in read_index(research_set) if row.part == "train"]
    chest = chest_set.load(research_set, rows, lungs, {"size": 48, "percentiles": [0.5, 99.5]})
    blind = replace(chest, lungs=np.zeros_like(chest.lungs))
    normals = np.flatnonzero([row.abnormal == 0 for row in rows])
    drawn = list(chest_set.batches(blind, normals, 10, 16, seed=1))
    assert not np.concatenate([batch[1].numpy() for batch in drawn]).any()
    assert set(np.concatenate([batch[2].numpy() for batch in drawn])) == {chest_set.CLASS_INDEX["normal"]}
    seeing = list(chest_set.batches(chest, normals, 10, 16, seed=1))
    assert np.concatenate([batch[1].numpy() for batch in seeing]).any()
