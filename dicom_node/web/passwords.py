"""Passwords of local users: scrypt (RFC 7914) with a salt each; what stands in node.yaml tells nobody the password."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import threading

_N, _R, _P = 1 << 15, 8, 3  # 32 MiB and about a quarter of a second
_MOST_N, _MOST_P = 1 << 18, 8  # a hash that asks for more is no hash of ours
_LENGTH = 32
#: Checks at once: each takes memory, and strangers decide how many there are.
_few = threading.BoundedSemaphore(2)


def hash_password(password: str) -> str:
    """Return ``scrypt:n:r:p:salt:hash`` (base64, safe in YAML)."""
    salt = secrets.token_bytes(16)
    return ":".join(("scrypt", str(_N), str(_R), str(_P), _text(salt), _text(_derived(password, salt, _N, _R, _P))))


def is_hash(value: str) -> bool:
    """Say whether this is what ``hash_password`` returns."""
    return _parts(value) is not None


def fits(password: str, stored: str) -> bool:
    """Say whether the password is the one; takes as long when there is nothing to compare with."""
    parts = _parts(stored)
    if parts is None:
        _derived(password, b"nobody", _N, _R, _P)
        return False
    n, r, p, salt, wanted = parts
    return hmac.compare_digest(_derived(password, salt, n, r, p), wanted)


def _derived(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    with _few:
        # a password of a megabyte must not keep a processor busy; nobody types so much
        typed = password.encode("utf-8", "surrogatepass")[:1024]
        return hashlib.scrypt(typed, salt=salt, n=n, r=r, p=p, maxmem=256 * n * r, dklen=_LENGTH)


def _parts(value: str) -> tuple[int, int, int, bytes, bytes] | None:
    try:
        name, n, r, p, salt, wanted = value.split(":")
        numbers = int(n), int(r), int(p)
        plain, hashed = base64.b64decode(salt, validate=True), base64.b64decode(wanted, validate=True)
    except (ValueError, binascii.Error):
        return None
    n_, r_, p_ = numbers
    power = n_ & (n_ - 1) == 0
    if name != "scrypt" or not power or not 1 << 14 <= n_ <= _MOST_N or not 1 <= p_ <= _MOST_P or r_ != _R:
        return None
    return (n_, r_, p_, plain, hashed) if len(plain) >= 16 and len(hashed) == _LENGTH else None


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
