"""What ``check`` says about ways to answer: who may, whose answers will be weak, what a way still lacks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dicom_node.commands.checks.line import Line, Mark
from dicom_node.config.model import NodeSettings
from dicom_node.feedback.ae_titles.mechanical import MINUTE
from dicom_node.web.fhir_hook import read_tokens
from dicom_node.web.settings import is_loopback

_SHARED = (
    "strong as answers of {name}, and this AE title also {does}: if others can send under it, take it out of readers.ae_titles"
)
_WEAK = "weak, shown but never a label: this AE title stands under readers.ae_titles of no radiologist, or of several"


def answer_lines(settings: NodeSettings) -> Iterator[Line]:
    """Yield the lines of each way to answer, that of the answer AE titles first."""
    yield from _by_ae_title(settings)
    yield from _by_messages(settings)


def _by_ae_title(settings: NodeSettings) -> Iterator[Line]:
    answer_ae = settings.feedback.answer_ae
    callers = answer_ae.callers
    titles = list(dict.fromkeys(caller.ae_title for caller in callers))
    if not callers:
        text = "closed: nobody may answer from the viewer; name who may in feedback.answer_ae.callers"
        yield Line(Mark.NOTE, "answer AE titles", text)
    else:
        meant = f"{answer_ae.accept} (right), {answer_ae.reject} (wrong), {answer_ae.amend} (opens a task)"
        yield Line(Mark.OK, "answer AE titles", f"{meant}; taken from {', '.join(titles)}")
        if answer_ae.two_answers_seconds < MINUTE:
            text = f"two_answers_seconds is below {MINUTE:g}: answers of a machine may be recorded before it is found out"
            yield Line(Mark.NOTE, "answer AE titles", text)
    bound = {peer.ae_title for peer in settings.reception.peers if peer.certificate_name}
    for caller in callers:
        if caller.host is None and caller.ae_title not in bound:
            yield Line(Mark.NOTE, f"answers of {caller.ae_title}", "any address may answer under this AE title; host ties it")
    for title in titles:
        people = [reader for reader in settings.readers if title in reader.ae_titles]
        if len(people) != 1 or people[0].role != "radiologist":
            yield Line(Mark.NOTE, f"answers of {title}", _WEAK)
        elif does := _what_systems_do(settings, title):
            yield Line(Mark.NOTE, f"answers of {title}", _SHARED.format(name=people[0].name, does=does))
    for title in dict.fromkeys(title for reader in settings.readers for title in reader.ae_titles):
        if title not in titles:
            text = "AE title of a reader, but not among feedback.answer_ae.callers: it cannot answer"
            yield Line(Mark.NOTE, f"answers of {title}", text)


def _what_systems_do(settings: NodeSettings, title: str) -> str:
    """Return what an AE title does here that a person's own workstation does not: it is then a system that sends for everybody."""
    if any(getattr(one, "ae_title", None) == title for one in settings.archives.values()):
        return "is an archive"
    if any(getattr(one, "ae_title", None) == title for one in settings.destinations.values()):
        return "gets results"
    return "sends images" if any(peer.ae_title == title for peer in settings.reception.peers) else ""


def _by_messages(settings: NodeSettings) -> Iterator[Line]:
    """A reader known by a number, and no way on which the number could come; a hook whose tokens cannot be read."""
    fhir, readers = settings.feedback.fhir, settings.readers
    if settings.orders.listener is None and any(reader.hl7_ids for reader in readers):
        yield Line(Mark.NOTE, "answers by HL7", "readers have hl7_ids, but orders.listener is not set: no message comes in")
    if not fhir.hook_token_file and not fhir.poll and any(reader.fhir_references for reader in readers):
        text = "readers have fhir_references, but neither feedback.fhir.poll nor hook_token_file is set: no server is asked"
        yield Line(Mark.NOTE, "answers by FHIR", text)
    if fhir.hook_token_file:
        yield _hook(Path(fhir.hook_token_file))
        if is_loopback(settings.web.host) and not settings.web.behind_proxy:
            text = f"the hook is on {settings.web.host}: only a server on this machine can call it"
            yield Line(Mark.NOTE, "answers by FHIR", text)


def _hook(file: Path) -> Line:
    try:
        tokens = read_tokens(file)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        return Line(Mark.FAIL, "answers by FHIR", f"feedback.fhir.hook_token_file {file} cannot be read ({why})")
    if not tokens:
        return Line(Mark.FAIL, "answers by FHIR", f"feedback.fhir.hook_token_file {file} holds no token; write one a line")
    return Line(Mark.OK, "answers by FHIR", f"the hook /fhir-hook takes {len(tokens)} token(s)")
