"""Waiting for laboratory values is refused where none can come, with line and cure."""

from __future__ import annotations

import textwrap

import pytest

from dicom_node.config.load import parse_settings
from dicom_node.core.errors import ConfigError

BASE = """\
site: {timezone: UTC}
routing:
  rules:
    - name: chest CT
      pipeline: PIPELINE
      wait_for_labs_minutes: 30
destinations:
  ehr: {kind: fhir_rest, base_url: "https://ehr.hospital/fhir"}
"""
FHIR = """\
orders:
  fhir:
    patient_systems: {"urn:oid:1.2.3": HOSP}
    ask: [ehr]
"""
LISTENER = "orders: {listener: {peers: [10.0.0.1]}}\n"


def mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_settings(textwrap.dedent(text))
    return str(caught.value).splitlines()


@pytest.mark.parametrize("source", [LISTENER, FHIR], ids=["hl7", "fhir"])
def test_a_rule_may_wait_where_values_can_come(source: str) -> None:
    settings = parse_settings(BASE.replace("PIPELINE", "ct_ntm") + source)
    assert settings.routing.rules[0].wait_for_labs_minutes == 30


def test_a_rule_that_waits_for_what_nothing_can_tell_is_a_mistake() -> None:
    (line,) = mistakes(BASE.replace("PIPELINE", "ct_ntm"))
    assert ":6:7 routing.rules[0].wait_for_labs_minutes:" in line
    assert "values that nothing can tell: set orders.listener (HL7), orders.fhir (Observations) or web.users" in line
    parse_settings(BASE.replace("PIPELINE", "ct_ntm").replace("30", "0"))


def test_a_pipeline_without_laboratory_values_has_nothing_to_wait_for() -> None:
    (line,) = mistakes(BASE.replace("PIPELINE", "cxr_tb") + LISTENER)
    assert "cxr_tb takes no laboratory value, so there is nothing to wait for; delete it." in line


def test_a_server_that_nobody_asks_and_one_that_is_none() -> None:
    hook = "feedback: {fhir: {hook_token_file: /etc/hook.tokens}}\n"
    assert parse_settings(BASE.replace("PIPELINE", "ct_ntm").replace("30", "0") + FHIR + hook).orders.fhir is not None
    (line,) = mistakes(BASE.replace("PIPELINE", "ct_ntm").replace("30", "0") + FHIR)
    assert "orders.fhir.ask: servers are asked while a run waits, and no rule waits: set wait_for_labs_minutes" in line
    (line,) = mistakes(BASE.replace("PIPELINE", "ct_ntm") + FHIR.replace("[ehr]", "[her]"))
    assert 'orders.fhir.ask[0]: "her" is no destination of kind fhir_rest. Known: ehr. Did you mean "ehr"?' in line
    (line,) = mistakes(BASE.replace("PIPELINE", "ct_ntm") + FHIR.replace("    ask: [ehr]\n", ""))
    assert "no Observation can come: name servers in ask, or set feedback.fhir.hook_token_file" in line


def test_numbers_need_a_system() -> None:
    found = mistakes(BASE.replace("PIPELINE", "ct_ntm") + "orders: {fhir: {ask: [ehr]}}\n")
    assert any("patient_systems" in line for line in found)
