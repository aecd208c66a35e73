"""A small certificate authority for tests and first steps. A hospital's own authority replaces it before patients are sent."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_ALLOWANCE = dt.timedelta(minutes=5)  # machines whose clocks are a little behind


class SmallCa:
    """An authority and its key.

    Parameters
    ----------
    certificate, key
        Its own, from ``make`` or ``load``.
    """

    def __init__(self, certificate: x509.Certificate, key: rsa.RSAPrivateKey) -> None:
        self.certificate = certificate
        self._key = key

    @classmethod
    def make(cls, name: str, *, days: int = 3650) -> Self:
        """Make a new authority of this common name."""
        key = _new_key()
        subject = _name(name)
        usage = _usage(sign_certificates=True)
        certificate = (
            _builder(subject, subject, key.public_key(), dt.datetime.now(dt.UTC) - _ALLOWANCE, days)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def load(cls, certificate: Path, key: Path) -> Self:
        """Read an authority that ``save`` wrote.

        Raises
        ------
        OSError, ValueError
            The files cannot be read, or hold something else.
        """
        loaded = serialization.load_pem_private_key(key.read_bytes(), password=None)
        if not isinstance(loaded, rsa.RSAPrivateKey):
            raise ValueError("the authority's key is not an RSA key")
        return cls(x509.load_pem_x509_certificate(certificate.read_bytes()), loaded)

    def save(self, certificate: Path, key: Path) -> None:
        """Write certificate and key as PEM files, the key readable by this user only."""
        _write(key, _key_pem(self._key), 0o600)
        _write(certificate, self.certificate.public_bytes(serialization.Encoding.PEM), 0o644)

    def issue(
        self,
        certificate: Path,
        key: Path,
        *,
        name: str,
        hosts: Sequence[str] = (),
        days: int = 365,
        start: dt.datetime | None = None,
    ) -> None:
        """Write a new key and the certificate for it, good for either end of a connection.

        Parameters
        ----------
        name
            Common name, and an alternative name too.
        hosts
            Further names and addresses (RFC 5280, 4.2.1.6).
        start
            Valid from; default: now.
        """
        own = _new_key()
        begin = (start or dt.datetime.now(dt.UTC)) - _ALLOWANCE
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        names = [_alternative(host) for host in dict.fromkeys((name, *hosts))]
        issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        issued = (
            _builder(_name(name), self.certificate.subject, own.public_key(), begin, days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(issuer_key, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        _write(key, _key_pem(own), 0o600)
        _write(certificate, issued.public_bytes(serialization.Encoding.PEM), 0o644)


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(
    subject: x509.Name, issuer: x509.Name, public: rsa.RSAPublicKey, begin: dt.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + dt.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=not sign_certificates,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _write(path: Path, data: bytes, mode: int) -> None:
    """Write whole or not at all: a running node may look at any moment."""
    unfinished = path.with_name(f".{path.name}.part")
    with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(data)
    unfinished.chmod(mode)
    unfinished.replace(path)
