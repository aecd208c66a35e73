"""The recipe for PIMA or IPN: cohorts, what is learnt from what, tables, and the bundle; on a few tiny drawn chests."""

from __future__ import annotations

import csv
import functools
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from dicom_node.imaging.header import read_instance
from models.bundle import load_bundle
from models.phantoms.ct import thorax
from models.phantoms.ct_dicom import as_series
from models.recipes import ct_pima_ipn as recipe
from models.training.slices import bundle as slice_bundle
from models.training.slices import report
from models.training.slices import study as slice_study
from models.training.slices.bundle import operating_points
from models.training.slices.cohort import Cohort, Square, cut, from_index, part_of, size_group
from models.training.slices.loop import FitSettings
from models.training.slices.phantom_cohort import FIRST_SEED, FIRST_TEST_SEED, draw, from_phantoms
from models.training.slices.side_by_side import train_side_by_side
from models.training.slices.study import Form, Trained, Wanted, fold_trainings, folds_of, site_trainings, train
from models.zoo.se_das_resnet50 import SeDasResNet50
from pipelines.blocks.prepare_ct import prepare_slice, thickest_piece

TINY: Mapping[str, Any] = {
    "window": {"level": -600, "width": 1500},
    "outside": "floor",
    "slab_mm": 5.0,
    "pixel_mm": 7.0,
    "size": 48,
}
TINY_FORM = Form("tiny", 8, None, None, FitSettings(1, 16, 2e-3, 2e-3, 1e-2, 1, 1, threads=1))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return from_phantoms(24, 10, TINY, tmp_path_factory.mktemp("drawn"))


def test_a_drawn_patient_is_the_same_whenever_it_is_drawn() -> None:
    one, again = draw(FIRST_SEED, 7.0, 48), draw(FIRST_SEED, 7.0, 48)
    assert one[0] == again[0]
    assert np.array_equal(one[1], again[1])
    assert one[3:] == again[3:]


def test_drawn_patients_learn_or_test_by_their_seed_alone(cohort: Cohort) -> None:
    tested = {int(name.removeprefix("phantom-")) for name in cohort.named("test")}
    learnt = {int(name.removeprefix("phantom-")) for name in cohort.named("train", "selection", "calibration")}
    assert min(tested) >= FIRST_TEST_SEED
    assert max(learnt) < FIRST_TEST_SEED
    assert len(tested) >= 8
    assert set(cohort.about.labels.tolist()) == {0, 1}


def test_the_lesion_lies_at_the_place_that_is_told_and_the_lungs_alone_hide_the_rest(cohort: Cohort) -> None:
    row, column = cohort.places.T
    at = cohort.around[np.arange(len(row)), row, column].astype(float)
    assert np.median(at) > 0.6  # soft tissue: (0 + 1350) / 1500
    assert (cohort.lungs <= cohort.around).all()
    assert (cohort.lungs == 0).mean() > (cohort.around == 0).mean()


def test_the_thickest_piece_is_the_round_one_and_not_the_long_one() -> None:
    picture = np.full((40, 40), 0.3, np.float32)
    picture[5:8, 2:38] = 0.9  # a vessel: more area
    picture[20:29, 20:29] = 0.9
    picture[:2], picture[:, :1] = 0, 0
    config = {"window": {"level": -600, "width": 1500}, "pixel_mm": 1.4}
    assert thickest_piece(picture, config) == (24, 24)
    assert thickest_piece(np.full((40, 40), 0.3, np.float32), config) is None


def test_a_cut_stays_within_the_picture() -> None:
    picture = np.arange(100).reshape(10, 10)
    assert cut(picture, np.array([5, 5]), 4)[0, 0] == 33
    assert cut(picture, np.array([0, 9]), 4).tolist() == picture[:4, 6:].tolist()


def test_slices_whose_place_nobody_said_are_not_cut(cohort: Cohort) -> None:
    nowhere = replace(cohort, places=np.full_like(cohort.places, -1))
    with pytest.raises(ValueError, match="without the place"):
        nowhere.slices(cohort.named("test"), lungs_alone=True, square=Square(16, told=True))


