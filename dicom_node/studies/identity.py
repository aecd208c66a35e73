"""Whose images are these? Comparing the patients that headers name. Pure.

Empty is unknown, never a contradiction. Names are compared as people read them: after the character set, without regard to case,
trailing ``^`` and blanks; ideographic and phonetic groups only where both headers have them (PS3.5, 6.2.1).
"""

from __future__ import annotations

from collections.abc import Sequence

from dicom_node.core.identifiers import plain
from dicom_node.core.phi import Phi
from dicom_node.core.study import HeaderFacts


def name_groups(name: Phi | str) -> tuple[str, ...]:
    """Return the component groups of a person name, each without empty trailing components."""
    revealed = name.reveal() if isinstance(name, Phi) else name
    groups = []
    for group in revealed.split("="):
        components = [plain(component) for component in group.split("^")]
        while components and not components[-1]:
            components.pop()
        groups.append("^".join(components))
    while groups and not groups[-1]:
        groups.pop()
    return tuple(groups)


def names_conflict(one: Phi | str, other: Phi | str) -> bool:
    """Say whether two names contradict each other in a group that both have."""
    pairs = zip(name_groups(one), name_groups(other), strict=False)
    return any(a != b for a, b in pairs if a and b)


def patients_conflict(one: HeaderFacts, other: HeaderFacts) -> bool:
    """Say whether two headers name two patients: by Patient ID, its issuer, or the name."""

    def contradict(a: Phi, b: Phi) -> bool:
        return bool(plain(a)) and bool(plain(b)) and plain(a) != plain(b)

    return (
        contradict(one.patient_id, other.patient_id)
        or contradict(one.issuer_of_patient_id, other.issuer_of_patient_id)
        or names_conflict(one.patient_name, other.patient_name)
    )


def any_conflict(headers: Sequence[HeaderFacts]) -> bool:
    """Say whether any two of these headers name two patients.

    Each header is compared with every distinct identity seen: with unknown values, "no conflict" is not transitive.
    """
    seen: dict[tuple[str, str, tuple[str, ...]], HeaderFacts] = {}
    for facts in headers:
        key = (plain(facts.patient_id), plain(facts.issuer_of_patient_id), name_groups(facts.patient_name))
        if key in seen:
            continue
        if any(patients_conflict(facts, known) for known in seen.values()):
            return True
        seen[key] = facts
    return False


def same_identity(one: HeaderFacts, other: HeaderFacts) -> bool:
    """Say whether a result for one header is addressed right for the other: patient and order are the same.

    Stricter than ``patients_conflict``: a Patient ID that was empty and is now filled in is another identity, since the result
    that was sent lacks it.
    """

    def addressed(facts: HeaderFacts) -> tuple[object, ...]:
        return (
            plain(facts.patient_id),
            plain(facts.issuer_of_patient_id),
            name_groups(facts.patient_name),
            plain(facts.birth_date),
            plain(facts.patient_sex),
            plain(facts.accession_number),
            tuple(plain(accession) for accession in facts.requested_accessions),
        )

    return addressed(one) == addressed(other)
