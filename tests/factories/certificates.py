"""Certificates for tests: of the authority that is trusted, of another one, and one that has expired."""

from __future__ import annotations

import datetime as dt
import shutil
import ssl
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from dicom_node.network.small_ca import SmallCa
from dicom_node.network.tls_settings import ClientTls, ServerTls

LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


class Certificates:
    """A folder with ``ca``, ``node``, ``peer``, ``expired`` (of ca), ``other_ca`` and ``stranger`` (of other_ca), pem and key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def pem(self, name: str) -> Path:
        return self.folder / f"{name}.pem"

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    def issue(self, name: str, *, ca: str = "ca", **options: Any) -> None:
        """Issue another certificate, or the same anew."""
        options = {"name": name, **options}
        SmallCa.load(self.pem(ca), self.key(ca)).issue(self.pem(name), self.key(name), **options)

    def exchange(self, name: str, by: str) -> None:
        """Put another certificate and key in the place of one, as a renewal does."""
        for path, new in ((self.pem(name), self.pem(by)), (self.key(name), self.key(by))):
            unfinished = path.with_suffix(".new")
            shutil.copy(new, unfinished)
            unfinished.replace(path)

    def server_tls(self, name: str = "node", **changes: Any) -> ServerTls:
        """Settings of a node that listens."""
        values = {"certificate": self.pem(name), "private_key": self.key(name), "client_ca": self.pem("ca"), **changes}
        return ServerTls(**values)

    def client_tls(self, name: str | None = "node", **changes: Any) -> ClientTls:
        """Settings of a node that calls."""
        own = {"certificate": self.pem(name), "private_key": self.key(name)} if name else {}
        return ClientTls(**{"ca": self.pem("ca"), **own, **changes})

    def caller(self, name: str | None = "peer", *, trusts: str = "ca") -> ssl.SSLContext:
        """A context as a peer of another make has it, which calls the node."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self.pem(trusts))
        if name:
            context.load_cert_chain(self.pem(name), self.key(name))
        return context

    def listener(self, name: str = "peer", *, wants_certificate: bool = True) -> ssl.SSLContext:
        """A context as a peer of another make has it, which is called by the node."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pem(name), self.key(name))
        if wants_certificate:
            context.load_verify_locations(self.pem("ca"))
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def certificates(folder: Path) -> Certificates:
    """Return fresh copies in this folder; the keys are made once a test run."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in Path(_made().name).iterdir():
        shutil.copy(path, folder / path.name)
    return Certificates(folder)


@cache
def _made() -> tempfile.TemporaryDirectory[str]:
    held = tempfile.TemporaryDirectory(prefix="certificates-")
    made = Certificates(Path(held.name))
    for name in ("ca", "other_ca"):
        SmallCa.make(name).save(made.pem(name), made.key(name))
    here = ["localhost", "127.0.0.1"]
    made.issue("node", hosts=here)
    made.issue("peer", hosts=here)
    made.issue("expired", hosts=here, start=LONG_AGO, days=30)
    made.issue("stranger", ca="other_ca", hosts=here)
    return held
