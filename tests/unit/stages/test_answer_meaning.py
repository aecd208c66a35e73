"""What the answers that stand mean: sent or kept back, hidden or not, told anew or not."""

from __future__ import annotations

import dataclasses

import pytest

from dicom_node.core.feedback import Channel, Context, Strength, Verdict
from dicom_node.feedback.standing import Standing
from dicom_node.stages.answers.meaning import Waiting, is_to_be_hidden, is_upheld, said, what_waits

ACCEPTED, REJECTED, AMENDED = Verdict.ACCEPTED, Verdict.REJECTED, Verdict.AMENDED
STRONG, WEAK = Strength.STRONG, Strength.WEAK


def one(verdict: Verdict, number: int = 1, strength: Strength = STRONG, finding: str = "", **changes: object) -> Standing:
    made = Standing(
        finding, verdict, strength, "rd_1", "radiologist", 0.0, number, f"f{number}", Channel.WEB, Context.AFTER_AI, "", ""
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def of(*items: Standing) -> dict[str, Standing]:
    return {item.finding: item for item in items}


@pytest.mark.parametrize(
    ("standing", "meaning"),
    [
        ((), Waiting.UNANSWERED),
        ((one(ACCEPTED),), Waiting.SENT),
        ((one(AMENDED),), Waiting.SENT),
        ((one(REJECTED),), Waiting.REJECTED),
        ((one(ACCEPTED, strength=WEAK),), Waiting.WEAK),
        ((one(REJECTED, strength=WEAK),), Waiting.WEAK),
        ((one(ACCEPTED), one(REJECTED, 2, WEAK, "abnormal")), Waiting.SENT),
        ((one(ACCEPTED), one(REJECTED, 2, finding="abnormal")), Waiting.REJECTED),
        ((one(REJECTED, 1, finding="abnormal"), one(ACCEPTED, 2)), Waiting.SENT),
        ((one(ACCEPTED, 1, finding="abnormal"), one(REJECTED, 2)), Waiting.REJECTED),
        ((one(AMENDED, 1, finding="abnormal"), one(ACCEPTED, 2, finding="tuberculosis")), Waiting.SENT),
        ((one(AMENDED, 1, finding="abnormal"), one(REJECTED, 2, finding="tuberculosis")), Waiting.REJECTED),
    ],
)
def test_only_a_radiologist_releases_and_a_rejection_never_does(standing: tuple[Standing, ...], meaning: Waiting) -> None:
    assert what_waits(of(*standing)) is meaning


@pytest.mark.parametrize(
    ("standing", "hidden", "upheld"),
    [
        ((), False, False),
        ((one(REJECTED),), True, False),
        ((one(REJECTED, strength=WEAK),), False, False),
        ((one(REJECTED, finding="abnormal"),), False, False),
        ((one(REJECTED, conflict=True),), False, False),
        ((one(ACCEPTED),), False, True),
        ((one(AMENDED),), False, True),
        ((one(ACCEPTED, strength=WEAK),), False, False),
        ((one(AMENDED, finding="abnormal"),), False, True),
        ((one(AMENDED, finding="abnormal", strength=WEAK),), False, False),
        ((one(REJECTED), one(AMENDED, 2, finding="abnormal")), True, False),
    ],
)
def test_hiding_takes_a_whole_undisputed_rejection(standing: tuple[Standing, ...], hidden: bool, upheld: bool) -> None:
    assert (is_to_be_hidden(of(*standing)), is_upheld(of(*standing))) == (hidden, upheld)


def test_the_same_answer_again_says_the_same() -> None:
    """Another row, another time: nothing new for an archive. Another verdict, label, reason, reader or difference is."""
    assert said(of(one(REJECTED, 1))) == said(of(one(REJECTED, 9, at_utc=99.0)))
    others = [one(ACCEPTED), one(REJECTED, reason="other"), one(REJECTED, reader="rd_2"), one(REJECTED, conflict=True)]
    others += [one(REJECTED, label_after="absent"), one(REJECTED, strength=WEAK), one(REJECTED, finding="abnormal")]
    assert len({said(of(item)) for item in (one(REJECTED), *others)}) == 8
