"""``check``: a line each, and what fails is said with its cure."""

from __future__ import annotations

import argparse
import json
import socket
import time
from pathlib import Path

import pytest

from dicom_node import cli, log
from dicom_node.commands import check, schema
from dicom_node.commands.checks.answers import answer_lines
from dicom_node.commands.checks.line import Line, Mark
from dicom_node.config.load import parse_settings
from dicom_node.home import Home
from tests.factories.bundles import write_bundle

NODE = """\
site: {{timezone: UTC}}
reception: {{host: 127.0.0.1, port: {port}}}
web: {{port: {web}}}
disk: {{warn_free_percent: 0, warn_free_gb: 0, refuse_free_gb: 0}}  # however full the disk of whoever tests is
routing:
  rules:
    - {{name: chest, pipeline: cxr_tb, policy: {policy}, destinations: [out], release: {release}}}
destinations:
  out: {{kind: folder, path: {path}, outputs: [secondary_capture]}}
  spare: {{kind: folder, path: {path}}}
"""


def free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]


def lines(
    tmp_path: Path, *, path: str = "", release: str = "silent", policy: str = "screening", port: int = 0
) -> dict[str, list[Line]]:
    ours, web = free_ports()
    text = NODE.format(port=port or ours, web=web, path=path or tmp_path, release=release, policy=policy)
    (tmp_path / "node.yaml").write_text(text)
    found: dict[str, list[Line]] = {}
    for line in check.check_home(Home(tmp_path)):
        found.setdefault(line.subject, []).append(line)
    return found


def test_each_part_has_its_line(tmp_path: Path) -> None:
    """File, disk, database, ports, destinations: fine is said, too; an unused destination is a note."""
    found = lines(tmp_path)
    for subject in ("file", "disk", "database", "destination out"):
        assert [line.mark for line in found[subject]] == [Mark.OK], found[subject]
    assert [line.mark for subject, of in found.items() if subject.startswith("port ") for line in of] == [Mark.OK, Mark.OK]
    assert [line.mark for line in found["destination spare"]] == [Mark.NOTE, Mark.OK]
    assert "secondary_capture" in found["destination out"][0].text


def test_a_destination_that_cannot_take_results_fails(tmp_path: Path) -> None:
    """The peer's own problem stands in the line."""
    found = lines(tmp_path, path=str(tmp_path / "nowhere"))
    assert found["destination out"][0].mark is Mark.FAIL
    assert "is not a folder" in found["destination out"][0].text


def test_a_taken_port_fails_unless_the_node_itself_runs(tmp_path: Path) -> None:
    """A port of another program is a failure; of the running node it is not."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert lines(tmp_path, port=port)[f"port {port} (reception)"][0].mark is Mark.FAIL
        (tmp_path / "state").mkdir()
        (tmp_path / "state" / "receive.json").write_text(json.dumps({"pid": 1, "at": time.time()}))
        (line,) = lines(tmp_path, port=port)[f"port {port} (reception)"]
        assert line.mark is Mark.OK
        assert "running" in line.text


def with_bundles(home: Path, evidence: str = "demo") -> Path:
    """Give a home the bundles of cxr_tb, newer than any that is shipped; their graphs are not real."""
    for name in ("cxr_tb", "lungs_cxr"):
        write_bundle(home / "bundles" / name / "999.0.0", name, "999.0.0", evidence=evidence)
    return home


def test_bundles_are_verified_and_a_network_that_does_not_load_fails(tmp_path: Path) -> None:
    """The bundle's files are as they were approved, yet the graph is none: both are said."""
    found = lines(with_bundles(tmp_path))
    assert found["bundle cxr_tb@999.0.0"] == [Line(Mark.OK, "bundle cxr_tb@999.0.0", "verified; evidence: demo")]
    (device,) = found["device for cxr_tb@999.0.0"]
    assert device.mark is Mark.FAIL
    assert "cannot be loaded with device: auto" in device.text


def test_a_changed_bundle_fails(tmp_path: Path) -> None:
    """One byte more in a file of the bundle is found."""
    with_bundles(tmp_path)
    with (tmp_path / "bundles/cxr_tb/999.0.0/operating_points.yaml").open("a") as file:
        file.write(" ")
    (line,) = lines(tmp_path)["rule chest"]
    assert line.mark is Mark.FAIL
    assert "was changed after the bundle was made" in line.text


