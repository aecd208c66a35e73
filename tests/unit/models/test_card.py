"""A card says the worst first, follows from the bundle's files, and hides nothing of them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from models.bundle import BundleError, ChecksumMismatch, find_bundle, load_bundle
from models.card import render, summary
from models.training.amend import add_figures
from models.training.speed import measure, without_maps
from tests.factories.cxr import classifier_bundle

BUNDLES = Path(__file__).resolve().parents[3] / "models" / "bundles"
MANIFEST: dict[str, Any] = {
    "name": "made_up",
    "version": "1.0.0",
    "task": "Nothing.",
    "intended_use": "Tests.",
    "evidence": "demo",
    "outputs": [{"key": "abnormal", "assessed": True}, {"key": "tuberculosis", "assessed": False, "note": "Not assessed."}],
}
PROVENANCE: dict[str, Any] = {"recipe": "none", "date": "2026-01-01", "seed": 1}


def _row(cohort: str, kind: str, low: float, thumbnail: float, **more: Any) -> dict[str, Any]:
    auc = [low + 0.1, low, low + 0.2]
    row = {"cohort": cohort, "kind": kind, "images": 50, "patients": 40, "auc": auc, "thumbnail_auc": [thumbnail] * 3}
    return {**row, "above_thumbnail": low > thumbnail, **more}


def _card(folder: Path, metrics: dict[str, Any], points: dict[str, Any] | None = None, **manifest: Any) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "bundle.yaml").write_text(yaml.safe_dump({**MANIFEST, **manifest}))
    (folder / "provenance.yaml").write_text(yaml.safe_dump(PROVENANCE))
    (folder / "metrics.json").write_text(json.dumps(metrics))
    if points:
        (folder / "operating_points.yaml").write_text(yaml.safe_dump({"policies": points}))
    return render(folder)


def test_a_bundle_with_nothing_measured_still_has_a_card_that_warns(tmp_path: Path) -> None:
    card = _card(tmp_path, {}, synthetic=True, twin=True)
    parts = card.split("\n\n")
    assert parts[1].startswith("RESEARCH USE ONLY - NOT FOR DIAGNOSIS")
    assert parts[2].startswith("**SYNTHETIC")
    assert parts[3].startswith("**TWIN")
    assert "does not assess tuberculosis" in parts[4]
    assert card == render(tmp_path)


def test_the_verdict_is_that_of_pa_films_of_one_hospital_and_not_of_pooled_sources(tmp_path: Path) -> None:
    rows = [
        _row("a against other sources' normals", "label and source are the same here: no evidence", 0.9, 0.6),
        _row("b", "normal and abnormal of one source", 0.8, 0.6),
        _row("b, PA", "normal and abnormal of one source and view", 0.7, 0.75),
    ]
    first = _card(tmp_path, {"discrimination": rows}).split("\n\n")[3]
    assert "On PA films of b (50 test images, 40 patients)" in first
    assert "NOT clearly beaten" in first
    assert "against other" not in first
    assert "**clearly beaten" in summary.verdicts(rows[:2])[0]
    assert "no figure here shows that it works" in summary.verdicts(rows[:1])[0]


def test_a_paired_difference_decides_where_there_is_one() -> None:
    row = _row("b, PA", "normal and abnormal of one source and view", 0.7, 0.75)
    assert summary.clearly_above({**row, "difference": [0.05, 0.01, 0.09]})
    assert not summary.clearly_above({**row, "above_thumbnail": True, "difference": [0.05, -0.01, 0.11]})


def test_failures_come_first_and_from_the_figures(tmp_path: Path) -> None:
    share = {"hits": 8, "n": 10, "wilson": [0.8, 0.49, 0.94], "clopper_pearson": [0.8, 0.44, 0.97]}
    place = {"images": 4, **{name: {"hits": hits, "n": 4} for name, hits in
             (("pointing", 1), ("middle_of_a_lung", 2), ("centre_of_lungs", 0))}}  # fmt: skip
    steps = [{"layers": "head", "spearman": 0.9, "untouched": False}]
    random = {"images": 4, "draws": 5, "steps": steps, "passes": False}
    metrics = {
        "discrimination": [_row("small ones", "children, outside the intended use", 0.2, 0.5)],
        "policies_on_test": {"screening": {"sensitivity": {"b": share}, "specificity": {"b": share}}},
        "explanations": {"maps": {"Grad-CAM": {"randomisation": random, "pointing": {"unseen": place, "seen": {"images": 0}}}}},
        "stability": [{"change": "blur", "auc": 0.7, "difference": [-0.1, -0.2, 0.0], "within": False}],
        "gates": [
            {"gate": "frontal", "wrong_to": "analyse a lateral film", "hits": 1, "n": 9, "clopper_pearson": [0.11, 0.0, 0.48]}
        ],
        "gates_text": "Not refused: one hand.",
        "tables": [{"title": "Long", "text": "", "head": ["a"], "rows": [["x"]] * 30}],
    }
    points = {
        "screening": {
            "feasible": True,
            "kind": "sensitivity",
            "alpha": 0.9,
            "n_by_source": {"b": 30},
            "tau": 0.5,
            "guarantee": "g",
        },
        "rule_out": {"feasible": False, "reason": "29 are needed"},
    }
    card = _card(tmp_path, metrics, points, limits=["Its maker says so."])
    fails = card.split("## Where it fails\n\n")[1].split("\n\n")[0]
    for told in ("upside down", "guaranteed for rule_out: 29 are needed", "on test patients of b it is 8/10 (0.49 to 0.94)",
                 "Grad-CAM fails the randomisation test", "Grad-CAM in 1 of 4 patients", "Under blur its AUC changes by -0.100",
                 "Its maker says so."):  # fmt: skip
        assert told in fails
    assert fails.index("upside down") < fails.index("Its maker says so.")
    assert "**rule_out**: no valid guarantee" in card
    assert "| frontal | analyse a lateral film | - | 1/9 | 0.110 (0.000 to 0.480) |" in card
    assert "Not refused: one hand." in card
    assert "FAILS" in card
    assert "30 rows: `tables` in metrics.json." in card


def test_figures_added_later_are_on_the_card_and_the_hashes_follow(tmp_path: Path) -> None:
    folder = tmp_path / "lungs"
    shutil.copytree(find_bundle("lungs_cxr", None, [BUNDLES]), folder)
    before, overlap = load_bundle(folder), json.loads((folder / "metrics.json").read_text())["overlap"]
    after = add_figures(folder, {"speed": {"ms_per_image": 12.345, "threads": 1, "map_cost_ratio": None}})
    assert after.sha256 != before.sha256
    assert "Speed: 12.3 ms of CPU an image (ONNX Runtime, 1 thread)." in (folder / "MODEL_CARD.md").read_text()
    assert json.loads((folder / "metrics.json").read_text())["overlap"] == overlap
    (folder / "reference.npz").write_bytes(b"changed by hand")
    with pytest.raises(ChecksumMismatch):
        add_figures(folder, {})
    done = subprocess.run(
        [sys.executable, "-m", "models.card", str(folder)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode != 0
    assert "reference.npz was changed" in done.stderr


def test_speed_is_measured_with_and_without_the_maps(tmp_path: Path) -> None:
    folder = classifier_bundle(tmp_path / "b", inputs={"image": {"shape": ["n", 1, 64, 64], "value_range": [-1, 1]}})
    speed = measure(folder, seconds=0.05)
    assert speed["ms_per_image"] > 0
    assert speed["map_cost_ratio"] is not None
    assert speed["input"] == {"image": [1, 1, 64, 64]}
    assert speed["turns"] >= 5
    import onnx

    plain = without_maps(onnx.load(str(folder / "model.onnx")))
    assert [o.name for o in plain.graph.output] == ["logits", "probabilities", "embedding"]
    with pytest.raises(BundleError):
        measure(tmp_path)
