"""What ``check`` says about the answer AE titles: who may answer, and whose answers will be weak."""

from __future__ import annotations

from collections.abc import Iterator

from dicom_node.commands.certificate_lines import Told
from dicom_node.config.model import NodeSettings
from dicom_node.feedback.mechanical import MINUTE

_WEAK = "weak, shown but never a label: this AE title stands under readers.ae_titles of no radiologist, or of several"


def answer_lines(settings: NodeSettings) -> Iterator[Told]:
    """Yield the lines; none where nobody may send to the answer AE titles."""
    answer_ae = settings.feedback.answer_ae
    callers = answer_ae.callers
    titles = list(dict.fromkeys(caller.ae_title for caller in callers))
    if callers:
        meant = f"{answer_ae.accept} (right), {answer_ae.reject} (wrong), {answer_ae.amend} (opens a task)"
        yield Told("ok", "answer AE titles", f"{meant}; taken from {', '.join(titles)}")
        if answer_ae.two_answers_seconds < MINUTE:
            text = f"two_answers_seconds is below {MINUTE:g}: answers of a machine may be recorded before it is found out"
            yield Told("note", "answer AE titles", text)
    bound = {peer.ae_title for peer in settings.reception.peers if peer.certificate_name}
    for caller in callers:
        if caller.host is None and caller.ae_title not in bound:
            yield Told("note", f"answers of {caller.ae_title}", "any address may answer under this AE title; host ties it")
    for title in titles:
        people = [reader for reader in settings.readers if title in reader.ae_titles]
        if len(people) != 1 or people[0].role != "radiologist":
            yield Told("note", f"answers of {title}", _WEAK)
    for title in dict.fromkeys(title for reader in settings.readers for title in reader.ae_titles):
        if title not in titles:
            text = "AE title of a reader, but not among feedback.answer_ae.callers: it cannot answer"
            yield Told("note", f"answers of {title}", text)
