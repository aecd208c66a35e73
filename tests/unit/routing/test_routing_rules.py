"""Rules over studies: true, false, unknown, and why."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.core.phi import Phi
from dicom_node.core.run import Priority, Release
from dicom_node.routing.conditions import Truth, check_instance
from dicom_node.routing.rules import Outcome, is_image, quiet_seconds
from dicom_node.routing.settings import Conditions, HoldRule, RoutingSettings, Rule
from dicom_node.routing.step import RoutingDecision, choose_routes
from tests.factories.header_studies import CT_IMAGE, DOSE_SR, PRESENTATION_STATE, instance, study

NOON = dt.datetime(2024, 3, 1, 13, 0, tzinfo=dt.UTC)
CHEST = {"modality": ["CR", "DX"], "body_part": "CHEST", "view": "PA"}


def rule(name: str = "chest", pipeline: str = "cxr_tb", when: dict[str, Any] | None = None, **more: Any) -> Rule:
    return Rule(name=name, pipeline=pipeline, when=Conditions(**(CHEST if when is None else when)), **more)


def decide(
    *instances: Any, rules: tuple[Rule, ...] = (), hold: tuple[HoldRule, ...] = (), now: dt.datetime = NOON
) -> RoutingDecision:
    return choose_routes(study(*instances), RoutingSettings(rules=rules or (rule(),), hold=hold), now, dt.UTC)


def test_a_chest_radiograph_matches_certainly() -> None:
    """All conditions true on one image: one route, certain."""
    decision = decide(instance())
    assert [route.pipeline for route in decision.routes] == ["cxr_tb"]
    assert decision.routes[0].certain
    assert decision.held == ""
    assert decision.summary == "The study goes to cxr_tb."


def test_stripped_tags_are_unknown_and_still_matched() -> None:
    """A chest CR without body part and view goes to the pixel gates and the reasons say so."""
    decision = decide(instance(body_part="", view_position=""))
    assert [route.certain for route in decision.routes] == [False]
    result = decision.results[0]
    assert {c.condition: c.truth for c in result.conditions} == {
        "modality": Truth.TRUE,
        "body_part": Truth.UNKNOWN,
        "view": Truth.UNKNOWN,
    }
    assert result.text == (
        'Rule "chest" may match; the image itself will decide: '
        "Body part is not in the header; the rule wants CHEST. View is not in the header; the rule wants PA."
    )


@pytest.mark.parametrize(
    ("facts", "when", "truth"),
    [
        ({"body_part": "THORAX"}, {"body_part": "CHEST"}, Truth.TRUE),
        ({"body_part": "chest"}, {"body_part": "CHEST"}, Truth.TRUE),
        ({"body_part": "", "anatomic_regions": ("816094009",)}, {"body_part": "CHEST"}, Truth.TRUE),
        ({"body_part": "", "anatomic_regions": ("T-D3000",)}, {"body_part": "CHEST"}, Truth.TRUE),
        ({"body_part": "", "anatomic_regions": ("818981001",)}, {"body_part": "CHEST"}, Truth.FALSE),
        ({"body_part": "", "anatomic_regions": ("999",)}, {"body_part": "CHEST"}, Truth.UNKNOWN),
        ({"body_part": "ABDOMEN", "anatomic_regions": ("816094009",)}, {"body_part": "CHEST"}, Truth.UNKNOWN),
        ({"body_part": "CHESTABDOMEN"}, {"body_part": "CHEST"}, Truth.UNKNOWN),
        ({"body_part": "UNKNOWN"}, {"body_part": "CHEST"}, Truth.UNKNOWN),
        ({"body_part": "ABDOMEN"}, {"body_part": "CHEST"}, Truth.FALSE),
        ({"body_part": "ABDOMEN"}, {"body_part": ["CHEST", "ABDOMEN"]}, Truth.TRUE),
        ({"view_position": "", "view_codes": ("272479007",)}, {"view": "PA"}, Truth.TRUE),
        ({"view_position": "", "view_codes": ("R-10206",)}, {"view": "PA"}, Truth.FALSE),
        ({"view_position": "", "view_codes": ("399033003",)}, {"view": "PA"}, Truth.UNKNOWN),
        ({"view_position": "", "view_codes": ("399033003",)}, {"view": ["PA", "AP"]}, Truth.TRUE),
        ({"view_position": "AP"}, {"view": "PA"}, Truth.FALSE),
        ({"view_position": "PA", "view_codes": ("399348003",)}, {"view": "PA"}, Truth.UNKNOWN),
        ({"view_position": "LATERAL"}, {"view": "PA"}, Truth.FALSE),
        ({"view_position": "LL"}, {"view": "LATERAL"}, Truth.TRUE),
        ({"view_position": "LATERAL"}, {"view": "LL"}, Truth.UNKNOWN),
        ({"modality": ""}, {"modality": "CR"}, Truth.TRUE),  # the SOP class fixes it
        ({"modality": "MG"}, {"modality": ["CR", "DX"]}, Truth.FALSE),
        ({"study_description": "Thorax p.a."}, {"study_description": "thorax*"}, Truth.TRUE),
        ({"study_description": "a[b]"}, {"study_description": "a[b]"}, Truth.TRUE),
        ({"study_description": ""}, {"study_description": "thorax*"}, Truth.UNKNOWN),
        ({"station_name": "BED3"}, {"station": "BED?"}, Truth.TRUE),
        ({"patient_name": Phi("Doe^John^^")}, {"patient_name": "DOE^JOHN"}, Truth.TRUE),
        ({"patient_id": Phi("QA-7")}, {"patient_id": "QA*"}, Truth.TRUE),
        ({"birth_date": Phi("20100101")}, {"min_age_years": 18}, Truth.FALSE),
        ({"birth_date": Phi("20060301")}, {"min_age_years": 18}, Truth.TRUE),
        ({"birth_date": Phi("19000101")}, {"min_age_years": 18}, Truth.UNKNOWN),
        ({"birth_date": Phi("19800101")}, {"max_age_years": 18}, Truth.FALSE),
        ({"birth_date": Phi("")}, {"max_age_years": 18}, Truth.UNKNOWN),
    ],
)
def test_a_condition_is_true_false_or_unknown(facts: dict[str, Any], when: dict[str, Any], truth: Truth) -> None:
    """Absent, empty or contradictory header elements are unknown; only what the header says is true or false."""
    (checked,) = check_instance(Conditions(**when), instance(**facts))
    assert checked.truth is truth
    assert checked.text.endswith(".")


def test_an_ap_image_is_not_silently_dropped_by_a_pa_rule() -> None:
    """A rule for PA does not match a stated AP image; the reason names the view."""
    decision = decide(instance(view_position="AP"))
    assert decision.routes == ()
    assert decision.held == "no_rule"
    assert decision.results[0].text == 'Rule "chest" does not match: View is AP; the rule wants PA.'
    assert decision.summary == "The study is not analysed and nothing is sent: No routing rule matched."


def test_conditions_hold_together_on_one_image() -> None:
    """CT of the abdomen beside a chest CR does not make a chest CT."""
    abdomen_ct = instance(1, CT_IMAGE, modality="CT", body_part="ABDOMEN", view_position="")
    chest_cr = instance(2)
    ct_rule = rule("ct", "ct_ntm", {"modality": "CT", "body_part": "CHEST"})
    decision = decide(abdomen_ct, chest_cr, rules=(ct_rule, rule()))
    assert [route.pipeline for route in decision.routes] == ["cxr_tb"]
    assert decision.results[0].outcome is Outcome.NO_MATCH
    assert decision.results[1].instances == ("1.2.3.2",)


def test_objects_that_are_no_images_do_not_match() -> None:
    """A dose report or presentation state with empty tags is not unknown: the images of the study decide."""
    only_body_part = rule(when={"body_part": "CHEST"})
    report = instance(1, DOSE_SR, modality="SR", body_part="")
    state = instance(2, PRESENTATION_STATE, modality="PR", body_part="")
    hand = instance(3, body_part="HAND")
    assert decide(report, state, hand, rules=(only_body_part,)).held == "no_rule"
    assert not is_image(report)
    assert is_image(instance(has_pixel_data=False))


def test_a_study_without_images_is_answered_with_its_reason() -> None:
    """Only an SR: modality is false, nothing runs, the reason stands."""
    decision = decide(instance(1, DOSE_SR, modality="SR", body_part=""))
    assert decision.held == "no_rule"
    assert "Modality is SR; the rule wants CR or DX." in decision.results[0].text


def test_hold_rules_hold_only_what_is_certain() -> None:
    """A phantom is held before any rule is asked; an empty Patient ID is unknown and holds nobody."""
    phantoms = HoldRule(name="phantoms", when=Conditions(patient_id=("QA*",)))
    held = decide(instance(patient_id=Phi("QA-7")), hold=(phantoms,))
    assert held.held == "hold_rule"
    assert held.routes == ()
    assert held.results[-1].outcome is Outcome.NOT_ASKED
    assert "QA-7" not in " ".join(held.reasons)
    unknown = decide(instance(patient_id=Phi("")), hold=(phantoms,))
    assert [route.pipeline for route in unknown.routes] == ["cxr_tb"]


def test_the_first_match_of_a_pipeline_wins() -> None:
    """One run per pipeline; the other rule's reason names the one before it; another pipeline runs beside."""
    stat = rule("emergency", when={"calling_ae": "ER*"}, priority="stat", release="at_once")
    other = rule("other model", "cxr_hegl", {"modality": "CR"})
    decision = decide(instance(calling_ae="ER1"), rules=(stat, rule(), other))
    assert [(route.rule.name, route.pipeline) for route in decision.routes] == [
        ("emergency", "cxr_tb"),
        ("other model", "cxr_hegl"),
    ]
    assert decision.routes[0].rule.priority is Priority.STAT
    assert decision.routes[0].rule.release is Release.AT_ONCE
    assert decision.results[1].outcome is Outcome.SHADOWED
    assert decision.results[1].text == 'Rule "chest" matches too, but rule "emergency" stands before it for cxr_tb.'


