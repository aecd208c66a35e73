"""The experiment on query strategies: who is in the pool, what is counted, and what the table says."""

from __future__ import annotations

import numpy as np

from models.training.data import Row
from models.training.query_strategies import FIRST, cohorts, curve, in_pool, needed, table


def rows(count: int, source: str = "kermany_pediatric", part: str = "train") -> list[Row]:
    return [Row(str(n), "", "normal" if n % 2 else "pneumonia", source, f"p{n // 2}", "PA", part) for n in range(count)]


def test_no_image_that_trained_the_network_is_asked_about() -> None:
    mixed = rows(4) + rows(4, "nih_cxr14", "train") + rows(4, "nih_cxr14", "test") + rows(2, "tbx11k", "test")
    found = cohorts(mixed)
    assert list(found[FIRST]) == [0, 1, 2, 3]
    assert list(found["adults"]) == [8, 9, 10, 11]
    assert list(found["mixed"]) == [0, 1, 2, 3, 8, 9, 10, 11]


def test_all_images_of_a_patient_lie_on_one_side_and_three_fifths_in_the_pool() -> None:
    many = rows(4000)
    inside = [in_pool(row, 7) for row in many]
    assert inside[::2] == inside[1::2]
    assert 0.57 < np.mean(inside) < 0.63
    assert inside != [in_pool(row, 8) for row in many]


def test_labels_are_counted_when_the_target_is_held() -> None:
    points = [(10, 0.90), (20, 0.96), (30, 0.94), (40, 0.96), (50, 0.97)]
    assert needed(points, 0.95) == 40  # the one at 20 did not last
    assert needed(points, 0.97) == 50
    assert needed(points, 0.99) == 50  # all of the pool


def test_curves_start_alike_and_end_with_the_whole_pool() -> None:
    rng = np.random.default_rng(2)
    cases = rows(160)
    labels = np.array([row.abnormal for row in cases])
    features = rng.normal(size=(160, 4)) + labels[:, None] * [1.5, 0, 0, 0]
    pool, test = np.arange(0, 60), np.arange(60, 160)
    found = {name: curve(name, features, labels, cases, pool, test, 3) for name in ("random", "hybrid")}
    assert found["random"][0] == found["hybrid"][0]
    assert found["random"][-1] == found["hybrid"][-1]
    assert [count for count, _ in found["hybrid"]] == [10, 20, 30, 40, 50, 60]


def test_the_table_gives_medians_ranges_and_the_ratio() -> None:
    per = {name: [20, 40, 60] for name in ("random", "uncertainty", "coreset", "badge")} | {"hybrid": [10, 10, 30]}
    text = table({"children": {"full_pool_auc": [0.9, 0.8, 0.95], "images": [[5, 3]] * 3, "labels_needed": {"0.98": per}}})
    assert "AUC with every label 0.900 (0.800 to 0.950)" in text
    assert "| 98% | 40 (20 to 60) |" in text
    assert text.rstrip().endswith("| 10 (10 to 30) | 0.25 |")
