"""Identifiers, checked once, when made."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
import unicodedata
import uuid

#: Fixed for this product: every UID that the node derives lies under it (UUIDv5 in the 2.25 arc, PS3.5 B.2).
NAMESPACE = uuid.UUID("6f2c7f5e-3a41-5b0e-9a55-0d1c0f6b7a11")

_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")
_TOLERABLE = re.compile(r"[0-9]+(\.[0-9]+)+")


def is_uid(value: str) -> bool:
    """Say whether ``value`` is a UID as PS3.5, 9.1 has it (at most 64 characters, no leading zeros)."""
    return len(value) <= 64 and _UID.fullmatch(value) is not None


def is_tolerable_uid(value: str) -> bool:
    """Say whether a received UID can be kept: digits and dots, at most 64 characters; leading zeros, which old devices write, too.

    An image must not be lost to a superfluous zero; anything else (a path, a blank) is not a UID at all.
    """
    return len(value) <= 64 and _TOLERABLE.fullmatch(value) is not None


def check_ae_title(value: str) -> str:
    """Return the AE title without its padding.

    Raises
    ------
    ValueError
        Empty, longer than 16 characters, or with a backslash or control character (PS3.5, VR AE).
    """
    title = value.strip(" ")
    if not title:
        raise ValueError("an AE title must not be empty (PS3.5, VR AE)")
    if "\\" in title or any(not 32 <= ord(c) < 127 for c in title):
        raise ValueError(f"{title!r} holds a character that an AE title must not have (PS3.5, VR AE)")
    if len(title) > 16:
        raise ValueError(f'"{title}" has {len(title)} characters; an AE title has at most 16 (PS3.5, VR AE)')
    return title


def plain(text: str) -> str:
    """Return an identifier or name as it is compared: compatibility forms folded, case folded, blanks made single."""
    return " ".join(unicodedata.normalize("NFKC", str.__str__(text)).casefold().split())


def patient_key(patient_id: str, issuer: str = "") -> str:
    """Join a Patient ID and who issued it (empty: unknown) as the tables of patients have them: ``id|issuer``, as compared."""
    return "|".join(plain(part).replace("|", "%7c") for part in (patient_id, issuer))


def derived_uid(*parts: str) -> str:
    """Return a UID that depends on ``parts`` alone: the same parts give the same UID, for ever."""
    return f"2.25.{uuid.uuid5(NAMESPACE, '|'.join(parts)).int}"


@functools.lru_cache(maxsize=256)  # objects of a study come one behind the other
def study_key(study_instance_uid: str) -> str:
    """Return our own name for a study, safe in logs: ``st_`` and ten letters or digits made of a hash of the UID."""
    digest = hashlib.sha256(b"study|" + study_instance_uid.encode()).digest()
    return "st_" + base64.b32encode(digest)[:10].decode().lower()


def short_key(prefix: str, *parts: str) -> str:
    """Return ``prefix_`` and sixteen letters or digits that depend on ``parts`` alone."""
    digest = hashlib.sha256("|".join((prefix, *parts)).encode()).digest()
    return f"{prefix}_" + base64.b32encode(digest)[:16].decode().lower()


def accession_token(accession_number: str) -> str:
    """Return the name under which ``result_number`` has an accession number."""
    return short_key("an", plain(accession_number))