def test_an_unknown_policy_fails(tmp_path: Path) -> None:
    """The rule is named with the policies that there are."""
    (line,) = lines(with_bundles(tmp_path), policy="nonsense")["rule chest"]
    assert line.mark is Mark.FAIL
    assert 'no operating point "nonsense". It has: screening' in line.text


@pytest.mark.parametrize(
    ("release", "evidence", "note"),
    [
        ("silent", "external", "release is silent: results stay on the node"),
        ("at_once", "demo", 'nothing goes to out: the evidence for cxr_tb@999.0.0 is "demo"'),
        ("after_answer", "external", "release is after_answer, and readers names no radiologist"),
        ("at_once", "external", ""),
    ],
)
def test_what_keeps_results_on_the_node_is_noted(release: str, evidence: str, note: str, tmp_path: Path) -> None:
    """Nobody wonders why nothing arrives."""
    notes = [line.text for line in lines(with_bundles(tmp_path, evidence), release=release).get("rule chest", [])]
    assert len(notes) == bool(note)
    assert all(text.startswith(note) for text in notes)


def test_a_wrong_file_gives_its_mistakes_and_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After mistakes in the file nothing else is asked."""
    (tmp_path / "node.yaml").write_text("site: {timezone: Mars}\nweb: {port: x}\n")
    parser = argparse.ArgumentParser()
    check.add_arguments(parser)
    assert check.run(parser.parse_args(["--home", str(tmp_path)])) == 1
    said = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in said] == ["FAIL  file", "FAIL  file"]
    assert "node.yaml:1:18 site.timezone" in said[0]


def test_a_database_of_another_kind_fails_without_its_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The URL holds a password, so the line does not show it."""
    monkeypatch.setenv("DICOM_NODE__DATABASE_URL", "postgresql+psycopg://u:hunter2@127.0.0.1:1/n")
    (line,) = lines(tmp_path)["database"]
    assert line.mark is Mark.FAIL
    assert "hunter2" not in line.text


def test_schema_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    """What an editor reads."""
    parser = argparse.ArgumentParser()
    schema.add_arguments(parser)
    assert schema.run(parser.parse_args([])) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "node.yaml"


SENDERS = """\
site: {timezone: UTC}
reception:
  host: 127.0.0.1
  port: 0
  peers:
    - {ae_title: ANY}
    - {ae_title: DX, host: 127.0.0.1, commitment: same_association}
web: {port: 0}
routing:
  rules: [{name: chest, pipeline: cxr_tb, after_report: quiet, destinations: [pacs], release: at_once}]
destinations:
  pacs: {kind: dicom_store, ae_title: PACS, host: 127.0.0.1, port: 9, proof: commitment, outputs: [secondary_capture]}
"""


def test_who_may_send_and_what_is_promised_is_noted(tmp_path: Path) -> None:
    """What works, but not as somebody may think: open AE titles, promises, reports that would be rejected, no messages."""
    (tmp_path / "node.yaml").write_text(SENDERS)
    notes = {(line.subject, line.text) for line in check.check_home(Home(tmp_path)) if line.mark is Mark.NOTE}
    for subject, part in (
        ("sender ANY", "any address may use this AE title"),
        ("sender DX", "a study that was promised is never deleted"),
        ("destination pacs", "an association of PACS would be rejected"),
        ("rule chest", "after_report has no effect"),
    ):
        assert any(subject == one and part in text for one, text in notes), (subject, notes)
    (tmp_path / "node.yaml").write_text("site: {timezone: UTC}\nreception: {port: 0}\nweb: {port: 0}\n")
    assert any("nobody may send" in line.text for line in check.check_home(Home(tmp_path)))


ANSWERS = """\
site: {timezone: UTC}
reception: {port: 0, peers: [{ae_title: PACS, host: 10.0.0.1}]}
web: {port: 0}
readers:
  - {name: Rao^Asha, role: radiologist, ae_titles: [WS1]}
  - {name: Koch^Eva, role: technologist, ae_titles: [WS2, WS9]}
feedback: {answer_ae: {two_answers_seconds: 5, callers: [{ae_title: WS1, host: 10.0.0.2}, {ae_title: WS2}]}}
"""


