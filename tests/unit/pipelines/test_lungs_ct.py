"""Lungs of a CT: on phantoms whose lungs are known, on what is no adult's chest, and by a network that an operator brings."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from pydantic import ValidationError

from dicom_node.core.study import Study
from dicom_node.imaging.volume import Volume
from models.bundle import BundleError, write_manifest
from models.phantoms.ct import CtPhantom, thorax
from models.phantoms.ct_dicom import as_series
from models.session import Session
from pipelines import ct_pima_ipn
from pipelines.blocks.lungs_ct import FLAG_TEXTS, find_lungs
from tests.factories.bundles import write_bundle
from tests.factories.ct_bundles import write_ct_bundle
from tests.factories.ct_series import written


def volume_of(phantom: CtPhantom) -> Volume:
    return Volume(phantom.hu, phantom.spacing_mm, (None,) * len(phantom.hu))


def dice(a: NDArray[Any], b: NDArray[Any]) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.mark.parametrize("how", [{}, {"kernel": "sharp"}, {"contrast": True}, {"touching": True}])
def test_each_lung_is_found(how: dict[str, Any]) -> None:
    phantom = thorax(4, slices=50, size=96, **how)
    lungs = find_lungs(volume_of(phantom))
    assert lungs.problem == ""
    assert dice(lungs.right > 0, phantom.lungs == 1) > 0.95
    assert dice(lungs.left > 0, phantom.lungs == 2) > 0.95
    assert set(lungs.flags) <= set(FLAG_TEXTS)


def test_nodules_stay_inside_and_the_trachea_stays_out() -> None:
    phantom = thorax(1, slices=50, size=96, nodules=["ipn", ("pima", 25.0)])
    lungs = find_lungs(volume_of(phantom))
    for nodule in phantom.nodules:
        assert lungs.mask[nodule.box][nodule.mask > 0].mean() > 0.95
    upper = phantom.airways[35:] > 0  # above the fork
    assert upper.sum() > 20
    assert lungs.mask[35:][upper].mean() < 0.02


def test_a_wide_lesion_at_the_outer_wall_stays_inside() -> None:
    phantom = thorax(4, slices=50, size=96)
    hu, (dz, dy, dx) = phantom.hu.copy(), phantom.spacing_mm
    k = 26
    row = 48
    wall = int(np.nonzero(phantom.lungs[k, row])[0][0])
    z, y, x = np.ogrid[:50, :96, :96]
    ball = ((z - k) * dz) ** 2 + ((y - row) * dy) ** 2 + ((x - wall) * dx) ** 2 < 20**2
    lesion = ball & (phantom.lungs > 0)
    hu[lesion] = 30
    lungs = find_lungs(Volume(hu, phantom.spacing_mm, (None,) * 50))
    assert lungs.mask[k][lesion[k]].mean() > 0.8


@pytest.mark.parametrize(
    ("phantom", "code"),
    [
        ({"scale": 0.6}, "lungs_not_found"),
        ({"slices": 25, "spacing_mm": (5.0, 4.0, 4.0)}, "short_coverage"),
        ({"slices": 30, "spacing_mm": (5.0, 4.0, 4.0), "start_mm": -250.0}, "lungs_not_found"),
    ],
)
def test_what_is_no_adults_chest_is_refused_with_a_reason(phantom: dict[str, Any], code: str) -> None:
    lungs = find_lungs(volume_of(thorax(4, **{"slices": 50, "size": 96} | phantom)))
    assert lungs.code == code
    assert lungs.problem


def test_one_lung_alone_is_refused() -> None:
    phantom = thorax(4, slices=50, size=96)
    hu = np.where(phantom.lungs == 2, np.float32(40), phantom.hu)
    lungs = find_lungs(Volume(hu, phantom.spacing_mm, (None,) * 50))
    assert lungs.problem == "only one lung was found"


def test_air_alone_and_flesh_alone_have_no_lungs() -> None:
    for value in (-1000, 40):
        assert find_lungs(Volume(np.full((5, 32, 32), value, np.float32), (5, 5, 5), (None,) * 5)).code == "lungs_not_found"


def threshold_network(folder: Path, side: int) -> Session:
    """Return a graph whose class 1 is what is darker than -500 HU and brighter than -990."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, side, side])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2, side, side])
    weights = [
        helper.make_tensor("middle", TensorProto.FLOAT, [], [-760.0]),
        helper.make_tensor("reach", TensorProto.FLOAT, [], [220.0]),
        helper.make_tensor("none", TensorProto.FLOAT, [], [0.0]),
    ]
    nodes = [
        helper.make_node("Sub", ["image", "middle"], ["off"]),
        helper.make_node("Abs", ["off"], ["far"]),
        helper.make_node("Sub", ["reach", "far"], ["lung"]),
        helper.make_node("Mul", ["lung", "none"], ["rest"]),
        helper.make_node("Concat", ["rest", "lung"], ["logits"], axis=1),
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "lungs", [image], [logits], weights), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    onnx.save(model, str(folder / "model.onnx"))
    return Session(folder / "model.onnx", device="cpu")


