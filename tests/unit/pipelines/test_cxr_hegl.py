"""The pipeline whose explanation is attention, with its shipped bundle, on a drawn radiograph."""

from __future__ import annotations

import json
from pathlib import Path

import pydicom
import pytest

from dicom_node.cli import main
from dicom_node.core import codes
from dicom_node.core.findings import Decision
from models.bundle import SHIPPED, find_bundle
from models.phantoms.cxr import chest_phantom
from models.phantoms.dicom import as_radiograph, to_bytes
from pipelines.cxr_hegl import NAME, NEEDS, Settings, run, select_images, warm
from tests.factories.phantom_dicom import chest, study_of

BUNDLES = {name: find_bundle(name, None, [SHIPPED]) for name in NEEDS}
SETTINGS = Settings(device="cpu")


def test_attention_is_the_saliency_map_and_only_abnormal_is_assessed(tmp_path: Path) -> None:
    study = study_of(tmp_path, chest())
    findings = run(study, select_images(study, SETTINGS), BUNDLES, "screening", SETTINGS)
    assert (findings.pipeline, findings.status) == (NAME, "analysed")
    (attention,) = findings.maps
    assert (attention.method, attention.method_name, attention.finding_key) == (codes.SALIENCY, "Attention", "abnormal")
    assert attention.placed.grid.shape == (14, 14)  # type: ignore[union-attr]
    assert attention.placed.grid.sum() == pytest.approx(1, abs=1e-4)  # type: ignore[union-attr]
    assert {f.key for f in findings.findings if f.decision is not Decision.NOT_ASSESSED} <= {"abnormal"}
    assert findings.bundles[0].twin
    assert len(findings.embedding) == 64


def test_both_networks_are_loaded_before_the_first_study() -> None:
    assert warm(BUNDLES, SETTINGS) == ("cpu", "cpu")


def test_analyze_gives_picture_and_report_that_name_the_twin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "chest.dcm").write_bytes(to_bytes(as_radiograph(chest_phantom(seed=5, size=512, abnormal=True)[0])))
    call = ["analyze", str(tmp_path / "chest.dcm"), "--pipeline", NAME, "--out", str(tmp_path / "out"), "--json"]
    assert main(call) == 0
    line = json.loads(capsys.readouterr().out)
    assert line["status"] == "analysed"
    made = [pydicom.dcmread(item["file"]) for item in line["objects"]]
    assert "OT" in {ds.Modality for ds in made}  # the picture
    reports = [ds for ds in made if ds.Modality == "SR"]
    assert {ds.VerificationFlag for ds in reports} == {"UNVERIFIED"}
    words = "\n".join(str(e.value) for ds in reports for e in ds.iterall() if e.keyword in ("TextValue", "CodeValue"))
    assert "Attention" in words
    assert codes.SALIENCY.value in words
    assert "twin" in words
