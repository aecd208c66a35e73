"""Login by OpenID Connect against a provider on loopback: whom it lets in, and what it does not believe."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx import Response
from joserfc.jwk import OctKey, RSAKey

from tests.factories.oidc_provider import CLIENT, SECRET, Provider, oidc_provider
from tests.factories.shown_results import Office, office


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    """One provider for all tests."""
    with oidc_provider() as provider:
        yield provider


@pytest.fixture
def provider(running: Provider) -> Provider:
    """The provider as it was at first."""
    running.claims, running.algorithm, running.shown_keys = {}, "RS256", [running.key]
    return running


def node(folder: Path, provider: Provider, **oidc: Any) -> Office:
    """Return a node whose people log in at the provider."""
    secret = folder / "secret"
    secret.write_text(SECRET + "\n")
    settings = {"issuer": provider.url, "client_id": CLIENT, "client_secret_file": str(secret), **oidc}
    return office(folder / "home", oidc=settings, users=[])


def went(made: Office, provider: Provider, then: str = "/worklist") -> tuple[TestClient, Response]:
    """Go the whole way; return the browser and the answer to its coming back."""
    browser = TestClient(made.app, base_url="http://127.0.0.1:8080", follow_redirects=False)
    left = browser.get("/login/oidc", params={"then": then})
    assert left.status_code == 303
    code, state = provider.log_in(left.headers["location"])
    return browser, browser.get("/login/oidc/back", params={"code": code, "state": state})


def test_a_person_is_let_in_and_led_to_the_page(tmp_path: Path, provider: Provider) -> None:
    """Login from the claim, role reader, the page that was wanted; the answer counts as that reader's."""
    made = node(tmp_path, provider)
    key = made.add_result()
    browser, back = went(made, provider, f"/results/{key}")
    assert (back.status_code, back.headers["location"]) == (303, f"/results/{key}")
    page = browser.get(f"/results/{key}")
    assert page.status_code == 200
    assert "Log out rao" in page.text
    assert browser.get("/answers").status_code == 403


def test_roles_come_from_groups(tmp_path: Path, provider: Provider) -> None:
    """The strongest group counts, nested claims are found, and nobody without a group enters."""
    made = node(tmp_path, provider, role_claim="realm.roles", admin_groups=["chiefs"], reader_groups=["radiology"])
    for groups, answers, opt_outs in ((["radiology"], 403, 403), (["radiology", "chiefs"], 200, 200)):
        provider.claims = {"realm": {"roles": groups}}
        browser, _ = went(made, provider)
        assert (browser.get("/answers").status_code, browser.get("/opt-outs").status_code) == (answers, opt_outs)
    provider.claims = {"realm": {"roles": ["kitchen"]}}
    browser, back = went(made, provider)
    assert back.status_code == 403
    assert "none of the groups" in back.text
    assert browser.get("/worklist").status_code == 303


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "another"},
        {"aud": ["ainode", "another"]},
        {"iss": "https://elsewhere.example"},
        {"exp": int(time.time()) - 3600},
        {"nonce": "another"},
        {"nonce": None},
        {"sub": None},
        {"preferred_username": None},
        {"preferred_username": ["rao"]},
        {"preferred_username": "ra\no"},
    ],
)
def test_what_is_not_said_rightly_is_not_believed(tmp_path: Path, provider: Provider, claims: dict[str, Any]) -> None:
    """Audience, issuer, end, nonce, subject, and a login that is one."""
    provider.claims = claims
    browser, back = went(node(tmp_path, provider), provider)
    assert back.status_code == 403
    assert browser.get("/worklist").status_code == 303


def test_a_token_signed_by_another_key_is_not_believed(tmp_path: Path, provider: Provider) -> None:
    """The keys are the provider's; a token signed with the client's own secret is none."""
    good, made = provider.key, node(tmp_path, provider)
    try:
        provider.key = RSAKey.generate_key(2048, {"kid": "one"})
        assert went(made, provider)[1].status_code == 403
        provider.key, provider.algorithm = OctKey.import_key(SECRET, {"kid": "one"}), "HS256"
        assert went(made, provider)[1].status_code == 403
    finally:
        provider.key = good


def test_renewed_keys_are_fetched(tmp_path: Path, provider: Provider) -> None:
    """A provider changes its keys while the node runs."""
    made, old = node(tmp_path, provider), provider.key
    assert went(made, provider)[1].status_code == 303
    try:
        provider.key = RSAKey.generate_key(2048, {"kid": "two"})
        provider.shown_keys = [provider.key]
        assert went(made, provider)[1].status_code == 303
    finally:
        provider.key = old


def test_only_the_browser_that_left_comes_back(tmp_path: Path, provider: Provider) -> None:
    """Another browser, another state, a refusal, an old or a changed cookie: nobody is logged in."""
    made = node(tmp_path, provider)
    browser = TestClient(made.app, base_url="http://127.0.0.1", follow_redirects=False)
    code, state = provider.log_in(browser.get("/login/oidc").headers["location"])
    stranger = TestClient(made.app, base_url="http://127.0.0.1", follow_redirects=False)
    assert stranger.get("/login/oidc/back", params={"code": code, "state": state}).status_code == 403
    assert browser.get("/login/oidc/back", params={"code": code, "state": "another"}).status_code == 403
    browser.get("/login/oidc")
    assert browser.get("/login/oidc/back", params={"error": "access_denied", "state": state}).status_code == 403
    code, state = provider.log_in(browser.get("/login/oidc").headers["location"])
    value = browser.cookies["ainode-way"]
    browser.cookies.set("ainode-way", value[:-1] + ("0" if value[-1] != "0" else "1"))
    assert browser.get("/login/oidc/back", params={"code": code, "state": state}).status_code == 403


def test_odd_characters_are_no_crash(tmp_path: Path, provider: Provider) -> None:
    browser = TestClient(node(tmp_path, provider).app, base_url="http://127.0.0.1", follow_redirects=False)
    code, _ = provider.log_in(browser.get("/login/oidc").headers["location"])
    assert browser.get("/login/oidc/back", params={"code": code, "state": "é"}).status_code == 403
    odd = {"Cookie": b"ainode-way=abc.\xe9"}
    assert browser.get("/login/oidc/back", params={"code": code, "state": "x"}, headers=odd).status_code == 403


def test_nobody_is_led_elsewhere_after_the_login(tmp_path: Path, provider: Provider) -> None:
    """The wanted page is one of this node."""
    made = node(tmp_path, provider)
    for then in ("https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"):
        assert went(made, provider, then)[1].headers["location"] == "/worklist"


def test_a_provider_that_is_away_is_told(tmp_path: Path, provider: Provider) -> None:
    """The page says so; it is no error of the node."""
    made = node(tmp_path, provider, issuer="http://127.0.0.1:9")
    answer = TestClient(made.app, base_url="http://127.0.0.1").get("/login/oidc")
    assert answer.status_code == 502
    assert "cannot be reached" in answer.text
