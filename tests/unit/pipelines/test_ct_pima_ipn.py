"""The CT pipeline for nodules: marked slices, slices chosen automatically, refusals. The network is a few fixed numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper

from dicom_node.core.findings import Findings, Zone
from dicom_node.core.run import Selection
from dicom_node.core.study import Study
from dicom_node.imaging.header import read_instance
from models.bundle import write_manifest
from models.phantoms.ct import CtPhantom, thorax
from models.phantoms.ct_dicom import as_series
from pipelines import ct_pima_ipn
from pipelines.ct_pima_ipn import Settings

SIZE = 64


def write_graph(path: Path) -> None:
    """Write a graph that calls bright slices positive: one convolution of ones, its mean, one weight."""
    numbers = {"w": np.full((1, 1, 8, 8), 1 / 64, np.float32), "head": np.full((1, 1, 1, 1), 8.0, np.float32)}
    numbers |= {"shape": np.array([-1, 1], np.int64), "bias": np.array([-1.0], np.float32)}
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["raw"], strides=[8, 8]),
        helper.make_node("Relu", ["raw"], ["maps"]),
        helper.make_node("GlobalAveragePool", ["maps"], ["pooled"]),
        helper.make_node("Reshape", ["pooled", "shape"], ["embedding"]),
        helper.make_node("Conv", ["pooled", "head", "bias"], ["score"]),
        helper.make_node("Reshape", ["score", "shape"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["probabilities"]),
        helper.make_node("Conv", ["maps", "head"], ["cam"]),
        helper.make_node("Identity", ["cam"], ["campp"]),
    ]
    kinds = {
        "logits": ["n", 1],
        "probabilities": ["n", 1],
        "embedding": ["n", 1],
        "cam": ["n", 1, "h", "w"],
        "campp": ["n", 1, "h", "w"],
    }
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, SIZE, SIZE])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in kinds.items()],
        [onnx.numpy_helper.from_array(value, name) for name, value in numbers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.write_bytes(model.SerializeToString())


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "1.0.0"
    folder.mkdir()
    write_graph(folder / "model.onnx")
    point = {
        "finding": "pima",
        "feasible": True,
        "tau": 0.5,
        "tau_low": 0.3,
        "tau_high": 0.5,
        "views": ["axial"],
        "guarantee": "none",
    }
    (folder / "operating_points.yaml").write_text(yaml.safe_dump({"policies": {"published": point}}))
    manifest = {
        "name": "ct_pima_ipn", "version": "1.0.0", "task": "test", "intended_use": "test", "evidence": "demo", "synthetic": True,
        "preprocessing": {
            "window": {"level": -600, "width": 1500}, "outside": "floor", "pixel_mm": 5.6, "slab_mm": 5.0, "size": SIZE,
            "normalise": {"mean": 0.0, "deviation": 1.0},
        },
        "outputs": [{"key": "pima", "code": ["PIMA", "99PACSAI", "Pulmonary invasive mucinous adenocarcinoma"],
                     "activation": "sigmoid", "assessed": True, "note": ""}],
        "saliency": "cam",
    }  # fmt: skip
    (folder / "bundle.yaml").write_text(yaml.safe_dump(manifest))
    write_manifest(folder)
    return folder


@pytest.fixture(scope="module")
def phantom() -> CtPhantom:
    return thorax(3, slices=50, size=96, nodules=(("pima", 30.0),))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, phantom: CtPhantom) -> Study:
    folder = tmp_path_factory.mktemp("series")
    instances = []
    for n, data_set in enumerate(as_series(phantom)):
        path = folder / f"{n}.dcm"
        data_set.save_as(path, enforce_file_format=True)
        instances.append(read_instance(path))
    return Study("st_test", instances[0].study_instance_uid, tuple(instances))


Reader = Callable[..., Findings]


@pytest.fixture(scope="module")
def read(study: Study, bundle: Path) -> Reader:
    def reader(marks: tuple[int, ...] = (), extra: tuple[tuple[str, None], ...] = (), **settings: bool) -> Findings:
        chosen = Settings(allow_synthetic=settings.pop("allow_synthetic", True))
        selection = ct_pima_ipn.select_images(study, chosen)
        assert selection.read, selection.refusal + selection.detail
        named = tuple((selection.read[n].sop_instance_uid, None) for n in marks)
        return ct_pima_ipn.run(study, replace(selection, marked=(*named, *extra)), {"ct_pima_ipn": bundle}, "published", chosen)

    return reader


def test_marked_slices_and_no_others_are_read_and_their_mean_is_the_patients(read: Reader, phantom: CtPhantom) -> None:
    shown = list(phantom.nodules[0].slices())[:4]
    found = read(tuple(reversed(shown)))
    assert found.abstention is None, found.abstention
    assert [s.how for s in found.slices] == ["marked"] * len(shown)
    assert found.findings[0].probability == pytest.approx(np.mean([s.probability for s in found.slices]))
    assert "automatic_slices" not in {flag.key for flag in found.flags}
    assert found.read[: len(found.pictures)] == tuple(p.sop_instance_uid for p in found.pictures)
    best = max(found.slices, key=lambda s: s.probability)
    assert found.pictures[0].sop_instance_uid == best.sop_instance_uid
    assert len({m.sop_instance_uid for m in found.maps}) == min(3, len(shown))
    assert all(m.values.shape == (96, 96) and m.values.max() > 0 for m in found.maps)


def test_without_marks_slices_are_chosen_and_a_person_must_look(read: Reader, phantom: CtPhantom) -> None:
    found = read()
    assert found.abstention is None, found.abstention
    assert found.zone is Zone.GRAY
    assert found.headline == "Needs human review: slices chosen automatically - not the validated procedure."
    assert {s.how for s in found.slices} == {"automatic"}
    assert "automatic_slices" in {flag.key for flag in found.flags}
    assert len(found.slices) <= 5


def test_marks_of_another_series_are_told_and_not_read(read: Reader, phantom: CtPhantom) -> None:
    found = read((next(iter(phantom.nodules[0].slices())),), extra=(("1.2.3", None),))
    assert len(found.slices) == 1
    assert "marks_not_in_series" in {flag.key for flag in found.flags}


def test_marks_of_the_study_reach_the_selection(study: Study) -> None:
    mark = (study.instances[20].sop_instance_uid, None)
    assert ct_pima_ipn.select_images(replace(study, marks=(mark,)), Settings()).marked == (mark,)
    assert ct_pima_ipn.select_images(study, Settings()).marked == ()


def test_the_lungs_lie_on_the_images_with_their_sides(read: Reader, phantom: CtPhantom) -> None:
    lungs = read((25,)).lung_volume
    assert lungs is not None
    assert len(lungs.slices) == 50
    drawn = phantom.lungs[25]
    middle = lungs.values.at(25)  # type: ignore[union-attr]
    overlap = 2 * ((middle > 0) & (drawn > 0)).sum() / ((middle > 0).sum() + (drawn > 0).sum())
    assert overlap > 0.9
    assert set(np.unique(middle)) == {0, 2, 3}


def test_the_same_study_gives_the_same_findings(read: Reader) -> None:
    once, again = read((20, 25)), read((20, 25))
    assert json.dumps(once.to_json(), sort_keys=True) == json.dumps(again.to_json(), sort_keys=True)
    first, second = once.arrays(), again.arrays()
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    kept = Findings.from_json(json.loads(json.dumps(once.to_json())), first)
    assert kept.slices == once.slices


def test_a_synthetic_bundle_runs_only_where_it_is_allowed(read: Reader) -> None:
    found = read((20,), allow_synthetic=False)
    assert found.abstention is not None
    assert found.abstention.reason == "synthetic_model"


def test_what_cannot_be_read_is_refused_and_never_raised(study: Study, bundle: Path, tmp_path: Path) -> None:
    settings = Settings(allow_synthetic=True)
    few = replace(study, instances=study.instances[:2])
    selection = ct_pima_ipn.select_images(few, settings)
    found = ct_pima_ipn.run(few, selection, {"ct_pima_ipn": bundle}, "published", settings)
    assert found.abstention is not None
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(Path(study.instances[10].path).read_bytes()[:-2000])
    broken = tuple(replace(i, path=str(cut)) if n == 10 else i for n, i in enumerate(study.instances))
    found = ct_pima_ipn.run(study, Selection(broken), {"ct_pima_ipn": bundle}, "published", settings)
    assert found.abstention is not None
    assert found.abstention.reason == "unreadable_pixels"
    assert len(found.not_read) == len(broken)
