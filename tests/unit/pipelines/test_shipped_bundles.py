"""The bundles that come with the product, through the whole pipeline, on drawn chests of which they have seen none."""

from __future__ import annotations

from pathlib import Path

from models.bundle import SHIPPED, find_bundle
from models.phantoms.cxr import chest_phantom
from models.phantoms.dicom import as_radiograph
from pipelines.cxr_tb import NEEDS, Settings, run, select_images
from tests.factories.phantom_dicom import study_of

SEEDS = 20


def test_a_chest_with_an_opacity_scores_higher_than_the_same_chest_without_in_at_least_18_of_20(tmp_path: Path) -> None:
    bundles = {name: find_bundle(name, None, [SHIPPED]) for name in NEEDS}
    settings = Settings(device="cpu")
    higher = 0
    for seed in range(SEEDS):
        scores: list[float] = []
        for abnormal in (False, True):
            study = study_of(tmp_path, as_radiograph(chest_phantom(seed, 512, abnormal)[0], seed=f"{seed} {abnormal}"))
            findings = run(study, select_images(study, settings), bundles, "screening", settings)
            assert findings.abstention is None, (seed, findings.abstention)
            probability = next(f.probability for f in findings.findings if f.key == "abnormal")
            assert probability is not None
            scores.append(probability)
        higher += scores[1] > scores[0]
    assert higher >= 18
