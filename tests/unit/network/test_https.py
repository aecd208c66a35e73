"""HTTPS with certificates and tokens, against servers on loopback."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from dicom_node.core.errors import HttpFailure, PeerError, PeerTimeout, TlsFailure
from dicom_node.network import https
from dicom_node.network.https import http_client, transport_failure
from dicom_node.network.https_settings import HttpAccess, OAuth2Settings
from dicom_node.network.tls_settings import HttpsTls
from tests.factories.certificates import Certificates
from tests.factories.token_server import SECRET, TokenServer, token_server


@pytest.fixture(autouse=True)
def _no_old_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(https, "_tokens", https._Tokens())


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(SECRET + "\n")
    return path


def oauth2(server: TokenServer, secret: Path, **changes: Any) -> OAuth2Settings:
    values = {"token_url": f"{server.url}/token", "client_id": "node", "client_secret_file": secret, **changes}
    return OAuth2Settings(**values)


def ask(access: HttpAccess, server: TokenServer, path: str = "/r4/metadata") -> int:
    with http_client(access, server.url, {}, 5) as client:
        try:
            return client.get(path).status_code
        except httpx.HTTPError as error:
            raise transport_failure(error, "The server") from error


def test_a_token_is_fetched_once_and_used_for_many_requests(pki: Certificates, secret: Path) -> None:
    """Over https, with this node's certificate, both at the authorization server and at the resource."""
    with token_server(pki.listener()) as server:
        tls = HttpsTls(ca=pki.pem("ca"), certificate=pki.pem("node"), private_key=pki.key("node"))
        access = HttpAccess(oauth2=oauth2(server, secret, scope="system/*.write"), tls=tls)
        assert [ask(access, server) for _ in range(3)] == [200, 200, 200]
    assert server.authorizations == ["Bearer token-0"] * 3
    assert server.forms == [{"grant_type": ["client_credentials"], "scope": ["system/*.write"]}]


def test_the_secret_may_stand_in_the_form_or_in_the_environment(
    pki: Certificates, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some authorization servers do not know HTTP Basic."""
    monkeypatch.setenv("NODE_SECRET", SECRET)
    with token_server() as server:
        settings = oauth2(server, secret, client_secret_file=None, client_secret_env="NODE_SECRET", secret_in_body=True)
        assert ask(HttpAccess(oauth2=settings), server) == 200
    assert server.forms[0]["client_secret"] == [SECRET]


def test_a_token_that_is_not_taken_any_more_is_fetched_anew_once(secret: Path) -> None:
    """The server was restarted and forgot its tokens; a server that takes none is not asked for ever."""
    with token_server() as server:
        access = HttpAccess(oauth2=oauth2(server, secret))
        assert ask(access, server) == 200
        server.good_tokens.clear()
        assert ask(access, server) == 200
        assert server.tokens_given == ["token-0", "token-1"]
        server.give_token = lambda *_: (200, {"access_token": "never-good", "token_type": "Bearer"})  # type: ignore[method-assign]
        server.good_tokens.clear()
        assert ask(access, server) == 401
    assert server.authorizations[-2:] == ["Bearer token-1", "Bearer never-good"]


def test_a_token_that_ends_is_renewed_before_it_does(secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a minute early, so that none ends on the way."""
    now = [1000.0]
    monkeypatch.setattr(https.time, "monotonic", lambda: now[0])
    with token_server() as server:
        server.lifetime = 300
        access = HttpAccess(oauth2=oauth2(server, secret))
        ask(access, server)
        now[0] += 269
        ask(access, server)
        assert len(server.tokens_given) == 1
        now[0] += 2
        ask(access, server)
    assert len(server.tokens_given) == 2


def test_attempts_at_once_share_one_fetch(secret: Path) -> None:
    """Twenty deliveries that start together do not storm the authorization server."""
    with token_server() as server:
        access = HttpAccess(oauth2=oauth2(server, secret))
        threads = [threading.Thread(target=ask, args=(access, server)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert server.tokens_given == ["token-0"]
    assert len(server.authorizations) == 8


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            (401, {"error": "invalid_client", "error_description": "node is unknown"}),
            r"gave no token: HTTP 401 \(invalid_client\)\.",
        ),
        ((400, {"error": "something of ours"}), r"gave no token: HTTP 400\."),
        ((500, "oops"), "gave no token: HTTP 500"),
        ((200, {"token_type": "Bearer"}), "holds no token"),
        ((200, {"access_token": "two\nlines"}), "holds no token"),
        ((200, "text"), "holds no token"),
        ((200, {"access_token": "t", "expires_in": "soon"}), "holds no token"),
    ],
)
def test_an_authorization_server_that_gives_none_is_temporary_and_told(secret: Path, answer: tuple[int, Any], said: str) -> None:
    """Its own free text is not repeated; the result waits."""
    with token_server() as server:
        server.token_answer = answer
        with pytest.raises(HttpFailure, match=said) as caught:
            ask(HttpAccess(oauth2=oauth2(server, secret)), server)
    assert caught.value.temporary
    assert server.authorizations == []


