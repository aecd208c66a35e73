"""Person or machine: each rule at its edges."""

from __future__ import annotations

import pytest

from dicom_node.feedback.ae_titles.mechanical import Sent, is_early, mechanical
from dicom_node.feedback.settings import AnswerAeSettings

SETTINGS = AnswerAeSettings()  # 60 s, 3 s, 20 a minute
LONG_AGO = (-10_000.0,)
TWO, EARLY, MANY = "two answer AE titles", "before the result was delivered", "More than 20"


def sent(at: float, called: str = "ACCEPT", run: str = "a", calling: str = "WS", answer: int | None = None, **more: object) -> Sent:
    return Sent(answer or int(at * 1000), calling, called, run, at, **{"delivered": LONG_AGO, **more})  # type: ignore[arg-type]


CASES: list[tuple[str, list[Sent], dict[str, str]]] = [
    ("nothing", [], {}),
    ("one answer", [sent(0)], {}),
    ("the same answer twice", [sent(0), sent(10)], {}),
    ("two answers at once", [sent(0), sent(0.1, "REJECT")], {"WS": TWO}),
    ("two answers in any order", [sent(60, "AMEND"), sent(0, "REJECT")], {"WS": TWO}),
    ("a change of mind after a minute", [sent(0), sent(60.5, "REJECT"), sent(121.1)], {}),
    ("two results, an answer each", [sent(0), sent(1, "REJECT", run="b")], {}),
    ("a PACS with a title for each answer", [sent(0, calling="P1"), sent(1, "REJECT", calling="P2")], {"P1": TWO, "P2": TWO}),
    ("the other one too late after a repeat", [sent(0), sent(50), sent(105, "REJECT")], {"WS": TWO}),
    ("judged long ago, both", [sent(0, new=False), sent(1, "REJECT", new=False)], {}),
    ("judged, then the other", [sent(0, new=False), sent(1, "REJECT")], {"WS": TWO}),
    ("never delivered", [sent(0, delivered=())], {"WS": EARLY}),
    ("before the delivery was recorded", [sent(0, delivered=(0.2,))], {"WS": EARLY}),
    ("right after", [sent(2.9, delivered=(0.0,))], {"WS": EARLY}),
    ("three seconds after", [sent(3, delivered=(0.0,))], {}),
    ("right after the second archive has it", [sent(101, delivered=(0.0, 100.0))], {"WS": EARLY}),
    ("before the second archive has it", [sent(99, delivered=(0.0, 100.0))], {}),
    ("judged before it was delivered again", [sent(0, delivered=(0.2,), new=False)], {}),
    ("twenty in a minute", [sent(i * 2.9, run=str(i)) for i in range(20)], {}),
    ("twenty-one in a minute", [sent(i * 2.9, run=str(i)) for i in range(21)], {"WS": MANY}),
    ("twenty-one in more", [sent(i * 3.0, run=str(i)) for i in range(21)], {}),
    ("twenty-one of two senders", [sent(i, run=str(i), calling=f"WS{i % 2}") for i in range(21)], {}),
    ("one answer of fifty objects", [sent(i / 10, answer=7) for i in range(50)], {}),
    ("some of them judged already", [sent(i, run=str(i), new=i > 10) for i in range(21)], {"WS": MANY}),
]


@pytest.mark.parametrize(("objects", "found"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_who_looks_like_a_machine(objects: list[Sent], found: dict[str, str]) -> None:
    told = mechanical(objects, SETTINGS)
    assert told.keys() == found.keys()
    assert all(part in told[name] for name, part in found.items())


def test_without_a_time_only_a_delivery_is_asked_for() -> None:
    """early_seconds: 0 lets in who answers in the same second, not who had the object before it was sent."""
    assert not is_early(0.0, (0.0,), 0)
    assert is_early(0.0, (), 0)


def test_the_settings_decide() -> None:
    patient = AnswerAeSettings(two_answers_seconds=5, early_seconds=0, most_a_minute=2)
    assert mechanical([sent(0), sent(5.1, "REJECT")], patient) == {}
    assert mechanical([sent(0), sent(1, run="b"), sent(2, run="c")], patient).keys() == {"WS"}
