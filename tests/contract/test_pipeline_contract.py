"""The same questions to every file of pipelines/: what it says of itself, and that it refuses in words instead of failing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dicom_node.core.abstentions import REASONS
from dicom_node.core.findings import Findings
from dicom_node.core.study import HeaderFacts, Instance, Study
from dicom_node.plugins import known_kinds, load_kind
from models.bundle import SHIPPED, UnknownOperatingPoint, find_bundle, load_bundle

KINDS = known_kinds("pipeline")
MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
NOTHING = Study("st_1", "1.2.3", ())
#: A study of another kind; its file does not exist, so whoever opened it would fail.
KNEE = Study(
    "st_2",
    "1.2.4",
    (Instance(MR_IMAGE, "1.2.4.1.1", "1.2.4.1", "1.2.4", "1.2.840.10008.1.2.1", "", "/nowhere", HeaderFacts(modality="MR")),),
)


def bundles_of(kind: str) -> dict[str, Path]:
    return {name: find_bundle(name, None, [SHIPPED]) for name in load_kind("pipeline", kind).NEEDS}


def answer(kind: str, study: Study, policy: str = "") -> Findings:
    """Let the pipeline choose and run, with its shipped bundles and the settings as they come."""
    pipeline, bundles = load_kind("pipeline", kind), bundles_of(kind)
    policy = policy or next(iter(load_bundle(bundles[pipeline.NEEDS[0]]).operating_points()))
    settings = pipeline.Settings()
    found: Any = pipeline.run(study, pipeline.select_images(study, settings), bundles, policy, settings)
    assert isinstance(found, Findings)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_pipeline_says_what_it_needs_and_what_can_be_set(kind: str) -> None:
    """Its bundles are shipped; its settings have words, refuse what they do not know, and take what the node gives to all."""
    pipeline = load_kind("pipeline", kind)
    assert set(bundles_of(kind)) == set(pipeline.NEEDS) != set()
    assert pipeline.Settings.model_config["extra"] == "forbid"
    assert all(field.description for field in pipeline.Settings.model_fields.values())
    assert {"allow_synthetic", "threads", "device"} <= set(pipeline.Settings.model_fields)


@pytest.mark.parametrize("kind", KINDS)
def test_a_study_without_images_is_answered_with_a_coded_reason(kind: str) -> None:
    """Nothing to read is an answer of this pipeline and these bundles, and no error."""
    found = answer(kind, NOTHING)
    assert found.abstention is not None
    assert found.abstention.reason in REASONS
    assert (found.pipeline, found.findings, found.read) == (kind, (), ())
    assert [one.name for one in found.bundles] == list(load_kind("pipeline", kind).NEEDS)


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_of_another_kind_is_named_with_its_reason_and_never_opened(kind: str) -> None:
    """By its header alone an image is left out, and the answer lists it."""
    found = answer(kind, KNEE)
    assert found.abstention is not None
    assert found.abstention.reason in REASONS
    assert [(one.sop_instance_uid, one.reason in REASONS) for one in found.not_read] == [("1.2.4.1.1", True)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_policy_that_the_bundle_does_not_have_is_an_error_of_the_bundle(kind: str) -> None:
    """A rule that names no operating point must not run on some other one."""
    with pytest.raises(UnknownOperatingPoint):
        answer(kind, NOTHING, policy="as you like it")