def test_nothing_that_is_said_or_logged_holds_a_secret(
    secret: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the settings, nor the failure, nor any line."""
    caplog.set_level("DEBUG")
    with token_server() as server:
        access = HttpAccess(oauth2=oauth2(server, secret))
        ask(access, server)
        server.token_answer = (401, {"error": "invalid_client", "error_description": SECRET})
        server.good_tokens.clear()
        with pytest.raises(HttpFailure) as caught:
            ask(access, server)
    told = "\n".join((repr(access), str(caught.value), access.model_dump_json(), capsys.readouterr().out, caplog.text))
    assert SECRET not in told
    assert "token-0" not in told


@pytest.mark.parametrize(
    ("shown", "trusts", "code"),
    [("stranger", "ca", "unknown_ca"), ("expired", "ca", "expired"), ("other_name", "ca", "wrong_name")],
)
def test_a_server_that_is_not_believed_gets_neither_token_nor_data(
    pki: Certificates, secret: Path, shown: str, trusts: str, code: str
) -> None:
    """The name in the URL must be in the certificate, which must be of the authority and of today."""
    pki.issue("other_name")
    with token_server(pki.listener(shown, wants_certificate=False)) as server:
        access = HttpAccess(oauth2=oauth2(server, secret), tls=HttpsTls(ca=pki.pem(trusts)))
        with pytest.raises(TlsFailure) as caught:
            ask(access, server)
    assert caught.value.code == code
    assert server.forms == []


def test_a_server_that_wants_a_certificate_and_gets_none(pki: Certificates) -> None:
    """The sentence says which settings are missing."""
    with token_server(pki.listener()) as server, pytest.raises(PeerError, match="certificate"):
        ask(HttpAccess(tls=HttpsTls(ca=pki.pem("ca"))), server)


def test_without_an_authority_of_ours_those_of_the_machine_decide(pki: Certificates) -> None:
    """A private authority is not among them."""
    with token_server(pki.listener(wants_certificate=False)) as server, pytest.raises(TlsFailure) as caught:
        ask(HttpAccess(), server)
    assert caught.value.code == "unknown_ca"


def test_a_server_that_is_down_is_temporary() -> None:
    """Nothing was sent."""
    with token_server() as server:
        pass
    with pytest.raises(PeerTimeout, match="cannot be reached"):
        ask(HttpAccess(), server)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"token_file": Path("/a"), "token_env": "B"}, "name one of"),
        ({"oauth2": {"token_url": "http://login.hospital.example/t", "client_id": "n", "client_secret_env": "S"}}, "write https"),
        ({"oauth2": {"token_url": "https://a:b@login.example/t", "client_id": "n", "client_secret_env": "S"}}, "without user"),
        ({"oauth2": {"token_url": "https://login.example/t", "client_id": "n"}}, "one of them"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(values: dict[str, Any], said: str) -> None:
    """One way to a token, and no secret over plain http or in a URL."""
    with pytest.raises(ValidationError, match=said):
        HttpAccess(**values)


def test_without_the_token_that_is_set_nothing_is_sent(tmp_path: Path) -> None:
    """A token file that is empty (just being renewed) does not mean that no token is needed; later it is tried again."""
    empty = tmp_path / "token"
    empty.write_text("\n")
    with token_server() as server, pytest.raises(HttpFailure, match="empty") as caught:
        ask(HttpAccess(token_file=empty), server)
    assert caught.value.temporary
