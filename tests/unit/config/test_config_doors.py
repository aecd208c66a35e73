"""Ports, senders and other things that two sections say together."""

from __future__ import annotations

import pytest

from dicom_node.config.load import parse_settings
from dicom_node.core.errors import ConfigError

MINIMAL = "site: {timezone: UTC}\n"
TLS = "certificate: /a, private_key: /b, client_ca: /c"


def mistakes(text: str) -> list[str]:
    """Return the lines of the error."""
    with pytest.raises(ConfigError) as caught:
        parse_settings(MINIMAL + text)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("text", "place", "doors"),
    [
        ("reception: {stow: {port: 2762}, tls: {" + TLS + "}}", "reception.stow.port", "DICOM over TLS and by STOW-RS"),
        ("reception: {stow: {}, tls: {port: 8043, " + TLS + "}}", "reception.tls.port", "DICOM over TLS and by STOW-RS"),
        ("reception: {stow: {}}\norders: {listener: {port: 8043, peers: 10.0.0.1}}", "orders.listener.port", "STOW-RS and by HL7"),
        ("orders: {listener: {peers: 10.0.0.1}}\nweb: {port: 2575}", "web.port", "HL7 messages and by the pages"),
        ("reception: {port: 8080}", "reception.port", "DICOM and by the pages"),
    ],
)
def test_no_two_doors_share_a_port(text: str, place: str, doors: str) -> None:
    """Every pair, also where one of the two is a default; the mistake stands at the port that is written."""
    (line,) = mistakes(text)
    assert f" {place}: port " in line
    assert f"taken twice, by {doors}" in line


def test_a_door_that_is_closed_takes_no_port() -> None:
    """Only DICOM over TLS, on the port that plain DICOM usually has; and any free port, twice."""
    parse_settings(MINIMAL + "reception: {plaintext: no, tls: {port: 11112, " + TLS + "}}")
    parse_settings(MINIMAL + "reception: {port: 0}\nweb: {port: 0}")


def test_a_certificate_name_needs_tls() -> None:
    """A sender that must show a certificate could never connect where TLS is not open."""
    (line,) = mistakes("reception: {peers: [{ae_title: CT1, certificate_name: ct1}]}")
    assert "reception.peers[0].certificate_name: a certificate is shown by TLS only" in line


def test_an_archive_is_only_asked_about_who_may_send() -> None:
    """A slip in calling_ae would silently leave studies unasked; the name of STOW-RS is one too."""
    archive = "archives: {a: {kind: dimse, ae_title: A, host: h, retrieve: c_get, calling_ae: [CT1, %s]}}\n"
    reception = "reception: {stow: {}, peers: [{ae_title: CT1}]}\n"
    (line,) = mistakes(archive % "CT11" + reception)
    assert 'archives.a.calling_ae[1]: "CT11" is not among reception.peers' in line
    assert 'Did you mean "CT1"?' in line
    parse_settings(MINIMAL + archive % "STOW" + reception)


def test_wrong_items_do_not_make_a_list_too_short() -> None:
    """One mistake is told once; an empty list is still too short."""
    (line,) = mistakes("orders: {listener: {peers: [10.1.2.300]}}")
    assert "is not an address" in line
    (line,) = mistakes("orders: {listener: {peers: []}}")
    assert "at least 1 must stand here" in line


@pytest.mark.parametrize("url", ["postgres://u:hunter2@h/n", "postgresql://u:hunter2@h/n", "mysql://u:hunter2@h/n", "node.sqlite"])
def test_a_database_that_cannot_be_opened_is_a_mistake(url: str) -> None:
    """Only the two that work; the password is not shown."""
    (line,) = mistakes(f"database_url: {url}")
    assert line.startswith("node.yaml:2:15 database_url: write postgresql+psycopg://")
    assert "hunter2" not in line


def test_a_low_disk_keeps_no_longer() -> None:
    """More days for a disk that runs full is a slip."""
    (line,) = mistakes("retention: {keep_days_after_delivery: 3, keep_days_when_disk_is_low: 7}")
    assert "a low disk asks for fewer days" in line


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("reception: {ae_titles: [AINODE, AINODE_REJECT]}", "reception.ae_titles"),
        ("feedback: {answer_ae: {accept: AINODE}}", "feedback.answer_ae.accept"),
        ("reception: {ae_titles: [AI]}\nfeedback: {answer_ae: {amend: AI}}", "feedback.answer_ae.amend"),
    ],
)
def test_an_answer_needs_an_ae_title_of_its_own(text: str, place: str) -> None:
    """Else images would be taken for answers, or answers for images."""
    (line,) = mistakes(text)
    assert f" {place}: " in line
    assert "an answer needs an AE title of its own" in line
    parse_settings(MINIMAL + "reception: {ae_titles: [AI]}\nfeedback: {answer_ae: {accept: AINODE}}")
