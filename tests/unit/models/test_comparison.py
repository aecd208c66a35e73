"""Candidates and remedies are compared fairly: nothing held out is learned from, and the rule does what it says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from models.training.cxr import selection
from models.training.cxr import views as chest_views
from models.training.cxr.bench import Bench
from models.training.cxr.chest_set import ChestSet
from models.training.cxr.classifiers import FROZEN, Hog, Lite, gradients
from models.training.cxr.evidence_page import page
from models.training.cxr.fine_tune import Loss, Sample, mix_style
from models.training.cxr.generalisation import FITS, Generalisation
from models.training.cxr.remedies import AS_BEFORE, NONE, SWITCHES
from models.training.cxr.selection import Judged, choose, fold_of
from models.training.cxr.stability import CHANGES
from models.training.cxr.start import shipped_lungs
from models.training.cxr.three_classes import three_classes
from models.training.data import Row
from models.zoo.lite_cxr import LiteCxr, LiteTail
from tests.factories.bundles import write_research_set


def _chest(size: int = 48, each: int = 8) -> ChestSet:
    rng = np.random.default_rng(4)
    rows = [
        Row(f"{source}{label}{n}", "", label, source, f"{source}{label}{n}", ("PA", "AP")[n % 2], "train")
        for source, label in (("a", "normal"), ("a", "pneumonia"), ("b", "tuberculosis"))
        for n in range(each)
    ]
    lungs = np.zeros((len(rows), size, size), np.float32)
    lungs[:, 12:36, 10:38] = 1
    images = rng.random((len(rows), size, size)).astype(np.float32)
    return ChestSet(rows, images, lungs, images.mean((1, 2)), images.std((1, 2)), {"mean": 0.5, "std": 0.3}, 0)


def test_a_copy_whose_histogram_was_lent_by_a_held_out_image_is_not_drawn() -> None:
    chest, everyone = _chest(), np.arange(24)
    views = chest_views.plan(chest, everyone, 4, AS_BEFORE)
    chosen = np.array([0, 1, 2, 3, 8, 9, 10, 16, 17])
    drawn = chest_views.draws(chest, views, chosen, AS_BEFORE, 600, seed=3)
    assert set(views.row[drawn]) <= set(chosen)
    assert set(views.donor[drawn]) <= {-1, *chosen}
    assert not set(views.donor) <= {-1, *chosen}
    labels = chest_views.labels(chest, views)[drawn]
    assert labels.mean() == pytest.approx(0.5 / 0.875, abs=0.06)  # the rest, and a quarter of the normals
    plain = replace(AS_BEFORE, pasted=0.0, balanced=False)
    assert not views.pasted[chest_views.draws(chest, views, chosen, plain, 200, seed=3)].any()


def test_a_copy_is_the_same_whoever_asks_for_it_and_a_pasted_one_differs_inside_the_lungs() -> None:
    chest = _chest()
    views = chest_views.plan(chest, np.arange(24), 2, replace(NONE, pasted=0.25))
    some = chest_views.Views(*(getattr(views, name)[5:9] for name in ("row", "donor", "pasted", "number")))
    whole = np.concatenate(list(chest_views.pictures(chest, views, NONE, at_once=7)))
    assert np.array_equal(whole[5:9], np.concatenate(list(chest_views.pictures(chest, some, NONE))))
    assert len(views) == 24 * 2 + 8 * 2
    assert set(chest_views.labels(chest, views)[views.pasted]) == {1}
    masked = chest_views.plain(chest, np.arange(2), replace(NONE, masked=True))
    assert np.ptp(masked[:, 0, 0]) == pytest.approx(0, abs=1e-6)
    assert masked[:, 24, 24] == pytest.approx(chest.images[:2, 24, 24], abs=1e-5)


def test_every_remedy_can_be_switched_both_ways_and_alone() -> None:
    for switch in SWITCHES:
        turned = switch.turned(AS_BEFORE)
        assert switch.is_on(turned) != switch.is_on(AS_BEFORE)
        assert switch.turned(turned) == AS_BEFORE
        assert sum(turned.facts()[key] != value for key, value in AS_BEFORE.facts().items()) == 1


@pytest.mark.parametrize("on", [{"mixstyle": True}, {"adversary": True}, {"group_dro": True}, {}])
def test_the_loss_of_each_remedy_reaches_the_network(on: dict[str, Any]) -> None:
    torch.manual_seed(1)
    net = LiteTail(LiteCxr(), FROZEN)
    loss = Loss(net, replace(AS_BEFORE, **on), 2)
    batch = torch.rand(6, 40, 4, 4), torch.tensor([0.0, 1, 1, 0, 1, 1]), torch.tensor([0, 0, 1, 0, 1, 1])
    loss(*batch, classes=torch.tensor([2, 1, 0, 2, -1, 0])).backward()
    assert net.blocks[0].expand.conv.weight.grad.abs().sum() > 0
    assert net.head.weight.grad.abs().sum(1).min() > 0
    if on.get("group_dro"):
        assert float(loss.group_weight.sum()) == pytest.approx(1)
        assert loss.group_weight[1] != loss.group_weight[2]


def test_mixed_styles_keep_what_lies_where() -> None:
    x = torch.rand(5, 3, 6, 6, generator=torch.Generator().manual_seed(2))
    torch.manual_seed(0)
    mixed = mix_style(x, share=1.0)
    assert not torch.allclose(mixed, x)
    flat = [((a - a.mean((2, 3), keepdim=True)) / a.std((2, 3), keepdim=True)) for a in (x, mixed)]
    assert torch.allclose(*flat, atol=1e-3)


def test_early_and_late_blocks_together_are_the_network() -> None:
    torch.manual_seed(3)
    net, image = LiteCxr().eval(), torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        whole, x = net.features(image), net.early(image, FROZEN)
        assert torch.allclose(net.late(x, FROZEN), whole, atol=1e-5)
        assert torch.allclose(LiteTail(net, FROZEN).features(x), whole, atol=1e-5)
    assert whole.min() >= 0


def test_gradients_see_direction_and_not_brightness() -> None:
    across = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (64, 1))
    assert np.allclose(gradients(across), gradients(0.5 * across), atol=1e-3)
    assert not np.allclose(gradients(across), gradients(across.T), atol=0.1)


def _entry(name: str, score: float, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "score": [score, 0, 1],
        "maps": True,
        "stable": True,
        "parameters": 9,
        "remedies": {"pasted": 0.25},
        **more,
    }


def test_the_rule_takes_the_highest_score_that_is_stable_and_has_a_map() -> None:
    base = _entry("base", 0.80)
    assert choose([base, _entry("better", 0.81)], "base") == "better"
    assert choose([base, _entry("tied", 0.8049)], "base") == "base"
    assert choose([base, _entry("shaken", 0.9, stable=False), _entry("no map", 0.9, maps=False)], "base") == "base"
    assert choose([base, _entry("never taught opacities", 0.9, remedies={"pasted": 0.0})], "base") == "base"
    assert choose([base, _entry("large", 0.902), _entry("small", 0.9, parameters=2)], "base") == "small"
    with pytest.raises(ValueError, match="every candidate is out"):
        choose([_entry("shaken", 0.9, stable=False)], "base")


def test_only_pairs_of_one_view_count_within_and_normals_against_the_unseen_source() -> None:
    fold, group = np.zeros(6, int), np.array(["PA", "PA", "AP", "AP", selection.UNSEEN, "PA"])
    fold, group = np.concatenate([fold, fold + 1]), np.tile(group, 2)
    labels = np.tile([0, 1, 0, 1, 1, 0], 2)
    # every AP image above every PA image: across views the order is wrong, within a view it is right
    scores = np.tile([1.0, 2, 5, 6, 4, 0], 2)[:, None]
    assert selection.within(fold, group, labels, scores) == 1.0
    assert selection.unseen(fold, group, labels, scores) == pytest.approx(2 / 3)
    assert selection.score(fold, group, labels, scores) == pytest.approx(5 / 6)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("bench")
    data = write_research_set(folder / "data", patients=10)
    text = (data / "index.csv").read_text()
    (data / "index.csv").write_text(text.replace(",north,", ",nih_cxr14,").replace(",south,", ",ieee8023_covid,"))
    lungs = shipped_lungs()
    return Bench(data, lungs, folder / "work", {"percentiles": [0.5, 99.5], "crop": "none"}, 48, 1, 160)


def test_folds_share_no_patient_and_the_unseen_source_is_never_learned_from(bench: Bench) -> None:
    judged = Judged(bench)
    for learn, rows in zip(judged.learn, judged.judged, strict=True):
        assert not set(bench.patients(learn)) & set(bench.patients(rows))
        assert {bench.rows[i].source for i in learn} == {"nih_cxr14"}
        assert {bench.rows[i].part for i in [*learn, *rows]} <= {"train", "selection"}
    assert {fold_of(f"p{n}") for n in range(20)} == {0, 1}


def test_a_comparison_is_kept_and_its_page_shows_every_row_beside_the_thumbnail(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = Judged(bench)
    scores = judged.scores(Hog(), AS_BEFORE, (1, 2))
    assert set(scores) == {"", *CHANGES}
    with monkeypatch.context() as patch:
        patch.setattr(Hog, "fit", None)  # a second time nothing is fitted
        again = judged.scores(Hog(), AS_BEFORE, (1, 2))
    assert np.array_equal(again[""], scores[""])
    monkeypatch.setattr(selection, "RESAMPLES", 30)
    base = judged.entry("hog", scores, None)
    other = judged.entry("without it", {change: values - (change == "") for change, values in scores.items()}, scores[""])
    assert other["difference"][0] == pytest.approx(0)
    shape = {"maps": False, "parameters": 0}
    rows = [{**base, **shape}, {**other, **shape, "remedy": "it", "kept": False}]
    thumbnail = judged.entry("thumbnail", {"": judged.thumbnail()}, scores[""])
    tested = Generalisation(bench).row("hog", Hog(), AS_BEFORE, tuple(FITS)[:1], (1,))
    chosen = {"rows": rows, "thumbnail": thumbnail, "chosen": "hog"}
    text = page({"setting": bench.setting(), "selection": chosen, "test": [tested]})
    assert "**hog**" in text
    assert "Dropped: it." in text
    assert "1. Rows: adults" in text
    assert f"{tested['cohorts']['within NIH']['thumbnail_auc'][0]:.2f}" in text


def test_candidates_learn_what_is_easy() -> None:
    rng = np.random.default_rng(5)
    labels = np.arange(40) % 2
    pictures = rng.random((40, 32, 32)).astype(np.float32) * 0.3
    pictures[labels == 1, 8:24, 8:24] += 0.6
    drawn = np.tile(np.arange(40), 4)
    for classifier in (Hog(), Lite(None)):
        sample = Sample(classifier.describe(pictures, 0.3, 0.3), labels, np.zeros(40, int))
        said = classifier.fit(sample, drawn, AS_BEFORE, 1).logits(sample.described)
        assert said[labels == 1].mean() > said[labels == 0].mean(), classifier.name


def test_three_classes_never_carry_a_guarantee_from_one_source() -> None:
    rng = np.random.default_rng(6)
    labels = ["tuberculosis"] * 40 + ["pneumonia"] * 40 + ["normal"] * 20
    rows = [Row(str(n), "", label, "s", str(n), "PA", "calibration") for n, label in enumerate(labels)]
    scores = rng.random((100, 2)) * 0.4
    scores[:40, 0] += 0.5
    scores[40:80, 1] += 0.5
    enough = three_classes(rows, scores, rows, scores, ["PA"])
    few = three_classes(rows[20:], scores[20:], rows, scores, ["PA"])
    assert (enough["numbers_suffice"], few["numbers_suffice"]) == (True, False)
    assert "20 positives" in few["numbers"]
    for report in (enough, few):
        assert not report["feasible"]
        assert report["guarantee"].startswith("no valid guarantee")
    assert enough["on_test"]["tuberculosis"]["n"] == 40
