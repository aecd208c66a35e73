"""The CT pipeline with clinical data: answer, maps on key slices, what is missing, laboratory values, refusals. A fixed network."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper

from dicom_node.core.findings import Findings, Zone
from dicom_node.core.phi import Phi
from dicom_node.core.run import Selection
from dicom_node.core.study import LabValue, Study
from dicom_node.imaging.header import read_instance
from models.bundle import write_manifest
from models.phantoms.ct import CtPhantom, thorax
from models.phantoms.ct_dicom import as_series
from pipelines import ct_ntm
from pipelines.ct_ntm import Settings

SIZE = [16, 32, 32]
SMEAR_WEIGHT, BIAS = 2.0, -1.0


def write_graph(path: Path, image_weight: float) -> None:
    """Write a graph that calls dense lungs: one mean filter, one weight; of the clinical data the smear's grade alone counts."""
    of_smear = np.zeros((11, 1), np.float32)
    of_smear[2] = SMEAR_WEIGHT
    numbers = {
        "w": np.full((1, 1, 4, 8, 8), 1 / 256, np.float32),
        "head": np.full((1, 1, 1, 1, 1), image_weight, np.float32),
        "shape": np.array([-1, 1], np.int64),
        "bias": np.array([BIAS], np.float32),
        "of_smear": of_smear,
    }
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["raw"], strides=[4, 8, 8]),
        helper.make_node("Relu", ["raw"], ["maps"]),
        helper.make_node("GlobalAveragePool", ["maps"], ["pooled"]),
        helper.make_node("Reshape", ["pooled", "shape"], ["embedding"]),
        helper.make_node("Conv", ["pooled", "head", "bias"], ["score"]),
        helper.make_node("Reshape", ["score", "shape"], ["of_image"]),
        helper.make_node("MatMul", ["clinical", "of_smear"], ["clinical_contribution"]),
        helper.make_node("Add", ["of_image", "clinical_contribution"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["probabilities"]),
        helper.make_node("Conv", ["maps", "head"], ["signed"]),
        helper.make_node("Relu", ["signed"], ["cam"]),
        helper.make_node("Identity", ["cam"], ["campp"]),
    ]
    flat, cells = ["n", 1], ["n", 1, "d", "h", "w"]
    kinds: dict[str, list[Any]] = dict.fromkeys(("logits", "probabilities", "embedding", "clinical_contribution"), flat)
    kinds |= {"cam": cells, "campp": cells}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, *SIZE]),
            helper.make_tensor_value_info("clinical", TensorProto.FLOAT, ["n", 11]),
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in kinds.items()],
        [onnx.numpy_helper.from_array(value, name) for name, value in numbers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.write_bytes(model.SerializeToString())


def write_bundle(folder: Path, image_weight: float = 6.0, temperature: float = 2.0) -> Path:
    folder.mkdir()
    write_graph(folder / "model.onnx", image_weight)
    point = {"finding": "ntm_disease", "feasible": True, "tau": 0.2, "tau_low": 0.1, "tau_high": 0.3, "views": ["axial"]}
    (folder / "operating_points.yaml").write_text(yaml.safe_dump({"policies": {"screening": point}}))
    (folder / "calibration.yaml").write_text(yaml.safe_dump({"temperature": {"ntm_disease": temperature}}))
    manifest = {
        "name": "ct_ntm", "version": "1.0.0", "task": "test", "intended_use": "test", "evidence": "demo", "synthetic": True,
        "preprocessing": {"window_hu": [-1000, 400], "margin_mm": 10, "size": SIZE},
        "outputs": [{"key": "ntm_disease", "code": ["NTM-DISEASE", "99PACSAI", "Disease by nontuberculous mycobacteria"],
                     "activation": "sigmoid", "assessed": True, "note": ""}],
        "saliency": "cam",
    }  # fmt: skip
    (folder / "bundle.yaml").write_text(yaml.safe_dump({**manifest, "files": {}}))
    write_manifest(folder)
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "1.0.0")


@pytest.fixture(scope="module")
def phantom() -> CtPhantom:
    return thorax(11, slices=64, size=72, ntm=0.8, cavities=3)


