"""The recipe draws, reads, trains all arms and writes every table and a bundle; a second call repeats no training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from models.bundle import load_bundle
from models.recipes import ct_ntm
from models.training.hitl import phantom_cohort, training
from models.training.hitl.phantom_cohort import COHORT, FIRST_SEED, draw
from models.training.hitl.protocol import ARMS, HITL
from models.training.hitl.study import CLINICAL_ONLY, PICTURE_ONLY
from models.training.hitl.training import FitSettings

TINY = ct_ntm.Form(
    "TINY.", 60, 24, 12, 12, (16, 16, 16), (4, 4, 4, 4), FitSettings(2, rate=3e-3), FitSettings(1, rate=1e-3), resamples=200
)
SECTIONS = (
    "## Who was read", "## The network, with and without physicians", "## Where the map lies", "## The readers",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ntm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phantom_cohort, "CHESTS", 3)
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
    assert (bundle.label, bundle.synthetic, bundle.twin, bundle.evidence) == ("ct_ntm@0.1.0", True, True, "demo")
    assert "SYNTHETIC" in (folder / "bundle" / "MODEL_CARD.md").read_text()
    for point in bundle.operating_points().values():  # a dozen ill ones carry no guarantee
        assert not point["feasible"]
        assert "are needed for sensitivity" in point["reason"]
    assert "2026-01-01" in (folder / "bundle" / "provenance.yaml").read_text()


def test_a_patient_is_drawn_alike_every_time_and_cohorts_share_no_chest(monkeypatch: pytest.MonkeyPatch) -> None:
    config = {**ct_ntm.PREPROCESSING, "size": [16, 16, 16]}
    seen: list[int] = []
    chest = phantom_cohort._chest

    def noted(seed: int, *more: int) -> object:
        seen.append(seed)
        return chest(seed, *more)

    monkeypatch.setattr(phantom_cohort, "_chest", noted)
    once, again = draw(FIRST_SEED + 1, config, False), draw(FIRST_SEED + 1, config, False)
    assert all(np.array_equal(once[name], again[name]) for name in once)
    assert once["lesion"].shape == (4, 4, 4)
    assert float((once["lesion"] * (once["lungs"] == 0)).max()) == 0
    draw(FIRST_SEED + COHORT + 1, config, False)
    assert len(set(seen)) == 2
