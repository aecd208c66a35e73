"""What a C-STORE is answered: one row for each kind of error, with the place in the standard."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy.exc import SQLAlchemyError

from dicom_node.core.errors import NodeError, StoreError, StudyError


class DimseStatus(NamedTuple):
    """A status of the Storage Service Class."""

    code: int
    meaning: str
    source: str


SUCCESS = DimseStatus(0x0000, "Success", "PS3.7 C.1.1, PS3.4 B.2.3")
OUT_OF_RESOURCES = DimseStatus(0xA700, "Refused: Out of Resources", "PS3.4 B.2.3")
DOES_NOT_MATCH_SOP_CLASS = DimseStatus(0xA900, "Error: Data Set does not match SOP Class", "PS3.4 B.2.3")
CANNOT_UNDERSTAND = DimseStatus(0xC000, "Error: Cannot understand", "PS3.4 B.2.3")
UNEXPECTED = DimseStatus(0xC001, "Error: Cannot understand (a defect of this node)", "PS3.4 B.2.3")

NOTHING_TO_ANSWER = DimseStatus(0xC002, "Error: Cannot understand (sent as an answer; no result in the study)", "PS3.4 B.2.3")

#: What an object of any door can be answered.
ALL = (SUCCESS, OUT_OF_RESOURCES, DOES_NOT_MATCH_SOP_CLASS, CANNOT_UNDERSTAND, UNEXPECTED)
#: What only an answer AE title says.
OF_ANSWERS = (NOTHING_TO_ANSWER,)

#: Error Comment (0000,0902) has VR LO.
MAX_COMMENT = 64


class ObjectRefused(NodeError):
    """This object is not taken; the message is the Error Comment: at most 64 characters, no identifier."""

    def __init__(self, status: DimseStatus, comment: str) -> None:
        super().__init__(comment[:MAX_COMMENT])
        self.status = status


#: First match wins. The comment is ours where the error's own words could name a path or a value.
_ROWS: tuple[tuple[type[Exception], DimseStatus, str], ...] = (
    (StudyError, CANNOT_UNDERSTAND, "The data set cannot be read as DICOM"),
    (StoreError, OUT_OF_RESOURCES, "The node's disk or database cannot take it now"),
    (OSError, OUT_OF_RESOURCES, "The node's disk cannot take it now"),
    (MemoryError, OUT_OF_RESOURCES, "The node has no memory left for it now"),
    (SQLAlchemyError, OUT_OF_RESOURCES, "The node's database cannot take it now"),
)


def answer_to(error: Exception) -> tuple[DimseStatus, str]:
    """Return the status and the Error Comment for what went wrong."""
    if isinstance(error, ObjectRefused):
        return error.status, str(error)
    for kind, status, comment in _ROWS:
        if isinstance(error, kind):
            return status, comment
    return UNEXPECTED, "The node failed at this object; see its log"
