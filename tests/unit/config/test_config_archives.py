"""What archives and the rest of the configuration say to each other."""

from __future__ import annotations

import pytest

from dicom_node.config.load import parse_settings
from dicom_node.core.errors import ConfigError

MINIMAL = "site: {timezone: UTC}\n"
PACS = "archives:\n  pacs: {kind: dimse, ae_title: PACS, host: 10.1.2.3}\n"


def mistakes(text: str) -> list[str]:
    """Return the lines of the error."""
    with pytest.raises(ConfigError) as caught:
        parse_settings(text)
    return str(caught.value).splitlines()


def test_an_archive_that_sends_must_be_a_peer() -> None:
    """C-MOVE comes as any other association does: who is not a peer is rejected."""
    (line,) = mistakes(MINIMAL + PACS)
    assert "archives.pacs.ae_title" in line
    assert "add it to reception.peers, or set retrieve: c_get" in line
    parse_settings(MINIMAL + PACS.replace("}", ", retrieve: c_get}"))
    parse_settings(MINIMAL + PACS + "reception: {peers: [{ae_title: PACS}]}\n")


def test_c_move_goes_to_a_title_that_this_node_answers_to() -> None:
    """The default destination is the default title; where IT changed the title, both must fit."""
    reception = "reception: {ae_titles: [AI1, AI2], peers: [{ae_title: PACS}]}\n"
    (line,) = mistakes(MINIMAL + PACS + reception)
    assert "Known: AI1, AI2" in line
    parse_settings(MINIMAL + PACS.replace("}", ", move_destination: AI2}") + reception)


@pytest.mark.parametrize("policy", ["hold", "alert"])
def test_a_policy_for_incomplete_studies_needs_an_archive(policy: str) -> None:
    """Without an archive nobody can say that a study is incomplete."""
    rule = f"routing: {{rules: [{{name: a, pipeline: cxr_tb, incomplete: {policy}}}]}}\n"
    (line,) = mistakes(MINIMAL + rule)
    assert "no archive is configured" in line
    parse_settings(MINIMAL + rule + PACS.replace("}", ", retrieve: c_get}"))


def test_what_an_archive_lacks_is_said_at_its_place() -> None:
    """A kind without its address, and a secret in a URL."""
    (line,) = mistakes(MINIMAL + "archives: {a: {kind: dicomweb}}\n")
    assert "needs base_url" in line
    (line,) = mistakes(MINIMAL + "archives:\n  a: {kind: dicomweb, base_url: 'https://u:p@host/'}\n")
    assert line.startswith("node.yaml:3:33 archives.a.base_url")


def test_ports_are_not_taken_twice() -> None:
    """STOW-RS needs a port of its own."""
    (line,) = mistakes(MINIMAL + "reception: {stow: {port: 8080}}\n")
    assert "port 8080 is taken twice" in line


def test_who_is_asked_for_answers_is_an_archive() -> None:
    """A name that no archive has, with the place and the one that may be meant."""
    (line,) = mistakes(MINIMAL + PACS.replace("}", ", retrieve: c_get}") + "feedback: {poll_archives: [pacs, pasc]}\n")
    assert "feedback.poll_archives[1]" in line
    assert 'Did you mean "pacs"?' in line


def test_who_is_asked_for_answers_by_fhir_is_a_destination_of_that_kind() -> None:
    """A folder cannot be asked, and a name must exist."""
    servers = "destinations: {fhir: {kind: fhir_rest, base_url: 'https://his/r4'}, out: {kind: folder, path: /tmp}}\n"
    first, second = mistakes(MINIMAL + servers + "feedback: {fhir: {poll: [fhir, out, fhi]}}\n")
    assert "feedback.fhir.poll[1]" in first
    assert '"out" is no destination of kind fhir_rest. Known: fhir.' in first
    assert 'Did you mean "fhir"?' in second
