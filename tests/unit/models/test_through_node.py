"""Drawn patients through the pipelines themselves: who is read, who is refused, what reaches the network, what the card says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dicom_node.core.age import age_years
from models.bundle import find_bundle, load_bundle
from models.card import through_node as on_card
from models.recipes.ct_ntm import SEEDS, WHOLE
from models.training.hitl import phantom_cohort
from models.training.slices import phantom_cohort as slice_cohort
from models.training.slices.phantom_cohort import who
from models.training.through_node import __main__ as command
from models.training.through_node import ct_ntm, ct_pima_ipn
from models.training.through_node.drawn import Patient
from models.training.through_node.figures import Cohort, figures, read, read_all
from models.training.through_node.measure import measured
from pipelines import ct_ntm as ntm_pipeline
from pipelines import ct_pima_ipn as pima_pipeline
from pipelines.blocks.clinical import SPECIES, Clinical
from pipelines.blocks.laboratory import LabCodes, taken, with_labs

BUNDLES = Path(__file__).parents[3] / "models" / "bundles"
SMALL = (44, 80)


@pytest.fixture(scope="module")
def ntm_bundle() -> Path:
    return find_bundle("ct_ntm", None, [BUNDLES])


@pytest.fixture(scope="module")
def pima_bundle() -> Path:
    return find_bundle("ct_pima_ipn", None, [BUNDLES])


@pytest.fixture(scope="module")
def small() -> Callable[[int], Patient]:
    """Return what draws NTM patients of a small grid, each once."""
    drawn: dict[int, Patient] = {}

    def patient(seed: int) -> Patient:
        if seed not in drawn:
            drawn[seed] = ct_ntm.patient(seed, grid=SMALL)
        return drawn[seed]

    return patient


def seeds_of(label: int) -> int:
    return next(seed for seed in range(40, 80) if phantom_cohort.patient(seed, False)["label"] == label and _whole(seed))


def _whole(seed: int) -> bool:
    return not phantom_cohort.patient(seed, False)["clinical"].missing()


def test_refused_patients_are_counted_and_have_no_part_in_the_figures(ntm_bundle: Path, small: Callable[[int], Patient]) -> None:
    ill, well = seeds_of(1), seeds_of(0)
    given = {0: small(ill), 1: small(well), 2: replace(small(ill), header={"PatientBirthDate": "20150101"})}
    cohort = Cohort("three", "small", 0, given.__getitem__, lambda seed, _: float(seed == 0))
    bundle = load_bundle(ntm_bundle)
    found = figures(cohort, read_all(cohort, range(3), ntm_pipeline, bundle), bundle, resamples=50)
    assert (found["drawn"], found["patients"], found["positives"], found["refused"]) == (3, 2, 1, {"too_young": 1})
    assert sum(found["zones"]["positives"].values()) == 1
    assert found["as_learned"]["auc"][0] == 1.0
    assert found["as_learned"]["change"][0] == pytest.approx(found["auc"][0] - 1.0)
    for policy in found["policies"].values():
        assert (policy["sensitivity"]["n"], policy["specificity"]["n"]) == (1, 1)


def test_a_patient_gets_the_same_answer_each_time_and_another_without_the_laboratory(
    ntm_bundle: Path, small: Callable[[int], Patient]
) -> None:
    patient = small(seeds_of(1))
    once, again = (read(patient, ntm_pipeline, ntm_bundle) for _ in range(2))
    assert once == again
    assert 0 < (once.probability or 0) < 1
    with pytest.raises(RuntimeError, match="laboratory values"):
        read(replace(patient, labs=()), ntm_pipeline, ntm_bundle)
    without = read(replace(patient, labs=(), heard=lambda _: True), ntm_pipeline, ntm_bundle)
    assert without.probability != once.probability


def test_the_node_sees_what_training_saw_where_the_scan_is_the_recipes(ntm_bundle: Path) -> None:
    seed = seeds_of(1)
    through = read(ct_ntm.patient(seed), ntm_pipeline, ntm_bundle).probability
    assert through == pytest.approx(ct_ntm.as_the_recipe_prepares(False, seed, load_bundle(ntm_bundle)), abs=2e-3)


@pytest.mark.parametrize("grade", range(5))
@pytest.mark.parametrize("species", SPECIES)
def test_header_and_laboratory_words_are_read_back_as_they_were_drawn(grade: int, species: str) -> None:
    drawn = Clinical(61.4, "F", grade, species)
    told = with_labs(Clinical(61.4, "F"), taken(ct_ntm.laboratory(drawn), "20261120", LabCodes()))
    assert told == drawn
    header = ct_ntm.header(drawn)
    assert header["PatientSex"] == "F"
    assert age_years(header["PatientBirthDate"], "", "20261120") == pytest.approx(61.4, abs=0.01)
    assert ct_ntm.header(Clinical()) == {"PatientBirthDate": "", "PatientSex": ""}


def test_marks_reach_the_nodule_pipeline(pima_bundle: Path) -> None:
    seed = next(seed for seed in range(40, 80) if who(seed).kind == "pima")
    patient = ct_pima_ipn.patient(seed, size=128)
    assert len(patient.marked) == 3
    assert 0 < (read(patient, pima_pipeline, pima_bundle).probability or 0) < 1
    with pytest.raises(RuntimeError, match="marks"):
        read(replace(patient, marked=()), pima_pipeline, pima_bundle)


def test_no_patient_of_the_figures_is_one_that_a_recipe_draws_and_fine_scans_are_half_as_many() -> None:
    largest = max(WHOLE.read, WHOLE.calibration, WHOLE.fresh, WHOLE.external)
    drawn = {phantom_cohort.FIRST_SEED + first + n for first in SEEDS.values() for n in range(largest)}
    for cohort in ct_ntm.COHORTS:
        assert drawn.isdisjoint(cohort.seeds(1000))
    assert [len(cohort.seeds(100)) for cohort in ct_ntm.COHORTS] == [100, 100, 50, 50]
    of_slices = {first + n for first in (slice_cohort.FIRST_SEED, slice_cohort.FIRST_TEST_SEED) for n in range(2000)}
    assert all(of_slices.isdisjoint(cohort.seeds(1000)) for cohort in ct_pima_ipn.COHORTS)


def share(hits: int, n: int) -> dict[str, Any]:
    return {"hits": hits, "n": n, "wilson": [hits / n, 0.1, 0.9], "clopper_pearson": [hits / n, 0.05, 0.95]}


def beside(low: float = -0.15, high: float = -0.05, moved: float = 0.4) -> dict[str, Any]:
    policies = {"screening": {"sensitivity": share(9, 10), "specificity": share(5, 10)}}
    return {"auc": [0.8, 0.7, 0.9], "change": [-0.1, low, high], "higher": [moved, moved - 0.1, moved + 0.1], "policies": policies}


def row(**more: Any) -> dict[str, Any]:
    return {
        "cohort": "external", "scanned": "1 mm", "patients": 20, "positives": 10, "auc": [0.7, 0.6, 0.8],
        "as_learned": beside(), "refused": {"age_unknown": 2},
        "policies": {"screening": {"sensitivity": share(8, 10), "specificity": share(3, 10)}},
        "calibration": {"brier": 0.2, "ece": 0.1, "reliability": [{"predicted": 0.31, "observed": 0.42}]},
        "zones": {"positives": {"gray": 9, "suspected": 1}, "negatives": {"not_suspected": 10}},
    } | more  # fmt: skip


def test_the_card_says_what_the_node_reaches_and_where_that_is_less() -> None:
    metrics = {"through_node": {"command": "do it", "words": "Coarse.", "finding": "ill", "cohorts": [row()]}}
    text = "\n".join(on_card.section(metrics))
    for told in ("`do it`", "| external | 1 mm | 20 (10) | 0.700 (0.600 to 0.800) | age_unknown: 2 |", "-0.100 (-0.150 to -0.050)",
                 "| screening | sensitivity | external, 1 mm | 8/10 |", "| 9/10 |", "| external, 1 mm | with ill | 1 | 9 | 0 |",
                 "| external, 1 mm | 0.200 | 0.100 | 0.31: 0.42 |"):  # fmt: skip
        assert told in text
    points = {"screening": {"kind": "sensitivity", "alpha": 0.9}}
    lower, moved, broken = on_card.failures(metrics, points)
    assert "lower than as its recipe prepares them" in lower
    assert "log-odds differ from the recipe's by +0.400 (+0.300 to +0.500)" in moved
    assert "promises sensitivity 0.90; through the node it is 8/10" in broken
    crowded = row(
        policies={"screening": {"sensitivity": share(10, 10), "specificity": {**share(0, 10), "wilson": [0.0, 0.0, 0.3]}}}
    )
    assert any(
        "leaves 0/10 of those without it uncalled" in line and "prepares them 5/10" in line
        for line in on_card.failures({"through_node": {"cohorts": [crowded]}}, points)
    )
    same = {"through_node": {"cohorts": [row(as_learned=beside(-0.2, 0.1, 0.05), policies={})]}}
    assert on_card.failures(same, points) == []
    assert on_card.section({}) == []
    assert "prepared by the recipe" not in "\n".join(
        on_card.section({"through_node": {"command": "", "words": "", "finding": "", "cohorts": [row(as_learned=None)]}})
    )


def test_the_section_of_a_page_is_replaced_and_nothing_else() -> None:
    page = "# A\n\ntext\n\n## Through the node\n\nold\n\n### deeper\n\nold\n\n## Last\n\nend\n"
    once = command.with_section(page, "## Through the node\n\nnew")
    assert once == "# A\n\ntext\n\n## Last\n\nend\n\n## Through the node\n\nnew\n"
    assert command.with_section(once, "## Through the node\n\nnew") == once


def test_a_bundle_without_drawn_scans_is_refused_in_words() -> None:
    with pytest.raises(SystemExit, match=r"cxr_tb@.*ct_ntm, ct_pima_ipn"):
        measured(find_bundle("cxr_tb", None, [BUNDLES]), 2)
