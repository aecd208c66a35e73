"""Ways to a result, and what is to do: by accession number, from the worklist; answers that wait for a person; opt-outs."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import FormData

from dicom_node import log
from dicom_node.core.errors import UsageError
from dicom_node.feedback.matching import is_current
from dicom_node.feedback.repository import runs_of_accession
from dicom_node.feedback.waiting import OPEN, list_waiting, suspended
from dicom_node.store.connect import reading
from dicom_node.studies import opt_outs
from dicom_node.web.gate import READS, RUNS, Gate, form_of, in_thread, see
from dicom_node.web.open_tasks import open_tasks
from dicom_node.web.result_view import patient_of_run
from dicom_node.web.sessions import Session
from dicom_node.web.show import Show

_LISTED = 200


def work_pages(gate: Gate, show: Show) -> APIRouter:
    """Return the pages."""
    pages = APIRouter()
    site = gate.site
    reads, runs, admin = gate.must_be(*READS), gate.must_be(*RUNS), gate.must_be("admin")

    @pages.get("/accession")
    def accession(request: Request, number: str = "", session: Session = Depends(reads)) -> Response:
        with reading(site.database) as connection:
            current = [row for row in runs_of_accession(connection, number[:64]) if is_current(connection, row)]
            if len(current) == 1:
                return see(f"/results/{current[0].run_key}")
            listed = [_line(connection, row) for row in sorted(current, key=lambda row: -row.requested_utc)]
        status = 200 if listed else 404
        return show.page(request, "accession.html", status, session=session, results=listed, asked=bool(number.strip()))

    @pages.get("/worklist")
    def worklist(request: Request, session: Session = Depends(reads)) -> Response:
        with reading(site.database) as connection:
            tasks = open_tasks(connection, site.reader_of(session.login), _LISTED)
        return show.page(request, "worklist.html", session=session, tasks=tasks)

    @pages.get("/worklist.json")
    def worklist_json(session: Session = Depends(reads)) -> JSONResponse:
        with reading(site.database) as connection:
            tasks = open_tasks(connection, site.reader_of(session.login), _LISTED)
        return JSONResponse([task.to_json() for task in tasks])

    @pages.get("/answers")
    def answers(request: Request, session: Session = Depends(runs)) -> Response:
        with reading(site.database) as connection:
            waiting, stopped = list_waiting(connection, OPEN, _LISTED), suspended(connection)
        return show.page(request, "answers.html", session=session, waiting=waiting, suspended=stopped)

    @pages.get("/opt-outs")
    def opt_out_page(request: Request, told: str = "", session: Session = Depends(admin)) -> Response:
        return _opt_out_page(request, session, told)

    def _opt_out_page(request: Request, session: Session, told: str = "", mistake: str = "", status: int = 200) -> Response:
        with reading(site.database) as connection:
            count = len(opt_outs.listed(connection))
        return show.page(
            request, "opt_outs.html", status, session=session, count=count, told=_OPT_OUT.get(told, ""), mistake=mistake
        )

    @pages.post("/opt-outs")
    async def opt_out(request: Request, session: Session = Depends(admin), filled: FormData = Depends(form_of)) -> Response:
        return await in_thread(lambda: opted_out(request, session, filled))

    def opted_out(request: Request, session: Session, filled: FormData) -> Response:
        gate.check_form(session, filled)
        patient, issuer, scope, action = (str(filled.get(name, "")) for name in ("patient_id", "issuer", "scope", "action"))
        try:
            with site.database.begin() as connection:
                if action == "remove":
                    told = "gone" if opt_outs.remove(connection, site.home, patient, issuer, scope) else "none"
                else:
                    told = "kept" if opt_outs.add(connection, site.home, patient, issuer, scope, "http") else "known"
        except UsageError as error:
            return _opt_out_page(request, session, mistake=f"Nothing was changed: {error}.", status=422)
        log.event("opt_out.changed", kind=told)
        return see(f"/opt-outs?told={told}")

    return pages


_OPT_OUT = {
    "kept": "The opt-out is kept; it counts at once.",
    "known": "The opt-out was known.",
    "gone": "The opt-out is removed.",
    "none": "There is no such opt-out.",
}


def _line(connection: sa.Connection, row: sa.Row[Any]) -> dict[str, Any]:
    """Return what tells a result from the others; not what it says: that is shown, and noted as seen, on its page."""
    patient = patient_of_run(connection, row)
    return {
        "run_key": row.run_key,
        "pipeline": row.pipeline,
        "revision": row.revision,
        "requested_utc": row.requested_utc,
        "study": ", ".join(part for part in (patient.study_date, patient.description) if part) or "no date",
    }
