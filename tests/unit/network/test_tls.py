"""TLS settings and contexts: what is negotiated, and files that change while the node runs."""

from __future__ import annotations

import datetime as dt
import json
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from pydantic import ValidationError

from dicom_node.core.errors import TlsFailure
from dicom_node.network.certificates import certificates_in, expiry, readable_by_everybody
from dicom_node.network.small_ca import SmallCa
from dicom_node.network.tls import CIPHERS_TLS12, ReloadingContext, client_context, server_context
from dicom_node.network.tls_settings import ClientTls, HttpsTls, ServerTls, TlsProfile, files_of
from tests.factories.certificates import Certificates


def test_only_what_the_profile_allows_is_negotiated(pki: Certificates) -> None:
    """TLS 1.2 and 1.3, and of 1.2 the four suites of RFC 9325; the stricter profile leaves 1.2 out."""
    for context in (server_context(pki.server_tls()), client_context(pki.client_tls()), client_context(HttpsTls())):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        of_tls12 = {cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] == "TLSv1.2"}
        assert of_tls12 == set(CIPHERS_TLS12)
        assert context.security_level == 2
        assert context.options & ssl.OP_NO_RENEGOTIATION
        assert context.verify_mode is ssl.CERT_REQUIRED
    strict = server_context(pki.server_tls(profile="bcp195_tls13"))
    assert strict.minimum_version is ssl.TLSVersion.TLSv1_3


def test_host_names_are_checked_for_https_always_and_for_dicom_where_a_name_is_set(pki: Certificates) -> None:
    """Devices seldom have certificates with the name they are called by; HTTP servers do."""
    assert client_context(HttpsTls(ca=pki.pem("ca"))).check_hostname
    assert client_context(pki.client_tls(server_name="pacs.hospital.example")).check_hostname
    assert not client_context(pki.client_tls()).check_hostname


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"client_ca": None}, "name client_ca"),
        ({"certificate": Path("node.pem")}, "not a whole path"),
        ({"profile": "tls10"}, "bcp195"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(pki: Certificates, changes: dict[str, object], said: str) -> None:
    """Asking for certificates needs an authority, and paths do not depend on where a command is called."""
    with pytest.raises(ValidationError, match=said):
        pki.server_tls(**changes)


def test_certificate_and_key_belong_together(pki: Certificates) -> None:
    """One without the other is a mistake of the file, not of the first connection."""
    with pytest.raises(ValidationError, match="belong together"):
        ClientTls(ca=pki.pem("ca"), certificate=pki.pem("node"))


def test_callers_without_certificate_only_where_it_is_written(pki: Certificates) -> None:
    """The default asks; false takes callers with a certificate of the authority and callers with none."""
    assert server_context(pki.server_tls()).verify_mode is ssl.CERT_REQUIRED
    assert server_context(pki.server_tls(require_client_certificate=False)).verify_mode is ssl.CERT_OPTIONAL
    own = {"certificate": pki.pem("node"), "private_key": pki.key("node"), "require_client_certificate": False}
    assert server_context(ServerTls(**own)).verify_mode is ssl.CERT_NONE


def _spoil(pki: Certificates, how: str) -> None:
    if how == "missing":
        pki.pem("node").unlink()
    elif how == "no PEM":
        pki.pem("node").write_text("This is the certificate of the PACS.")
    elif how == "wrong key":
        pki.key("node").write_bytes(pki.key("peer").read_bytes())
    elif how == "passphrase":
        key = serialization.load_pem_private_key(pki.key("node").read_bytes(), password=None)
        locked = serialization.BestAvailableEncryption(b"secret")
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
        pki.key("node").write_bytes(key.private_bytes(*form))
    elif how == "no CA":
        pki.pem("ca").write_text("")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("missing", "node.pem cannot be read: No such file"),
        ("no PEM", "PEM is needed"),
        ("wrong key", "does not belong to the certificate"),
        ("passphrase", "has a passphrase"),
        ("no CA", "ca.pem holds nothing"),
    ],
)
def test_files_that_cannot_be_used_are_told_in_words(pki: Certificates, how: str, said: str) -> None:
    """Each trouble names the file and the cure; nothing asks at a terminal."""
    _spoil(pki, how)
    with pytest.raises(TlsFailure, match=said) as caught:
        server_context(pki.server_tls())
    assert caught.value.code == "own_files"
    assert caught.value.temporary


def test_new_files_are_used_and_broken_ones_are_not(pki: Certificates, capsys: pytest.CaptureFixture[str]) -> None:
    """A renewal needs no restart; half of one is told once and changes nothing."""
    contexts = ReloadingContext(pki.server_tls())
    first = contexts.current()
    assert contexts.current() is first
    pki.issue("node")
    second = contexts.current()
    assert second is not first
    pki.key("node").write_text("half a ke")
    assert contexts.current() is second
    assert contexts.current() is second
    pki.issue("node")
    third = contexts.current()
    assert third not in (first, second)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in told] == ["tls.files_renewed", "tls.files_unusable", "tls.files_renewed"]
    assert told[1]["outcome"] == "the last good files stay in use"


def test_files_that_were_never_good_are_an_error_until_they_are(pki: Certificates) -> None:
    """Each connection asks again; the first good files open the door."""
    _spoil(pki, "wrong key")
    contexts = ReloadingContext(pki.server_tls())
    for _ in range(2):
        with pytest.raises(TlsFailure, match="does not belong"):
            contexts.current()
    pki.issue("node")
    assert contexts.current().verify_mode is ssl.CERT_REQUIRED


def test_expiry_is_that_of_the_first_to_expire(pki: Certificates) -> None:
    """A chain ends with its weakest link."""
    assert expiry(pki.pem("expired")) == dt.datetime(2020, 1, 30, 23, 55, tzinfo=dt.UTC)
    both = pki.folder / "both.pem"
    both.write_bytes(pki.pem("node").read_bytes() + pki.pem("expired").read_bytes())
    assert expiry(both).year == 2020
    assert len(certificates_in(both)) == 2
    for broken in (pki.key("node"), pki.folder / "none.pem"):
        with pytest.raises(TlsFailure):
            expiry(broken)


def test_keys_are_the_nodes_alone(pki: Certificates) -> None:
    """The small authority writes keys that nobody else can read; one that everybody can is noticed."""
    SmallCa.make("fresh").save(pki.pem("fresh"), pki.key("fresh"))
    assert pki.key("fresh").stat().st_mode & 0o077 == 0
    assert not readable_by_everybody(pki.key("fresh"))
    pki.key("fresh").chmod(0o644)
    assert readable_by_everybody(pki.key("fresh"))


def test_the_files_of_any_settings_are_known(pki: Certificates) -> None:
    """What is followed and what ``check`` looks at."""
    assert set(files_of(pki.server_tls())) == {"certificate", "private_key", "client_ca"}
    assert set(files_of(pki.client_tls(None))) == {"ca"}
    assert TlsProfile("bcp195") is pki.server_tls().profile
