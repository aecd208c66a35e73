"""The way from a result back to its page: in the reports, the FHIR report and the message; without a token, the same each time."""

from __future__ import annotations

import base64
import dataclasses
import json
from pathlib import Path

import pytest

from dicom_node.results.context import ResultContext
from dicom_node.results.settings import ResultsSettings
from dicom_node.results.step import build_results
from tests.factories import results_sources as make
from tests.factories.dicom_validators import dciodvfy_errors, dsrdump

BASE = "https://ainode.hospital.example/ai"
ROLES = ("text_report", "structured_report", "structured_report:ohif_text", "diagnostic_report", "oru_message")


def linked(folder: Path, base: str = BASE) -> ResultContext:
    """Return the context of a radiograph at a site whose pages have this address."""
    return dataclasses.replace(make.finished(folder), settings=ResultsSettings(result_link=base))


def test_every_report_carries_the_link_and_stays_valid(tmp_path: Path) -> None:
    """Text report, measurement report, FHIR, HL7: one address, the run's name, nothing more."""
    link = f"{BASE}/results/rn_0123456789abcdef"
    for artifact in build_results(linked(tmp_path), ROLES):
        text = artifact.data.decode("utf-8", "replace")
        if artifact.suffix == ".dcm":
            path = tmp_path / f"{artifact.role.replace(':', '-')}.dcm"
            path.write_bytes(artifact.data)
            assert dciodvfy_errors(path) == []
            text = dsrdump(path)
        assert link in text, artifact.role
        assert f"{link}?" not in text
    (report,) = build_results(linked(tmp_path), ("diagnostic_report",))
    entries = [entry["resource"] for entry in json.loads(report.data)["entry"]]
    (found,) = [one for one in entries if one["resourceType"] == "DiagnosticReport"]
    assert link in found["conclusion"]
    assert f'<a href="{link}">' in base64.b64decode(found["presentedForm"][0]["data"]).decode()


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    """Sent twice, it is one object; without an address nothing of it is there."""
    once, twice = (build_results(linked(tmp_path), ROLES) for _ in range(2))
    assert [one.data for one in once] == [one.data for one in twice]
    for artifact in build_results(linked(tmp_path, ""), ROLES):
        assert b"/results/rn_" not in artifact.data
        assert b"Look and answer" not in artifact.data


@pytest.mark.parametrize("base", [f"{BASE}/", BASE])
def test_a_last_slash_makes_no_difference(tmp_path: Path, base: str) -> None:
    """However it is written, there is one address."""
    assert linked(tmp_path, base).link == f"{BASE}/results/rn_0123456789abcdef"
