"""Who answers, as far as it can be known, and how far the answer counts. Pure: no tables, no sockets.

An answer is strong only if two things hold: the way it came vouches for the person, and ``readers`` says that this person is a
radiologist. Whoever fits two entries of ``readers`` is nobody in particular.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dicom_node.core.feedback import ReaderClaim, Strength
from dicom_node.core.identifiers import plain
from dicom_node.feedback.settings import ReaderSettings


@dataclass(frozen=True)
class Reader:
    """A person in the log. ``pseudonym``: ``rd_…``, the same for all ways by which one person answers; empty: unknown."""

    pseudonym: str = ""
    role: str = ""
    experience_years: int | None = None
    strength: Strength = Strength.WEAK
    name: str = ""  # as ``readers`` has it, of an authenticated person: what an assessment report may name


def identify(claim: ReaderClaim, readers: tuple[ReaderSettings, ...], token: Callable[[str, str], str]) -> Reader:
    """Return who answers.

    Parameters
    ----------
    token
        Keyed hash of the site (``Home.token``): purpose, text.
    """
    identity = claim.identity.strip()
    if not identity:
        return Reader()
    known = [one for one in readers if _is(one, claim.kind, identity)]
    if len(known) != 1:
        # a workstation is not a person; an identity that ``readers`` does not have still tells one unknown person from another
        named = claim.kind and claim.kind != "ae_title" and not known
        return Reader(pseudonym_of(f"{claim.kind}|{plain(identity)}", token) if named else "")
    one = known[0]
    vouched = claim.authenticated or claim.kind == "ae_title"  # its AE titles are the reader's alone, see ``ReaderSettings``
    strong = vouched and one.role == "radiologist"
    return Reader(
        pseudonym_of(person_name(one.name), token),
        one.role,
        one.experience_years,
        Strength.STRONG if strong else Strength.WEAK,
        one.name if vouched else "",
    )


def pseudonym_of(text: str, token: Callable[[str, str], str]) -> str:
    """Return the name of a reader in the log; who has the site's key can find the person behind it."""
    return "rd_" + token("reader", text)


def _is(reader: ReaderSettings, kind: str, identity: str) -> bool:
    if kind == "login":
        return bool(reader.login) and reader.login == identity
    if kind == "ae_title":
        return identity in reader.ae_titles
    if kind == "hl7":
        return identity in reader.hl7_ids
    if kind == "fhir":
        return identity.partition("/_history/")[0] in reader.fhir_references
    if kind == "dicom":
        name = person_name(identity)
        return bool(name) and name in {person_name(one) for one in (reader.name, *reader.dicom_names)}
    return False


def person_name(text: str) -> str:
    """Return a DICOM person name (PS3.5, 6.2.1) as it is compared: its first group that is filled, without trailing delimiters."""
    groups = ("^".join(plain(part) for part in group.split("^")).rstrip("^") for group in text.split("="))
    return next((group for group in groups if group.strip("^")), "")