def test_a_square_that_is_not_told_is_the_one_that_the_node_cuts(cohort: Cohort) -> None:
    seed = int(cohort.patients[0].removeprefix("phantom-"))
    _, hu, lungs, marked, _ = draw(seed, TINY["pixel_mm"], TINY["size"])
    node = prepare_slice(hu, (5.0, 7.0, 7.0), lungs, marked[0], {**TINY, "size": 16, "centre": "thickest_piece"})
    ours = cohort.slices([str(cohort.patients[0])], lungs_alone=True, square=Square(16, told=False)).images[0]
    assert np.array_equal(node.network_input[0, 0].astype(np.float16), ours.astype(np.float16))
    assert node.record["thickest_piece"] == list(cohort.found[0] or ())


def test_parts_are_in_their_shares_and_for_ever() -> None:
    parts = [part_of(f"patient {n}") for n in range(2000)]
    shares = {part: parts.count(part) / 2000 for part in set(parts)}
    assert shares == pytest.approx({"train": 0.6, "selection": 0.1, "calibration": 0.1, "test": 0.2}, abs=0.03)
    assert [part_of(name) for name in ("a", "b", "c", "d")] == [part_of(name) for name in ("a", "b", "c", "d")]
    assert [size_group(mm) for mm in (29.9, 30.0, float("nan"))] == ["< 3 cm", ">= 3 cm", ""]


def test_folds_hold_every_patient_once_with_both_labels(cohort: Cohort) -> None:
    names = cohort.named("train", "selection", "calibration")
    folds = folds_of(cohort, names, 3, seed=1)
    assert sorted(name for fold in folds for name in fold) == sorted(names)
    assert all(set(cohort.labels_of(fold).tolist()) == {0, 1} for fold in folds)


def test_no_fold_is_judged_by_a_network_that_learnt_from_it_or_chose_by_it(cohort: Cohort) -> None:
    wanted = fold_trainings(cohort, slice_study.VARIANTS[slice_study.FULL], TINY_FORM, 3)
    assert sorted(name for one in wanted for name in one.parts[2]) == sorted(cohort.named("train", "selection", "calibration"))
    assert not any(set(one.parts[2]) & {*one.parts[0], *one.parts[1]} for one in wanted)
    with pytest.raises(ValueError, match="at least three"):
        fold_trainings(cohort, slice_study.VARIANTS[slice_study.FULL], TINY_FORM, 2)


def test_a_held_out_site_is_judged_by_a_network_that_never_saw_it(cohort: Cohort) -> None:
    site = dict(zip(cohort.about.names.tolist(), cohort.about.kinds["site"].tolist(), strict=True))
    parts = np.where(cohort.parts == "calibration", "selection", cohort.parts)
    found = site_trainings(replace(cohort, parts=parts), slice_study.VARIANTS[slice_study.FULL], TINY_FORM)
    assert found
    for name, wanted in found.items():
        learn, select, judged = (set(part) for part in wanted.parts)
        assert {site[p] for p in judged} == {name}
        assert name not in {site[p] for p in learn | select}


def test_trainings_side_by_side_are_those_done_one_after_the_other(cohort: Cohort, tmp_path: Path) -> None:
    parts = (cohort.named("train"), cohort.named("test"), cohort.named("test"))
    wanted = [Wanted(name, slice_study.VARIANTS[name], parts, TINY_FORM) for name in ("baseline", "+ Seg")]
    train_side_by_side(cohort, wanted, tmp_path / "beside", 2)
    assert len(list((tmp_path / "beside").iterdir())) == 2
    kept, other = (train(cohort, one, tmp_path / "beside", _nothing).logits for one in wanted)
    assert np.array_equal(kept, train(cohort, wanted[0], tmp_path / "after", _nothing).logits)
    assert not np.array_equal(kept, other)
    train_side_by_side(cohort, wanted, tmp_path / "one", 1)
    assert not (tmp_path / "one").exists()  # one at a time is what ``train`` does by itself


def _nothing(_: str) -> None:
    """Say nothing."""


