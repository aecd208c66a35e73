"""Answers that a node logged and exported are what the protocol reads: first looks, second looks, maps, regions."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
import sqlalchemy as sa

from dicom_node.cli import main
from dicom_node.core.feedback import Channel, Claim, Context, ReaderClaim, Region, Statement, Targets, Verdict
from dicom_node.core.identifiers import short_key, study_key
from dicom_node.feedback.settings import ReaderSettings
from dicom_node.feedback.step import Desk, record
from dicom_node.store import tables
from models.phantoms.ct import thorax
from models.phantoms.ct_dicom import as_series
from models.training.hitl.attention_target import start, updated
from models.training.hitl.cases import is_consensus
from models.training.hitl.node_export import ExportedCase, on_grid, read_export
from pipelines.blocks.prepare_ct import prepare_volume
from tests.integration.in_process import InProcessNode

READERS = tuple(ReaderSettings(name=f"Reader^{name}", role="radiologist", login=name) for name in "abc")
SLICE = 6  # whose image carries the region
#: Before they saw the model, and after: how likely; was the map at the right place?
SAID = {"a": (1.0, 1.0, "yes"), "b": (0.25, 0.75, "yes"), "c": (0.0, 0.75, "no")}
BUNDLE = "ab" * 32  # hash of the model that they saw
BOX = ((40.0, 20.0), (10.0, 30.0))  # columns and rows of two corners, not in order


@pytest.fixture(scope="module")
def phantom() -> object:
    return thorax(3, slices=12, size=48)


@pytest.fixture(scope="module")
def folder(phantom: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One study of four CT slices, a result, three radiologists who first differ, and its export."""
    node = InProcessNode(tmp_path_factory.mktemp("node"))
    series = as_series(phantom, seed="hitl")[SLICE - 1 : SLICE + 3]  # type: ignore[arg-type]
    for one in series:
        node.receive(one)
    key, uid = study_key(str(series[0].StudyInstanceUID)), str(series[1].SOPInstanceUID)
    run_key = short_key("rn", key)
    values = {"run_key": run_key, "study_key": key, "pipeline": "ct_ntm", "rule": "r", "revision": 1, "state": "analysed"}
    request = {"study_revision": 1, "read": [str(one.SOPInstanceUID) for one in series], "not_read": []}
    summary = {"decision": "review", "probabilities": {"ntm_disease": 0.7}, "headline": ""}
    kept = node.rooms.home.results / run_key
    kept.mkdir(parents=True)
    findings = {"findings": [{"key": "ntm_disease", "decision": "review"}], "bundles": [{"sha256": BUNDLE}], "policy": None}
    (kept / "findings.json").write_text(json.dumps(findings))
    desk = Desk(node.rooms.home, READERS, node.rooms.settings.feedback)
    with node.rooms.database.begin() as connection:
        values |= {"request": request, "summary": summary, "requested_utc": time.time(), "finished_utc": time.time()}
        connection.execute(sa.insert(tables.run).values(**values))
        for name, (first, again, relevant) in SAID.items():
            for source, score, context, shown, answer in (
                ("first", first, Context.BLINDED_FIRST_READ, False, ""),
                ("again", again, Context.AFTER_AI, True, relevant),
            ):
                said = Statement(Verdict.AMENDED, "ntm_disease", assessment=score, map_relevant=answer)
                claim = Claim(
                    *(Channel.WEB, f"{run_key} {name} {source}", dt.datetime.now(dt.UTC), Targets(run_key=run_key)),
                    ReaderClaim("login", name, authenticated=True),
                    statements=(said,),
                    regions=(Region(uid, BOX, "ntm_disease"),) if (name, source) == ("c", "again") else (),
                    context=context,
                    ai_shown=shown,
                )
                assert record(connection, claim, desk=desk).state == "read"
    out = tmp_path_factory.mktemp("out") / "set"
    assert main(["learning", "export", "--out", str(out), "--home", str(node.rooms.home.path)]) == 0
    yield out
    node.rooms.database.dispose()


@pytest.fixture(scope="module")
def case(folder: Path) -> ExportedCase:
    (found,) = read_export(folder, "ntm_disease")
    return found


def test_first_and_second_looks_come_back_as_they_were_logged(case: ExportedCase) -> None:
    assert sorted(case.first.values()) == [0.0, 0.25, 1.0]
    assert sorted(case.again.values()) == [0.75, 0.75, 1.0]
    assert case.probability == 0.7
    assert case.bundles == (BUNDLE,)
    first = case.first_reads()
    assert not is_consensus(first.scores)
    said = case.re_examined()
    assert is_consensus(said.scores)
    # readers stand in one order: whoever said 1 first says 1 again, and called the map right
    by_reader = dict(zip(sorted(case.first), zip(first.scores, said.scores, said.answers, strict=True), strict=True))
    assert sorted(by_reader.values()) == [(0.0, 0.75, -1), (0.25, 0.75, 1), (1.0, 1.0, 1)]


def test_a_region_lands_in_the_layer_and_the_cells_of_its_slice(case: ExportedCase, phantom: object, folder: Path) -> None:
    (region,) = case.regions
    assert region.image in case.images
    # a site reads its series from the export itself: the file is named by the image that the region lies on
    assert str(pydicom.dcmread(folder / region.image, stop_before_pixels=True).SOPInstanceUID) == Path(region.image).stem
    config = {"window_hu": [-1000, 400], "margin_mm": 10, "size": [8, 16, 16]}
    prepared = prepare_volume(phantom.hu, phantom.spacing_mm, phantom.lungs, config)  # type: ignore[attr-defined]
    drawn = on_grid(region, SLICE, prepared, (2, 4, 4))
    box = prepared.record["box"]
    layer = int((SLICE + 0.5 - box[0][0]) / (box[0][1] - box[0][0]) * 2)
    assert [bool(plane.any()) for plane in drawn.where] == [n == layer for n in range(2)]
    rows, columns = (box[n][1] - box[n][0] for n in (1, 2))
    covered = (min(30, box[1][1] - 1) - max(20, box[1][0]) + 1) * (min(40, box[2][1] - 1) - max(10, box[2][0]) + 1)
    assert drawn.where[layer].mean() == pytest.approx(covered / (rows * columns), abs=0.02)
    lungs = np.ones((2, 4, 4), np.float32)
    moved = updated(start(lungs), lungs, np.zeros((2, 4, 4), np.float32), case.re_examined().answers, (drawn,))
    assert moved.max() == pytest.approx(1 + 0.5 * drawn.where.max())


def test_another_pipeline_s_answers_and_other_folders_are_not_taken(folder: Path, tmp_path: Path) -> None:
    assert read_export(folder, "ntm_disease", "cxr_tb") == []
    (tmp_path / "manifest.json").write_text(json.dumps({"format": "something else"}))
    with pytest.raises(ValueError, match="no training export"):
        read_export(tmp_path, "ntm_disease")
