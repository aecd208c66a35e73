"""What is kept of a run for its page: the picture without loss, the maps, and that a second keeping changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from dicom_node.core.findings import Findings
from dicom_node.inference.findings_store import drop_arrays, save_findings
from dicom_node.inference.shown import image_png, keep_shown, load_shown, map_png
from tests.factories.shown_results import SHAPE, ct_findings, findings


def test_picture_and_maps_outlive_the_arrays(tmp_path: Path) -> None:
    """Lossless, with the facts that a drawing needs; the second time, without arrays, nothing happens."""
    picture = np.random.default_rng(1).integers(0, 256, (640, 560), dtype=np.uint8)
    save_findings(tmp_path, findings("1.2.3", picture))
    keep_shown(tmp_path)
    drop_arrays(tmp_path)
    keep_shown(tmp_path)
    (shown,) = load_shown(tmp_path)
    assert (shown.sop_instance_uid, shown.shape, shown.size) == ("1.2.3", SHAPE, (640, 560))
    assert [(one.finding, one.method, one.evidence) for one in shown.maps] == [("abnormal", "Grad-CAM", True)]
    assert (cv2.imdecode(np.frombuffer(image_png(tmp_path), np.uint8), cv2.IMREAD_UNCHANGED) == picture).all()
    colours = cv2.imdecode(np.frombuffer(map_png(tmp_path, 0), np.uint8), cv2.IMREAD_UNCHANGED)
    row, column = np.unravel_index(int(colours[..., 3].argmax()), colours.shape[:2])
    strongest = findings("1.2.3").maps[0].values
    wanted = np.unravel_index(int(strongest.argmax()), strongest.shape)
    assert colours[round(wanted[0] * 640 / SHAPE[0]), round(wanted[1] * 560 / SHAPE[1]), 3] > 60, (row, column)
    assert colours[-1, -1, 3] == 0


def test_a_page_that_is_opened_before_the_picture_was_kept_makes_it(tmp_path: Path) -> None:
    """The result is sent first: a reader, or a death of the worker, may come between."""
    save_findings(tmp_path, findings("1.2.3"))
    (shown,) = load_shown(tmp_path)
    assert shown.sop_instance_uid == "1.2.3"
    assert (tmp_path / "shown.npz").exists()


def test_key_slices_are_kept_each_with_its_own_maps(tmp_path: Path) -> None:
    """Three pictures, the highest first; a map of one is not another's, and a place that is not there has none."""
    save_findings(tmp_path, ct_findings(["1.1", "1.2", "1.3"]))
    keep_shown(tmp_path)
    assert [one.sop_instance_uid for one in load_shown(tmp_path)] == ["1.1", "1.2", "1.3"]
    assert [[m.evidence for m in one.maps] for one in load_shown(tmp_path)] == [[True], [True], [False]]
    grays = [cv2.imdecode(np.frombuffer(image_png(tmp_path, n), np.uint8), cv2.IMREAD_UNCHANGED) for n in range(3)]
    assert [int(one[0, 0]) for one in grays] == [60, 100, 140]
    colours = [cv2.imdecode(np.frombuffer(map_png(tmp_path, 0, n), np.uint8), cv2.IMREAD_UNCHANGED) for n in range(3)]
    strongest = [int(one[160, :, 3].argmax()) for one in colours[:2]]
    assert strongest[0] < strongest[1]  # it lies further to the right on the second
    assert int(colours[2][..., 3].max()) == 0
    for place, number in ((3, 0), (-1, 0), (0, 1)):
        with pytest.raises(OSError, match="no such map"):
            map_png(tmp_path, number, place)
    with pytest.raises(OSError, match="damaged"):
        image_png(tmp_path, 3)


def test_a_file_of_an_older_node_is_still_shown(tmp_path: Path) -> None:
    """It holds one picture, and says so without a list."""
    facts = {"sop_instance_uid": "1.2.3", "shape": [8, 8], "size": [4, 4], "maps": []}
    parts = {"image": np.full((4, 4), 7, np.uint8), "facts": np.frombuffer(json.dumps(facts).encode(), np.uint8)}
    np.savez(tmp_path / "shown.npz", **parts)  # type: ignore[arg-type]
    (shown,) = load_shown(tmp_path)
    assert (shown.sop_instance_uid, shown.shape, shown.frame) == ("1.2.3", (8, 8), None)
    assert cv2.imdecode(np.frombuffer(image_png(tmp_path), np.uint8), cv2.IMREAD_UNCHANGED)[0, 0] == 7


def test_a_refusal_keeps_nothing(tmp_path: Path) -> None:
    """No picture was made: none is kept, and the page says so."""
    save_findings(tmp_path, Findings(pipeline="cxr_tb"))
    keep_shown(tmp_path)
    assert load_shown(tmp_path) == ()
    assert not (tmp_path / "shown.npz").exists()


def test_a_damaged_file_is_no_picture(tmp_path: Path) -> None:
    """The page says that there is none; it does not break."""
    (tmp_path / "shown.npz").write_bytes(b"PK\x03\x04 half")
    assert load_shown(tmp_path) == ()
    with pytest.raises(OSError, match="damaged"):
        image_png(tmp_path)
