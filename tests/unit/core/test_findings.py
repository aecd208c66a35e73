"""Findings survive being written and read."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from dicom_node.core import codes
from dicom_node.core.abstentions import counted, sentence
from dicom_node.core.findings import (
    Abstention,
    BundleRef,
    Decision,
    Finding,
    Findings,
    Flag,
    LungMask,
    NotRead,
    Picture,
    PolicyRef,
    SaliencyMap,
    Zone,
    probability_text,
)
from dicom_node.core.summary import summary_line

BUNDLE = BundleRef("cxr_tb", "0.1.0", "ab" * 32, "demo")
FULL = Findings(
    pipeline="cxr_tb",
    read=("1.2.3",),
    not_read=(NotRead("1.2.4", "not_frontal", "LL"),),
    findings=(
        Finding("abnormal", codes.ABNORMAL, Decision.POSITIVE, 0.91, 0.4, 0.2, 0.8),
        Finding("tuberculosis", codes.TUBERCULOSIS, Decision.NOT_ASSESSED, note="one source only"),
    ),
    zone=Zone.SUSPECTED,
    headline="Abnormal.",
    policy=PolicyRef("screening", "cd" * 32, True, "sensitivity >= 0.90"),
    bundles=(BUNDLE,),
    flags=(Flag("lossy", "Compressed with loss."),),
    maps=(SaliencyMap("abnormal", codes.GRAD_CAM, "Grad-CAM", "1.2.3", np.eye(4, dtype=np.float32), 0.7, 0.1),),
    lungs=LungMask("1.2.3", np.ones((4, 4), np.uint8), BUNDLE),
    picture=Picture("1.2.3", (8, 6), np.arange(12, dtype=np.uint8).reshape(4, 3)),
    provenance={"cut": [1, 2]},
)


def test_findings_are_the_same_after_json_and_arrays() -> None:
    """What was written is what is read, arrays included."""
    again = Findings.from_json(json.loads(json.dumps(FULL.to_json())), FULL.arrays())
    assert _words(again) == _words(FULL)
    assert np.array_equal(again.maps[0].values, FULL.maps[0].values)
    assert again.lungs is not None
    assert np.array_equal(again.lungs.values, np.ones((4, 4)))
    assert again.picture is not None
    assert FULL.picture is not None
    assert (again.picture.shape, again.picture.values.tolist()) == ((8, 6), FULL.picture.values.tolist())


def _words(findings: Findings) -> Findings:
    return dataclasses.replace(findings, maps=(), lungs=None, picture=None, pictures=())


def test_summary_names_assessed_classes_only() -> None:
    """A class that is not assessed never has a probability."""
    line = summary_line("st_x", FULL)
    assert line["probabilities"] == {"abnormal": 0.91}
    assert line["not_assessed"] == ["tuberculosis"]
    assert (line["status"], line["decision"], line["zone"]) == ("analysed", "positive", "suspected")


def test_summary_of_a_refusal_has_code_and_sentence() -> None:
    """A refusal is coded and has a sentence."""
    line = summary_line("st_x", Findings(pipeline="cxr_tb", abstention=Abstention("not_chest", "EXTREMITY")))
    assert line["status"] == "not_analysed"
    assert line["code"]
    assert line["reason"] == "Not a chest image. EXTREMITY."
    assert line["decision"] == line["zone"] == ""


def test_a_reason_and_its_detail_are_whole_sentences() -> None:
    """Whatever a gate or a decoder says as detail, people read sentences with a capital and one period."""
    assert sentence("no_image") == "The study holds no image."
    assert sentence("matrix_size", "169 x 211 pixels") == "Image matrix too small or too large. 169 x 211 pixels."
    assert sentence("unreadable_pixels", "the data is cut off.").endswith("cannot be decoded. The data is cut off.")


@pytest.mark.parametrize(("value", "text"), [(0.0, "<0.01"), (0.004, "<0.01"), (0.5, "0.50"), (0.994, "0.99"), (0.9995, ">0.99")])
def test_no_probability_is_told_as_a_certainty(value: float, text: str) -> None:
    """What rounds to 0 or 1 is told as below or above."""
    assert probability_text(value) == text


@pytest.mark.parametrize(
    ("guarantee", "said"),
    [
        ("sensitivity >= 0.90, n=158", "sensitivity >= 0.90, n=158"),
        ("No valid guarantee: too few.", "No valid guarantee: too few"),
        ("none: fitted on nobody", "no guarantee: fitted on nobody"),
        ("none", "no guarantee"),
        ("", "no valid guarantee"),
    ],
)
def test_what_a_policy_promises_is_a_sentence(guarantee: str, said: str) -> None:
    """Also where a bundle writes its guarantee as a field that is empty."""
    assert PolicyRef("screening", "", False, guarantee).sentence == f'Policy "screening": {said}.'


def test_images_left_for_one_reason_are_told_once_with_their_number() -> None:
    """In the order in which they were left; what the refusal says of the only image is not said again."""
    left = [NotRead("1", "localizer"), NotRead("2", "not_axial", "sagittal"), NotRead("3", "localizer")]
    findings = Findings("ct", not_read=tuple(left))
    assert counted(findings.left) == ["Localizer (scout) image. (2 images)", "Not an axial CT series. Sagittal."]
    assert Findings("ct", not_read=(left[0],), abstention=Abstention("localizer")).left == []
    assert len(Findings("ct", not_read=tuple(left), abstention=Abstention("localizer")).left) == 3
