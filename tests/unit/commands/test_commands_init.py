"""``init`` writes a file that works, says what it means, and overwrites nothing."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from dicom_node.commands import init
from dicom_node.commands.peers import parse_address, parse_peer
from dicom_node.config.load import load_settings
from dicom_node.core.errors import UsageError
from dicom_node.core.run import Release
from dicom_node.delivery.settings import Refusals


def call(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    init.add_arguments(parser)
    return init.run(parser.parse_args(arguments))


def test_the_written_file_loads_and_sends_nothing_unasked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Silent, unvalidated results closed, refusals as SR, the PACS may also send; the choices stand in the file."""
    assert call("--home", str(tmp_path / "h"), "--pacs", "MY PACS@10.0.0.1:104", "--timezone", "Asia/Kolkata", "--port", "104") == 0
    loaded = load_settings(tmp_path / "h" / "node.yaml", {})
    (rule,) = loaded.routing.rules
    assert rule.release is Release.SILENT
    assert rule.destinations == ("pacs",)
    pacs = loaded.destinations["pacs"]
    assert pacs.outputs == ("secondary_capture", "text_report")
    assert pacs.refusals is Refusals.SR
    assert pacs.allow_unvalidated is False
    assert [(peer.ae_title, peer.host) for peer in loaded.reception.peers] == [("MY PACS", "10.0.0.1")]
    assert loaded.reception.port == 104
    assert loaded.site.timezone == "Asia/Kolkata"
    text = (tmp_path / "h" / "node.yaml").read_text()
    for words in (
        "release: silent",
        "after_answer  once a person",
        "at_once       as soon",
        "allow_unvalidated: false",
        "refusals: sr",
    ):
        assert words in text
    for output in ("structured_report:ohif_text", "lung_segmentation", "saliency_segmentation", "key_objects"):
        assert output in text
    assert "Time zone" not in capsys.readouterr().out
    assert (tmp_path / "h").stat().st_mode & 0o777 == 0o700  # patients' images will lie there


def test_every_destination_and_sender_that_is_named_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """FHIR, HL7, other senders, IPv6; a time zone that was not named is said aloud."""
    arguments = (
        "--pacs PACS@pacs.local:11112 --allow CR1@10.0.0.2 --allow DX1@[fe80::1] --fhir https://fhir.local/r4 --hl7 ris:2575"
    )
    assert call("--home", str(tmp_path), *arguments.split(), "--ae-title", "NODE2", "--web-port", "9090") == 0
    loaded = load_settings(tmp_path / "node.yaml", {})
    assert list(loaded.destinations) == ["pacs", "fhir", "hl7"]
    assert loaded.routing.rules[0].destinations == ("pacs", "fhir", "hl7")
    assert loaded.destinations["pacs"].model_dump()["calling_ae_title"] == "NODE2"
    assert loaded.reception.ae_titles == ("NODE2",)
    assert [peer.host for peer in loaded.reception.peers] == ["pacs.local", "10.0.0.2", "fe80::1"]
    assert loaded.web.port == 9090
    said = capsys.readouterr().out
    assert f"Time zone: {loaded.site.timezone}, as this machine has it." in said
    assert "AE title NODE2, port 11112" in said


def test_an_existing_file_is_left_as_it_is(tmp_path: Path) -> None:
    """A second init refuses and changes nothing."""
    (tmp_path / "node.yaml").write_text("mine")
    with pytest.raises(UsageError, match="is there already and is left as it is"):
        call("--home", str(tmp_path), "--pacs", "PACS@h:104")
    assert (tmp_path / "node.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ("--pacs PACS", "is not of the form AET@HOST:PORT"),
        ("--pacs PACS@host", "names no port"),
        ("--pacs @host:104", "an AE title must not be empty"),
        ("--pacs A_TITLE_FAR_TOO_LONG@host:104", "has 20 characters"),
        ("--pacs PACS@host:0", "is not a port"),
        ("--pacs PACS@host:99999", "is not a port"),
        ("--pacs PACS@ho/st:104", "names no host"),
        ("--pacs PACS@h:104 --port 8080", "port 8080 is taken twice"),
        ("--pacs PACS@h:104 --port 70000", "less than or equal to 65535"),
        ("--pacs PACS@h:104 --timezone Mars", "is not a time zone"),
        ("--pacs PACS@h:104 --ae-title AINODE_OF_HOSPITAL", "has 18 characters"),
        ("--pacs PACS@h:104 --fhir ftp://x", "--fhir takes a URL"),
        ("--pacs PACS@h:104 --fhir https://me:secret@x/r4", "--fhir takes a URL"),
        ("--pacs PACS@h:104 --hl7 ris", "names no port"),
    ],
)
def test_arguments_that_cannot_be_meant_write_nothing(arguments: str, what: str, tmp_path: Path) -> None:
    """Each is answered with what to write instead."""
    with pytest.raises(UsageError, match=what) as caught:
        call("--home", str(tmp_path / "h"), *arguments.split())
    assert "secret" not in str(caught.value)
    assert not (tmp_path / "h" / "node.yaml").exists()


def test_peers_are_read_as_people_write_them() -> None:
    """AE titles may hold blanks and @; IPv6 stands in brackets where a port follows."""
    assert parse_peer("PACS@[::1]:104", port_needed=True) == ("PACS", "::1", 104)
    assert parse_peer("A@B@10.0.0.1", port_needed=False) == ("A@B", "10.0.0.1", None)
    assert parse_address("10.0.0.1:2575") == ("10.0.0.1", 2575)
    assert parse_address("fe80::1") == ("fe80::1", None)


def test_a_machine_without_a_named_zone_gives_its_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    """The zone is a name where there is one, else the offset that holds now."""
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    assert init.machine_timezone()[0] == "Asia/Kathmandu"
    monkeypatch.setattr(init.zoneinfo, "available_timezones", set)
    zone, said = init.machine_timezone()
    assert zone[0] in "+-"
    assert len(zone) == 6
    assert zone in said
