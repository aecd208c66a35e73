"""Slices that a person marked: in a document of the study, or on the node itself.

A document counts that somebody else made and that answers nothing of ours: a radiologist's copy of our own report names the slices
that we chose, and must not make them look marked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from dicom_node.core.study import Instance, Mark


def mark_text(sop_instance_uid: str, frame: int | None) -> str:
    """Return a mark as header facts keep it: the UID, with the frame of a multi-frame object after a blank."""
    return sop_instance_uid if frame is None else f"{sop_instance_uid} {frame}"


def marked_slices(instances: Iterable[Instance], ours: Collection[str] = (), said: Iterable[Mark] = ()) -> tuple[Mark, ...]:
    """Return the marked slices of a study, each once, in one order whatever came first.

    Parameters
    ----------
    instances
        What the study holds; a mark on anything else is left out, and so is one on a multi-frame object without its frame.
    ours
        SOP Instance UIDs of the node's own objects.
    said
        Marks made on the node.
    """
    held = list(instances)
    documents = (i for i in held if not i.facts.made_by_this_node and set(ours).isdisjoint(i.facts.references))
    found = {_mark(text) for one in documents for text in one.facts.marks} | set(said)
    frames = {i.sop_instance_uid: i.facts.frames or 1 for i in held if i.facts.has_pixel_data}
    known = (mark for mark in found if mark[0] in frames and _fits(mark[1], frames[mark[0]]))
    return tuple(sorted({(uid, frame if frames[uid] > 1 else None) for uid, frame in known}, key=lambda m: (m[0], m[1] or 0)))


def _mark(text: str) -> Mark:
    uid, _, frame = text.partition(" ")
    return uid, int(frame) if frame.isdigit() else None


def _fits(frame: int | None, frames: int) -> bool:
    """Say whether a mark names one slice of an object of so many frames."""
    return frame in (None, 1) if frames == 1 else frame is not None and 1 <= frame <= frames
