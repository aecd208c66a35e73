"""What ``check`` says about certificates, and the number that monitoring gets."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from dicom_node.commands.checks.certificates import certificate_lines
from dicom_node.config.certificates import seconds_to_expiry
from dicom_node.config.load import parse_settings
from dicom_node.config.model import NodeSettings
from dicom_node.core.errors import ConfigError
from dicom_node.store.connect import default_url, open_database
from dicom_node.web.metrics import render_metrics
from tests.factories.certificates import Certificates, certificates

NODE = """\
site: {{timezone: UTC}}
reception:
  plaintext: false
  tls: {{port: {port}, certificate: {certs}/{node}.pem, private_key: {certs}/{node}.key, client_ca: {certs}/ca.pem}}
  peers: [{{ae_title: CT1, certificate_name: ct1.hospital.example}}]
destinations:
  pacs: {{kind: dicom_store, ae_title: PACS, host: h, port: 104, tls: {{ca: {certs}/ca.pem}}}}
  ris: {{kind: hl7_mllp, host: h, port: 2575, tls: {{ca: {certs}/ca.pem}}}}
  fhir: {{kind: fhir_rest, base_url: "https://h/r4", tls: {{ca: {certs}/ca.pem}}, oauth2: {oauth2}}}
"""
OAUTH2 = "{token_url: https://login.example/t, client_id: node, client_secret_file: /run/secrets/node}"


@pytest.fixture
def pki(tmp_path: Path) -> Certificates:
    return certificates(tmp_path)


def settings(pki: Certificates, node: str = "node", port: int = 2762, oauth2: str = OAUTH2) -> NodeSettings:
    return parse_settings(NODE.format(certs=pki.folder, node=node, port=port, oauth2=oauth2), thorough=False)


def marks(pki: Certificates, node: str = "node", now: dt.datetime | None = None) -> dict[str, str]:
    return {told.subject: f"{told.mark}: {told.text}" for told in certificate_lines(settings(pki, node), now)}


def test_every_certificate_of_the_settings_has_its_line(pki: Certificates) -> None:
    """Wherever TLS is set: reception, and each kind of destination."""
    told = marks(pki)
    places = {"reception.tls.certificate", "reception.tls.client_ca"}
    assert set(told) == places | {f"destinations.{name}.tls.ca" for name in ("pacs", "ris", "fhir")}
    assert all(text.startswith("ok: valid until") for text in told.values())


def test_one_that_ends_soon_is_a_note_and_one_that_ended_fails(pki: Certificates) -> None:
    """Thirty days before, and from the day on."""
    now = dt.datetime.now(dt.UTC)
    assert marks(pki, now=now + dt.timedelta(days=340))["reception.tls.certificate"].startswith("note: ")
    assert marks(pki, "expired")["reception.tls.certificate"].startswith("FAIL: ")


def test_files_that_cannot_be_used_fail_and_open_keys_are_noted(pki: Certificates) -> None:
    """A running node goes on with what it has, and that is said."""
    pki.key("node").chmod(0o644)
    assert "every user of this machine can read" in marks(pki)["reception.tls"]
    pki.key("node").write_bytes(pki.key("peer").read_bytes())
    told = marks(pki)
    assert "does not belong to the certificate" in told["reception.tls"]
    assert "keeps the last good files" in told["reception.tls"]
    pki.pem("ca").unlink()
    assert "cannot be read" in marks(pki)["destinations.ris.tls"]


def test_monitoring_gets_a_number_for_each(pki: Certificates) -> None:
    """Below zero when expired; a file that is gone is no silence."""
    left = seconds_to_expiry(settings(pki, "expired"))
    assert left["reception.tls.certificate"] < 0
    assert left["destinations.pacs.tls.ca"] > 86400 * 3000
    pki.pem("ca").unlink()
    assert seconds_to_expiry(settings(pki))["destinations.pacs.tls.ca"] == 0.0


def test_the_number_is_among_the_metrics(tmp_path: Path) -> None:
    """One gauge, a label for each use."""
    database = open_database(default_url(tmp_path))
    text = render_metrics(database, {}, (), {"reception.tls.certificate": 86400.0, "destinations.pacs.tls.ca": -5.0}).decode()
    database.dispose()
    assert 'dicom_node_certificate_expiry_seconds{use="reception.tls.certificate"} 86400.0' in text
    assert 'dicom_node_certificate_expiry_seconds{use="destinations.pacs.tls.ca"} -5.0' in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"port": 8080}, "reception.tls.port: port 8080 is taken twice"),
        ({"oauth2": "{token_url: https://login.example/t, client_id: node}"}, "client_secret_file or client_secret_env"),
        ({"oauth2": "{token_url: https://login.example/t, client: node, client_secret_env: S}"}, "oauth2.client"),
    ],
)
def test_mistakes_are_told_with_their_place(pki: Certificates, changes: dict[str, object], said: str) -> None:
    """The usual sentences reach into the nested settings too."""
    with pytest.raises(ConfigError, match=said):
        settings(pki, **changes)


def test_no_way_in_is_a_mistake() -> None:
    """Plain TCP off, and no TLS."""
    with pytest.raises(ConfigError, match="nothing could come in"):
        parse_settings("site: {timezone: UTC}\nreception: {plaintext: false}\n", thorough=False)