def test_five_hundred_studies_of_2019_are_held() -> None:
    """A migration of old studies gives no route at all."""
    decisions = [decide(instance(study_date=f"2019{1 + n % 12:02d}{1 + n % 28:02d}")) for n in range(500)]
    assert {decision.held for decision in decisions} == {"study_too_old"}
    assert not any(decision.routes for decision in decisions)


@pytest.mark.parametrize("date", ["", "2024", "20241340", "yesterday", "20991231"])
def test_a_study_date_that_cannot_be_believed_holds(date: str) -> None:
    """Missing, unparsable or far in the future: unknown, held."""
    assert decide(instance(study_date=date)).held == "study_date_unknown"


def test_an_old_first_match_is_not_overtaken_by_a_later_rule() -> None:
    """The first match decides about age, too."""
    patient_rule = rule("older allowed", max_study_age_hours=24 * 365 * 20)
    old = instance(study_date="20200101")
    assert decide(old, rules=(rule(), patient_rule)).held == "study_too_old"
    assert [r.rule.name for r in decide(old, rules=(patient_rule, rule())).routes] == ["older allowed"]


@pytest.mark.parametrize(
    ("facts", "zone", "now", "held"),
    [
        # 48 h after 1 March, 12:00 at +05:30 is 3 March, 06:30 UTC
        ({"timezone_offset": "+0530"}, dt.UTC, dt.datetime(2024, 3, 3, 6, 29, tzinfo=dt.UTC), ""),
        ({"timezone_offset": "+0530"}, dt.UTC, dt.datetime(2024, 3, 3, 6, 31, tzinfo=dt.UTC), "study_too_old"),
        ({}, dt.timezone(dt.timedelta(hours=5, minutes=30)), dt.datetime(2024, 3, 3, 6, 31, tzinfo=dt.UTC), "study_too_old"),
        ({}, dt.UTC, dt.datetime(2024, 3, 3, 6, 31, tzinfo=dt.UTC), ""),
        ({"timezone_offset": "+99"}, dt.UTC, dt.datetime(2024, 3, 3, 6, 31, tzinfo=dt.UTC), ""),
        ({"study_time": ""}, dt.UTC, dt.datetime(2024, 3, 3, 23, 0, tzinfo=dt.UTC), ""),
        ({"study_time": "25"}, dt.UTC, dt.datetime(2024, 3, 4, 0, 1, tzinfo=dt.UTC), "study_too_old"),
        ({"study_time": "235960.5"}, dt.UTC, dt.datetime(2024, 3, 3, 23, 0, tzinfo=dt.UTC), ""),
        ({"study_date": "20240302", "study_time": "100000"}, dt.UTC, NOON, ""),  # less than a day ahead: a wrong zone
    ],
)
def test_study_age_counts_in_the_right_zone(facts: dict[str, Any], zone: dt.tzinfo, now: dt.datetime, held: str) -> None:
    """The header's own offset counts, else the site's; without a time the end of the day counts."""
    decision = choose_routes(study(instance(**facts)), RoutingSettings(rules=(rule(),)), now, zone)
    assert decision.held == held


