"""Why a TLS connection failed, as a code for machines and a sentence for people. Pure."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from dicom_node.core.errors import TlsFailure

#: X509_V_ERR_… of OpenSSL: what was wrong with the certificate that the other side showed.
_VERIFY = {
    9: ("not_yet_valid", "its certificate is not valid yet (is a clock wrong?)"),
    10: ("expired", "its certificate has expired"),
    12: ("ca_list_expired", "the list of withdrawn certificates has expired"),
    18: ("unknown_ca", "its certificate signs itself and is not among those trusted here"),
    19: ("unknown_ca", "its certificate comes from an authority that is not trusted here"),
    20: ("unknown_ca", "its certificate comes from an authority that is not trusted here"),
    21: ("unknown_ca", "its certificate comes from an authority that is not trusted here"),
    23: ("withdrawn", "its certificate has been withdrawn"),
    26: ("wrong_purpose", "its certificate is not made for this use (extended key usage)"),
    62: ("wrong_name", "its certificate bears another name"),
    64: ("wrong_name", "its certificate bears another address"),
    66: ("weak", "its certificate has too short a key"),
    68: ("weak", "its certificate is signed with a weak method"),
}

#: OpenSSL's reasons: what went wrong in the handshake.
_REASONS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": ("no_certificate", "it showed no certificate"),
    "UNSUPPORTED_PROTOCOL": ("protocol_version", "it offers no TLS version that is allowed here (TLS 1.2 or 1.3)"),
    "WRONG_SSL_VERSION": ("protocol_version", "it offers no TLS version that is allowed here (TLS 1.2 or 1.3)"),
    "VERSION_TOO_LOW": ("protocol_version", "it offers no TLS version that is allowed here (TLS 1.2 or 1.3)"),
    "NO_PROTOCOLS_AVAILABLE": ("protocol_version", "it offers no TLS version that is allowed here (TLS 1.2 or 1.3)"),
    "INAPPROPRIATE_FALLBACK": ("protocol_version", "it fell back to an older TLS version"),
    "TLSV1_ALERT_PROTOCOL_VERSION": ("protocol_version", "it refuses TLS 1.2 and 1.3"),
    "NO_SHARED_CIPHER": ("no_shared_cipher", "it offers no cipher suite that is allowed here"),
    "WRONG_VERSION_NUMBER": ("plaintext", "it does not speak TLS on this port"),
    "HTTP_REQUEST": ("plaintext", "it does not speak TLS on this port"),
    "PACKET_LENGTH_TOO_LONG": ("plaintext", "it does not speak TLS on this port"),
    "RECORD_LAYER_FAILURE": ("plaintext", "it does not speak TLS on this port"),
    "TLSV1_ALERT_UNKNOWN_CA": ("refused_by_peer", "it does not trust the authority of this node's certificate"),
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": ("refused_by_peer", "it says that this node's certificate has expired"),
    "SSLV3_ALERT_CERTIFICATE_REVOKED": ("refused_by_peer", "it says that this node's certificate has been withdrawn"),
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": ("refused_by_peer", "it does not accept this node's certificate"),
    "SSLV3_ALERT_BAD_CERTIFICATE": ("refused_by_peer", "it does not accept this node's certificate"),
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": ("refused_by_peer", "it does not accept this kind of certificate"),
    "TLSV1_ALERT_ACCESS_DENIED": ("refused_by_peer", "it does not let this node's certificate in"),
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": (
        "refused_by_peer",
        "it wants a certificate from this node: set certificate and private_key",
    ),
    "TLSV1_ALERT_DECRYPT_ERROR": ("refused_by_peer", "it cannot check this node's signature"),
    "SSLV3_ALERT_HANDSHAKE_FAILURE": (
        "refused_by_peer",
        "it refuses the handshake: it wants a certificate from this node, or shares no cipher suite with it",
    ),
}


def tls_failure(error: OSError, *, whose: str = "The peer") -> TlsFailure:
    """Return what an error of a TLS socket means.

    Parameters
    ----------
    whose
        Begins the sentence, e.g. ``The caller``.
    """
    code, text = _told(error)
    return TlsFailure(f"{whose} cannot be connected by TLS: {text}.", code=code)


def _told(error: OSError) -> tuple[str, str]:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _VERIFY.get(error.verify_code, ("bad_certificate", f"its certificate is not valid (OpenSSL {error.verify_code})"))
    reason = getattr(error, "reason", None) or ""
    if reason in _REASONS:
        return _REASONS[reason]
    if isinstance(error, TimeoutError):
        return "timeout", "the handshake was not finished in time"
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError, BrokenPipeError)):
        return "closed", "it closed the connection during or right after the handshake: it may not accept this node's certificate"
    if isinstance(error, ssl.SSLError):
        known = reason.lower().replace("_", " ") if reason.replace("_", "").isalnum() else "unknown reason"
        return "handshake", f"the handshake failed ({known})"
    return "closed", f"the connection broke during the handshake ({type(error).__name__})"


def file_trouble(error: Exception, *paths: Path) -> str:
    """Return why certificate, key or authority cannot be used; the sentence names the files, never what is in them."""
    for path in paths:
        try:
            path.open("rb").close()
        except OSError as unreadable:
            return f"{path} cannot be read: {os.strerror(unreadable.errno or 0)}."
    reason = getattr(error, "reason", None)
    if reason == "KEY_VALUES_MISMATCH":
        return f"The private key {paths[-1]} does not belong to the certificate {paths[0]}."
    if reason in ("CA_KEY_TOO_SMALL", "EE_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"):
        return f"The certificate {paths[0]} has too short a key or a weak signature; RSA needs 2048 bits and SHA-256."
    return f"{' or '.join(str(path) for path in paths)} holds nothing that can be used: PEM is needed (-----BEGIN ...)."
