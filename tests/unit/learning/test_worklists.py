"""Each rule of the worklists, and its reason."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dicom_node.core.feedback import Context, ReferenceStandard, Verdict
from dicom_node.core.findings import Decision, Zone
from dicom_node.learning.labels import Label, Read, aggregate
from dicom_node.learning.settings import WorklistSettings
from dicom_node.learning.worklists import DRAWN, Case, Said, asked_of, due_golden

SETTINGS = WorklistSettings()


def case(p: float, zone: Zone = Zone.NOT_SUSPECTED, *, low: float = 0.3, tau: float = 0.5, **more: object) -> Case:
    decision = Decision.POSITIVE if p >= tau else Decision.NEGATIVE
    return Case(zone, (Said("abnormal", p, decision, low),), **more)  # type: ignore[arg-type]


def labels(*values: float, reference: bool | None = None) -> tuple[Label, ...]:
    rows = [
        Read(n, f"f{n}", "run-1", "st_1", "abnormal", f"rd_{n}", Verdict.AMENDED, Context.AFTER_AI, value)
        for n, value in enumerate(values, 1)
    ]
    if reference is not None:
        known = Read(9, "f9", "run-1", "st_1", "abnormal", "rd_9", Verdict.AMENDED, Context.AFTER_AI, None)
        rows.append(replace(known, reference_standard=ReferenceStandard.CULTURE, reference_positive=reference))
    return tuple(aggregate(rows)[0])


def lists(one: Case) -> dict[str, str]:
    return {asked.worklist.value: asked.why for asked in asked_of(one, SETTINGS)}


def test_a_clear_result_is_asked_about_by_nobody() -> None:
    assert lists(case(0.05)) == {}
    assert lists(case(0.9, Zone.SUSPECTED)) == {}
    assert lists(case(0.05, answered=True, labels=labels(0.0, 0.0))) == {}


def test_what_was_called_normal_without_certainty_is_audited() -> None:
    assert lists(case(0.45)) == {"mandatory_audit": "Called not suspected with a certainty of only 0.55."}
    assert lists(case(0.39)) == {}
    assert lists(case(0.45, answered=True)) == {}


def test_a_flagged_negative_above_the_lower_threshold_is_audited_and_not_asked_twice() -> None:
    said = "Negative for abnormal, at or above the lower threshold, and the image has warnings."
    assert lists(case(0.35, Zone.GRAY, flags=("under_exposed",))) == {"mandatory_audit": said}
    assert list(lists(case(0.35, Zone.GRAY))) == ["gray_zone"]
    assert list(lists(case(0.55, Zone.GRAY, flags=("under_exposed",)))) == ["gray_zone"]


def test_a_positive_reference_test_after_a_negative_result_is_audited_even_when_readers_agreed_with_it() -> None:
    found = lists(case(0.2, answered=True, labels=labels(0.0, reference=True)))
    assert found == {"mandatory_audit": "A reference test found abnormal; the result was negative."}
    assert lists(case(0.2, answered=True, labels=labels(0.0, reference=False))) == {}


@pytest.mark.parametrize(
    ("p", "value", "asked"), [(0.97, 0.0, True), (0.97, 1.0, False), (0.94, 0.0, False), (0.02, 1.0, True), (0.97, 0.5, False)]
)
def test_a_certain_result_that_a_reader_contradicts_is_analysed(p: float, value: float, asked: bool) -> None:
    found = lists(case(p, Zone.SUSPECTED if p > 0.5 else Zone.NOT_SUSPECTED, answered=True, labels=labels(value)))
    certainty = max(p, 1 - p)
    why = f"A reader contradicts the result on abnormal, which was certain ({certainty:.2f})."
    assert found == ({"high_confidence_confusion": why} if asked else {})


def test_a_reference_test_says_who_was_wrong() -> None:
    assert lists(case(0.97, Zone.SUSPECTED, answered=True, labels=labels(0.0, reference=True))) == {}
    found = lists(case(0.97, Zone.SUSPECTED, answered=True, labels=labels(1.0, reference=False)))
    assert found == {"high_confidence_confusion": "A reference test contradicts the result on abnormal, which was certain (0.97)."}


def test_attention_at_the_border_is_analysed() -> None:
    found = lists(case(0.9, Zone.SUSPECTED, flags=("shortcut_suspect",)))
    assert found == {"high_confidence_confusion": "Much of the network's attention lies at the image border."}


def test_readers_who_differ_need_one_more() -> None:
    two, three = labels(1.0, 0.0), labels(1.0, 0.0, 1.0)
    assert lists(case(0.9, Zone.SUSPECTED, answered=True, labels=two)) == {
        "low_consensus": "2 readers differ on abnormal: one more reader is asked."
    }
    assert "3 readers differ" in lists(case(0.9, Zone.SUSPECTED, answered=True, labels=three))["low_consensus"]


def test_chance_draws_unread_cases_beside_other_reasons() -> None:
    assert lists(case(0.05, drawn=True)) == {"random_audit": DRAWN}
    assert set(lists(case(0.35, Zone.GRAY, drawn=True))) == {"gray_zone", "random_audit"}
    assert lists(case(0.05, drawn=True, answered=True)) == {}


@pytest.mark.parametrize(("answers", "opened", "due"), [(0, 0, 0), (49, 0, 0), (50, 0, 1), (50, 1, 0), (149, 1, 1), (10, 3, 0)])
def test_one_case_in_fifty_is_golden(answers: int, opened: int, due: int) -> None:
    assert due_golden(answers, opened, 0.02) == due
