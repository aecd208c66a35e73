"""A resource that is no text: shown, and no hindrance to the others of its server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dicom_node.core.fhir_names import REPORT_SYSTEM
from dicom_node.stages.answers.resources import UNREADABLE, take
from dicom_node.store.tables import answer_message
from tests.factories.answer_log import AnswerLog


def nested(levels: int) -> Any:
    inside: Any = 1
    for _ in range(levels):
        inside = [inside]
    return inside


@pytest.mark.parametrize("inside", [nested(70), nested(900), "\ud800", "a\0b"], ids=["70", "900", "half a character", "NUL"])
def test_a_resource_that_is_no_text_takes_no_other_with_it(tmp_path: Path, inside: Any) -> None:
    plain = {"resourceType": "DiagnosticReport", "id": "1", "status": "final"}
    plain |= {"identifier": [{"system": REPORT_SYSTEM, "value": "x"}]}
    answers = AnswerLog(tmp_path)
    for _ in range(2):
        with answers.database.begin() as connection:
            done = take(connection, [plain | {"id": "2", "extension": inside}, plain], answers.desk, vouched=True)
        assert len(done) == 2
        assert done[0].text == UNREADABLE
    with answers.database.connect() as connection:
        kept = connection.execute(sa.select(answer_message.c.text)).scalars().all()
    assert kept.count(UNREADABLE) == 1
