"""The plain-language result says everything a reader needs, in ASCII, and nothing that identifies a person."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from dicom_node.core import codes
from dicom_node.core.findings import NotRead, SaliencyMap, Zone
from dicom_node.results.outputs.secondary_capture import caption
from dicom_node.results.report_text import attention_place, plain, report_lines
from tests.factories import results_sources as make


def saliency_at(row: int, column: int) -> SaliencyMap:
    values = np.zeros((90, 100), np.float32)
    values[row, column] = 2
    return SaliencyMap("abnormal", codes.GRAD_CAM, "Grad-CAM", "1.2.3", values)


@pytest.mark.parametrize(
    ("column", "orientation", "side"),
    [
        (80, ("L", "F"), "patient's left"),
        (20, ("L", "F"), "patient's right"),
        (80, ("R", "F"), "patient's right"),
        (20, ("R", "F"), "patient's left"),
        (80, (), "image right"),
        (20, (), "image left"),
        (80, ("A", "F"), "image right"),
        (50, ("L", "F"), "near the midline of the image"),
    ],
)
def test_the_side_is_the_patients_only_if_the_source_tells_it(column: int, orientation: tuple[str, ...], side: str) -> None:
    """Left and right come from Patient Orientation, else the words say "image"."""
    assert f": {side}, upper third" in attention_place(saliency_at(5, column), orientation)


def test_an_empty_map_has_no_place() -> None:
    """Nothing is said about where, when there is nothing."""
    assert (
        attention_place(saliency_at(5, 5).__class__("a", codes.GRAD_CAM, "Grad-CAM", "1", np.zeros((4, 4), np.float32)), ()) == ""
    )


def test_text_fits_every_character_set() -> None:
    """Signs beyond ASCII become their plain form."""
    assert plain("sensitivity ≥ 0.90 – “adults”, café\nnext") == 'sensitivity >= 0.90 - "adults", cafe next'


@pytest.mark.parametrize("zone", list(Zone))
def test_a_result_reads_from_conclusion_to_disclaimer(tmp_path: Path, zone: Zone) -> None:
    """Headline, numbers, not-assessed classes, policy, model, time and disclaimers are there, in plain ASCII."""
    context = make.finished(tmp_path, zone=zone)
    lines = report_lines(context)
    text = "\n".join(lines)
    assert lines[0] == context.findings.headline
    for expected in (
        "Abnormal: probability",
        "Tuberculosis: not assessed: ",
        make.POLICY.guarantee,
        "cxr_tb@1.0.0",
        "evidence level demo",
    ):
        assert expected in text
    for expected in ("2026-11-01 10:20 (UTC+05:30)", "RESEARCH USE ONLY - NOT FOR DIAGNOSIS", "UNVALIDATED MODEL", "not reviewed"):
        assert expected in text
    assert text.isascii()


def test_no_identity_is_in_the_text(tmp_path: Path) -> None:
    """Neither the lines nor the words burned into the picture name the patient, the order or a UID."""
    context = make.finished(tmp_path)
    words = caption(context)
    shown = " ".join([*report_lines(context), *words.warnings, words.headline, *words.lines, words.map_name, words.lung_name])
    for marker in ("Muller", "Jorg", "PID-0042", "ACC-77001", "19800305", "Jane", "1.2.", "2.25."):
        assert marker not in shown


def test_images_left_for_one_reason_are_counted(tmp_path: Path) -> None:
    """Two laterals make one line."""
    context = make.finished(tmp_path)
    left = tuple(NotRead(uid, "not_frontal") for uid in ("1.2.3", "1.2.4"))
    context = dataclasses.replace(context, findings=dataclasses.replace(context.findings, not_read=left))
    assert "Not read: Not a frontal (PA or AP) view. (2 images)" in report_lines(context)


def test_synthetic_models_are_named(tmp_path: Path) -> None:
    """A bundle trained on artificial images shows in the disclaimer; a validated one drops the other warning."""
    context = make.finished(tmp_path)
    bundle = dataclasses.replace(make.BUNDLE, synthetic=True)
    changed = dataclasses.replace(context, unvalidated=False, findings=dataclasses.replace(context.findings, bundles=(bundle,)))
    assert len(context.disclaimer) == 2
    assert [line.split()[0] for line in changed.disclaimer] == ["RESEARCH", "SYNTHETIC:"]
