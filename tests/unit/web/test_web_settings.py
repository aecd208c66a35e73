"""The pages' settings: nobody comes in unseen, and each mistake says its cure."""

from __future__ import annotations

import io
from typing import Any

import pytest

from dicom_node.commands import users
from dicom_node.config.load import parse_settings
from dicom_node.core.errors import ConfigError
from dicom_node.web.passwords import fits, is_hash
from tests.factories.shown_results import HASH

SITE = "site: {timezone: UTC}\n"
USER = f"users: [{{login: rao, password_hash: '{HASH}'}}]"
TLS = "tls: {certificate: /a, private_key: /b}"
PUBLIC = "public_url: https://ainode.example"


def mistakes(text: str) -> str:
    """Return the lines of the error."""
    with pytest.raises(ConfigError) as caught:
        parse_settings(SITE + text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("web", "cure"),
    [
        ("host: 0.0.0.0", "add users (dicom-node users hash) or oidc, or listen on 127.0.0.1"),
        (f"host: 0.0.0.0, {PUBLIC}, {TLS}", "nobody would have to log in"),
        (f"host: 0.0.0.0, {PUBLIC}, {USER}", "add tls, or behind_proxy: true"),
        (f"host: 0.0.0.0, {USER}, {TLS}", "add public_url"),
        (f"host: 10.0.0.5, {USER}, {TLS}, public_url: 'http://ainode.example'", "is not https"),
        (f"{USER}, behind_proxy: true, {TLS}, {PUBLIC}", "write one of them"),
        ("behind_proxy: true", "nobody would have to log in"),
        (f"users: [{{login: a, password_hash: '{HASH}'}}, {{login: a, password_hash: '{HASH}'}}]", "same login"),
        ("users: [{login: rao, password_hash: secret}]", "dicom-node users hash"),
        ("oidc: {issuer: 'http://login.example', client_id: x}", "write https"),
        ("oidc: {issuer: 'https://login.example', client_id: x, admin_groups: [a]}", "belong together"),
        ("oidc: {issuer: 'https://login.example', client_id: x, scopes: [profile]}", "openid"),
        ("public_url: 'https://user:pw@ainode.example'", "no user, password"),
        ("frame_ancestors: ['*']", "without a path"),
        ('frame_ancestors: ["https://a.example; script-src *"]', "without a path"),
    ],
)
def test_each_mistake_says_its_cure(web: str, cure: str) -> None:
    """The pages are never open to others without login and encryption."""
    said = mistakes(f"web: {{{web}}}")
    assert cure in said
    assert HASH not in said


@pytest.mark.parametrize(
    "web", ["", f"host: 0.0.0.0, {USER}, {TLS}, {PUBLIC}", f"{USER}, behind_proxy: true, {PUBLIC}", USER, "host: 127.0.0.2"]
)
def test_what_is_fine_is_taken(web: str) -> None:
    """This machine only; or with login, https and a name."""
    parse_settings(SITE + f"web: {{{web}}}")


def test_a_reader_with_a_misspelled_login_is_found() -> None:
    """Else the answers would be weak for ever, and nobody would know why."""
    said = mistakes(f"readers: [{{name: Rao, role: radiologist, login: roa}}]\nweb: {{{USER}}}")
    assert "readers[0].login" in said
    assert 'Did you mean "rao"?' in said


def test_results_know_the_address_of_the_pages() -> None:
    """From web.public_url, unless another one is written; without both there is no link."""
    links: dict[str, Any] = {
        f"web: {{{PUBLIC}/}}": "https://ainode.example",
        f"web: {{{PUBLIC}}}\nresults: {{result_link: 'https://proxy.example/ai'}}": "https://proxy.example/ai",
        "": "",
    }
    for text, link in links.items():
        assert parse_settings(SITE + text).results.result_link == link


def test_users_hash_prints_what_the_settings_take(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """From standard input; a short password is refused."""
    import argparse

    monkeypatch.setattr("sys.stdin", io.StringIO("long enough\n"))
    assert users.run(argparse.Namespace(action="hash")) == 0
    printed = capsys.readouterr().out.strip()
    assert is_hash(printed)
    assert fits("long enough", printed)
    monkeypatch.setattr("sys.stdin", io.StringIO("short\n"))
    with pytest.raises(Exception, match="at least 8"):
        users.run(argparse.Namespace(action="hash"))
