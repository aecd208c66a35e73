"""A report that a person made from ours (PS3.3, C.17.2.3: successor documents), or verified.

Ours is compared as it was made, not as somebody says it was. Verified and the same: accepted. Verified and other values: amended or
rejected, finding by finding. Not verified, but by a person and with other values: the same, weak.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from dicom_node.core.feedback import Channel, Claim, ReaderClaim, Statement, Targets, Verdict
from dicom_node.feedback.reports.content_items import Item, has_person_observer, person_observer, predecessors, tree
from dicom_node.feedback.reports.reading import Document, Nothing, OurObject, Unclear, Unmatched, reader
from dicom_node.feedback.reports.report_difference import Difference, difference

#: Drafts between our report and the one that counts.
_LONGEST_CHAIN = 8


def read(document: Document) -> Claim | Nothing | Unclear | Unmatched:
    """Return what the report says of ours by what it left, changed and took away."""
    if document.partial:
        return Nothing("A report is not finished.")
    theirs = tree(document.dataset)
    if not has_person_observer(theirs) and not (document.verified and document.verifying_observer()[0]):
        return Nothing("No person has verified a report, or is named as its observer.")
    named = predecessors(document.dataset)
    ours = _made_from(document, named)
    if not ours:
        known = not named or document.known.received(named) or not document.known.has_result(document.study_key)
        no = "A report was not made from one of ours."
        return Nothing(no) if known else Unmatched("A report replaces one that this node has neither made nor received.")
    runs = {made.run_key for made in ours.values()}
    if len(runs) > 1:
        return Unclear("A report replaces reports of several results.")
    run_key = runs.pop()
    found = _least_different(document, theirs, tuple(ours), run_key)
    if found is None:
        return Unclear("A report replaces one of ours whose bytes are gone: it cannot be compared.", run_key)
    if found.lost or found.words:
        what = "none of our measurement groups is left in it" if found.lost else "its words differ"
        return Unclear(f"A person's report replaces ours, and {what}: what it says of the result cannot be told.", run_key)
    statements = _statements(found, verified=document.verified)
    if not statements:
        return Nothing("A report that nobody has verified says the same as ours.")
    who, at = _reader(document, theirs)
    return Claim(
        channel=Channel.EDITED_REPORT,
        source=document.uid if document.uid not in ours else f"{document.uid} verified",
        at=at,
        targets=Targets(sop_instance_uids=tuple(ours), study_key=document.study_key),
        reader=who,
        statements=statements,
        digest=document.digest,
    )


def _made_from(document: Document, named: tuple[str, ...]) -> Mapping[str, OurObject]:
    """Return our reports at the beginning of the chain: a draft may lie between ours and the one that was verified.

    Some archives verify in place, under the same SOP Instance UID: then the report itself is ours.
    """
    before: tuple[str, ...] = (*named, document.uid)
    seen: set[str] = set()
    for _ in range(_LONGEST_CHAIN):
        ours = document.known.ours(before)
        if ours:
            return ours
        seen.update(before)
        before = tuple(uid for one in before for uid in document.known.made_from(one) if uid not in seen)
        if not before:
            break
    return {}


def _least_different(document: Document, theirs: Item, ours: tuple[str, ...], run_key: str) -> Difference | None:
    """Compare with each of our reports that it names; the flavours of one report say the same."""
    found: list[Difference] = []
    findings = document.known.findings(run_key)
    for uid in ours:
        stored = document.known.stored(uid)
        if stored is not None:
            found.append(difference(tree(stored), theirs, findings))
    return min(found, key=lambda one: (one.lost, one.words, one.any), default=None)


def _statements(found: Difference, *, verified: bool) -> tuple[Statement, ...]:
    differs = (*found.changed, *found.missing)
    if differs:
        kept = tuple(Statement(Verdict.ACCEPTED, finding) for finding in found.same) if verified else ()
        return (*differs, *kept)
    if found.whole is not None:
        return (found.whole,)
    return (Statement(Verdict.ACCEPTED),) if verified else ()


def _reader(document: Document, theirs: Item) -> tuple[ReaderClaim, dt.datetime]:
    verifier, verified_at = document.verifying_observer()
    content = document.text("ContentDate") + document.text("ContentTime")
    if document.verified:
        return reader(verifier or person_observer(theirs), authenticated=bool(verifier)), document.moment(verified_at, content)
    return reader(person_observer(theirs)), document.moment(content)
