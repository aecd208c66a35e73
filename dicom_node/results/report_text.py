"""The result in plain words: one text for the text report, FHIR and HL7, so that all three say the same."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import numpy as np

from dicom_node.core.abstentions import counted, sentence
from dicom_node.core.findings import Decision, Finding, SaliencyMap, Zone, probability_text
from dicom_node.results import slices
from dicom_node.results.context import ResultContext

_PLAIN = str.maketrans(
    {"≥": ">=", "≤": "<=", "–": "-", "—": "-", "−": "-", "…": "...", "×": "x", "±": "+/-"}
    | {"’": "'", "‘": "'", "“": '"', "”": '"', "·": "-", "→": "->"}
)

ZONE_TEXT = {
    Zone.SUSPECTED: "Suspected is a reason to look at the image, not a diagnosis.",
    Zone.GRAY: "No clear answer either way: a radiologist must read the image.",
    Zone.NOT_SUSPECTED: "Not suspected is not a normal report: what was not assessed is not excluded.",
}
NOT_REVIEWED = "Preliminary computer output, not reviewed by a radiologist."
MAP_CAVEAT = "A saliency map shows what the model used; it is not the outline of a lesion."
NO_EVIDENCE = "The saliency map shows no positive evidence."


@dataclass(frozen=True)
class Section:
    """A heading of the report (key: ``result``, ``conclusion``, ``images``, ``method``, ``notice``) and its lines."""

    key: str
    lines: tuple[str, ...]


def sections(context: ResultContext) -> tuple[Section, ...]:
    """Return the report, section by section; empty sections are left out."""
    findings = context.findings
    body = _refusal(context) if findings.abstention else _result(context)
    made = (*body, Section("images", _images(context)), Section("method", _method(context)), Section("notice", _notice(context)))
    return tuple(Section(s.key, tuple(plain(line) for line in s.lines)) for s in made if s.lines)


def report_lines(context: ResultContext) -> list[str]:
    """Return the plain-language result or refusal, one sentence or two a line, ASCII, without identifiers."""
    return [line for section in sections(context) for line in section.lines]


def why_not(note: str) -> str:
    """Return a bundle's note on a class that is not assessed, without repeating that it is not."""
    return note.removeprefix("Not assessed: ")


def plain(text: str) -> str:
    """Return ``text`` in ASCII on one line: it must fit every character set that a source may have."""
    folded = unicodedata.normalize("NFKD", text.translate(_PLAIN))
    ascii_only = "".join(c for c in folded if not unicodedata.combining(c)).encode("ascii", "replace").decode("ascii")
    return " ".join(ascii_only.split())


def headline(context: ResultContext) -> str:
    """Return the result in one sentence."""
    findings = context.findings
    if findings.abstention:
        return plain("Not analysed, because: " + refusal_sentence(context))
    return plain(findings.headline or (ZONE_TEXT[findings.zone] if findings.zone else "No result."))


def refusal_sentence(context: ResultContext) -> str:
    """Return why the study was not analysed: the reason's sentence and what makes it concrete."""
    abstention = context.findings.abstention
    assert abstention is not None, "only a refusal has a reason"
    return plain(sentence(abstention.reason, abstention.detail))


def finding_line(finding: Finding) -> str:
    """Return one class in words."""
    name = finding.code.meaning
    if finding.decision is Decision.NOT_ASSESSED or finding.probability is None:
        return plain(f"{name}: not assessed: {why_not(finding.note)}")
    against = ""
    if finding.threshold is not None:
        side = "at or above" if finding.decision is Decision.POSITIVE else "below"
        against = f", {side} the operating threshold {finding.threshold:.2f}"
    gray = ""
    if finding.gray_zone is not None:
        gray = f" (gray zone {finding.gray_zone[0]:.2f} to {finding.gray_zone[1]:.2f})"
    return plain(f"{name}: probability {probability_text(finding.probability)}{against}{gray}. {finding.note}")


def not_read_lines(context: ResultContext) -> tuple[str, ...]:
    """Return why images were left, equal reasons counted; nothing where the refusal itself has just said it of the only image."""
    return tuple(plain(f"Not read: {text}") for text in counted(context.findings.left))


