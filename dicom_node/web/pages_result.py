"""The page of a result: look, and answer. Looking is noted as looking; only a form that was sent is an answer."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from starlette.datastructures import FormData

from dicom_node.core.feedback import Channel, Claim, Context, FeedbackRecorded, Targets, Verdict
from dicom_node.feedback import standing
from dicom_node.feedback.step import Recorded, record
from dicom_node.feedback.words import CHANNELS
from dicom_node.inference.shown import image_png, map_png
from dicom_node.store.connect import reading
from dicom_node.store.tables import exposure
from dicom_node.web import form_ticket
from dicom_node.web.answer_form import REASON_WORDS, STEPS, Answer, FormMistake, read_answer
from dicom_node.web.form_ticket import Ticket
from dicom_node.web.gate import READS, Gate, Turned, form_of, in_thread, only_fetched, see
from dicom_node.web.open_tasks import OpenTask, open_task_of, open_tasks
from dicom_node.web.result_view import ResultView, number_text, view_of
from dicom_node.web.sessions import Session
from dicom_node.web.show import Show

#: Time between opening and answering beyond which somebody had lunch: it says nothing about reading.
_LONGEST_READ_SECONDS = 3600.0
_TOLD = {
    "accept": "Kept: accepted.",
    "reject": "Kept: rejected.",
    "amend": "Kept: amended.",
    "withdraw": "Kept: your answer is taken back.",
    "blinded": "Your reading is kept. This is what the AI said; you can answer that, too.",
    "again": "Nothing was added: this form had been sent before. What counts stands below.",
}
#: Those of them that are about the whole result; the others are about its findings.
_WHOLE = {"accept": Verdict.ACCEPTED, "reject": Verdict.REJECTED, "withdraw": Verdict.WITHDRAWN}


def result_pages(gate: Gate, show: Show) -> APIRouter:
    """Return the page, its pictures, and where its form goes."""
    pages = APIRouter()
    site = gate.site
    reads = gate.must_be(*READS)

    def found(run_key: str, session: Session, task_id: str) -> tuple[ResultView, OpenTask | None, list[OpenTask], bool]:
        """Return the result, the task that led here, what else is to do, and whether the AI's result was not shown yet."""
        reader = site.reader_of(session.login)
        with reading(site.database) as connection:
            view = view_of(site, connection, run_key)
            if view is None:
                raise Turned(404, "There is no such result", "It may have been deleted, or the link is cut off.")
            task = open_task_of(connection, task_id, run_key, reader) if task_id else None
            blinded = task is not None and task.blinded and not _has_seen(connection, view, reader)
            rest = [one for one in open_tasks(connection, reader, 50) if one.run_key != run_key]
        return view, task, rest, blinded and not view.problem and bool(view.classes)

    def shown(
        request: Request,
        session: Session,
        run_key: str,
        task_id: str,
        told: str = "",
        mistake: str = "",
        kept: Mapping[str, str] | None = None,
        status: int = 200,
    ) -> Response:
        """Return the page; ``kept``: what was filled in where ``mistake`` says that it could not be taken."""
        view, task, rest, blinded = found(run_key, session, task_id)
        me = site.reader_of(session.login)
        if not blinded and not only_fetched(request):
            with site.database.begin() as connection:
                standing.opened(connection, run_key, view.study_key, me, Channel.WEB.value)
        ticket = form_ticket.issue(site.key, run_key, session.login, blinded=blinded, task_id=task.task_id if task else "")
        return show.page(
            request,
            "result.html",
            status,
            session=session,
            view=view,
            task=task,
            tasks_left=len(rest),
            next_task=rest[0] if rest else None,
            blinded=blinded,
            ticket=ticket,
            told=_TOLD[told] if told in _TOLD and _is_so(told, [one for one in view.answers if one.reader == me]) else "",
            mistake=mistake,
            kept=kept or {},
            names=site.names(),
            me=me,
            ways=CHANNELS,
            reasons=REASON_WORDS,
            steps=STEPS,
            number=number_text,
        )

    @pages.get("/results/{run_key}")
    def result(request: Request, run_key: str, task: str = "", told: str = "", session: Session = Depends(reads)) -> Response:
        return shown(request, session, run_key, task, told)

    @pages.get("/results/{run_key}/image.png")
    def image(run_key: str, place: int = 0, session: Session = Depends(reads)) -> Response:
        return _png(lambda: image_png(site.home.results / _known(run_key), place))

    @pages.get("/results/{run_key}/map/{number}.png")
    def saliency(run_key: str, number: int, place: int = 0, session: Session = Depends(reads)) -> Response:
        return _png(lambda: map_png(site.home.results / _known(run_key), number, place))

    @pages.post("/results/{run_key}/answer")
    async def answer(
        request: Request, run_key: str, session: Session = Depends(reads), filled: FormData = Depends(form_of)
    ) -> Response:
        return await in_thread(lambda: answered(request, run_key, session, filled))

    def answered(request: Request, run_key: str, session: Session, filled: FormData) -> Response:
        gate.check_form(session, filled)
        ticket = form_ticket.read(site.key, str(filled.get("ticket", "")), run_key, session.login)
        if ticket is None:
            raise Turned(403, "This form is not ours", "Nothing was recorded. Open the page again, and answer there.")
        with reading(site.database) as connection:
            view = view_of(site, connection, run_key)
        if view is None:
            raise Turned(404, "There is no such result", "Nothing was recorded.")
        images = [one.picture for one in view.shown]
        try:
            said = read_answer(filled, view.findings.findings if view.findings else (), images, blinded=ticket.blinded)
        except FormMistake as mistake:
            kept = {name: str(value) for name, value in filled.items()}
            return shown(request, session, run_key, ticket.task_id, "", f"Nothing was recorded. {mistake}", kept, 422)
        with site.database.begin() as connection:
            done = record(connection, _claim(gate, session, ticket, said), desk=site.desk)
        if done.state != "read":
            raise Turned(409, "Nothing was recorded", done.text, then=f"/results/{run_key}")
        return see(f"/results/{run_key}?told={_told(done, ticket, str(filled.get('answer', '')))}")

    return pages


