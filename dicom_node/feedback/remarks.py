"""What people wrote and drew with their answers: for the page of the result alone, and gone once the study is erased."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from dicom_node.feedback import repository


@dataclass(frozen=True)
class Remark:
    """What lies beside one answer."""

    comment: str  # free text: it may name anybody
    regions: int  # how many were drawn


def remarks(connection: sa.Connection, run_key: str) -> dict[str, Remark]:
    """Return what was written or drawn about one result, by the answer's ``feedback_id``; an answer with neither is not in it."""
    found = {}
    for row in repository.private_of_run(connection, run_key):
        remark = Remark(str(row.content.get("comment", "")).strip(), len(row.content.get("regions", ())))
        if remark.comment or remark.regions:
            found[row.feedback_id] = remark
    return found
