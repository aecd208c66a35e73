"""``check`` names rules that nothing can reach, and says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.commands.checks.line import Line, Mark
from dicom_node.commands.checks.rules import rule_lines
from dicom_node.config.load import load_settings, parse_settings

ROOT = Path(__file__).resolve().parents[3]
NODE = """\
site: {{timezone: UTC}}
reception:
  ae_titles: [AINODE, AIRESEARCH]
  stow: {{port: 8043}}
  peers: [{{ae_title: PACS1}}, {{ae_title: DXROOM1}}]
archives: {{vna: {{kind: dicomweb, base_url: "https://vna.example/dicom-web"}}}}
routing:
  hold: [{{name: phantoms, when: {{patient_id: "QA-*"}}}}]
  rules: [{rules}]
"""
CHEST = "{name: chest, pipeline: cxr_tb, when: {modality: [CR, DX]}}"


def lines(rules: str) -> list[Line]:
    return list(rule_lines(parse_settings(NODE.format(rules=rules), thorough=False)))


@pytest.mark.parametrize(
    "when", ["", "calling_ae: DXROOM*", "calling_ae: stow", "calling_ae: vna", "called_ae: airesearch", "modality: [DR, R*]"]
)
def test_a_rule_that_can_match_has_no_line(when: str) -> None:
    assert lines(f"{{name: chest, pipeline: cxr_tb, when: {{{when}}}}}") == []


@pytest.mark.parametrize(
    ("when", "said"),
    [
        (
            "calling_ae: PACS2",
            'no sender has the AE title PACS2 of calling_ae. Known: PACS1, DXROOM1, STOW, vna. Did you mean "PACS1"?',
        ),
        (
            "called_ae: AIRESEACH",
            'does not answer to AIRESEACH of called_ae. Known: AINODE, AIRESEARCH. Did you mean "AIRESEARCH"?',
        ),
        ("modality: [CR, XR]", '"XR" of modality is no modality of DICOM'),
    ],
)
def test_a_condition_that_nothing_fulfils_is_named(when: str, said: str) -> None:
    (line,) = lines(f"{{name: chest, pipeline: cxr_tb, when: {{{when}}}}}")
    assert (line.mark, line.subject) == (Mark.NOTE, "rule chest")
    assert said in line.text


def test_a_rule_behind_a_wider_one_is_named() -> None:
    (line,) = lines(f"{CHEST}, {{name: emergency, pipeline: cxr_tb, when: {{modality: CR, station: ED}}}}")
    assert (line.mark, line.subject) == (Mark.NOTE, "rule emergency")
    assert 'rule "chest" before it' in line.text


def test_no_rule_is_said() -> None:
    (line,) = lines("")
    assert "none is analysed" in line.text


@pytest.mark.parametrize("file", sorted((ROOT / "deploy/config").glob("*.yaml")), ids=lambda path: path.stem)
def test_no_example_has_such_a_rule(file: Path) -> None:
    assert list(rule_lines(load_settings(file, {}, thorough=False))) == []