def test_quiet_time_is_the_longest_that_fitting_rules_ask() -> None:
    """Rules that cannot match do not slow a study down."""
    settings = RoutingSettings(
        rules=(
            rule("a", quiet_seconds=30),
            rule("b", quiet_seconds=90),
            rule("ct", when={"modality": "CT"}, quiet_seconds=600),
            rule("d"),
        )
    )
    assert quiet_seconds(study(instance()), settings) == 90
    assert quiet_seconds(study(instance(body_part="HAND")), settings) is None


def test_reasons_never_show_what_identifies_a_person() -> None:
    """Patient ID, name and free text are matched, not printed; nor are UIDs."""
    secret = instance(
        patient_id=Phi("SECRET1"), patient_name=Phi("SECRET2^X"), study_description="SECRET3", series_description="SECRET4",
        birth_date=Phi("19770707"), accession_number=Phi("SECRET5"),
    )  # fmt: skip
    when = {
        "patient_id": "A",
        "patient_name": "SECRET2^X",
        "study_description": "SECRET3",
        "series_description": "Q",
        "min_age_years": 99,
    }
    matching = {key: when[key] for key in ("patient_name", "study_description")}
    for conditions in (when, matching):
        text = repr(decide(secret, rules=(rule(when=conditions),)).reasons)
        assert "SECRET" not in text
        assert "1977" not in text
        assert "1.2.3" not in text


texts = st.text(max_size=20)


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "modality": texts, "body_part": texts, "view_position": texts, "study_date": texts | st.just("20240301"),
                "study_time": texts, "timezone_offset": texts, "station_name": texts, "patient_id": texts.map(Phi),
                "birth_date": texts.map(Phi), "patient_age": texts, "view_codes": st.lists(texts, max_size=2).map(tuple),
            }
        ),
        max_size=4,
    )
)  # fmt: skip
def test_any_header_gives_a_decision_with_reasons(headers: list[dict[str, Any]]) -> None:
    """Whatever a header says: routes or a reason why not, and a sentence for every rule."""
    everything = rule("all", when={**CHEST, "station": "A*", "patient_id": "QA*", "min_age_years": 18})
    decision = decide(*(instance(n, **facts) for n, facts in enumerate(headers)), rules=(everything, rule("b", "other", {})))
    assert bool(decision.routes) != bool(decision.held)
    assert len(decision.reasons) == 3
    assert all(reason.strip() for reason in decision.reasons)