def test_whose_answers_count_and_whose_do_not_is_said(tmp_path: Path) -> None:
    (tmp_path / "node.yaml").write_text(ANSWERS)
    found = [(line.mark, line.subject, line.text) for line in check.check_home(Home(tmp_path)) if "answer" in line.subject]
    assert found[0] == (
        Mark.OK,
        "answer AE titles",
        "AINODE_ACCEPT (right), AINODE_REJECT (wrong), AINODE_AMEND (opens a task); taken from WS1, WS2",
    )
    notes = {(subject, text.split(",")[0].split(";")[0]) for mark, subject, text in found[1:] if mark is Mark.NOTE}
    assert notes == {
        ("answer AE titles", "two_answers_seconds is below 60: answers of a machine may be recorded before it is found out"),
        ("answers of WS2", "any address may answer under this AE title"),
        ("answers of WS2", "weak"),
        ("answers of WS9", "AE title of a reader"),
    }
    (tmp_path / "node.yaml").write_text("site: {timezone: UTC}\nreception: {port: 0}\nweb: {port: 0}\n")
    (closed,) = (line for line in check.check_home(Home(tmp_path)) if line.subject.startswith("answer"))
    assert closed.mark is Mark.NOTE
    assert "feedback.answer_ae.callers" in closed.text


ALL_SEND = """site: {timezone: UTC}
reception: {peers: [{ae_title: PACS, host: 10.0.0.1}, {ae_title: DX1}]}
archives: {main: {kind: dimse, ae_title: PACS, host: 10.0.0.1, calling_ae_title: AINODE}}
readers:
  - {name: Rao^Asha, role: radiologist, ae_titles: [TITLE], hl7_ids: [4711], fhir_references: [Practitioner/17]}
feedback: {answer_ae: {callers: [{ae_title: TITLE, host: 10.0.0.1}]}}
"""


@pytest.mark.parametrize(("title", "does"), [("PACS", "is an archive"), ("DX1", "sends images"), ("WS1", "")])
def test_a_reader_known_by_a_system_that_sends_for_everybody_is_told(title: str, does: str) -> None:
    """Everybody's answers would count as one radiologist's. And numbers that no way could bring are told."""
    told = [(line.mark, line.subject, line.text) for line in answer_lines(parse_settings(ALL_SEND.replace("TITLE", title)))]
    shared = [text for _, subject, text in told if subject == f"answers of {title}"]
    assert [does in text and "Rao^Asha" in text for text in shared] == ([True] if does else [])
    assert [subject for mark, subject, _ in told if mark == "note"][-2:] == ["answers by HL7", "answers by FHIR"]


def test_a_hook_whose_tokens_cannot_be_read_is_found_before_a_server_calls(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    settings = parse_settings(f"site: {{timezone: UTC}}\nfeedback: {{fhir: {{hook_token_file: {file}}}}}\n")

    def told() -> tuple[str, str]:
        line = next(line for line in answer_lines(settings) if line.subject == "answers by FHIR")
        return line.mark, line.text

    assert told()[0] == "FAIL"
    file.write_text("# none yet\n")
    assert told() == ("FAIL", f"feedback.fhir.hook_token_file {file} holds no token; write one a line")
    file.write_bytes(b"\xff\xfe")
    assert told()[0] == "FAIL"
    file.write_text("# of the server\nabc\n\n")
    assert told() == ("ok", "the hook /fhir-hook takes 1 token(s)")
    assert sum("only a server on this machine" in line.text for line in answer_lines(settings)) == 1


def test_the_log_does_not_get_into_the_answer_of_a_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event while a command runs goes to standard error; afterwards to standard output as before."""
    monkeypatch.setattr(check, "run", lambda _options: log.event("tls.refused") or print("answer") or 0)
    assert cli.main(["check", "--home", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert said.out == "answer\n"
    assert "tls.refused" in said.err
    log.event("tls.refused")
    assert "tls.refused" in capsys.readouterr().out
