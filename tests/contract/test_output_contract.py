"""The same questions to every file of results/outputs/: what it says of itself, and that what it builds is what it said."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.core.artifact import DICOM, FHIR, HL7, Artifact
from dicom_node.plugins import known_kinds, load_kind
from dicom_node.results.context import ResultContext
from dicom_node.results.step import build_results
from tests.factories import results_sources as make

KINDS = known_kinds("output")


def roles_of(kind: str) -> list[str]:
    """Return the kind in every flavour, with those that it refers to."""
    module = load_kind("output", kind)
    return [*module.AFTER, kind, *(f"{kind}:{variant}" for variant in module.VARIANTS)]


def built(kind: str, context: ResultContext) -> list[Artifact]:
    return [made for made in build_results(context, roles_of(kind)) if made.kind == kind]


@pytest.fixture(params=["analysed", "refused"])
def how(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def context_of(folder: Path, how: str) -> ResultContext:
    instance = make.stored(make.radiograph(), folder)
    return make.context(make.analysed(instance) if how == "analysed" else make.refused(), instance)


@pytest.mark.parametrize("kind", KINDS)
def test_an_output_says_what_it_makes(kind: str) -> None:
    """A DICOM object names the SOP classes that a PACS must take, another one names none; what it refers to exists."""
    module = load_kind("output", kind)
    assert module.MEDIA_TYPE in (DICOM, FHIR, HL7)
    assert bool(module.SOP_CLASS_UIDS) == (module.MEDIA_TYPE == DICOM)
    assert set(module.AFTER) <= set(KINDS) - {kind}


@pytest.mark.parametrize("kind", KINDS)
def test_what_it_builds_is_what_it_said_and_the_same_each_time(kind: str, how: str, tmp_path: Path) -> None:
    """Media type and SOP class are those that destinations were asked about; a second building gives the same bytes."""
    module = load_kind("output", kind)
    context = context_of(tmp_path, how)
    artifacts = built(kind, context)
    assert bool(artifacts) == module.wanted(context.findings)
    assert {one.media_type for one in artifacts} <= {module.MEDIA_TYPE}
    assert {one.sop_class_uid for one in artifacts} <= set(module.SOP_CLASS_UIDS or ("",))
    assert {one.refusal for one in artifacts} <= {how == "refused"}
    again = built(kind, context_of(tmp_path, how))
    assert [(one.role, one.sha256) for one in artifacts] == [(one.role, one.sha256) for one in again]
