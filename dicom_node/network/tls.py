"""TLS in and out: the contexts made of the settings, which follow their files without a restart.

The profile is "BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile" (PS3.15, B.12): TLS 1.2 and 1.3, never less, no
way down from TLS to plain text, and for TLS 1.2 the cipher suites that RFC 9325, 4.2 recommends. They are among those of the
older "Non-Downgrading BCP 195" profile (PS3.15, B.10), so that toolkits that know only that one connect too.
"""

from __future__ import annotations

import ssl
import threading
from pathlib import Path
from typing import Any

from dicom_node import log
from dicom_node.core.errors import TlsFailure
from dicom_node.network.certificates import expiry
from dicom_node.network.tls_settings import AnyTls, ClientTls, HttpsTls, ServerTls, TlsProfile, files_of
from dicom_node.network.tls_words import file_trouble

__all__ = [
    "AnyTls",
    "ClientTls",
    "HttpsTls",
    "ReloadingContext",
    "ServerTls",
    "TlsProfile",
    "TlsSocket",
    "client_context",
    "current_context",
    "expiry",
    "files_of",
    "server_context",
]

#: RFC 9325, 4.2. Those of TLS 1.3 are the library's own, all of them sound (RFC 9325, 4.3). Level 2: RSA keys of 2048 bits and
#: more, no SHA-1 signatures (RFC 9325, 4.5).
CIPHERS_TLS12 = (
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
)
_CIPHERS = ":".join((*CIPHERS_TLS12, "@SECLEVEL=2"))


class TlsSocket(ssl.SSLSocket):
    """A TLS connection that remembers why it broke: in TLS 1.3 a refused certificate shows only at the first read."""

    failure: OSError | None = None

    def do_handshake(self, block: bool = False) -> None:
        """Shake hands; see ``ssl.SSLSocket``."""
        try:
            super().do_handshake(block)
        except OSError as error:
            self.failure = self.failure or error
            raise

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Read; see ``ssl.SSLSocket``."""
        try:
            return super().recv(buflen, flags)
        except (ssl.SSLError, ConnectionError) as error:
            self.failure = self.failure or error
            raise


def server_context(settings: ServerTls) -> ssl.SSLContext:
    """Return a context for connections to this node, from the files as they are now.

    Raises
    ------
    TlsFailure
        A file cannot be used; the message says which and why.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, settings.profile)
    context.options |= ssl.OP_NO_TICKET | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 0  # a resumed session would pass by a certificate that has been withdrawn since
    _load_own(context, settings.certificate, settings.private_key)
    if settings.client_ca is not None:
        _load_ca(context, settings.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED if settings.require_client_certificate else ssl.CERT_OPTIONAL
    return context


def client_context(settings: ClientTls | HttpsTls) -> ssl.SSLContext:
    """Return a context for connections from this node, from the files as they are now.

    Raises
    ------
    TlsFailure
        A file cannot be used; the message says which and why.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT, settings.profile)
    context.check_hostname = isinstance(settings, HttpsTls) or settings.server_name is not None
    context.verify_mode = ssl.CERT_REQUIRED
    if settings.ca is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        _load_ca(context, settings.ca)
    if settings.certificate is not None and settings.private_key is not None:
        _load_own(context, settings.certificate, settings.private_key)
    return context


class ReloadingContext:
    """The context of some settings, made anew when one of the files changes.

    New files that cannot be used are told once, and the last good ones stay in use: half of a renewal must not close the door.
    """

    def __init__(self, settings: AnyTls) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._stamp: tuple[Any, ...] | None = None  # settings may name no file at all
        self._context: ssl.SSLContext | None = None
        self._trouble: TlsFailure | None = None

    def current(self) -> ssl.SSLContext:
        """Return the context for the next connection.

        Raises
        ------
        TlsFailure
            The files cannot be used, and there were never good ones.
        """
        with self._lock:
            stamp = tuple(_stamp(path) for path in files_of(self._settings).values())
            if stamp != self._stamp:
                self._stamp = stamp
                self._renew()
            if self._context is None:
                raise self._trouble or TlsFailure("The TLS files cannot be used.", code="own_files")
            return self._context

    def _renew(self) -> None:
        try:
            fresh = server_context(self._settings) if isinstance(self._settings, ServerTls) else client_context(self._settings)
        except TlsFailure as trouble:
            self._trouble = trouble
            what = "the last good files stay in use" if self._context else "no connection is possible"
            log.event("tls.files_unusable", reason=str(trouble), outcome=what)
            return
        if self._context is not None or self._trouble is not None:
            log.event("tls.files_renewed", path=str(next(iter(files_of(self._settings).values()), "")))
        self._context, self._trouble = fresh, None


_contexts: dict[AnyTls, ReloadingContext] = {}
_contexts_lock = threading.Lock()


def current_context(settings: AnyTls) -> ssl.SSLContext:
    """Return the context for the next connection with these settings, one ``ReloadingContext`` a process and settings.

    Raises
    ------
    TlsFailure
        The files cannot be used, and there were never good ones.
    """
    with _contexts_lock:
        kept = _contexts.setdefault(settings, ReloadingContext(settings))
    return kept.current()


def _context(protocol: int, profile: TlsProfile) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.sslsocket_class = TlsSocket
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if profile is TlsProfile.BCP195_TLS13 else ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    # what IT names as authority is trusted as it is, also an authority below another, or a device's own certificate
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _load_own(context: ssl.SSLContext, certificate: Path, private_key: Path) -> None:
    def no_passphrase() -> str:
        raise TlsFailure(f"The private key {private_key} has a passphrase: write it without one.", code="own_files")

    try:
        context.load_cert_chain(certificate, private_key, password=no_passphrase)  # without it the library asks at the terminal
    except (OSError, ValueError) as error:
        raise TlsFailure(file_trouble(error, certificate, private_key), code="own_files") from error


def _load_ca(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_verify_locations(path)
    except (OSError, ValueError) as error:
        raise TlsFailure(file_trouble(error, path), code="own_files") from error


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
