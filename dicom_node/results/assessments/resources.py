"""The FHIR transaction that tells of the answer: the same resources in a new version, with the answer in words and as a code.

The statuses stay: ``partial`` or ``preliminary``. ``final`` and ``amended`` would say that a person has verified the report (FHIR
R4), and this tells only what somebody thinks of it. What was found stays as well: an answer stands beside it, never in its place.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json

from dicom_node.core.artifact import FHIR, Artifact
from dicom_node.core.feedback import ASSESSMENT_REPORT
from dicom_node.core.identifiers import derived_uid
from dicom_node.results.assessments.answered import LABELS, NOT_THE_REPORT, REASONS, REVIEWED, Answer, Answered
from dicom_node.results.fhir_elements import Json, check_bundle, concept, full_url, moment
from dicom_node.results.report_text import NOT_REVIEWED

#: Our own extension: what was answered to a finding, or to the whole result.
ANSWER_EXTENSION = "urn:oid:" + derived_uid("fhir-extension", "answer")


def build(answered: Answered, sent: Artifact) -> Artifact:
    """Build the transaction from the one that was sent; whoever sends it updates what the server has and creates nothing.

    Raises
    ------
    ValueError
        The resources are not valid (a defect).
    """
    bundle: Json = json.loads(sent.data)
    of_finding = {full_url(answered.run_key, "observation", a.finding or "result"): a for a in answered.answers}
    entries = [entry for entry in bundle["entry"] if entry["resource"]["resourceType"] != "Provenance"]
    for entry in entries:
        resource = entry["resource"]
        if resource["resourceType"] == "DiagnosticReport":
            _report(resource, answered)
        elif entry["fullUrl"] in of_finding:
            _observation(resource, of_finding[entry["fullUrl"]], answered)
    made = {**bundle, "entry": entries}
    check_bundle(made)
    variant = sent.role.partition(":")[2]
    role = f"{ASSESSMENT_REPORT}:{answered.number}" + (f":{variant}" if variant else "")
    data = json.dumps(made, ensure_ascii=False, indent=1).encode()
    return Artifact(answered.run_key, role, FHIR, sent.identifier, data)


def _report(resource: Json, answered: Answered) -> None:
    resource["issued"] = moment(answered.at)
    conclusion = resource.get("conclusion", "").replace(NOT_REVIEWED, REVIEWED)
    resource["conclusion"] = "\n".join([conclusion, *answered.lines]).lstrip("\n")
    whole = [answer for answer in answered.answers if not answer.finding]
    if whole:
        resource["extension"] = [*resource.get("extension", []), _extension(whole[0])]
    for form in resource.get("presentedForm", []):
        if form.get("contentType", "").startswith("text/html") and "data" in form:
            page = base64.b64decode(form["data"]).decode().replace(html.escape(NOT_REVIEWED), html.escape(REVIEWED))
            told = "\n".join(f"<p>{html.escape(line)}</p>" for line in answered.lines)
            data = page.replace("</body>", f"{told}\n</body>").encode()
            form |= {"data": base64.b64encode(data).decode(), "size": len(data), "creation": moment(answered.at)}
            # FHIR R4 asks for SHA-1
            form["hash"] = base64.b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()


def _observation(resource: Json, answer: Answer, answered: Answered) -> None:
    resource["issued"] = moment(answered.at)
    words = f"ANSWER: {answer.sentence} {NOT_THE_REPORT}"
    notes = [words, *([f"Comment: {answer.comment}"] if answer.comment else [])]
    author = {"authorString": answer.reader_name.replace("^", " ").strip()} if answer.reader_name else {}
    resource["note"] = [*resource.get("note", []), *({"text": note, **author} for note in notes)]
    resource["extension"] = [*resource.get("extension", []), _extension(answer)]


def _extension(answer: Answer) -> Json:
    """Return the answer for software: verdict, who, and what is known beside it."""
    parts: list[Json] = [
        {"url": "verdict", "valueCodeableConcept": concept(answer.verdict_code)},
        {"url": "by", "valueCodeableConcept": concept(answer.by)},
    ]
    if answer.verdict is None:
        return {"url": ANSWER_EXTENSION, "extension": parts[:1]}
    if answer.label_after in LABELS:
        parts.append({"url": "label", "valueCodeableConcept": concept(LABELS[answer.label_after])})
    elif answer.label_after:
        parts.append({"url": "label", "valueString": answer.label_after})
    if answer.reason in REASONS:
        parts.append({"url": "reason", "valueCodeableConcept": concept(REASONS[answer.reason])})
    if answer.at is not None:
        parts.append({"url": "at", "valueDateTime": moment(answer.at)})
    parts.append({"url": "number", "valuePositiveInt": answer.number})
    return {"url": ANSWER_EXTENSION, "extension": parts}
