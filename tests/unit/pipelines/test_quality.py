"""Header gates: tables of what departments really write."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dicom_node.core.phi import Phi
from dicom_node.core.study import HeaderFacts
from pipelines.blocks import quality
from pipelines.blocks.quality import Outcome


@pytest.mark.parametrize(
    ("body_part", "regions", "outcome"),
    [
        ("CHEST", (), Outcome.PASS),
        ("THORAX", (), Outcome.PASS),
        ("CHEST PA", (), Outcome.PASS),
        ("", ("816094009",), Outcome.PASS),
        ("", ("T-D3000",), Outcome.PASS),
        ("HIP", ("816094009",), Outcome.PASS),
        ("", (), Outcome.UNKNOWN),
        ("UNKNOWN", (), Outcome.UNKNOWN),
        ("ABDOMEN", (), Outcome.REJECT),
        ("CHEST_ABDOMEN", (), Outcome.REJECT),
        ("EXTREMITY", (), Outcome.REJECT),
        ("", ("29836001",), Outcome.REJECT),
    ],
)
def test_body_part_is_chest_other_or_unknown(body_part: str, regions: tuple[str, ...], outcome: Outcome) -> None:
    gate = quality.body_part_gate(HeaderFacts(body_part=body_part, anatomic_regions=regions))
    assert gate.outcome is outcome
    assert gate.code == ("not_chest" if outcome is Outcome.REJECT else "")


@pytest.mark.parametrize(
    ("position", "codes", "view"),
    [
        ("PA", (), "PA"),
        ("AP", (), "AP"),
        ("", ("272479007",), "PA"),
        ("", ("R-10206",), "AP"),
        ("LL", (), "other"),
        ("RL", (), "other"),
        ("LATERAL", (), "other"),
        ("RAO", (), "other"),
        ("", ("399173006",), "other"),
        ("", (), ""),
        ("FRONTAL", (), ""),
        ("", ("260421001",), ""),
        ("PA", ("399173006",), "PA"),
    ],
)
def test_the_view_comes_from_view_position_else_from_the_view_code(position: str, codes: tuple[str, ...], view: str) -> None:
    assert quality.view_of(HeaderFacts(view_position=position, view_codes=codes)) == view


@pytest.mark.parametrize(
    ("view", "accept_ap", "outcome", "code"),
    [
        ("PA", False, Outcome.PASS, ""),
        ("AP", False, Outcome.REJECT, "ap_view"),
        ("AP", True, Outcome.FLAG, "ap_view"),
        ("LL", True, Outcome.REJECT, "not_frontal"),
        ("", False, Outcome.UNKNOWN, ""),
    ],
)
def test_ap_is_read_only_where_accepted_and_an_absent_view_is_unknown(
    view: str, accept_ap: bool, outcome: Outcome, code: str
) -> None:
    gate = quality.view_gate(HeaderFacts(view_position=view), accept_ap=accept_ap)
    assert (gate.outcome, gate.code) == (outcome, code)


@pytest.mark.parametrize(
    ("birth", "age", "outcome", "code"),
    [
        ("19700412", "", Outcome.PASS, ""),
        ("20111120", "", Outcome.PASS, ""),  # fifteen today
        ("20111121", "", Outcome.REJECT, "too_young"),  # fifteen tomorrow
        ("", "046Y", Outcome.PASS, ""),
        ("", "014Y", Outcome.REJECT, "too_young"),
        ("", "018M", Outcome.REJECT, "too_young"),
        ("19000101", "", Outcome.REJECT, "age_unknown"),
        ("19000101", "046Y", Outcome.PASS, ""),
        ("20300101", "", Outcome.REJECT, "age_unknown"),
        ("18900101", "", Outcome.REJECT, "age_unknown"),
        ("", "", Outcome.REJECT, "age_unknown"),
        ("gestern", "alt", Outcome.REJECT, "age_unknown"),
    ],
)
def test_age_is_birth_date_at_study_date_else_patient_age_else_unknown(birth: str, age: str, outcome: Outcome, code: str) -> None:
    facts = HeaderFacts(birth_date=Phi(birth), patient_age=age, study_date="20261120")
    gate = quality.age_gate(facts, youngest=15, accept_unknown=False)
    assert (gate.outcome, gate.code) == (outcome, code)
    if code == "age_unknown":
        assert quality.age_gate(facts, youngest=15, accept_unknown=True).outcome is Outcome.FLAG


@pytest.mark.parametrize(
    ("spacing", "outcome"),
    [
        ((0.2, 0.2), Outcome.PASS),
        ((0.0, 0.0), Outcome.UNKNOWN),
        ((), Outcome.UNKNOWN),
        ((-1.0, 0.2), Outcome.UNKNOWN),
        ((0.05, 0.05), Outcome.FLAG),
    ],
)
def test_a_spacing_of_zero_is_unknown_and_an_odd_field_of_view_is_flagged(spacing: tuple[float, ...], outcome: Outcome) -> None:
    facts = HeaderFacts(rows=2000, columns=2000, imager_pixel_spacing_mm=spacing)
    assert quality.spacing_gate(facts, least_mm=200, most_mm=520).outcome is outcome


@pytest.mark.parametrize(
    ("rows", "columns", "outcome"),
    [
        (2000, 2500, Outcome.PASS),
        (400, 500, Outcome.FLAG),
        (169, 211, Outcome.REJECT),
        (20_000, 500, Outcome.REJECT),
        (None, 5, Outcome.UNKNOWN),
    ],
)
def test_the_matrix_is_refused_when_tiny_or_huge_and_flagged_when_small(rows: Any, columns: Any, outcome: Outcome) -> None:
    assert quality.matrix_gate(rows, columns, least=256, low=512, most=10_000).outcome is outcome


def test_an_empty_picture_is_refused_and_one_clipped_to_white_is_flagged() -> None:
    values = np.random.default_rng(0).random((600, 600)).astype(np.float32) * 0.9
    assert quality.contrast_gate(values, saturated=0.05).outcome is Outcome.PASS
    assert quality.contrast_gate(np.full_like(values, 0.4), saturated=0.05).code == "poor_quality"
    assert quality.contrast_gate((values > 0.5).astype(np.float32), saturated=0.05).code == "poor_quality"
    values[200:350, 200:350] = 1
    assert quality.contrast_gate(values, saturated=0.05).code == "saturated"
