"""Where a person says what a laboratory would: smear and species of a study, or that nobody knows them. It ends the waiting."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from starlette.datastructures import FormData

from dicom_node import log
from dicom_node.core.laboratory import listed
from dicom_node.core.study import HeaderFacts
from dicom_node.inference import waiting
from dicom_node.orders import step as orders
from dicom_node.store.connect import reading
from dicom_node.store.story import tell
from dicom_node.store.tables import instance
from dicom_node.studies import lab_answers
from dicom_node.studies.patients import one_patient
from dicom_node.web.gate import READS, Gate, Turned, form_of, in_thread, see
from dicom_node.web.result_view import Patient, patient_of
from dicom_node.web.sessions import Session
from dicom_node.web.show import Show

NOT_KNOWN = "not_known"
_MOST_SHOWN = 5


@dataclass(frozen=True)
class Asked:
    """One thing to say, what was said before, and what the laboratory wrote."""

    part: str
    name: str
    code: str
    choices: tuple[tuple[str, str], ...]
    said: lab_answers.Said | None
    results: tuple[orders.LabResult, ...]  # the newest first


@dataclass(frozen=True)
class ClinicalView:
    """The form of a study."""

    study_key: str
    patient: Patient
    asked: tuple[Asked, ...]
    wait_until_utc: float | None  # until when a run waits; None: none does
    has_begun: bool  # what is said now is kept, and not used by the result


def clinical_pages(gate: Gate, show: Show) -> APIRouter:
    """Return the page, and where its form goes."""
    pages = APIRouter()
    site = gate.site
    reads = gate.must_be(*READS)

    def shown(request: Request, session: Session, key: str, mistake: str = "", status: int = 200) -> Response:
        with reading(site.database) as connection:
            view = view_of(connection, key)
        if view is None:
            raise Turned(404, "Nothing is asked of this study", "No pipeline that read it takes values of a laboratory.")
        return show.page(request, "clinical.html", status, session=session, view=view, mistake=mistake, not_known=NOT_KNOWN)

    @pages.get("/studies/{key}/clinical")
    def form(request: Request, key: str, session: Session = Depends(reads)) -> Response:
        return shown(request, session, key)

    @pages.post("/studies/{key}/clinical")
    async def say(request: Request, key: str, session: Session = Depends(reads), filled: FormData = Depends(form_of)) -> Response:
        return await in_thread(lambda: said(request, key, session, filled))

    def said(request: Request, key: str, session: Session, filled: FormData) -> Response:
        gate.check_form(session, filled)
        with site.database.begin() as connection:
            rows = waiting.inputs_of(connection, key)
            answers = read_answers(filled, rows)
            if answers:
                _keep(connection, key, rows, answers, session.login)
        if not answers:
            return shown(request, session, key, "Nothing was kept: choose at least one answer.", 422)
        log.event("clinical.said", study=key, count=len(answers))
        return see(f"/studies/{key}")

    return pages


def read_answers(filled: FormData, rows: Sequence[sa.Row[Any]]) -> dict[str, tuple[str, str]]:
    """Return part -> (code, value) of what was chosen; empty where nothing was, or what the form does not offer."""
    answers: dict[str, tuple[str, str]] = {}
    for row in rows:
        value = str(filled.get(row.part, ""))
        if value == NOT_KNOWN:
            answers[row.part] = (row.codes[0], "")
        elif value in {choice[0] for choice in row.choices}:
            answers[row.part] = (row.codes[0], value)
    return answers


def view_of(connection: sa.Connection, study_key: str) -> ClinicalView | None:
    """Return the form; ``None`` where no run of the study takes anything."""
    rows = waiting.inputs_of(connection, study_key)
    if not rows:
        return None
    c = instance.c
    query = sa.select(c.facts).where(c.study_key == study_key, c.state == "current").order_by(c.instance_id).limit(1)
    whose = one_patient(connection, study_key)
    results = orders.labs_of(connection, *whose) if whose is not None else []
    before = {one.part: one for one in lab_answers.said_of(connection, study_key)}
    asked: dict[str, Asked] = {}
    for row in rows:
        told = tuple(one for one in reversed(results) if one.code in row.codes)[:_MOST_SHOWN]
        choices = tuple((choice[0], choice[1]) for choice in row.choices)
        asked.setdefault(row.part, Asked(row.part, row.name, row.codes[0], choices, before.get(row.part), told))
    until = [row.request.get("wait_until_utc") for row in rows if row.state == "waiting"]
    return ClinicalView(
        study_key=study_key,
        patient=patient_of(HeaderFacts.from_json(connection.execute(query).scalar() or {})),
        asked=tuple(asked.values()),
        wait_until_utc=min((one for one in until if one), default=None),
        has_begun=all(row.request.get("labs_read") is not None for row in rows),
    )


def _keep(
    connection: sa.Connection, study_key: str, rows: Sequence[sa.Row[Any]], answers: dict[str, tuple[str, str]], login: str
) -> None:
    """Keep it with who and when; the story tells that it was said, and not what."""
    now = time.time()
    lab_answers.say(connection, study_key, answers, login, now)
    names = {row.part: row.name for row in rows}
    known = [names[part] for part, (_, value) in answers.items() if value]
    unknown = [names[part] for part, (_, value) in answers.items() if not value]
    told = [f"A person said {listed(known)}."] if known else []
    told += [f"A person said that nobody knows {listed(unknown)}."] if unknown else []
    tell(connection, study_key, "inference", "values.said", " ".join(told))
    for row in rows:
        if answers.get(row.part, ("", ""))[1]:
            waiting.tell_late(connection, row, "was said by a person", now)