@pytest.mark.parametrize("crop", ["body", "none"])
def test_an_operators_network_finds_them_too(tmp_path: Path, crop: str) -> None:
    phantom = thorax(4, slices=50, size=96, noise_hu=4.0)  # it has no idea of noise either
    config = {
        "preprocessing": {"size": 128, "window_hu": [-1024, 600], "range": [-1024, 600], "crop": crop},
        "mask": {"output": "logits", "labels": ["both"], "batch": 8},
    }
    lungs = find_lungs(volume_of(phantom), session=threshold_network(tmp_path, 128), config=config)
    assert lungs.record["method"] == "network"
    assert dice(lungs.right > 0, phantom.lungs == 1) > 0.8  # it knows no airways, and takes the rim of the skin for lung
    assert dice(lungs.left > 0, phantom.lungs == 2) > 0.8


@pytest.fixture
def site_lungs(tmp_path: Path) -> Path:
    """Return the bundle of a site's own lung network."""
    asked = {"size": 128, "window_hu": [-1024, 600], "range": [-1024, 600], "crop": "body"}
    said = {"output": "logits", "labels": ["both"], "batch": 8}
    folder = write_bundle(tmp_path / "site_lungs", "site_lungs", preprocessing=asked, mask=said)
    threshold_network(folder, 128)
    write_manifest(folder)
    return folder


def test_a_run_takes_the_network_that_it_was_given(tmp_path: Path, site_lungs: Path) -> None:
    series = as_series(thorax(4, slices=50, size=96, noise_hu=4.0, nodules=(("pima", 30.0),)))
    instances = tuple(written(one, tmp_path) for one in series)
    study = Study("st_test", instances[0].study_instance_uid, instances)
    settings = ct_pima_ipn.Settings(allow_synthetic=True, device="cpu", lung_bundle=site_lungs)
    selection = ct_pima_ipn.select_images(study, settings)
    model = write_ct_bundle(tmp_path / "model")
    found = ct_pima_ipn.run(study, selection, {"ct_pima_ipn": model}, "published", settings)
    assert found.abstention is None, found.abstention
    assert found.provenance["lungs"]["method"] == "network"
    assert [one.label for one in found.bundles] == ["ct_pima_ipn@99.0.0", "site_lungs@1.0.0"]
    assert found.lung_volume is not None
    assert found.lung_volume.bundle == found.bundles[1]
    assert ct_pima_ipn.warm({"ct_pima_ipn": model}, settings) == ("cpu", "cpu")

    (site_lungs / "model.onnx").write_bytes(b"another network")
    with pytest.raises(BundleError):
        ct_pima_ipn.run(study, selection, {"ct_pima_ipn": model}, "published", settings)


def test_a_folder_that_is_not_there_is_a_mistake_in_the_settings(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="lung_bundle"):
        ct_pima_ipn.Settings(lung_bundle=tmp_path / "nothing")


def test_a_networks_unknown_label_is_an_error(tmp_path: Path) -> None:
    config = {"preprocessing": {"crop": "none"}, "mask": {"output": "logits", "labels": ["heart"], "batch": 8}}
    with pytest.raises(ValueError, match="not known"):
        find_lungs(volume_of(thorax(4, slices=8, size=32)), session=threshold_network(tmp_path, 32), config=config)


def test_threads_change_nothing() -> None:
    volume = volume_of(thorax(4, slices=50, size=96))
    one, many = find_lungs(volume), find_lungs(volume, threads=4)
    assert many.sides.tobytes() == one.sides.tobytes()
    assert (many.record, many.flags, many.problem) == (one.record, one.flags, "")


def test_many_slices_take_little_time() -> None:
    phantom = thorax(4, slices=60, size=128)
    started = time.process_time()
    find_lungs(volume_of(phantom))
    assert time.process_time() - started < 2.0  # about 0.15 s
