"""The pipeline on drawn radiographs, with the shipped lung network and a classifier that can be computed by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from dicom_node.core.abstentions import REASONS
from dicom_node.core.findings import Decision, Findings, Zone
from models.bundle import SHIPPED, UnknownOperatingPoint, find_bundle
from pipelines.blocks.read_cxr import FLAG_TEXTS
from pipelines.cxr_tb import Settings, run, select_images
from tests.factories import phantom_dicom as made
from tests.factories.cxr import POINT, classifier_bundle

SETTINGS = Settings(device="cpu")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bundles") / "cxr_tb"
    points = {"screening": POINT, "infeasible": {**POINT, "feasible": False, "reason": "too few"}}
    return {"cxr_tb": classifier_bundle(folder, points), "lungs_cxr": find_bundle("lungs_cxr", None, (SHIPPED,))}


def analyse(
    folder: Path, bundles: dict[str, Path], *datasets: made.Dataset, policy: str = "screening", settings: Settings = SETTINGS
) -> Findings:
    study = made.study_of(folder, *datasets)
    return run(study, select_images(study, settings), bundles, policy, settings)


def reason_of(findings: Findings) -> str:
    assert findings.abstention is not None, findings.headline
    assert findings.abstention.reason in REASONS
    assert findings.findings == ()
    assert findings.read == ()
    return findings.abstention.reason


def test_an_adult_pa_chest_is_analysed_with_maps_and_lungs_on_its_own_grid(tmp_path: Path, bundles: dict[str, Path]) -> None:
    ds = made.chest()
    findings = analyse(tmp_path, bundles, ds)
    assert findings.status == "analysed"
    assert findings.read == (ds.SOPInstanceUID,)
    by_key = {f.key: f for f in findings.findings}
    assert by_key["abnormal"].probability is not None
    assert by_key["tuberculosis"].decision is Decision.NOT_ASSESSED
    assert by_key["tuberculosis"].probability is None
    assert "normal" not in by_key
    assert [m.method_name for m in findings.maps] == ["Grad-CAM", "Grad-CAM++"]
    assert all(m.values.shape == (ds.Rows, ds.Columns) and m.values.dtype == np.float32 for m in findings.maps)
    assert findings.lungs is not None
    assert findings.lungs.values.shape == (ds.Rows, ds.Columns)
    assert 0.15 < findings.lungs.values.mean() < 0.6
    again = Findings.from_json(findings.to_json(), findings.arrays())
    assert again.headline == findings.headline


def test_two_runs_on_the_same_file_find_the_same_to_the_last_bit(tmp_path: Path, bundles: dict[str, Path]) -> None:
    study = made.study_of(tmp_path, made.chest())
    one, two = (run(study, select_images(study, SETTINGS), bundles, "screening", SETTINGS) for _ in range(2))
    assert one.to_json() == two.to_json()
    assert all(np.array_equal(one.arrays()[k], two.arrays()[k]) for k in one.arrays())


@pytest.mark.parametrize("name", sorted(made.BAD))
def test_bad_input_gets_its_coded_refusal(tmp_path: Path, bundles: dict[str, Path], name: str) -> None:
    assert reason_of(analyse(tmp_path, bundles, made.bad(name))) == made.BAD[name][0]


def test_a_colour_image_and_a_retired_syntax_are_refused_by_name(tmp_path: Path, bundles: dict[str, Path]) -> None:
    assert reason_of(analyse(tmp_path, bundles, made.colour())) == "not_grayscale"
    assert reason_of(analyse(tmp_path, bundles, made.unknown_syntax())) == "unsupported_transfer_syntax"


@pytest.mark.parametrize("kind", ["abdomen", "limb"])
def test_an_abdomen_or_knee_tagged_chest_is_refused_by_its_pixels(tmp_path: Path, bundles: dict[str, Path], kind: str) -> None:
    assert reason_of(analyse(tmp_path, bundles, made.tagged_chest(kind))) == "lungs_not_found"


def test_a_chest_stripped_of_body_part_and_view_is_analysed_but_never_called_normal(
    tmp_path: Path, bundles: dict[str, Path]
) -> None:
    findings = analyse(tmp_path, bundles, made.stripped())
    assert findings.status == "analysed"
    assert findings.zone is Zone.GRAY
    assert "view_not_stated" in {f.key for f in findings.flags}
    assert findings.policy is not None
    assert findings.policy.guarantee.startswith("no valid guarantee")


@pytest.mark.parametrize("kind", ["lateral", "abdomen", "limb"])
def test_what_is_no_frontal_chest_is_refused_without_any_tag(tmp_path: Path, bundles: dict[str, Path], kind: str) -> None:
    assert reason_of(analyse(tmp_path, bundles, made.stripped(kind))) in ("not_frontal", "lungs_not_found")


def test_of_a_stripped_lateral_and_a_stripped_frontal_the_frontal_is_read(tmp_path: Path, bundles: dict[str, Path]) -> None:
    frontal, side = made.stripped(), made.stripped("lateral")
    side.StudyInstanceUID = frontal.StudyInstanceUID
    side.AcquisitionTime = "110000"  # newer, so tried first
    findings = analyse(tmp_path, bundles, side, frontal)
    assert findings.read == (frontal.SOPInstanceUID,)
    assert {n.sop_instance_uid: n.reason for n in findings.not_read}[side.SOPInstanceUID] in ("not_frontal", "lungs_not_found")


def test_an_ap_view_is_read_only_where_accepted_and_then_has_no_valid_guarantee(tmp_path: Path, bundles: dict[str, Path]) -> None:
    settings = SETTINGS.model_copy(update={"accept_ap": True})
    findings = analyse(tmp_path, bundles, made.bad("bedside"), settings=settings)
    assert findings.zone is Zone.GRAY
    assert findings.policy is not None
    assert "no valid guarantee" in findings.policy.guarantee


def test_an_unknown_age_is_read_where_the_rule_allows_it_and_flagged(tmp_path: Path, bundles: dict[str, Path]) -> None:
    findings = analyse(tmp_path, bundles, made.bad("born_1900"), settings=SETTINGS.model_copy(update={"accept_age_unknown": True}))
    assert "age_unknown" in {f.key for f in findings.flags}


def test_an_infeasible_policy_sends_every_image_to_review(tmp_path: Path, bundles: dict[str, Path]) -> None:
    findings = analyse(tmp_path, bundles, made.chest(), policy="infeasible")
    assert findings.zone is Zone.GRAY
    assert findings.decision == "review"


def test_an_unknown_policy_is_an_error_of_the_bundle(tmp_path: Path, bundles: dict[str, Path]) -> None:
    with pytest.raises(UnknownOperatingPoint):
        analyse(tmp_path, bundles, made.chest(), policy="wishful")


def test_a_synthetic_bundle_is_refused_unless_allowed(tmp_path: Path, bundles: dict[str, Path]) -> None:
    synthetic = {**bundles, "cxr_tb": classifier_bundle(tmp_path / "synthetic", synthetic=True)}
    assert reason_of(analyse(tmp_path, synthetic, made.chest())) == "synthetic_model"
    allowed = SETTINGS.model_copy(update={"allow_synthetic": True})
    assert analyse(tmp_path, synthetic, made.chest(), settings=allowed).status == "analysed"


def test_five_companions_of_one_exposure_leave_one_image_read_and_five_reasons(tmp_path: Path, bundles: dict[str, Path]) -> None:
    images = made.companions()
    findings = analyse(tmp_path, bundles, *images)
    assert findings.read == (images[0].SOPInstanceUID,)
    assert {n.sop_instance_uid for n in findings.not_read} == {i.SOPInstanceUID for i in images[1:]}
    assert {n.reason for n in findings.not_read} == {"derived_image"}


def test_monochrome1_and_monochrome2_of_one_picture_score_alike(tmp_path: Path, bundles: dict[str, Path]) -> None:
    scores = []
    for name, inverted in (("a", False), ("b", True)):
        (tmp_path / name).mkdir()
        findings = analyse(tmp_path / name, bundles, made.as_radiograph(made.picture(), seed="polarity", monochrome1=inverted))
        scores.append(findings.findings[0].probability)
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)


def test_no_identifier_of_the_patient_or_the_study_stands_in_a_refusal(tmp_path: Path, bundles: dict[str, Path]) -> None:
    for name in made.BAD:
        ds = made.bad(name)
        findings = analyse(tmp_path, bundles, ds)
        assert findings.abstention is not None
        secrets = [
            str(ds.get(k, "")) for k in ("PatientID", "PatientName", "AccessionNumber", "StudyInstanceUID", "SOPInstanceUID")
        ]
        assert not any(s and s in findings.abstention.detail for s in secrets)


def test_every_flag_that_the_pipeline_can_raise_has_a_sentence() -> None:
    raised = {"age_unknown", "ap_view", "low_resolution", "odd_field_of_view", "saturated", "asymmetric_lungs", "lungs_cut_off"}
    raised |= {"under_exposed", "over_exposed", "wide_border", "lossy", "window_unusable", "polarity_contradiction"}
    assert raised <= set(FLAG_TEXTS)


def test_a_late_lateral_changes_nothing_of_what_is_read(tmp_path: Path) -> None:
    frontal = made.chest("late")
    side = made.as_radiograph(made.picture(), seed="late", instance="2", ViewPosition="LL", ViewCodeSequence=None)
    before = select_images(made.study_of(tmp_path, frontal), SETTINGS)
    after = select_images(made.study_of(tmp_path, side, frontal), SETTINGS)
    assert [i.sop_instance_uid for i in before.read] == [i.sop_instance_uid for i in after.read]
    assert after.not_read[0].reason == "not_frontal"


def test_selection_does_not_depend_on_the_order_of_arrival(tmp_path: Path) -> None:
    study = made.study_of(
        tmp_path, *made.companions("order"), made.chest("order", SOPInstanceUID="1.2.3", AcquisitionTime="110000")
    )
    turned = dataclasses.replace(study, instances=study.instances[::-1])
    assert select_images(study, SETTINGS) == select_images(turned, SETTINGS)
