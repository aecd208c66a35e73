"""The recipe draws, reads, trains all arms and writes every table and a bundle; a second call repeats no training."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.bundle import load_bundle
from models.phantoms.ct import CtPhantom
from models.recipes import ct_ntm
from models.training.hitl import figures, phantom_cohort, training
from models.training.hitl.phantom_cohort import FIRST_SEED, draw
from models.training.hitl.protocol import ARMS, HITL
from models.training.hitl.study import CLINICAL_ONLY, PICTURE_ONLY
from models.training.hitl.training import FitSettings

TINY = ct_ntm.Form(
    "TINY.", 60, 16, 12, 12, (16, 16, 16), (4, 4, 4, 4), FitSettings(2, rate=3e-3), FitSettings(1, rate=1e-3), resamples=200
)
SECTIONS = (
    "## Who was read", "## The network, with and without physicians", "## Where the map lies", "## The readers",
)  # fmt: skip


def few_chests() -> Callable[[int, Mapping[str, Any], bool], CtPhantom]:
    """Return what draws three bodies, well and ill, and no more: a test of tables needs no hundred of them."""
    scanned = phantom_cohort.scanned

    @functools.cache
    def body(seed: int, ill: bool, external: bool) -> CtPhantom:
        return scanned(seed, {"nodule": False, "density": 0.8 if ill else 0.1, "cavities": 6 if ill else 0}, external)

    return lambda seed, about, external: body(seed % 3, bool(about["label"]), external)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ntm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "LEAST", 1)
        patch.setattr(phantom_cohort, "SLICES", (40, 41))
        patch.setattr(phantom_cohort, "PIXELS", (56, 57))
        patch.setattr(phantom_cohort, "scanned", few_chests())
        words = ["--out", str(out), "--threads", "1", "--date", "2026-01-01"]
        ct_ntm.main([*words, "--bundle", str(out / "bundle")], TINY)
        again = pytest.MonkeyPatch()
        again.setattr(training.torch.optim, "AdamW", None)  # whoever trains now fails
        ct_ntm.main([*words, "--page", str(out / "again.md")], TINY)
        again.undo()
    return out


def test_every_table_is_there_with_every_arm_beside_its_baselines(folder: Path) -> None:
    page = (folder / "again.md").read_text()
    assert all(section in page for section in SECTIONS)
    assert "nothing about patients or physicians" in page
    found = json.loads((folder / "metrics.json").read_text())
    arms = [*ARMS, CLINICAL_ONLY, PICTURE_ONLY]
    places = [ct_ntm.INTERNAL, ct_ntm.FRESH, ct_ntm.EXTERNAL]
    assert [(row["cohort"], row["arm"]) for row in found["discrimination"]] == [(place, arm) for place in places for arm in arms]
    assert all(len(row["auc"]) == 3 and len(row["sensitivity"]["wilson"]) == 3 for row in found["discrimination"])
    readers = found["readers"]
    assert set(readers) == {HITL, "re-read without the model"}
    again = sum(n for part, n, _ in found["cohort"]["parts"] if part.startswith("readers differ") and not part.endswith("0"))
    assert {told["consensus"]["n"] for told in readers.values()} == {again}
    assert sum(found["cohort"][kind] for kind in ("consensus", "low")) == TINY.read


def test_the_bundle_verifies_says_synthetic_and_promises_only_what_its_sample_carries(folder: Path) -> None:
    bundle = load_bundle(folder / "bundle")
    assert (bundle.label, bundle.synthetic, bundle.twin, bundle.evidence) == ("ct_ntm@0.2.0", True, True, "demo")
    assert "SYNTHETIC" in (folder / "bundle" / "MODEL_CARD.md").read_text()
    for point in bundle.operating_points().values():  # a dozen ill ones carry no guarantee
        assert not point["feasible"]
        assert "are needed for sensitivity" in point["reason"]
    assert "2026-01-01" in (folder / "bundle" / "provenance.yaml").read_text()


def test_a_patient_is_drawn_alike_every_time_and_no_two_share_a_body(monkeypatch: pytest.MonkeyPatch) -> None:
    config = {**ct_ntm.PREPROCESSING, "size": [16, 16, 16]}
    bodies: list[int] = []
    scanned = phantom_cohort.scanned

    def noted(seed: int, *more: Any) -> CtPhantom:
        bodies.append(seed)
        return scanned(seed, *more)

    monkeypatch.setattr(phantom_cohort, "scanned", noted)
    once, again, other = (draw(FIRST_SEED + n, config, False) for n in (1, 1, 2))
    assert all(np.array_equal(once[name], again[name]) for name in once)
    assert once["lesion"].shape == (4, 4, 4)
    assert float((once["lesion"] * (once["lungs"] == 0)).max()) == 0
    assert bodies == [FIRST_SEED + 1, FIRST_SEED + 1, FIRST_SEED + 2]
    assert not np.array_equal(once["lungs"], other["lungs"])
