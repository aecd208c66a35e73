"""A host is a name or an address; what else people write there is told when the file is read, not when nothing arrives."""

from __future__ import annotations

import pytest

from dicom_node.config.hosts import is_host
from dicom_node.config.load import parse_settings
from dicom_node.core.errors import ConfigError

NODE = """\
site: {{timezone: UTC}}
reception: {{peers: [{{ae_title: A, host: "{sender}"}}]}}
archives:
  main: {{kind: dimse, ae_title: A, host: "{archive}", port: 104}}
destinations:
  pacs: {{kind: dicom_store, ae_title: A, host: "{pacs}", port: 104}}
  ris: {{kind: hl7_mllp, host: "{ris}", port: 2575}}
feedback: {{answer_ae: {{callers: [{{ae_title: W, host: "{caller}"}}]}}}}
"""
GOOD = dict.fromkeys(("sender", "archive", "pacs", "ris", "caller"), "10.1.2.3")


@pytest.mark.parametrize("host", ["10.1.2.3", "pacs", "pacs_1.hospital.example", "pacs.hospital.example.", "fe80::1%eth0", "::1"])
def test_names_and_addresses_are_hosts(host: str) -> None:
    assert is_host(host)


@pytest.mark.parametrize(
    ("place", "written", "line"),
    [
        ("pacs", "10.1.2.3:104", 'node.yaml:6:48 destinations.pacs.host: "10.1.2.3:104" is not the name or address of a machine; '),
        ("ris", "mllp://ris", "node.yaml:7:31 destinations.ris.host"),
        ("archive", "pacs 1", "node.yaml:4:42 archives.main.host"),
        ("sender", "PACS@10.1.2.3", "node.yaml:2:41 reception.peers[0].host"),
        ("caller", "10.1.2.3/24", "node.yaml:8:54 feedback.answer_ae.callers[0].host"),
    ],
)
def test_each_place_is_looked_at(place: str, written: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings(NODE.format(**{**GOOD, place: written}), thorough=False)
    assert str(caught.value).startswith(line), str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_good_hosts_have_no_mistake() -> None:
    parse_settings(NODE.format(**GOOD), thorough=False)


def test_a_port_behind_the_host_is_named() -> None:
    with pytest.raises(ConfigError, match="write the port under port"):
        parse_settings(NODE.format(**{**GOOD, "pacs": "pacs.local:104"}), thorough=False)
