"""Facts about certificates in PEM files and of connections: until when, for whom, and who else can read the key."""

from __future__ import annotations

import datetime as dt
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicom_node.core.errors import TlsFailure

if TYPE_CHECKING:
    from cryptography import x509


def certificates_in(path: Path) -> list[x509.Certificate]:
    """Return the certificates of a PEM file, in order.

    Raises
    ------
    TlsFailure
        The file cannot be read, or holds none.
    """
    from cryptography import x509  # only where a certificate is looked at: roles start faster without

    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise TlsFailure(f"{path} cannot be read ({error.strerror or type(error).__name__}).", code="own_files") from error
    except ValueError as error:
        raise TlsFailure(f"{path} holds no certificate in PEM form.", code="own_files") from error


def expiry(path: Path) -> dt.datetime:
    """Return when the first of the file's certificates to expire does so, in UTC.

    Raises
    ------
    TlsFailure
        The file cannot be read, or holds no certificate.
    """
    return min(certificate.not_valid_after_utc for certificate in certificates_in(path))


def readable_by_everybody(path: Path) -> bool:
    """Return whether any user of this machine can read the file; a private key should be the node's alone."""
    try:
        return bool(path.stat().st_mode & 0o004)
    except OSError:
        return False


def shown_names(connection: object) -> frozenset[str]:
    """Return the names in the certificate that the other side showed and that was verified, in lower case.

    Common name, and DNS names and addresses among the alternative names (RFC 5280, 4.2.1.6). Empty without TLS or certificate.
    """
    if not isinstance(connection, ssl.SSLSocket):
        return frozenset()
    try:
        told: dict[str, Any] = connection.getpeercert() or {}
    except (OSError, ValueError):  # closed meanwhile
        return frozenset()
    names = [value for part in told.get("subject", ()) for key, value in part if key == "commonName"]
    names += [str(entry[1]) for entry in told.get("subjectAltName", ()) if entry[0] in ("DNS", "IP Address")]
    return frozenset(str(name).casefold() for name in names)