def _claim(gate: Gate, session: Session, ticket: Ticket, said: Answer) -> Claim:
    seconds = ticket.seconds
    return Claim(
        channel=Channel.WEB,
        source=ticket.nonce,
        at=dt.datetime.now(dt.UTC),
        targets=Targets(run_key=ticket.run_key),
        reader=gate.site.claim_of(session.login),
        statements=said.statements,
        regions=said.regions,
        reason=said.reason,
        comment=said.comment,
        context=Context.BLINDED_FIRST_READ if ticket.blinded else Context.AFTER_AI,
        ai_shown=not ticket.blinded,
        ai_shown_at=None if ticket.blinded else dt.datetime.fromtimestamp(ticket.shown_utc, dt.UTC),
        seconds_spent=round(seconds, 1) if seconds <= _LONGEST_READ_SECONDS else None,
        reference_standard=said.reference_standard,
        reference_value=said.reference_value,
        reference_date=said.reference_date,
    )


def _told(done: Recorded, ticket: Ticket, answer: str) -> str:
    if done.repeated:
        return "again"
    return "blinded" if ticket.blinded else answer


def _is_so(told: str, mine: Sequence[FeedbackRecorded]) -> bool:
    """Say whether the reader's last word is what a link tells of: "back" leads to what was told before an answer was changed."""
    if told == "again":
        return True
    last = mine[-1] if mine else None
    if last is None or (told in _WHOLE) == bool(last.finding):
        return False
    return last.verdict is _WHOLE[told] if told in _WHOLE else last.verdict is not Verdict.WITHDRAWN


def _has_seen(connection: sa.Connection, view: ResultView, reader: str) -> bool:
    """Say whether the reader knows what the AI said: shown on the page before, or answered by another way."""
    c = exposure.c
    looked = connection.execute(sa.select(c.exposure_id).where(c.run_key == view.run_key, c.reader == reader).limit(1)).first()
    return looked is not None or any(one.reader == reader for one in view.answers)


def _known(run_key: str) -> str:
    """Return the name of a folder of ours, and never a path that leads elsewhere."""
    if not run_key.isascii() or not run_key.replace("_", "").isalnum():
        raise FileNotFoundError(run_key)
    return run_key


def _png(read: Callable[[], bytes]) -> Response:
    try:
        return Response(read(), media_type="image/png")
    except OSError:
        raise Turned(404, "There is no picture", "None is kept of this result.") from None
