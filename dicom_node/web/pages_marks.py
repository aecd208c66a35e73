"""Where a person, or the department's software, marks slices of a CT: they are read instead of those the node would choose."""

from __future__ import annotations

import time

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from starlette.datastructures import FormData

from dicom_node import log
from dicom_node.core.errors import UsageError
from dicom_node.core.study import Mark
from dicom_node.studies.marks import mark_slices
from dicom_node.web.gate import READS, Gate, form_of, in_thread, see
from dicom_node.web.sessions import Session
from dicom_node.web.show import Show

_LONGEST_UID = 64


def mark_pages(gate: Gate, show: Show) -> APIRouter:
    """Return the page, and where its form goes."""
    pages = APIRouter()
    reads = gate.must_be(*READS)

    def page(
        request: Request, session: Session, study: str = "", slices: str = "", mistake: str = "", status: int = 200
    ) -> Response:
        return show.page(request, "marks.html", status, session=session, study=study, slices=slices, mistake=mistake)

    @pages.get("/marks")
    def form(request: Request, study: str = "", session: Session = Depends(reads)) -> Response:
        return page(request, session, study if study.startswith("st_") else "")

    @pages.post("/marks")
    async def mark(request: Request, session: Session = Depends(reads), filled: FormData = Depends(form_of)) -> Response:
        return await in_thread(lambda: marked(request, session, filled))

    def marked(request: Request, session: Session, filled: FormData) -> Response:
        gate.check_form(session, filled)
        study, slices = (str(filled.get(name, "")).strip() for name in ("study", "slices"))
        try:
            marks = read_marks(slices)
            with gate.site.database.begin() as connection:
                key = mark_slices(connection, study, marks, time.time())
        except UsageError as error:
            return page(request, session, study, slices, f"Nothing was changed: {error}.", 422)
        log.event("slices.marked", study=key, count=len(marks))
        return see(f"/studies/{key}")

    return pages


def read_marks(text: str) -> list[Mark]:
    """Read one slice a line: its SOP Instance UID and, of a multi-frame object, its frame.

    Raises
    ------
    UsageError
        A line is neither; it is named by its number, never quoted.
    """
    marks: list[Mark] = []
    for number, line in enumerate(text.splitlines(), start=1):
        parts = line.replace(",", " ").split()
        if not parts:
            continue
        uid, frame = parts[0], parts[1] if len(parts) > 1 else ""
        fits = len(uid) <= _LONGEST_UID and uid.isascii() and uid.replace(".", "").isdigit()
        if not fits or len(parts) > 2 or (frame and not (frame.isascii() and frame.isdigit() and 0 < int(frame[:6]) < 100_000)):
            raise UsageError(f"line {number} is no SOP Instance UID, with a frame number of a multi-frame object")
        marks.append((uid, int(frame) if frame else None))
    return marks
