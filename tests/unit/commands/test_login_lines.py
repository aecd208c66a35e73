"""What check says of the ways to log in."""

from __future__ import annotations

from pathlib import Path

from dicom_node.commands.checks.logins import login_lines
from dicom_node.config.load import parse_settings
from dicom_node.demo.peers import free_ports
from tests.factories.oidc_provider import oidc_provider
from tests.factories.shown_results import HASH


def marks(web: str) -> list[str]:
    """Return the marks of the lines."""
    return [line.mark for line in login_lines(parse_settings("site: {timezone: UTC}\n" + web))]


def test_nobody_somebody_and_the_hospitals_login(tmp_path: Path) -> None:
    """A note without a login; a failure when the other login does not answer or the secret cannot be read."""
    assert marks("") == ["note"]
    assert marks(f"web: {{public_url: 'https://a.example', users: [{{login: rao, password_hash: '{HASH}'}}]}}") == ["ok"]
    (tmp_path / "secret").write_text("x")
    with oidc_provider() as provider:
        oidc = "web: {public_url: 'https://a.example', oidc: {client_id: x, issuer: '%s', client_secret_file: %s}}"
        assert marks(oidc % (provider.url, tmp_path / "secret")) == ["ok"]
        assert marks(oidc % (provider.url, tmp_path / "none")) == ["FAIL"]
        assert marks(oidc % (provider.url + "/", tmp_path / "secret")) == ["FAIL"]  # it does not call itself so
    assert marks(oidc % (provider.url, tmp_path / "secret")) == ["FAIL"]


def test_it_is_told_which_address_and_why_and_not_to_ask_it(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    oidc = f"web: {{public_url: 'https://a.example', oidc: {{client_id: x, issuer: 'http://127.0.0.1:{port}/realm'}}}}"
    (line,) = login_lines(parse_settings("site: {timezone: UTC}\n" + oidc))
    assert f"127.0.0.1:{port}/realm" in line.text
    assert "refused" in line.text
    assert "tell IT" not in line.text
