"""Labels are those that the rules give by hand."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest

from dicom_node.core.feedback import Context, ReferenceStandard, Verdict
from dicom_node.learning.labels import (
    Label,
    LabelStatus,
    Read,
    aggregate,
    golden_accuracy,
    reader_weights,
    standing_reads,
    value_of,
)

_numbers = itertools.count(1)


def read(
    reader: str,
    value: float | None,
    context: Context = Context.AFTER_AI,
    *,
    case: str = "run-1",
    plain: bool = False,
    **more: object,
) -> Read:
    """Return an answer; each call is a later row of the log."""
    number = next(_numbers)
    verdict = more.pop("verdict", Verdict.AMENDED)
    return Read(number, f"f{number}", case, f"st_{case}", "abnormal", reader, verdict, context, value, plain, **more)  # type: ignore[arg-type]


def only(*rows: Read) -> Label:
    (label,) = aggregate(rows)[0]
    return label


@pytest.mark.parametrize(
    ("verdict", "before", "after", "assessment", "value"),
    [
        (Verdict.ACCEPTED, "positive", "", None, 1.0),
        (Verdict.ACCEPTED, "negative", "", None, 0.0),
        (Verdict.REJECTED, "positive", "", None, 0.0),
        (Verdict.REJECTED, "negative", "", None, 1.0),
        (Verdict.AMENDED, "positive", "absent", None, 0.0),
        (Verdict.AMENDED, "negative", "present", None, 1.0),
        (Verdict.AMENDED, "negative", "", 0.75, 0.75),
        (Verdict.ACCEPTED, "positive", "", 0.75, 0.75),  # the finer word counts
        (Verdict.AMENDED, "positive", "unsure", None, None),
        (Verdict.AMENDED, "positive", "233604007^SCT", None, None),  # another finding: nothing is said of this one
        (Verdict.AMENDED, "positive", "", None, None),
        (Verdict.ACCEPTED, "review", "", None, None),  # the AI had taken no side
        (Verdict.REJECTED, "not_assessed", "", None, None),
        (Verdict.DEFERRED, "positive", "", None, None),
        (Verdict.WITHDRAWN, "positive", "present", None, None),
    ],
)
def test_what_an_answer_says_of_the_finding(
    verdict: Verdict, before: str, after: str, assessment: float | None, value: float | None
) -> None:
    assert value_of(verdict, before, after, assessment) == value


def test_one_reading_is_a_single_read_and_counts_half() -> None:
    label = only(read("a", 1.0))
    assert (label.label, label.n_readers, label.status, label.weight, label.entropy) == (1.0, 1, "single_read", 0.5, 0.0)


def test_reads_after_the_ai_count_half_and_a_plain_accept_a_quarter() -> None:
    # (1.0 * 0 + 0.5 * 1 + 0.25 * 1) / 1.75 = 3/7; two of three say it is there: a majority, and not all
    label = only(read("a", 0.0, Context.BLINDED_FIRST_READ), read("b", 1.0), read("c", 1.0, plain=True))
    assert label.label == pytest.approx(3 / 7)
    assert label.entropy == pytest.approx(-(3 / 7) * math.log2(3 / 7) - (4 / 7) * math.log2(4 / 7))
    assert (label.n_readers, label.status, label.weight) == (3, "low_consensus", 1.0)


def test_readers_on_one_side_are_a_consensus() -> None:
    # (0.75 * 0.5 + 1 * 0.5) / 1 = 0.875
    label = only(read("a", 0.75), read("b", 1.0))
    assert (label.label, label.status, label.weight) == (0.875, "consensus", 1.0)


def test_as_many_on_each_side_are_a_conflict_that_trains_nothing() -> None:
    label = only(read("a", 1.0), read("b", 0.0))
    assert (label.label, label.status, label.eligible) == (0.5, "conflicted", False)


def test_somebody_in_the_middle_is_no_consensus() -> None:
    assert only(read("a", 1.0), read("b", 0.5)).status is LabelStatus.LOW_CONSENSUS


def test_an_adjudication_decides_over_all_readers() -> None:
    label = only(read("a", 1.0), read("b", 0.0), read("c", 0.0, Context.ADJUDICATION))
    assert (label.label, label.status, label.basis, label.n_readers) == (0.0, "consensus", "adjudication", 3)


def test_a_reference_standard_decides_over_everybody() -> None:
    culture = {"reference_standard": ReferenceStandard.CULTURE, "reference_positive": True}
    label = only(read("a", 0.0), read("b", 0.0, Context.ADJUDICATION), read("c", None, **culture))
    assert (label.label, label.status, label.basis, label.weight) == (1.0, "reference", "reference", 1.0)
    pcr = {"reference_standard": ReferenceStandard.PCR, "reference_positive": False}
    label = only(read("c", None, **culture), read("c", 0.0))  # an opinion does not change what a test found
    assert (label.label, label.status, label.n_readers) == (1.0, "reference", 1)
    label = only(read("c", 0.0, **culture), read("c", None, verdict=Verdict.WITHDRAWN), read("d", 0.0))
    assert (label.label, label.status) == (0.0, "single_read")
    label = only(read("c", None, **culture), read("d", None, **pcr))
    assert (label.label, label.status, label.eligible) == (None, "conflicted", False)


def test_the_latest_answer_of_a_reader_counts() -> None:
    label = only(read("a", 1.0), read("a", 0.0), read("a", 1.0))
    assert (label.label, label.n_readers) == (1.0, 1)
    assert len(standing_reads([read("a", 1.0), read("a", 0.0)])) == 1


def test_what_was_said_before_the_ai_was_shown_stays_and_counts_first() -> None:
    rows = [read("a", 0.0, Context.BLINDED_FIRST_READ), read("a", 1.0, Context.AFTER_AI)]
    label = only(*rows)
    assert len(label.reads) == 2
    assert (label.label, label.n_readers, label.status) == (0.0, 1, "single_read")


def test_an_audit_without_the_ai_is_a_blinded_read() -> None:
    # (1 * 0 + 0.5 * 1) / 1.5 = 1/3
    label = only(read("a", 0.0, Context.RANDOM_AUDIT, ai_shown=False), read("b", 1.0, Context.RANDOM_AUDIT))
    assert label.label == pytest.approx(1 / 3)


def test_who_is_unsure_now_holds_no_opinion_any_more() -> None:
    assert aggregate([read("a", 1.0), read("a", None)])[0] == []


def test_what_a_reader_withdrew_is_gone_and_what_others_said_is_not() -> None:
    rows = [read("a", 1.0), read("b", 0.0), read("a", None, verdict=Verdict.WITHDRAWN)]
    label = only(*rows)
    assert (label.label, label.n_readers) == (0.0, 1)
    assert only(*rows, read("a", 1.0)).n_readers == 2


def test_putting_it_off_is_no_answer() -> None:
    assert only(read("a", 1.0), read("a", None, verdict=Verdict.DEFERRED)).label == 1.0


def test_nobody_known_labels_nothing_nor_does_a_golden_case() -> None:
    assert aggregate([read("", 1.0), read("a", 1.0, Context.GOLDEN_CASE)])[0] == []


def test_golden_cases_tell_how_good_a_reader_is() -> None:
    golden = [
        read("a", 1.0, Context.GOLDEN_CASE, case="run-1"),
        read("a", 0.0, Context.GOLDEN_CASE, case="run-2"),
        read("a", 0.5, Context.GOLDEN_CASE, case="run-3"),
        read("b", 1.0, case="run-1"),
    ]
    known = {("st_run-1", "abnormal"): True, ("st_run-2", "abnormal"): False, ("st_run-3", "abnormal"): True}
    assert golden_accuracy(golden, known) == {"a": (2, 3)}


def test_readers_count_alike_until_thirty_shared_cases() -> None:
    rows = [read(r, 1.0 if case % 2 else 0.0, case=f"run-{case}") for case in range(29) for r in "abc"]
    weights = reader_weights(rows)
    assert {name: (w.overlap, w.weight) for (name, _), w in weights.items()} == dict.fromkeys("abc", (29, 1.0))


def test_a_reader_who_errs_counts_less_and_the_mean_is_one() -> None:
    """By hand: a and b never err. c errs in 10 of 40 cases, 5 of each kind, so 0.75 is right: log-odds ln 3 = 1.0986.

    Of a and b the log-odds end at the limit, ln 999 = 6.9068. The mean is 4.9707: a and b count 1.3895, c counts 0.2210.
    """
    rows = []
    for case in range(40):
        truth = float(case < 20)
        rows += [read(name, truth, case=f"run-{case}") for name in "ab"]
        rows.append(read("c", 1 - truth if case % 20 < 5 else truth, case=f"run-{case}"))
    weights = {name: one.weight for (name, _), one in reader_weights(rows).items()}
    assert weights["a"] == weights["b"] == pytest.approx(1.3895, abs=0.01)
    assert weights["c"] == pytest.approx(0.2210, abs=0.01)
    differing = next(label for label in aggregate(rows)[0] if label.status == "low_consensus")
    assert differing.label == pytest.approx(2 * weights["a"] / (2 * weights["a"] + weights["c"]))


def test_no_reader_counts_for_more_than_twice_the_mean() -> None:
    rng = np.random.default_rng(1)
    rows = []
    for case in range(200):
        truth = case % 2
        for name, right in (("a", 1.0), ("b", 0.62), ("c", 0.62), ("d", 0.62), ("e", 0.62)):
            said = truth if rng.random() < right else 1 - truth
            rows.append(read(name, float(said), case=f"run-{case}"))
    weights = {name: one.weight for (name, _), one in reader_weights(rows).items()}
    assert max(weights.values()) <= 2.0
    assert min(weights.values()) >= 0.0


def test_ten_thousand_answers_of_three_readers_take_seconds_and_give_the_labels_counted_by_hand() -> None:
    """4,000 cases, 10,000 answers. Case n: every reader is right, but for what stands here.

    n % 4 == 0: a, b, c read it, c differs when n % 8 == 0      1000 cases: 500 low consensus, 500 consensus
    n % 4 == 1: a, b, c read it                                 1000 cases: consensus
    n % 4 == 2: a and b read it, b differs when n % 20 == 2     1000 cases: 200 conflicted, 800 consensus
    n % 4 == 3: a and c read it                                 1000 cases: consensus
    """
    rows = []
    for n in range(4000):
        truth = float(n % 3 == 0)
        case = f"run-{n}"
        readers = {0: "abc", 1: "abc", 2: "ab", 3: "ac"}[n % 4]
        for name in readers:
            differs = (name == "c" and n % 8 == 0) or (name == "b" and n % 20 == 2)
            rows.append(read(name, 1 - truth if differs else truth, case=case))
    assert len(rows) == 10_000
    began = time.perf_counter()
    labels, weights = aggregate(rows)
    seconds = time.perf_counter() - began
    assert seconds < 30
    assert len(labels) == 4000
    counted = {status: sum(label.status == status for label in labels) for status in LabelStatus}
    assert counted == {"reference": 0, "consensus": 3300, "low_consensus": 500, "single_read": 0, "conflicted": 200}
    for label in labels:
        n, truth = int(label.run_key[4:]), float(int(label.run_key[4:]) % 3 == 0)
        if label.status == "consensus":
            assert label.label == truth
            assert label.entropy == 0
        elif label.status == "low_consensus":  # c alone differs: its share of the weight is on the other side
            own = {name: weights[name, "abnormal"].weight for name in "abc"}
            share = own["c"] / sum(own.values())
            assert label.label == pytest.approx(truth + share if truth == 0 else 1 - share), n
            assert (label.label > 0.5) == bool(truth)