@pytest.fixture(scope="module")
def study(phantom: CtPhantom, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The phantom as files; slice 20 is missing, so one slice of the volume is interpolated."""
    folder = tmp_path_factory.mktemp("series")
    instances = []
    for n, ds in enumerate(as_series(phantom, seed="ntm", missing=(20,), PatientSex="F")):
        path = folder / f"{n}.dcm"
        ds.save_as(path, enforce_file_format=True)
        instances.append(read_instance(path))
    return Study("st_aaaaaaaaaa", instances[0].study_instance_uid, tuple(instances))


Reader = Callable[..., Findings]


@pytest.fixture(scope="module")
def read(study: Study, bundle: Path) -> Reader:
    def now(labs: tuple[LabValue, ...] = (), using: Path | None = None, **settings: Any) -> Findings:
        chosen = Settings(**{"allow_synthetic": True, **settings})
        asked = replace(study, labs=labs)
        return ct_ntm.run(asked, ct_ntm.select_images(asked, chosen), {"ct_ntm": using or bundle}, "screening", chosen)

    return now


def test_a_scan_gets_a_likelihood_with_maps_on_slices_that_exist(read: Reader, study: Study) -> None:
    found = read()
    assert found.abstention is None, found.abstention
    (finding,) = found.findings
    assert finding.key == "ntm_disease"
    assert 0 < (finding.probability or 0) < 1
    uids = {i.sop_instance_uid for i in study.instances}
    assert 1 <= len(found.pictures) <= 3
    shown = [picture.sop_instance_uid for picture in found.pictures]
    assert set(shown) <= uids
    assert list(found.read[: len(shown)]) == shown
    assert {(m.sop_instance_uid, m.method_name) for m in found.maps} == {(u, n) for u in shown for n in ("Grad-CAM", "Grad-CAM++")}
    assert all(m.values.shape == (72, 72) and m.values.max() > 0 for m in found.maps)
    first, *others = [float(m.values.sum()) for m in found.maps if m.method_name == "Grad-CAM"]
    assert all(first >= other for other in others)
    assert found.lung_volume is not None
    assert len(found.lung_volume.slices) == 63
    assert found.slices == ()


def test_what_nobody_knows_is_told_and_is_never_called_negative(read: Reader, tmp_path: Path) -> None:
    found = read()
    flag = next(flag for flag in found.flags if flag.key == "clinical_missing")
    assert flag.text == "Clinical data missing: smear, species; the model went on without."
    low = read(using=write_bundle(tmp_path / "low", image_weight=-60.0))
    assert (low.findings[0].probability or 1) < 0.1
    assert low.zone is Zone.GRAY
    assert all(m.values.max() == 0 for m in low.maps)  # no positive evidence is shown as none
    assert len(low.pictures) == 1


def test_laboratory_values_count_and_their_part_is_told_in_the_log_odds_of_the_answer(read: Reader) -> None:
    without = read()
    labs = (LabValue("11545-1^LN", "3+", 1795132800.0), LabValue("543-9^LN", "Mycobacterium abscessus", 1795132800.0))
    found = read(labs)
    assert "clinical_missing" not in {flag.key for flag in found.flags}
    (part,) = found.measurements
    assert part.name == "clinical_contribution"
    assert part.value == pytest.approx(SMEAR_WEIGHT * 0.75 / 2, abs=1e-3)  # of the calibrated answer: temperature 2
    assert without.measurements[0].value == 0

    def log_odds(one: Findings) -> float:
        p = one.findings[0].probability or 0.0
        return float(np.log(p / (1 - p)))

    assert log_odds(found) - log_odds(without) == pytest.approx(part.value, abs=1e-3)


def test_the_record_names_what_was_missing_and_no_value_of_the_patient(read: Reader) -> None:
    found = read((LabValue("11545-1^LN", "3+", 1795132800.0),))
    assert found.provenance["clinical"] == {
        "missing": ["species"],
        "known": {
            "age": {"source": "header", "observed": ""},
            "sex": {"source": "header", "observed": ""},
            "smear": {"source": "hl7", "observed": "2026-11-20T00:00:00+00:00"},
        },
    }
    assert "3+" not in json.dumps(found.to_json())


def test_the_flag_says_what_was_waited_for_and_what_a_person_did_not_know(study: Study) -> None:
    settings = Settings()
    said = (LabValue("11545-1^LN", "", None, "form"), LabValue("543-9^LN", "abscessus", None, "form"))
    asked = replace(study, waited_minutes=30, told=("patient_sex",))
    selection = ct_ntm.select_images(asked, settings)
    clinical, origins = ct_ntm.known_of(replace(asked, labs=said), selection, settings)
    (flag,) = ct_ntm._missing(clinical, replace(asked, labs=said), selection, settings)
    assert flag.text == "Clinical data missing: smear (a person says: not known); the model went on without."
    assert origins["species"] == {"source": "form", "observed": ""}
    assert origins["sex"] == {"source": "hl7", "observed": ""}
    clinical, _ = ct_ntm.known_of(asked, selection, settings)
    (flag,) = ct_ntm._missing(clinical, asked, selection, settings)
    late = "did not come within 30 minutes"
    assert flag.text == f"Clinical data missing: smear ({late}), species ({late}); the model went on without."
    grown = (LabValue("543-9^LN", "113861009^M. tuberculosis^SCT", 1795132800.0),)
    (flag,) = ct_ntm._missing(clinical, replace(asked, labs=grown), selection, settings)
    otherwise = "the laboratory's result is none that the model takes"
    assert flag.text == f"Clinical data missing: smear ({late}), species ({otherwise}); the model went on without."


def test_the_same_study_gives_the_same_findings(read: Reader) -> None:
    once, again = read(), read()
    assert json.dumps(once.to_json(), sort_keys=True) == json.dumps(again.to_json(), sort_keys=True)
    first, second = once.arrays(), again.arrays()
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert Findings.from_json(json.loads(json.dumps(once.to_json())), first).measurements == once.measurements


def test_a_synthetic_bundle_a_child_and_two_slices_are_refused(read: Reader, study: Study, bundle: Path) -> None:
    refused = read(allow_synthetic=False)
    assert refused.abstention is not None
    assert refused.abstention.reason == "synthetic_model"
    settings = Settings(allow_synthetic=True)
    young = tuple(replace(i, facts=replace(i.facts, birth_date=Phi("20150101"))) for i in study.instances)
    for instances, reason in ((young, "too_young"), (study.instances[:2], None)):
        less = replace(study, instances=instances)
        found = ct_ntm.run(less, ct_ntm.select_images(less, settings), {"ct_ntm": bundle}, "screening", settings)
        assert found.abstention is not None
        assert reason in (None, found.abstention.reason)


def test_a_damaged_slice_is_a_coded_refusal(study: Study, bundle: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(Path(study.instances[10].path).read_bytes()[:-2000])
    broken = tuple(replace(i, path=str(cut)) if n == 10 else i for n, i in enumerate(study.instances))
    found = ct_ntm.run(study, Selection(broken), {"ct_ntm": bundle}, "screening", Settings(allow_synthetic=True))
    assert found.abstention is not None
    assert found.abstention.reason == "unreadable_pixels"
    assert len(found.not_read) == len(broken)
