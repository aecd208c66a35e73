"""One condition of a rule on one instance: true, false or unknown, with its reason. Pure.

Unknown means that the header does not say (element absent, empty, or contradicting itself). Reasons never show what could
identify a person: of names, identifiers and free text only "matches" or "does not match" is told.
"""

from __future__ import annotations

import enum
import fnmatch
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dicom_node.core.age import age_years
from dicom_node.core.phi import Phi
from dicom_node.core.study import Instance
from dicom_node.routing import terms
from dicom_node.routing.settings import Conditions

_CODE_STRING = re.compile(r"^[A-Z0-9 ./+-]{1,32}$")


class Truth(enum.StrEnum):
    """Kleene's three values."""

    TRUE = "true"
    FALSE = "false"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Checked:
    """What one condition came to. ``text`` is a sentence for people."""

    condition: str
    truth: Truth
    text: str


Check = Callable[[Conditions, Instance], Checked]


def all_of(truths: Iterable[Truth]) -> Truth:
    """Return the conjunction: false if any is false, else unknown if any is unknown, else true."""
    seen = set(truths)
    return Truth.FALSE if Truth.FALSE in seen else Truth.UNKNOWN if Truth.UNKNOWN in seen else Truth.TRUE


def any_of(truths: Iterable[Truth]) -> Truth:
    """Return the disjunction: true if any is true, else unknown if any is unknown, else false."""
    seen = set(truths)
    return Truth.TRUE if Truth.TRUE in seen else Truth.UNKNOWN if Truth.UNKNOWN in seen else Truth.FALSE


def check_instance(when: Conditions, instance: Instance) -> tuple[Checked, ...]:
    """Return one answer for each condition that the rule names, in the order of the settings."""
    return tuple(_CHECKS[name](when, instance) for name in when.named)


def _modality(when: Conditions, instance: Instance) -> Checked:
    value = terms.modality_of(instance.facts, instance.sop_class_uid)
    return _from_set("modality", "Modality", {terms.normal(w) for w in when.modality}, {value} if value else set(), when.modality)


def _body_part(when: Conditions, instance: Instance) -> Checked:
    wanted, possible = terms.body_part_terms(when.body_part), terms.possible_body_parts(instance.facts)
    return _from_set("body_part", "Body part", wanted, possible, when.body_part)


def _view(when: Conditions, instance: Instance) -> Checked:
    return _from_set("view", "View", terms.view_terms(when.view), terms.possible_views(instance.facts), when.view)


def _from_set(condition: str, label: str, wanted: Iterable[str], possible: Iterable[str], written: tuple[str, ...]) -> Checked:
    """Compare possibilities: all wanted is true, none wanted is false, anything between is unknown."""
    rule_says = f"the rule wants {_or(written)}"
    if not (values := set(possible)):
        return Checked(condition, Truth.UNKNOWN, f"{label} is not in the header; {rule_says}.")
    shown = _or(sorted(v if _CODE_STRING.match(v) else "another value" for v in values))
    hits = {value for value in values if any(like(value, pattern) for pattern in wanted)}
    if hits == values:
        return Checked(condition, Truth.TRUE, f"{label} is {shown}.")
    if not hits:
        return Checked(condition, Truth.FALSE, f"{label} is {shown}; {rule_says}.")
    return Checked(condition, Truth.UNKNOWN, f"{label} may be {shown}; {rule_says}.")


def _text(condition: str, label: str, value_of: Callable[[Instance], str], *, show: bool) -> Check:
    """Make the check of a text with wildcards. ``show``: the value is no patient's and may stand in the reason."""

    def check(when: Conditions, instance: Instance) -> Checked:
        written: tuple[str, ...] = getattr(when, condition)
        raw = value_of(instance)
        value = comparable(raw.reveal() if isinstance(raw, Phi) else raw)
        if not value:
            return Checked(condition, Truth.UNKNOWN, f"{label} is not known.")
        truth = Truth.TRUE if any(like(value, comparable(pattern)) for pattern in written) else Truth.FALSE
        if not show:
            return Checked(condition, truth, f"{label} {'matches' if truth is Truth.TRUE else 'does not match'} the rule.")
        wanted = "" if truth is Truth.TRUE else f"; the rule wants {_or(written)}"
        return Checked(condition, truth, f'{label} is "{_shown(raw)}"{wanted}.')

    return check


def _min_age(when: Conditions, instance: Instance) -> Checked:
    limit, age = when.min_age_years, _age(instance)
    if age is None or limit is None:
        return Checked("min_age_years", Truth.UNKNOWN, f"Patient age is unknown; the rule wants {limit:g} years or more.")
    if age >= limit:
        return Checked("min_age_years", Truth.TRUE, f"Patient is at least {limit:g} years old.")
    return Checked("min_age_years", Truth.FALSE, f"Patient is younger than {limit:g} years.")


def _max_age(when: Conditions, instance: Instance) -> Checked:
    limit, age = when.max_age_years, _age(instance)
    if age is None or limit is None:
        return Checked("max_age_years", Truth.UNKNOWN, f"Patient age is unknown; the rule wants {limit:g} years or less.")
    if age <= limit:
        return Checked("max_age_years", Truth.TRUE, f"Patient is at most {limit:g} years old.")
    return Checked("max_age_years", Truth.FALSE, f"Patient is older than {limit:g} years.")


def _age(instance: Instance) -> float | None:
    return age_years(instance.facts.birth_date, instance.facts.patient_age, instance.facts.study_date)


def like(value: str, pattern: str) -> bool:
    """Match with ``*`` and ``?`` alone: a bracket is a bracket."""
    return fnmatch.fnmatchcase(value, pattern.replace("[", "[[]"))


def _shown(value: str) -> str:
    return "".join(c if c.isprintable() else " " for c in value.strip())[:64]


def comparable(value: str) -> str:
    """Return a text as it is compared: no case, no padding, no trailing carets of a person's name."""
    return " ".join(value.casefold().split()).rstrip("^= ")


def _or(values: Iterable[str]) -> str:
    listed = list(values)
    return listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} or {listed[-1]}"


_CHECKS: dict[str, Check] = {
    "modality": _modality,
    "body_part": _body_part,
    "view": _view,
    "calling_ae": _text("calling_ae", "Sender's AE title", lambda i: i.calling_ae, show=True),
    "called_ae": _text("called_ae", "Called AE title", lambda i: i.called_ae, show=True),
    "station": _text("station", "Station Name", lambda i: i.facts.station_name, show=True),
    "manufacturer": _text("manufacturer", "Manufacturer", lambda i: i.facts.manufacturer, show=True),
    "study_description": _text("study_description", "Study Description", lambda i: i.facts.study_description, show=False),
    "series_description": _text("series_description", "Series Description", lambda i: i.facts.series_description, show=False),
    "patient_id": _text("patient_id", "Patient ID", lambda i: i.facts.patient_id, show=False),
    "patient_name": _text("patient_name", "Patient's Name", lambda i: i.facts.patient_name, show=False),
    "min_age_years": _min_age,
    "max_age_years": _max_age,
}
assert _CHECKS.keys() == Conditions.model_fields.keys(), "a condition without a check would always hold"
