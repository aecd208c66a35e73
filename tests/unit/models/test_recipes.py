"""Both recipes run from a folder of images to a verified bundle."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from models.bundle import load_bundle
from models.recipes import cxr_tb, lungs_cxr
from models.training import chest_set, thumbnail
from models.training.data import Row, part_of, read_index
from models.training.loop import LoopSettings
from models.training.stability import CHANGES
from tests.factories.bundles import write_research_set


@pytest.fixture(scope="module")
def research_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_research_set(tmp_path_factory.mktemp("set") / "data", patients=34)


@pytest.fixture(scope="module")
def lungs(research_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("lungs")
    options = argparse.Namespace(data=research_set, out=out, date="2026-01-01")
    rows = [row for row in read_index(research_set) if row.lung_mask]
    learn = [row for row in rows if row.part in ("train", "selection")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lungs_cxr, "PREPROCESSING", {**lungs_cxr.PREPROCESSING, "size": 64})
        return _lung_bundle(research_set, out, options, learn, rows)


def _lung_bundle(research_set: Path, out: Path, options: argparse.Namespace, learn: list[Row], rows: list[Row]) -> Path:
    images, masks = lungs_cxr.prepare_pairs(research_set, learn, lungs_cxr.PREPROCESSING)
    mean, std = float(images.mean()), float(images.std())
    net, history = lungs_cxr.fit(images, masks, learn, mean, std, LoopSettings(3, 1e-2), 4)
    lungs_cxr.write(options, net, mean, std, history, rows)
    return out


def test_the_lung_recipe_learns_drawn_lungs_and_writes_a_verified_bundle(lungs: Path) -> None:
    bundle = load_bundle(lungs)
    assert bundle.label == "lungs_cxr@0.1.0"
    assert "2026-01-01" in (lungs / "provenance.yaml").read_text()
    assert (lungs / "MODEL_CARD.md").read_text().startswith("# lungs_cxr 0.1.0")


def test_the_classifier_recipe_writes_a_verified_bundle_with_policies(
    research_set: Path, lungs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cxr_tb, "BASE", {**cxr_tb.BASE, "size": 64, "crop": "none"})
    monkeypatch.setattr(cxr_tb, "CANDIDATES", (cxr_tb.Candidate("cnn3", "models/zoo/policy_cxr.py", cxr_tb.Cnn3, 2e-3),))
    out = tmp_path / "bundle"
    cxr_tb.run(
        argparse.Namespace(
            data=research_set,
            out=out,
            lungs=lungs,
            networks=["cnn3"],
            epochs=4,
            leave_out=["south"],
            leave_out_epochs=1,
            date="2026-01-01",
        )
    )
    bundle = load_bundle(out)
    points = bundle.operating_points()
    assert points["screening"]["feasible"]
    assert points["screening"]["n_by_source"].keys() == {"north", "south"}
    assert not next(o for o in bundle.config["outputs"] if o["key"] == "tuberculosis")["assessed"]
    assert "16 x 16" in (out / "MODEL_CARD.md").read_text()
    simple = thumbnail.read(out)
    assert simple.rows == sum(row.part == "train" for row in read_index(research_set))
    assert {entry["change"] for entry in json.loads((out / "metrics.json").read_text())["stability"]} == set(CHANGES)


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
