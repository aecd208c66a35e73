"""Rules that can never give a run are told by the settings alone, and no other rule is."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.routing.overlap import Shadowed, covers, fits_any, shadowed
from dicom_node.routing.rules import Outcome
from dicom_node.routing.settings import Conditions, RoutingSettings, Rule
from dicom_node.routing.step import choose_routes
from tests.factories.header_studies import instance, study


def rule(name: str, pipeline: str = "cxr_tb", **when: Any) -> Rule:
    return Rule(name=name, pipeline=pipeline, when=Conditions(**when))


@pytest.mark.parametrize(
    ("wide", "narrow", "covered"),
    [
        ({}, {}, True),
        ({}, {"modality": "CR"}, True),
        ({"modality": "CR"}, {}, False),
        ({"modality": ["CR", "DX"]}, {"modality": "dx"}, True),
        ({"modality": "CR"}, {"modality": ["CR", "DX"]}, False),
        ({"modality": "CR"}, {"modality": "CR", "station": "ED*"}, True),
        ({"modality": "CR", "station": "ED*"}, {"modality": "CR"}, False),
        ({"body_part": "CHEST"}, {"body_part": "THORAX"}, True),
        ({"view": ["PA", "AP"]}, {"view": "FRONTAL"}, True),
        ({"view": "PA"}, {"view": "FRONTAL"}, False),
        ({"station": "ED*"}, {"station": ["ed1", "ED2?"]}, True),
        ({"station": "E*"}, {"station": "ED*"}, True),
        ({"station": "ED?"}, {"station": "ED*"}, False),
        ({"station": "ED"}, {"station": "ED*"}, False),
        ({"station": "*"}, {"station": "?"}, True),
        ({"min_age_years": 18}, {"min_age_years": 65}, True),
        ({"min_age_years": 18}, {"min_age_years": 5}, False),
        ({"max_age_years": 18}, {"max_age_years": 65}, False),
        ({"max_age_years": 65}, {"min_age_years": 18, "max_age_years": 65}, True),
    ],
)
def test_what_one_rule_leaves_another(wide: dict[str, Any], narrow: dict[str, Any], covered: bool) -> None:
    assert covers(Conditions(**wide), Conditions(**narrow)) is covered


def test_only_a_rule_of_the_same_pipeline_takes_a_study_away() -> None:
    rules = (rule("all"), rule("hegl", "cxr_hegl", modality="CR"), rule("emergency", modality="CR"), rule("hegl too", "cxr_hegl"))
    assert list(shadowed(rules)) == [Shadowed("emergency", "all")]


VALUES: dict[str, tuple[str, ...]] = {
    "modality": ("CR", "DX", "CT"),
    "body_part": ("CHEST", "THORAX", "ABDOMEN", ""),
    "view": ("PA", "AP", "LATERAL", ""),
    "station": ("ED1", "ED2", "WARD", "ED*", "*", "E?1", ""),
}
CONDITIONS = st.fixed_dictionaries(
    {},
    optional={name: st.lists(st.sampled_from([v for v in values if v]), min_size=1, max_size=2) for name, values in VALUES.items()},
)
FACTS = st.fixed_dictionaries(
    {
        "modality": st.sampled_from(VALUES["modality"]),
        "body_part": st.sampled_from(VALUES["body_part"]),
        "view_position": st.sampled_from(VALUES["view"]),
        "station_name": st.sampled_from(("ED1", "ED22", "WARD", "")),
    }
)


@given(first=CONDITIONS, second=CONDITIONS, facts=FACTS)
def test_a_rule_that_is_called_shadowed_never_gives_a_run(
    first: dict[str, Any], second: dict[str, Any], facts: dict[str, Any]
) -> None:
    """Routing itself agrees, for whatever image comes."""
    rules = (rule("first", **first), rule("second", **second))
    if not list(shadowed(rules)):
        return
    now = dt.datetime(2024, 3, 1, 13, 0, tzinfo=dt.UTC)
    decision = choose_routes(study(instance(**facts)), RoutingSettings(rules=rules), now, dt.UTC)
    assert decision.results[1].outcome in (Outcome.NO_MATCH, Outcome.SHADOWED)


def test_ae_titles_fit_with_wildcards_and_without_regard_to_case() -> None:
    when = Conditions(calling_ae=("dxroom*", "PACS"))
    assert fits_any("calling_ae", when, ("DXROOM1",))
    assert not fits_any("calling_ae", when, ("CT1", "PACS1"))
