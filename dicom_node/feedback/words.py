"""What the room says to people: sentences without names, identifiers or UIDs."""

from __future__ import annotations

from collections.abc import Sequence

from dicom_node.core.feedback import Channel, Strength, Verdict
from dicom_node.feedback.readers import Reader

#: What kept a claim from being recorded (``matching.Match.problem``): the state it gets, and the sentence.
PROBLEMS = {
    "unknown": ("quarantined", "It matches no result of this node."),
    "several": ("quarantined", "It matches several results, or names things that do not belong together; nothing is guessed."),
    "superseded": ("unclear", "It is about a result that a newer one has replaced; it does not count."),
    "withdrawn": ("unclear", "It is about a result that was withdrawn; it does not count."),
}
#: The message names a patient whose study this is not.
ANOTHER_PATIENT = "It names another patient than the study of the result; it does not count."
NOTHING_TO_WITHDRAW = "It takes something back, which is no opinion; there was no answer that it could withdraw."
CHANNELS = {
    Channel.ANSWER_AE: "sent to an answer AE title",
    Channel.KEY_OBJECTS: "by key objects",
    Channel.PRESENTATION_STATE: "by presentation state",
    Channel.EDITED_REPORT: "by an edited report",
    Channel.ASSESSMENT: "by an assessment report",
    Channel.HL7: "by HL7",
    Channel.FHIR: "by FHIR",
    Channel.WEB: "on the page",
}
_ROLES = {"radiologist": "A radiologist", "physician": "A physician", "trainee": "A trainee", "technologist": "A technologist"}
_DONE = {
    Verdict.ACCEPTED: "accepted",
    Verdict.REJECTED: "rejected",
    Verdict.AMENDED: "amended",
    Verdict.WITHDRAWN: "withdrew the answer to",
    Verdict.DEFERRED: "put off the answer to",
}


def sentence(channel: Channel, reader: Reader, said: Sequence[tuple[str, Verdict]]) -> str:
    """Return who said what, e.g. "A radiologist rejected the result (strong, on the page)."

    Parameters
    ----------
    said
        Finding, or empty for the whole result, and verdict.
    """
    who = _ROLES.get(reader.role, "Somebody unknown")
    parts: list[str] = []
    for verdict in Verdict:
        findings = [finding or "the result" for finding, one in said if one is verdict]
        if findings:
            parts.append(f"{_DONE[verdict]} {', '.join(findings)}")
    strength = "strong" if reader.strength is Strength.STRONG else "weak: shown, never a label"
    return f"{who} {'; '.join(parts)} ({strength}, {CHANNELS[channel]})."
