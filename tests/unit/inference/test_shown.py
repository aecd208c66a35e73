"""What is kept of a run for its page: the picture without loss, the maps, and that a second keeping changes nothing."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from dicom_node.core.findings import Findings
from dicom_node.inference.findings_store import drop_arrays, save_findings
from dicom_node.inference.shown import image_png, keep_shown, load_shown, map_png
from tests.factories.shown_results import SHAPE, findings


def test_picture_and_maps_outlive_the_arrays(tmp_path: Path) -> None:
    """Lossless, with the facts that a drawing needs; the second time, without arrays, nothing happens."""
    picture = np.random.default_rng(1).integers(0, 256, (640, 560), dtype=np.uint8)
    save_findings(tmp_path, findings("1.2.3", picture))
    keep_shown(tmp_path)
    drop_arrays(tmp_path)
    keep_shown(tmp_path)
    shown = load_shown(tmp_path)
    assert shown is not None
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
    shown = load_shown(tmp_path)
    assert shown is not None
    assert shown.sop_instance_uid == "1.2.3"
    assert (tmp_path / "shown.npz").exists()


def test_a_refusal_keeps_nothing(tmp_path: Path) -> None:
    """No picture was made: none is kept, and the page says so."""
    save_findings(tmp_path, Findings(pipeline="cxr_tb"))
    keep_shown(tmp_path)
    assert load_shown(tmp_path) is None
    assert not (tmp_path / "shown.npz").exists()


def test_a_damaged_file_is_no_picture(tmp_path: Path) -> None:
    """The page says that there is none; it does not break."""
    (tmp_path / "shown.npz").write_bytes(b"PK\x03\x04 half")
    assert load_shown(tmp_path) is None
    with pytest.raises(OSError, match="damaged"):
        image_png(tmp_path)
