"""May a result still leave the node? Asked before every step that uses or sends what was decided earlier."""

from __future__ import annotations

import sqlalchemy as sa

from dicom_node.core import abstentions
from dicom_node.store.tables import study


def objection(connection: sa.Connection, study_key: str, revision: int) -> str:
    """Say why a result made for this revision of the study must not go out, ``""`` when nothing is against it.

    A study that waits for a person (two patients, changed pixels) answers nothing; and what was requested before a patient or an
    order was corrected is addressed to somebody else, as what was made from images that were rejected speaks of nothing.
    """
    row = connection.execute(sa.select(study).where(study.c.study_key == study_key)).first()
    if row is None:
        return ""
    if row.state == "held" and row.hold_reason in abstentions.PERSON_DECIDES | abstentions.WAITS_FOR_CORRECTION:
        return abstentions.reason(row.hold_reason).text
    if row.revision != revision:
        return "Since it was requested the study was corrected, or its images were rejected."
    return ""
