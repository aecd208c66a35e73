"""What differs between our report and the one that a person made from it, finding by finding. Pure.

Compared are clinical values: codes, numbers and coordinates, outside what describes observer, language and algorithm. Their order,
the words of comments, and what the person added about other things are no difference. In a report of words alone every sentence
counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dicom_node.core import codes
from dicom_node.core.feedback import Statement, Verdict
from dicom_node.feedback.reports.assessment_codes import LABELS
from dicom_node.feedback.reports.content_items import NO_CONCEPT, Item

_VALUES = ("CODE", "NUM", "SCOORD", "SCOORD3D")
_FINDING = ("121071", "DCM")
_ALGORITHM_FAMILY = ("111000", "DCM")
_NOT_CLINICAL = frozenset((_ALGORITHM_FAMILY,))

Value = tuple[object, ...]


@dataclass(frozen=True)
class Difference:
    """What differs.

    ``changed`` and ``missing``: findings with the statement that follows. ``same``: findings left as they were. ``whole``: the
    conclusion differs, with its statement. ``words``: it has only words, and they differ. ``lost``: nothing of ours is left.
    """

    changed: tuple[Statement, ...] = ()
    missing: tuple[Statement, ...] = ()
    same: tuple[str, ...] = ()
    whole: Statement | None = None
    words: bool = False
    lost: bool = False

    @property
    def any(self) -> bool:
        """Whether there is a difference."""
        return bool(self.changed or self.missing or self.whole or self.words or self.lost)


def difference(ours: Item, theirs: Item, findings: Mapping[str, str]) -> Difference:
    """Compare two content trees.

    Parameters
    ----------
    findings
        Tracking UID -> finding, of our result.
    """
    before, after = _groups(ours), _groups(theirs)
    if not before:
        values = [Counter(_said(root, words=True)) for root in (ours, theirs)]
        return Difference(words=values[0] != values[1])
    if not before.keys() & after.keys() and not _common_codes(ours, theirs):
        return Difference(lost=True)
    changed, missing, same = [], [], []
    for uid, group in before.items():
        finding = findings.get(uid)
        if finding is None:  # the lungs: where we looked, not what we found
            continue
        if uid not in after:
            missing.append(Statement(Verdict.REJECTED, finding))
        elif _comparable(group) == _comparable(after[uid]):
            same.append(finding)
        else:
            changed.append(Statement(Verdict.AMENDED, finding, label_after=_label(group, after[uid])))
    whole = None if changed or missing else _conclusion(ours, theirs)
    return Difference(tuple(changed), tuple(missing), tuple(same), whole)


def _groups(root: Item) -> dict[str, Item]:
    """Return the measurement groups by their Tracking UID."""
    return {item.tracking_uid: item for item in root.walk() if item.tracking_uid}


def _comparable(group: Item) -> Counter[Value]:
    return Counter(_said(group, words=False))


def _said(item: Item, *, words: bool) -> Iterator[Value]:
    """Yield name and value of everything clinical below an item."""
    for child in item.children:
        if child.relation == "HAS OBS CONTEXT" or child.name in _NOT_CLINICAL:
            continue
        if words and child.relation == "HAS CONCEPT MOD" and child.value_type == "CODE":  # language, procedure
            continue
        if child.value_type in _VALUES or (words and child.value_type == "TEXT"):
            yield (*child.name, child.value_type, *child.value)
        yield from _said(child, words=words)


def _conclusion(ours: Item, theirs: Item) -> Statement | None:
    """Compare the codes outside the groups: what we concluded must still stand there; what was added is the person's own."""
    before, after = _codes_outside(ours), _codes_outside(theirs)
    if not any(after[name] != values for name, values in before.items()):
        return None
    labels = {_label_of(after[name]) for name in (codes.NORMALITY[:2], codes.DECISION[:2]) if after[name] != before[name]} - {""}
    return Statement(Verdict.AMENDED, label_after=labels.pop() if len(labels) == 1 else "")


def _common_codes(ours: Item, theirs: Item) -> bool:
    """Say whether anything of our conclusion stands in the other report: then it was made from ours, and not anew."""
    before, after = _codes_outside(ours), _codes_outside(theirs)
    return any(values & after[name] for name, values in before.items())


class _Codes(dict[tuple[str, str], Counter[Value]]):
    def __missing__(self, name: tuple[str, str]) -> Counter[Value]:
        return Counter()


def _codes_outside(root: Item) -> _Codes:
    found = _Codes()
    pending = [child for child in root.children if child.relation == "CONTAINS"]
    while pending:
        item = pending.pop()
        if item.tracking_uid:
            continue
        if item.value_type == "CODE":
            found.setdefault(item.name, Counter())[item.value] += 1
        pending += [child for child in item.children if child.relation == "CONTAINS"]
    return found


def _label(before: Item, after: Item) -> str:
    """Return what the person has instead: by the decision, the finding's code, or a probability of nought or one; else not said."""
    decided = [_decision(group) for group in (before, after)]
    if decided[0] != decided[1] and decided[1]:
        return LABELS.get(decided[1], "")
    named = [_code_named(group, _FINDING) for group in (before, after)]
    if named[0] != named[1] and named[1] != NO_CONCEPT:
        return LABELS.get(named[1], "") or "^".join(named[1])
    numbers = [_probability(group) for group in (before, after)]
    if numbers[0] != numbers[1] and numbers[1] in (0.0, 1.0):
        return "present" if numbers[1] else "absent"
    return ""


def _label_of(values: Counter[Value]) -> str:
    labels = {LABELS.get((str(value[0]), str(value[1])), "") for value in values if len(value) == 2}
    return labels.pop() if len(labels) == 1 else ""


def _decision(group: Item) -> tuple[str, str] | None:
    code = _code_named(group, codes.DECISION[:2])
    return None if code == NO_CONCEPT else code


def _code_named(group: Item, name: tuple[str, str]) -> tuple[str, str]:
    return next((item.code for item in group.children if item.name == name), NO_CONCEPT)


def _probability(group: Item) -> object:
    return next((item.value[0] for item in group.children if item.name == codes.PROBABILITY[:2] and item.value), None)
