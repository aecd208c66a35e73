"""What ``check`` says of rules: those that can never give a run, or would not by what their words say."""

from __future__ import annotations

from collections.abc import Iterator

from dicom_node.commands.checks.line import Line, Mark
from dicom_node.config.model import NodeSettings
from dicom_node.config.sentences import did_you_mean
from dicom_node.routing.overlap import fits_any, shadowed
from dicom_node.routing.settings import Conditions

#: Written by devices, although no defined term (PS3.3, C.7.3.1.1.1).
_ALSO_WRITTEN = frozenset({"DR"})
_PLAIN_FILMS = "Radiographs are CR (plates) and DX (detectors)."


def rule_lines(settings: NodeSettings) -> Iterator[Line]:
    """Yield a note for each rule that no study can reach, with the condition or the rule that keeps it away."""
    if not settings.routing.rules:
        yield Line(Mark.NOTE, "file", "no rule: studies are received and kept, and none is analysed")
    for rule, by in shadowed(settings.routing.rules):
        text = f'never used: whatever it matches, rule "{by}" before it takes first; put this one above it, or narrow that one'
        yield Line(Mark.NOTE, f"rule {rule}", text)
    for kind in (settings.routing.rules, settings.routing.hold):
        for one in kind:
            for text in _never(one.when, settings):
                yield Line(Mark.NOTE, f"rule {one.name}", text)


def _never(when: Conditions, settings: NodeSettings) -> Iterator[str]:
    senders = _senders(settings)
    if when.calling_ae and senders and not fits_any("calling_ae", when, senders):
        written, known = ", ".join(when.calling_ae), ", ".join(senders)
        yield (
            f"never matches: no sender has the AE title {written} of calling_ae. Known: {known}."
            f"{did_you_mean(when.calling_ae[0], senders)}"
        )
    titles = settings.reception.ae_titles
    if when.called_ae and not fits_any("called_ae", when, titles):
        written, known = ", ".join(when.called_ae), ", ".join(titles)
        yield (
            f"never matches: this node does not answer to {written} of called_ae. Known: {known}."
            f"{did_you_mean(when.called_ae[0], titles)} Add it to reception.ae_titles, or correct the rule"
        )
    for word in _no_modalities(when):
        yield f'"{word}" of modality is no modality of DICOM (PS3.3, C.7.3.1.1.1): hardly an image says so. {_PLAIN_FILMS}'


def _senders(settings: NodeSettings) -> tuple[str, ...]:
    """Return every AE title that an image can have come from: senders, STOW-RS, and archives that are asked for what is missing."""
    reception = settings.reception
    titles = [peer.ae_title for peer in reception.peers]
    titles += [reception.stow.calling_ae] if reception.stow is not None else []
    titles += [archive.ae_title or name for name, archive in settings.archives.items()]
    return tuple(dict.fromkeys(titles))


def _no_modalities(when: Conditions) -> Iterator[str]:
    """Yield the words that are no modality; wildcards are left alone."""
    from pydicom.sr.codedict import codes  # only where check asks: the codes of the standard are a large table

    known = {code.value for code in codes.cid29.concepts.values()} | _ALSO_WRITTEN if when.modality else set()
    for word in when.modality:
        if not {"*", "?"} & set(word) and " ".join(word.upper().split()) not in known:
            yield word