def test_a_patients_probability_is_the_mean_of_the_slices() -> None:
    trained = Trained({}, (0.0, 1.0), np.array([0.0, np.log(3.0), -50.0]), np.array(["a", "a", "b"]), [], 0.0)
    assert trained.of_patients(["b", "a"]) == pytest.approx([0.0, (0.5 + 0.75) / 2], abs=1e-9)


def test_the_page_of_a_network_says_how_far_it_is_above_the_thumbnail(cohort: Cohort) -> None:
    test = cohort.named("test")
    labels = cohort.labels_of(test)
    slices = cohort.slices(test, lungs_alone=True)
    trained = Trained({}, (0.0, 1.0), np.where(slices.labels == 1, 2.0, -2.0), slices.patients, [], 0.0)
    found = report.figures(cohort, {slice_study.FULL: trained}, slice_study.FULL, np.full(len(test), 0.5), 1.0, 50)
    assert found["full"]["auc"][0] == 1.0
    assert found["above_thumbnail"][0] == pytest.approx(0.5)
    assert found["confusion"]["patient"]["true_positive"] == labels.sum()
    assert found["confusion"]["slice"]["true_negative"] == (slices.labels == 0).sum()
    page = report.network_section(found, "Title", "REDUCED")
    assert "16 x 16" in page
    assert "Brier" in page


def test_thresholds_promise_what_their_number_of_patients_allows() -> None:
    rng = np.random.default_rng(3)
    labels = np.repeat([1, 0], 60)
    scores = np.clip(rng.normal(0.35 + 0.3 * labels, 0.15), 0, 1)
    points = operating_points(labels, scores, True, "2026-01-01")["policies"]
    assert (points["published"]["tau"], points["published"]["guarantee"][:4]) == (0.5, "none")
    found = points["screening"]
    assert found["feasible"]
    assert found["tau_low"] <= found["tau"]
    # 60 patients: the second lowest score (Clopper-Pearson lower bound of 58 of 60 is below 0.90 one-sided, of 59 above)
    assert found["tau"] == pytest.approx(np.sort(scores[labels == 1])[2 - 1], abs=1e-6)
    few = operating_points(labels[55:65], scores[55:65], True, "2026-01-01")["policies"]["screening"]
    assert not few["feasible"]
    assert few["tau"] is None


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    folder = tmp_path_factory.mktemp("site")
    (folder / "series").mkdir()
    uids = []
    for n, data_set in enumerate(as_series(thorax(3, slices=44, size=64, nodules=(("pima", 30.0),)))):
        data_set.save_as(folder / "series" / f"{n}.dcm", enforce_file_format=True)
        uids.append(read_instance(folder / "series" / f"{n}.dcm").sop_instance_uid)
    (folder / "short").mkdir()
    (folder / "short" / "0.dcm").write_bytes((folder / "series" / "0.dcm").read_bytes())
    return folder, uids


