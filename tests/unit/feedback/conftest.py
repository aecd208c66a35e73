"""What the tests of answers share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.factories.answer_log import AnswerLog


@pytest.fixture
def answers(tmp_path: Path) -> Iterator[AnswerLog]:
    """An embedded database with no result yet."""
    made = AnswerLog(tmp_path)
    yield made
    made.database.dispose()
