"""The answer to a message (HL7 v2.5.1, 2.9): MSA-1 says what became of it, MSA-2 which message is meant."""

from __future__ import annotations

import secrets
import time

from dicom_node.orders.reading import Hl7Message

_STANDARD = "\r|~^&\\"


def acknowledge(message: Hl7Message | None, code: str, words: str = "", error: str = "") -> bytes | None:
    """Return the acknowledgement; ``None`` where the sender said that it wants none.

    Original mode: ``AA``, ``AE``, ``AR``. A sender that asks for accept acknowledgements alone (MSH-15, without MSH-16) gets
    ``CA``, ``CE``, ``CR``.

    Parameters
    ----------
    message
        ``None`` when it could not be read: the answer then names no message.
    words, error
        Why it was not taken: a sentence, and the condition of HL7 table 0357.
    """
    if message is not None:
        accept, application = message.header.value(15), message.header.value(16)
        if accept == "NE" and application == "NE":
            return None
        if accept and application in ("", "NE"):
            code = "C" + code[1:]
    separators = message.separators if message else _STANDARD
    _, field, repetition, component, subcomponent, escape = tuple(separators)
    header = message.header if message else None

    def told(number: int) -> str:
        return _escaped(header.value(number), separators) if header else ""

    trigger = _escaped(header.value(9, 2), separators) if header else ""
    msh = [
        *("MSH", component + repetition + escape + subcomponent, told(5), told(6), told(3), told(4)),
        *(time.strftime("%Y%m%d%H%M%S+0000", time.gmtime()), "", component.join(("ACK", trigger, "ACK") if trigger else ("ACK",))),
        *(secrets.token_hex(10).upper(), told(11) or "P", told(12) or "2.5.1", "", "", "", "", "", told(18)),
    ]
    lines = [field.join(msh).rstrip(field), field.join(("MSA", code, told(10), _escaped(words, separators))).rstrip(field)]
    if error:
        lines.append(
            field.join(("ERR", "", "", component.join((error, "", "HL70357")), "E", "", "", "", _escaped(words, separators)))
        )
    return "".join(line + "\r" for line in lines).encode(message.codec if message else "ascii", "replace")


def _escaped(text: str, separators: str) -> str:
    _, field, repetition, component, subcomponent, escape = tuple(separators)
    marks = {field: "F", repetition: "R", component: "S", subcomponent: "T", escape: "E"}
    return "".join(" " if mark in "\r\n" else f"{escape}{marks[mark]}{escape}" if mark in marks else mark for mark in text)
