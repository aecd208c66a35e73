"""Who comes in by password, how long, and how hard it is to guess one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from httpx import Response

from dicom_node.store.tables import web_session
from dicom_node.web import passwords, sessions, throttle
from dicom_node.web.app import make_app
from dicom_node.web.site import Site
from dicom_node.web.throttle import Throttle
from tests.factories.shown_results import PASSWORD, Office, office, without_login


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords are slow on purpose; that they are is tested in one place."""
    monkeypatch.setattr("dicom_node.web.pages_login.fits", lambda typed, stored: bool(stored) and typed == PASSWORD)


def browser(made: Office, host: str = "127.0.0.1") -> TestClient:
    """Return a browser that follows nothing by itself."""
    return TestClient(made.app, base_url=f"http://{host}", follow_redirects=False, raise_server_exceptions=False)


def token(page: str) -> str:
    """Return the form token of a page."""
    found = re.search(r'name="form_token" value="([^"]+)"', page)
    assert found is not None
    return found[1]


def log_in(client: TestClient, login: str = "rao", password: str = PASSWORD, then: str = "") -> Response:
    """Fill in the form."""
    page = client.get("/login", params={"then": then})
    return client.post("/login", data={"form_token": token(page.text), "login": login, "password": password, "then": then})


def test_the_way_in_and_out(tmp_path: Path) -> None:
    """A page that needs a login leads to it and back; after logging out the old cookie opens nothing."""
    client = browser(office(tmp_path))
    asked = client.get("/accession?number=A%201")
    assert (asked.status_code, asked.headers["location"]) == (303, "/login?then=%2Faccession%3Fnumber%3DA%25201")
    entered = log_in(client, then="/accession?number=A%201")
    assert (entered.status_code, entered.headers["location"]) == (303, "/accession?number=A%201")
    cookie = entered.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    page = client.get("/worklist")
    assert page.status_code == 200
    kept = client.cookies["ainode"]
    assert client.post("/logout", data={"form_token": "guess"}).status_code == 403
    assert client.post("/logout", data={"form_token": token(page.text)}).headers["location"] == "/login"
    client.cookies.set("ainode", kept)
    assert client.get("/worklist").status_code == 303


def test_cookies_are_for_https_alone_where_people_use_it(tmp_path: Path) -> None:
    """Secure, and bound to the host."""
    made = office(tmp_path, public_url="https://ainode.example")
    client = TestClient(made.app, base_url="https://ainode.example", follow_redirects=False)
    entered = log_in(client)
    assert entered.status_code == 303
    assert "__Host-ainode=" in entered.headers["set-cookie"]
    assert "Secure" in entered.headers["set-cookie"]


def test_the_database_alone_opens_nothing(tmp_path: Path) -> None:
    """The cookie's value is not in the table."""
    made = office(tmp_path)
    value = sessions.begin(made.database, "rao", "reader", hours=1)
    with made.database.connect() as connection:
        row = connection.execute(sa.select(web_session)).one()
    assert value not in map(str, row)
    assert sessions.find(made.database, value, idle_minutes=5) is not None
    assert sessions.find(made.database, row.session, idle_minutes=5) is None


@pytest.mark.parametrize(
    ("column", "seconds", "there"), [("seen_utc", -290, True), ("seen_utc", -310, False), ("ends_utc", -1, False)]
)
def test_sessions_end(tmp_path: Path, column: str, seconds: float, there: bool) -> None:
    """By idleness, and at the latest after a shift; being used keeps the first of the two away."""
    import time

    made = office(tmp_path)
    value = sessions.begin(made.database, "rao", "reader", hours=1)
    with made.database.begin() as connection:
        connection.execute(sa.update(web_session).values({column: time.time() + seconds}))
    assert (sessions.find(made.database, value, idle_minutes=5) is not None) is there
    if there:
        with made.database.connect() as connection:
            assert connection.execute(sa.select(web_session.c.seen_utc)).scalar_one() > time.time() - 5


def test_who_is_taken_out_of_the_settings_is_out(tmp_path: Path) -> None:
    """A user who is removed, or gets another role, does not keep the session that he had."""
    made = office(tmp_path)
    values = {login: sessions.begin(made.database, login, role, hours=1) for login, role in (("rao", "reader"), ("boss", "reader"))}
    web = made.site.web.model_copy(update={"users": made.site.web.users[:4]})
    make_app(made.database, "Hospital", dict, 10.0, site=Site(made.database, made.site.home, web))
    assert sessions.find(made.database, values["rao"], idle_minutes=5) is not None
    assert sessions.find(made.database, values["boss"], idle_minutes=5) is None  # a reader then, an admin now


def test_guessing_is_slowed_down(tmp_path: Path) -> None:
    """After five failures the right password is not looked at either; another login from there is."""
    client = browser(office(tmp_path))
    for _ in range(throttle.MOST_OF_ONE):
        assert log_in(client, password="wrong").status_code == 401
    waits = log_in(client)
    assert waits.status_code == 429
    assert "wait 15 min" in waits.text
    assert log_in(client, "young").status_code == 303
    assert log_in(client, "nobody", "x").status_code == 401


