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
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_node.core.findings import Findings, Zone
from dicom_node.core.marks import marked_slices
from dicom_node.core.run import Selection
from dicom_node.core.study import HeaderFacts, Instance, Study
from dicom_node.imaging.header import read_instance
from dicom_node.imaging.marks import marks_of
from dicom_node.results.step import build_results
from models.bundle import write_manifest
from models.phantoms.ct import CtPhantom, thorax
from models.phantoms.ct_dicom import as_series
from pipelines import ct_pima_ipn
from pipelines.ct_pima_ipn import Settings
from tests.factories import ct_results
from tests.factories.ct_series import written
from tests.unit.imaging import test_marks as documents
from tests.unit.results.test_objects import ROLES, judged

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
    (told,) = (flag.text for flag in found.flags if flag.key == "marks_not_in_series")
    assert told == "Some marked slices lie outside the series that was read. Reason: an image that is not held."
    assert found.provenance["slices"]["marks_elsewhere"] == {"an image that is not held": 1}


@pytest.fixture(scope="module")
def soft(tmp_path_factory: pytest.TempPathFactory, phantom: CtPhantom) -> list[Instance]:
    """The soft-tissue reconstruction of the same scan, feet first: as large, and complete, so it could be read as well."""
    made = as_series(phantom, series="4", SeriesNumber=4, ConvolutionKernel="B30f", SeriesDescription="Mediastinum")
    folder = tmp_path_factory.mktemp("soft")
    return sorted((written(ds, folder) for ds in made), key=lambda i: i.facts.image_position_mm[2])


def on(document: Dataset, study: Study) -> Study:
    """Return the study with a document in it, as the node holds it."""
    facts = HeaderFacts(modality="SR", marks=marks_of(document))
    one = Instance(document.SOPClassUID, "1.2.9.9", "1.2.9", study.study_instance_uid, "", "", "", facts)
    held = replace(study, instances=(*study.instances, one))
    return replace(held, marks=marked_slices(held.instances))


def key_object(uid: str) -> Dataset:
    return documents.document(documents.KOS, "113000", documents.image(uid))


def report(uid: str) -> Dataset:
    return documents.document(documents.COMPREHENSIVE, "126000", documents.observer("121006"), documents.image(uid))


def drawing(uid: str) -> Dataset:
    where = Sequence([documents.item(ReferencedSOPInstanceUID=uid)])
    shape = Sequence([documents.item(GraphicType="POLYLINE")])
    annotation = documents.item(GraphicObjectSequence=shape, ReferencedImageSequence=where)
    return documents.item(SOPClassUID=documents.GSPS, GraphicAnnotationSequence=Sequence([annotation]))


@pytest.mark.parametrize("way", [key_object, report, drawing, None])
def test_a_mark_on_another_reconstruction_is_mapped_whichever_way_it_came(
    study: Study, soft: list[Instance], bundle: Path, phantom: CtPhantom, way: Callable[[str], Dataset] | None
) -> None:
    """The series with the lung kernel is read at the marked place: from a key object, a report, a drawing, or said on the node."""
    place = list(phantom.nodules[0].slices())[1]
    held, uid = replace(study, instances=(*study.instances, *soft)), soft[place].sop_instance_uid
    held = on(way(uid), held) if way else replace(held, marks=marked_slices(held.instances, said=[(uid, None)]))
    settings = Settings(allow_synthetic=True)
    selection = ct_pima_ipn.select_images(held, settings)
    assert {i.series_instance_uid for i in selection.read} == {study.instances[0].series_instance_uid}
    assert selection.choice[0].endswith("A person marked 1 slice (1 in other series).")
    found = ct_pima_ipn.run(held, selection, {"ct_pima_ipn": bundle}, "published", settings)
    assert [(s.sop_instance_uid, s.how) for s in found.slices] == [(selection.read[place].sop_instance_uid, "marked")]
    flags = {flag.key: flag.text for flag in found.flags}
    assert flags["marks_by_position"] == "Marked slices were mapped by position from series 4 to the series that was read."
    assert not {"marks_not_in_series", "automatic_slices"} & set(flags)
    assert found.provenance["slices"]["marks_by_position"] == [{"series": "4", "slices": 1}]


def test_a_mark_in_another_frame_of_reference_is_never_mapped(study: Study, soft: list[Instance], bundle: Path) -> None:
    """The marked series is read itself, as its marks say; forced onto the other one, the marks are told and nothing is guessed."""
    moved = [replace(i, facts=replace(i.facts, frame_of_reference_uid="1.2.3.4")) for i in soft]
    held = replace(study, instances=(*study.instances, *moved), marks=((soft[25].sop_instance_uid, None),))
    settings = Settings(allow_synthetic=True)
    selection = ct_pima_ipn.select_images(held, settings)
    assert {i.series_instance_uid for i in selection.read} == {soft[0].series_instance_uid}
    other = replace(ct_pima_ipn.select_images(study, settings), marked=held.marks)
    found = ct_pima_ipn.run(held, other, {"ct_pima_ipn": bundle}, "published", settings)
    assert {s.how for s in found.slices} == {"automatic"}
    assert found.zone is Zone.GRAY
    (told,) = (flag.text for flag in found.flags if flag.key == "marks_not_in_series")
    assert told.endswith("Reason: another frame of reference.")


def test_results_of_mapped_marks_are_the_same_bytes_in_every_run_and_valid(
    study: Study, soft: list[Instance], bundle: Path, tmp_path: Path
) -> None:
    """Two whole runs, whatever the order of arrival, give byte-identical objects and messages; dciodvfy finds no error."""
    made = []
    for instances in ((*study.instances, *soft), (*soft[::-1], *study.instances[::-1])):
        held = replace(study, instances=instances, marks=tuple((soft[n].sop_instance_uid, None) for n in (22, 24)))
        settings = Settings(allow_synthetic=True)
        selection = ct_pima_ipn.select_images(held, settings)
        found = ct_pima_ipn.run(held, selection, {"ct_pima_ipn": bundle}, "published", settings)
        made.append(build_results(ct_results.context(found, instances), (*ROLES, "diagnostic_report", "oru_message")))
    assert {a.role: a.sha256 for a in made[0]} == {a.role: a.sha256 for a in made[1]}
    objects = tuple(a for a in made[0] if a.sop_class_uid)
    assert judged(objects, tmp_path) == {a.role: [] for a in objects}
    texts = [a.data.decode(errors="ignore") for a in made[0] if a.kind in ("text_report", "diagnostic_report", "oru_message")]
    assert len(texts) == 3
    assert all("mapped by position from series 4" in text for text in texts)


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
