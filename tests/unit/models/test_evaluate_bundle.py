"""A bundle is judged on anyone's list of images: by the node's own path, in patients, and without stopping at a bad row."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import models.session
from dicom_node.cli import main
from models.bundle import find_bundle, load_bundle, write_manifest
from models.phantoms.cxr import chest_phantom
from models.training import thumbnail
from models.training.add_baseline import add_baseline
from models.training.data import Row
from models.training.evaluate import at_threshold
from models.training.evaluate_bundle import command, figures, overlays, plots, report
from models.training.evaluate_bundle.index import IndexUnusable, read
from models.training.evaluate_bundle.reading import Read
from pipelines.blocks.classify import session_for
from tests.factories.cxr import POINT, classifier_bundle

BUNDLES = Path(__file__).resolve().parents[3] / "models" / "bundles"
BUNDLE = find_bundle("cxr_tb", None, [BUNDLES])
LUNGS = find_bundle("lungs_cxr", None, [BUNDLES])
COLUMNS = ("image_id", "file", "label", "source", "patient_id", "view", "split_group", "age", "nobody_knows_this")


def _folder(root: Path) -> Path:
    """Ten normal and ten abnormal adults of one source, a second film of one, a child, a black film, and rows that are broken."""
    (root / "images").mkdir(parents=True)
    rows: list[dict[str, Any]] = []

    def add(name: str, label: str, **more: Any) -> None:
        told = {"source": "here", "patient_id": name, "view": "PA", "split_group": "", "age": "50"}
        rows.append({"image_id": name, "file": f"images/{name}.png", "label": label, **told, **more})

    def save(name: str, image: np.ndarray) -> None:
        cv2.imwrite(str(root / "images" / f"{name}.png"), np.round(image * 255).astype(np.uint8))

    for seed in range(20):
        add(f"p{seed}", "pneumonia" if seed % 2 else "normal")
        save(f"p{seed}", chest_phantom(seed, 300, abnormal=bool(seed % 2))[0])
    add("again", "normal", patient_id="p0")
    save("again", chest_phantom(0, 300)[0][::-1, ::-1].copy()[::-1, ::-1])
    add("child", "normal", age="4")
    save("child", chest_phantom(30, 300)[0])
    add("alone", "tuberculosis", source="there", split_group="test")
    save("alone", chest_phantom(31, 300, abnormal=True)[0])
    add("black", "other")
    save("black", np.zeros((300, 300)))
    add("seen", "normal", split_group="train")
    add("gone", "normal")
    add("text", "normal")
    (root / "images" / "text.png").write_text("no picture")
    add("unnamed", "")
    with (root / "index.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _folder(tmp_path_factory.mktemp("list"))


@pytest.fixture(scope="module")
def out(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("evaluation")
    assert main(["bundle", "evaluate", str(BUNDLE), "--index", str(folder / "index.csv"), "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def result(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "metrics.json").read_text(encoding="utf-8")))


def test_every_row_is_read_refused_or_told_by_its_line(result: dict[str, Any]) -> None:
    assert [(p["line"], p["why"].split(" (")[0]) for p in result["problems"]] == [
        (27, "the image cannot be read"),
        (28, "the image cannot be read"),
        (29, "no label"),
    ]
    asked = {(a["people"], a["source"], a["label"]): (a["read"], a["refused"]) for a in result["images"]}
    assert sum(a + b for a, b in asked.values()) == 24
    assert asked["adults", "here", "other"] == (0, 1)
    assert sum(a + b for a, b in [asked["children", "here", "normal"]]) == 1
    assert result["left_out"] == 1
    assert ("other", 1) in [(r["label"], r["images"]) for r in result["refusals"]]
    assert sum(r["images"] for r in result["refusals"]) == sum(b for _, b in asked.values())


def test_each_source_stands_by_itself_beside_the_thumbnail(result: dict[str, Any]) -> None:
    by_source = {e["source"]: e for e in result["adults"]["discrimination"] if not e["view"]}
    assert by_source["here"]["kind"] == figures.ONE_SOURCE
    assert 0 <= by_source["here"]["auc"][1] <= by_source["here"]["auc"][0] <= by_source["here"]["auc"][2] <= 1
    assert by_source["here"]["thumbnail_auc"] is not None
    assert (by_source["there"]["kind"], by_source["there"]["auc"]) == (figures.NO_EVIDENCE, None)
    assert result["children"]["images"] + sum(r["images"] for r in result["refusals"] if r["people"] == "children") == 1


def test_thresholds_count_patients_not_films(result: dict[str, Any]) -> None:
    screening = result["adults"]["policies"]["screening"]
    refused = [r for r in result["refusals"] if r["people"] == "adults" and r["source"] == "here"]
    normal = 10 - sum(r["patients"] for r in refused if r["label"] == "normal")
    assert screening["specificity"]["here"]["n"] == normal
    assert screening["tau"] == pytest.approx(load_bundle(BUNDLE).operating_point("screening")["tau"])
    assert sum(screening["patients"].values()) == screening["specificity"]["here"]["n"] + sum(
        e["n"] for e in screening["sensitivity"].values()
    )


def test_report_plots_and_pictures_lie_in_the_folder_and_the_last_line_has_the_numbers(
    out: Path, result: dict[str, Any], folder: Path
) -> None:
    text = (out / "report.md").read_text(encoding="utf-8")
    assert text == report.report(result)
    assert figures.NO_EVIDENCE in text
    assert "RESEARCH USE ONLY" in text
    assert "gates for a small matrix" in text
    assert {"reliability-adults.svg", "confusion-adults.svg", "roc-adults-here.svg"} <= set(result["plots"])
    for name in result["plots"]:
        assert ET.parse(out / name).getroot().tag.endswith("svg")
    assert 0 < len(result["pictures"]) <= 6
    for picture in result["pictures"]:
        assert cv2.imread(str(out / picture["file"])) is not None
    assert "3 unusable rows; here AUC" in report.summary(result)


def test_the_probability_is_the_one_that_the_node_itself_would_send(folder: Path, result: dict[str, Any], tmp_path: Path) -> None:
    from dicom_node.commands.read_paths import read_studies
    from dicom_node.plugins import load_kind
    from models.phantoms.dicom import as_radiograph, to_bytes
    from models.training.data import read_gray

    picture = result["pictures"][0]
    with (folder / "index.csv").open(encoding="utf-8") as handle:
        row = list(csv.DictReader(handle))[picture["line"] - 2]
    image = read_gray(folder, row["file"]) / np.float32(255)
    (tmp_path / "one.dcm").write_bytes(to_bytes(as_radiograph(image, bits_stored=8)))
    (study,), _ = read_studies([tmp_path / "one.dcm"])
    pipeline = load_kind("pipeline", "cxr_tb")
    settings = pipeline.Settings()
    bundles = {"cxr_tb": BUNDLE, "lungs_cxr": LUNGS}
    found = pipeline.run(study, pipeline.select_images(study, settings), bundles, "screening", settings)
    assert found.findings[0].probability == pytest.approx(picture["probability"], abs=1e-6)


def test_a_bundle_without_a_baseline_says_so(folder: Path, tmp_path: Path) -> None:
    bare = tmp_path / "cxr_tb"
    bare.mkdir()
    for path in BUNDLE.iterdir():
        if path.name != thumbnail.FILE:
            (bare / path.name).write_bytes(path.read_bytes())
    write_manifest(bare)
    listed = tmp_path / "index.csv"
    listed.write_text("file,label\nimages/p0.png,normal\nimages/p1.png,pneumonia\n", encoding="utf-8")
    result = command.evaluate(bare, listed, tmp_path / "out", lambda _: LUNGS, data=folder)
    assert result["thumbnail"] is None
    assert result["assumed"]["patient_id"] == "each image is of another patient"
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert report.NO_BASELINE in text
    assert figures.TOO_FEW in text


def test_a_list_that_cannot_be_meant_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = tmp_path / "index.csv"
    listed.write_text("file,finding\na.png,normal\n", encoding="utf-8")
    with pytest.raises(IndexUnusable, match="lacks the column label"):
        read(listed, "test")
    with pytest.raises(IndexUnusable, match="no part"):
        read(listed, "val")
    assert main(["bundle", "evaluate", str(BUNDLE), "--index", str(tmp_path / "no.csv"), "--out", str(tmp_path / "o")]) == 2
    assert "no.csv cannot be read" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_a_list_of_another_hand_is_read_as_it_is_meant(tmp_path: Path) -> None:
    listed = tmp_path / "index.csv"
    listed.write_text(
        "\ufeffAge,Split_Group,LABEL,view,file,x\n045Y,sealed,No Finding,pa,a.png,1\n"
        "006M,val,TB,,b.png,\n,Test,normal,AP Supine,c.png,\n400,,other,,d.png,\n", encoding="utf-8",
    )  # fmt: skip
    found = read(listed, "all")
    rows = [row for _, row in found.rows]
    assert [(row.label, row.abnormal) for row in rows] == [("normal", 0), ("tb", 1), ("normal", 0), ("other", 1)]
    assert [row.part for row in rows] == ["test", "calibration", "test", "test"]
    assert [row.view for row in rows] == ["PA", "", "AP SUPINE", ""]
    assert [row.age for row in rows] == [45.0, pytest.approx(0.5, abs=0.01), None, None]
    assert "patient_id" in found.assumed


def test_without_any_view_all_images_are_counted_and_that_is_said() -> None:
    rows = [replace(_row(f"p{n}", "other" if n % 2 else "normal"), view="") for n in range(4)]
    points = {"screening": {"feasible": True, "tau": 0.5, "views": ["PA"]}}
    got = figures.figures(Read(rows, [1, 2, 3, 4], [0.2, 0.8, 0.2, 0.3], [math.nan] * 4), points, "adults")
    policy = got["policies"]["screening"]
    assert (policy["views"], policy["images"], policy["view_stated"]) == ("all", 4, False)
    assert policy["patients"] == {"true_positive": 1, "false_negative": 1, "true_negative": 2, "false_positive": 0}
    assert "states no view" in report._policies(got["policies"], "adults")


@pytest.mark.parametrize(("name", "why"), [("lungs_cxr", "decides nothing by itself"), ("ct_pima_ipn", "series of CT")])
def test_a_bundle_of_another_kind_is_refused_in_words(
    name: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = classifier_bundle(tmp_path / "other", {"screening": POINT} if name.startswith("ct") else {})
    (bundle / "bundle.yaml").write_text((bundle / "bundle.yaml").read_text().replace("name: cxr_tb", f"name: {name}"))
    write_manifest(bundle)
    assert main(["bundle", "evaluate", str(bundle), "--index", "none.csv", "--out", str(tmp_path / "o")]) == 2
    assert why in capsys.readouterr().err


def test_many_at_once_give_what_one_after_the_other_gives(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = tmp_path / "index.csv"
    listed.write_text("file,label\n" + "".join(f"images/p{n}.png,normal\n" for n in range(6)), encoding="utf-8")
    sizes: list[int] = []
    run_once = models.session.Session._run_once

    def counted(self: models.session.Session, inputs: models.session.Inputs) -> models.session.Outputs:
        sizes.append(len(inputs["image"]))
        return run_once(self, inputs)

    monkeypatch.setattr(models.session.Session, "_run_once", counted)
    results = []
    for at_once in (1, 4):
        session_for.cache_clear()
        monkeypatch.setattr(command, "gpu_present", lambda at_once=at_once: at_once > 1)
        monkeypatch.setattr(command, "AT_ONCE_ON_GPU", at_once)
        results.append(command.evaluate(BUNDLE, listed, tmp_path / str(at_once), lambda _: LUNGS, data=folder))
    session_for.cache_clear()
    one, many = (sorted((p["line"], round(p["probability"], 4)) for p in result["pictures"]) for result in results)
    assert one == many
    assert one
    assert max(sizes) > 1
    assert models.session._together is None


def _row(patient: str, label: str) -> Row:
    return Row("i", "f", label, "s", patient, "PA", "test")


def test_one_called_film_calls_the_patient() -> None:
    rows = [_row("a", "normal"), _row("a", "normal"), _row("b", "normal"), _row("c", "other"), _row("c", "other")]
    got = at_threshold(rows, np.array([0.1, 0.9, 0.1, 0.1, 0.9]), 0.5)
    assert {k: (got[k]["s"]["hits"], got[k]["s"]["n"]) for k in got} == {"sensitivity": (1, 1), "specificity": (1, 2)}


def test_pictures_are_the_worst_and_two_right_ones_each_of_another_patient() -> None:
    told = [("a", 0, 0.9), ("a", 0, 0.8), ("b", 0, 0.7), ("c", 1, 0.1), ("d", 1, 0.95), ("e", 0, 0.05), ("f", 0, 0.6)]
    rows = [_row(patient, "other" if ill else "normal") for patient, ill, _ in told]
    read_rows = Read(rows, list(range(7)), [p for _, _, p in told], [math.nan] * 7)
    assert overlays.choose(read_rows, 0.5, ["PA"]) == [
        ("false positive", 0), ("false positive", 2), ("false negative", 3), ("true positive", 4), ("true negative", 5),
    ]  # fmt: skip


def test_a_roc_curve_goes_from_corner_to_corner() -> None:
    drawn = plots.roc("a & b", [0, 1, 0, 1], {"bundle": [0.1, 0.9, 0.2, 0.8]})
    curve = ET.fromstring(drawn).findall("{http://www.w3.org/2000/svg}polyline")[1].attrib["points"].split()
    assert (curve[0], curve[-1]) == ("44.0,344.0", "344.0,44.0")
    assert "44.0,44.0" in curve


def test_it_needs_nothing_of_training() -> None:
    """A plain installation has neither torch nor scikit-learn nor Matplotlib."""
    code = (
        "import sys\n"
        "import models.training.evaluate_bundle.command, dicom_node.plugins\n"
        "dicom_node.plugins.load_kind('pipeline', 'cxr_tb')\n"
        "found = {'torch', 'sklearn', 'matplotlib', 'monai', 'safetensors', 'onnx'} & set(sys.modules)\n"
        "assert not found, found\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_baseline_is_added_only_by_the_list_that_the_bundle_was_made_with(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not the index"):
        add_baseline(load_bundle(BUNDLE), folder, LUNGS, tmp_path / "new", "9.9.9")
    assert not (tmp_path / "new").exists()