def index(folder: Path, *rows: dict[str, str]) -> Path:
    with (folder / "index.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, sorted({name for row in rows for name in row}))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def test_a_sites_series_are_read_as_the_node_reads_them_and_refusals_are_told(site: tuple[Path, list[str]]) -> None:
    folder, uids = site
    good = {"patient_id": "a", "label": "pima", "series": "series", "marked": f"{uids[20]} {uids[22]}", "age": "61", "site": "X"}
    short = {"patient_id": "b", "label": "ipn", "series": "short", "marked": uids[0], "age": "?"}
    elsewhere = {**good, "patient_id": "c", "marked": "1.2.3"}
    found = from_index(index(folder, good, short, elsewhere), TINY)
    assert found.about.names.tolist() == ["a"]
    assert found.lungs.shape == (2, 48, 48)
    assert (found.places == -1).all()
    assert found.about.numbers["age"].tolist() == [61.0]
    assert found.about.kinds["site"].tolist() == ["X"]
    assert [line[:28] for line in found.left_out] == ["line 3: too_few_slices: The ", "line 4: none of the marked s"]


def test_an_index_that_makes_no_sense_says_where(site: tuple[Path, list[str]]) -> None:
    folder, uids = site
    good = {"patient_id": "a", "label": "pima", "series": "series", "marked": uids[20]}
    for wrong, words in (
        ({"label": "cancer"}, 'label "cancer"'),
        ({"marked": ""}, "marked is missing"),
        ({"part": "dev"}, 'part "dev"'),
    ):
        with pytest.raises(ValueError, match=f"line 2: {words}"):
            from_index(index(folder, {**good, **wrong}), TINY)


def stand_in_graph(net: torch.nn.Module, size: int, path: Path, probe: np.ndarray) -> float:
    """Write a file in the graph's place: exporting takes ten seconds, and the shipped graph is compared with its weights."""
    assert probe.shape[1:] == (1, size, size)
    assert net(torch.from_numpy(probe)).shape == (len(probe), 1)
    path.write_bytes(b"graph")
    return 0.0


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe from end to end: tiny chests, one block a stage, one epoch, two rows, three folds."""
    out = tmp_path_factory.mktemp("recipe")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slice_study, "SeDasResNet50", functools.partial(SeDasResNet50, depths=(1, 1, 1, 1)))
        once = FitSettings(1, 16, 2e-3, 2e-3, 1e-2, 1, 1, threads=1)
        for name in ("QUICK", "QUICK_FOLDS", "AS_FOUND"):
            patch.setattr(recipe, name, once)
        patch.setattr(recipe, "QUICK_FORM", {**TINY, "pixel_mm": 6.0, "size": 64})
        patch.setattr(recipe, "SIDE", 32)
        patch.setattr(recipe, "FOLDS", 3)
        patch.setattr(recipe, "VARIANTS", {name: slice_study.VARIANTS[name] for name in ("baseline", slice_study.FULL)})
        patch.setattr(recipe, "WITHIN", {"joined by the maximum": slice_study.WITHIN["joined by the maximum"]})
        patch.setattr(slice_bundle, "export_classifier", stand_in_graph)
        patch.setattr(report, "figures", functools.partial(report.figures, resamples=100))
        given = ["--quick", "--phantoms", "30", "--test-phantoms", "12", "--threads", "1", "--out", str(out)]
        recipe.main([*given, "--bundle-only"])
        kept = {path: path.stat().st_mtime_ns for path in out.rglob("*.npz")}
        recipe.main([*given, "--within", "--bundle", str(out / "bundle"), "--page", str(out / "page.md")])
        assert len(kept) >= 4  # two stages of the full variant, two of drawn chests
        assert kept == {path: path.stat().st_mtime_ns for path in kept}  # what was finished is not done again
    return out


def test_the_page_has_every_table_and_says_what_was_reduced(done: Path) -> None:
    page = (done / "report.md").read_text()
    assert page == (done / "page.md").read_text()
    for words in (
        "DeLong P", "P (Holm)", "Clopper-Pearson", "| patient | PIMA |", "| slice | PIMA |", "subgroup", "Brier", "Mann-Whitney",
        "Cross-validation", "Each site by the network of the others", "16 x 16", "REDUCED: width 8", "joined by the maximum",
        "nothing about patients",
    ):  # fmt: skip
        assert words in page, words
    assert (done / "calibration.png").stat().st_size > 1000
    assert len(json.loads((done / "metrics.json").read_text())["folds"]) == 3


def test_the_bundle_says_that_it_is_synthetic_and_a_twin(done: Path) -> None:
    bundle = load_bundle(done / "bundle")
    assert (bundle.synthetic, bundle.twin) == (True, True)
    assert set(bundle.operating_points()) == {"published", "screening"}
    card = (done / "bundle" / "MODEL_CARD.md").read_text()
    assert "SYNTHETIC" in card
    assert "16 x 16" in card
    assert (bundle.config["preprocessing"]["size"], bundle.config["preprocessing"]["centre"]) == (32, "thickest_piece")
    figures = json.loads((done / "bundle" / "metrics.json").read_text())
    assert figures["test"]["full"]["n"] == json.loads((done / "metrics.json").read_text())["final"]["full"]["n"]
    assert yaml.safe_load((done / "bundle" / "calibration.yaml").read_text())["temperature"]["pima"] > 0
