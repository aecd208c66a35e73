"""What a C-STORE is answered."""

from __future__ import annotations

import pytest
from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS
from sqlalchemy.exc import OperationalError

from dicom_node.core.errors import PixelDataError, StoreError, StudyError
from dicom_node.reception.status import (
    ALL,
    CANNOT_UNDERSTAND,
    DOES_NOT_MATCH_SOP_CLASS,
    MAX_COMMENT,
    OF_ANSWERS,
    ObjectRefused,
    answer_to,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ObjectRefused(DOES_NOT_MATCH_SOP_CLASS, "no"), 0xA900),
        (ObjectRefused(CANNOT_UNDERSTAND, "no"), 0xC000),
        (StudyError("no"), 0xC000),
        (PixelDataError("no"), 0xC000),
        (StoreError("no"), 0xA700),
        (OSError(28, "No space left on device", "/var/patient"), 0xA700),
        (PermissionError(13, "denied"), 0xA700),
        (MemoryError(), 0xA700),
        (OperationalError("insert", {}, Exception()), 0xA700),
        (ZeroDivisionError("secret"), 0xC001),
    ],
)
def test_every_error_has_a_status_and_a_comment_that_fits(error: Exception, code: int) -> None:
    status, comment = answer_to(error)
    assert status.code == code
    assert 0 < len(comment) <= MAX_COMMENT
    assert "patient" not in comment
    assert "secret" not in comment


def test_every_status_is_one_of_the_storage_service_class() -> None:
    assert all(status.code in STORAGE_SERVICE_CLASS_STATUS for status in (*ALL, *OF_ANSWERS))