def test_the_throttle_forgets_and_counts_addresses() -> None:
    """A quarter of an hour; and thirty failures of one address, whatever the logins."""
    now = [0.0]
    limits = Throttle(lambda: now[0])
    for number in range(throttle.MOST_OF_ADDRESS):
        assert limits.waits(f"user{number}", "10.0.0.1") == 0
        limits.failed(f"user{number}", "10.0.0.1")
    assert limits.waits("anybody", "10.0.0.1") > 0
    assert limits.waits("anybody", "10.0.0.2") == 0
    now[0] = throttle.WINDOW_SECONDS + 1
    assert limits.waits("anybody", "10.0.0.1") == 0


def test_a_login_form_of_another_site_does_nothing(tmp_path: Path) -> None:
    """Without the token that this browser was given nobody is logged in, not even with the right password."""
    made = office(tmp_path)
    mine, other = browser(made), browser(made)
    stolen = token(other.get("/login").text)
    mine.get("/login")
    sent = mine.post("/login", data={"form_token": stolen, "login": "rao", "password": PASSWORD})
    assert sent.status_code == 403
    assert "ainode" not in mine.cookies


def test_roles_see_their_pages(tmp_path: Path) -> None:
    """IT sees no patient, readers see no opt-outs."""
    made = office(tmp_path)
    key = made.add_result()
    pages = (f"/results/{key}", "/worklist", "/answers", "/opt-outs", "/")
    wanted = {"rao": (200, 200, 403, 403, 200), "boss": (200, 200, 200, 200, 200), "it": (403, 403, 200, 403, 200)}
    for login, statuses in wanted.items():
        client = browser(made)
        log_in(client, login)
        assert tuple(client.get(page).status_code for page in pages) == statuses, login
        assert client.get(f"/results/{key}/image.png").status_code == statuses[0]


def test_without_a_login_only_status_pages_are_there(tmp_path: Path) -> None:
    """A fresh node shows its state as ever; a result leads to a page that says what IT can do."""
    made = office(tmp_path)
    key = made.add_result()
    client = browser(without_login(made))
    assert client.get("/").status_code == 200
    assert client.get(f"/results/{key}").status_code == 303
    assert "web.users" in client.get("/login").text


def test_monitors_need_no_login(tmp_path: Path) -> None:
    """Health and counters, by whatever name; stories do, once there is a login."""
    client = browser(office(tmp_path), "10.1.2.3")
    assert [client.get(path).status_code for path in ("/healthz", "/readyz", "/metrics")] == [200, 200, 200]
    assert browser(office(tmp_path / "b")).get("/").status_code == 303


def test_foreign_names_are_turned_away(tmp_path: Path) -> None:
    """A page that makes a browser call this node by a name of its own (DNS rebinding) gets nothing."""
    made = office(tmp_path, public_url="https://ainode.example")
    for host in ("evil.example", "127.0.0.1.evil.example", "[bad", ""):
        assert browser(made).get("/login", headers={"Host": host}).status_code in (400, 421), host
    for host in ("ainode.example", "AINODE.example:8443", "127.0.0.1:8080", "localhost"):
        assert browser(made).get("/login", headers={"Host": host}).status_code == 200, host


def test_every_answer_carries_its_headers(tmp_path: Path) -> None:
    """Nothing is kept, run or framed that the node did not mean; the log has no query."""
    made = office(tmp_path, frame_ancestors=["https://pacs.example"])
    for path in ("/login", "/static/result.js", "/nowhere", "/worklist"):
        headers = browser(made).get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert "frame-ancestors https://pacs.example" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
    assert browser(office(tmp_path / "b")).get("/login").headers["x-frame-options"] == "DENY"


def test_the_log_has_no_query_and_no_unknown_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An accession number in an address does not get into the log."""
    client = browser(office(tmp_path))
    for path in ("/accession?number=MARKER1", "/MARKER2", "/login?then=MARKER3", "/studies/MARKER4"):
        client.get(path)
    said = capsys.readouterr().out
    assert "/accession" in said
    assert "MARKER" not in said


def test_long_forms_are_refused(tmp_path: Path) -> None:
    """Nobody keeps the node busy with a form of a megabyte."""
    assert browser(office(tmp_path)).post("/login", data={"login": "x" * 1_000_000}).status_code == 413


def test_a_form_without_end_is_refused_whatever_length_it_claims(tmp_path: Path) -> None:
    """Chunks outweigh Content-Length (RFC 9112, 6.3): a form of "10 bytes" could fill the memory."""
    both = {"Content-Length": "10", "Transfer-Encoding": "chunked", "Content-Type": "application/x-www-form-urlencoded"}
    assert browser(office(tmp_path)).post("/login", headers=both, content=iter([b"login=xx", b"x" * 1_000_000])).status_code == 413


def test_passwords_are_hashed_with_salt_and_cost() -> None:
    """Two hashes of one password differ; only the password fits; what is no hash fits nothing."""
    one, two = passwords.hash_password("correct horse"), passwords.hash_password("correct horse")
    assert one != two
    assert passwords.fits("correct horse", one)
    assert not passwords.fits("Correct horse", one)
    assert not passwords.fits("", "")
    for wrong in ("", "plain", one.replace("32768", "2"), one.replace("32768", "1048576"), one[:-8], one.replace("scrypt", "md5")):
        assert not passwords.is_hash(wrong), wrong
