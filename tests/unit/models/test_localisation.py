"""A map is credited for what lies in the box, and an empty map for nothing."""

from __future__ import annotations

import numpy as np
import pytest

from models.training.localisation import (
    boxes_of,
    centre_of_lungs,
    energy_in_boxes,
    iou_at_top,
    localisation_table,
    points_at,
    strongest,
)

BOX = ((2.0, 1.0, 4.0, 2.0),)  # columns 2 to 5, rows 1 to 2


def test_a_map_is_judged_by_its_highest_value_and_its_sum() -> None:
    values = np.zeros((10, 10))
    values[2, 3], values[8, 8] = 3.0, 1.0
    assert points_at(strongest(values), BOX)
    assert energy_in_boxes(values, BOX) == pytest.approx(0.75)
    values[8, 8] = 4.0
    assert not points_at(strongest(values), BOX)


def test_the_strongest_tenth_that_is_the_box_overlaps_wholly() -> None:
    values = np.zeros((8, 10))
    values[1:3, 2:6] = 1.0  # 8 of 80 pixels
    assert iou_at_top(values, BOX) == 1.0
    assert iou_at_top(np.roll(values, 4, axis=0), BOX) == 0.0


def test_a_map_without_evidence_finds_nothing() -> None:
    empty = np.zeros((10, 10))
    assert (points_at(strongest(empty), BOX), energy_in_boxes(empty, BOX), iou_at_top(empty, BOX)) == (False, 0.0, 0.0)


def test_boxes_come_from_the_index_or_say_what_is_wrong() -> None:
    assert boxes_of('[{"label": "Pneumonia", "x": 2, "y": 1, "w": 4, "h": 2}]') == BOX
    assert boxes_of("") == ()
    for wrong in ("[1]", "{", '[{"x": 1, "y": 1, "w": 0, "h": 2}]'):
        with pytest.raises(ValueError, match="box"):
            boxes_of(wrong)


def test_a_patient_counts_once_beside_a_guess_at_the_lungs() -> None:
    values, lungs = np.zeros((10, 10)), np.zeros((10, 10), np.uint8)
    values[2, 3], lungs[1:3, 2:6] = 1.0, 1
    assert centre_of_lungs(lungs) == (4.0, 2.0)
    away = ((7.0, 7.0, 2.0, 2.0),)
    cases = [{"patient": p, "map": values, "boxes": b, "lungs": lungs} for p, b in (("a", BOX), ("a", BOX), ("b", away))]
    table = localisation_table(cases)
    assert (table["images"], table["patients"]) == (3, 2)
    assert (table["pointing"]["hits"], table["pointing"]["n"]) == (1, 2)
    assert table["centre_of_lungs"]["hits"] == 1