def attention_place(saliency: SaliencyMap, orientation: tuple[str, ...]) -> str:
    """Say where the map is strongest; "" when there is no evidence.

    The patient's side is named only if Patient Orientation tells it (PS3.3 C.7.6.1.1.1); else the image's side.
    """
    values = saliency.sampled(512)
    if not values.size or float(values.max()) <= 0:
        return ""
    row, column = (int(v) for v in np.unravel_index(int(np.argmax(values)), values.shape))
    height = ("upper", "middle", "lower")[min(2, 3 * row // values.shape[0])]
    share = column / values.shape[1]
    if 0.45 <= share <= 0.55:
        side = "near the midline of the image"
    else:
        side = f"image {'left' if share < 0.5 else 'right'}"
        towards = orientation[0][:1] if orientation else ""
        if towards in ("L", "R"):
            rightmost = "left" if towards == "L" else "right"
            leftmost = "right" if towards == "L" else "left"
            side = f"patient's {leftmost if share < 0.5 else rightmost}"
    return f"Strongest model attention: {side}, {height} third of the image."


def map_words(context: ResultContext, saliency: SaliencyMap) -> str:
    """Return where a map is strongest, or that it shows nothing; of a CT slice also on which one."""
    words = attention_place(saliency, context.orientation) or NO_EVIDENCE
    if not context.volumetric:
        return words
    words = words.replace("of the image", "of the slice")
    first, last = {"P": ("front", "back"), "A": ("back", "front")}.get("".join(context.orientation[1:])[:1], ("upper", "lower"))
    words = words.replace("upper third", f"{first} third").replace("lower third", f"{last} third")
    return f"{slices.slice_name(context, saliency.sop_instance_uid, saliency.frame).capitalize()}: {words[:1].lower()}{words[1:]}"


def method_lines(context: ResultContext) -> tuple[str, ...]:
    """Return policy, guarantee and models: what a reader needs to weigh the answer."""
    findings = context.findings
    lines = []
    if findings.policy is not None:
        lines.append(findings.policy.sentence)
    if findings.bundles:
        models = (f"{b.label}{' (reduced-width twin)' if b.twin else ''}, evidence level {b.evidence}" for b in findings.bundles)
        lines.append(f"Model: {'; '.join(models)}.")
    return tuple(plain(line) for line in lines)


def revision_line(context: ResultContext) -> str:
    """Return which result of the study this is; "" for the first."""
    number = context.run.revision
    if number == 1:
        return ""
    # an earlier run that was cancelled before it gave a result has nothing to be replaced
    return f"Result {number}, replaces {number - 1}." if context.run.predecessor else f"Result {number}."


def _result(context: ResultContext) -> tuple[Section, ...]:
    findings = context.findings
    lines = [finding_line(finding) for finding in findings.findings]
    lines += slices.result_lines(context)
    saliency = context.saliency
    if saliency is not None:
        lines.append(f"{map_words(context, saliency)} {MAP_CAVEAT}")
    lines += [f"Note: {flag.text}" for flag in findings.flags]
    conclusion = [headline(context)]
    if findings.zone is not None and ZONE_TEXT[findings.zone] not in conclusion:
        conclusion.append(ZONE_TEXT[findings.zone])
    return Section("conclusion", tuple(conclusion)), Section("result", tuple(lines))


def _refusal(context: ResultContext) -> tuple[Section, ...]:
    return (Section("conclusion", (headline(context), "No finding is given; this is not a normal result.")),)


def _images(context: ResultContext) -> tuple[str, ...]:
    if context.volumetric:
        return (*slices.images_lines(context), *not_read_lines(context))
    read = len(context.findings.read)
    first = () if context.findings.abstention else (f"Images read: {read}.",)
    return (*first, *not_read_lines(context))


def _method(context: ResultContext) -> tuple[str, ...]:
    made_at = f"Time of analysis: {moment(context)}."
    revision = revision_line(context)
    return (*method_lines(context), made_at, *([revision] if revision else []))


def _notice(context: ResultContext) -> tuple[str, ...]:
    return (*(f"{line}." for line in context.disclaimer), NOT_REVIEWED, *([line] if (line := link_line(context)) else []))


def link_line(context: ResultContext) -> str:
    """Return where to look at the result and answer it; "" where the site has no such page."""
    link = context.link
    return f"Look and answer (login needed): {link}" if link else ""


def moment(context: ResultContext) -> str:
    """Return the time of analysis with its zone, e.g. ``2026-11-21 10:20 (UTC+05:30)``."""
    offset = context.timestamp.strftime("%z")
    return f"{context.timestamp:%Y-%m-%d %H:%M} (UTC{offset[:3]}:{offset[3:5]})"
