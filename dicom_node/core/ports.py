"""The Protocols that a new file fulfils: Pipeline, Output, Destination. A kind is a module named by its file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from dicom_node.core.artifact import Artifact
from dicom_node.core.delivery import Receipt
from dicom_node.core.findings import Findings
from dicom_node.core.run import RunRequest, Selection
from dicom_node.core.study import Study


class Pipeline(Protocol):
    """``pipelines/<name>.py``: what is done with a kind of study."""

    NEEDS: tuple[str, ...]  # bundle names, the deciding one first
    Settings: type[Any]  # pydantic model: what IT can set for this pipeline

    def select_images(self, study: Study, settings: Any) -> Selection:
        """Say by header alone which instances would be read, and why the others are not. Pure."""

    def run(self, study: Study, selection: Selection, bundles: Mapping[str, Path], policy: str, settings: Any) -> Findings:
        """Read pixels, run the networks, decide. Raises ``StudyError`` or ``BundleError``; a refusal is returned, not raised.

        Where a series was chosen among others, ``provenance["series"]`` says in a sentence which one and why: reports repeat it.
        """

    # A pipeline whose networks take long to load also has
    #     warm(bundles: Mapping[str, Path], settings) -> tuple[str, ...]
    # which loads them before the first study comes, and returns the devices that they run on.
    #
    # A pipeline that takes laboratory values also has
    #     lab_inputs(facts: HeaderFacts, labs: Sequence[LabValue], settings) -> tuple[LabInput, ...]
    # which says, of the first image read and of what is known, which it takes and which are settled. Pure. A run may wait for them.


class Output(Protocol):
    """``results/outputs/<kind>.py``: one kind of object made from findings."""

    MEDIA_TYPE: str
    SOP_CLASS_UIDS: tuple[str, ...]  # what a PACS must accept; empty when not DICOM
    VARIANTS: tuple[str, ...]  # flavours beside the plain one, e.g. ("ohif_text",)
    AFTER: tuple[str, ...]  # kinds that this one refers to, built first when both are wanted

    def wanted(self, findings: Findings) -> bool:
        """Say whether these findings give an object of this kind (a refusal gives no overlay)."""

    def build(self, context: Any, variant: str) -> Artifact | tuple[Artifact, ...]:
        """Build the object, or several of one kind, told apart by ``#2``, ``#3`` at the end of their roles.

        ``context`` is ``dicom_node.results.context.ResultContext``. Deterministic to the byte.
        """


class Destination(Protocol):
    """``delivery/destinations/<kind>.py``: somewhere results go."""

    MEDIA_TYPES: tuple[str, ...]  # what it can carry
    Settings: type[Any]  # pydantic model, extends delivery.settings.DestinationSettings

    def send(self, artifact: Artifact, settings: Any) -> Receipt:
        """Make one attempt. Raises ``PeerError`` (temporary or permanent); never retries by itself."""

    def check(self, settings: Any, sop_class_uids: tuple[str, ...]) -> list[str]:
        """Ask the peer whether it would take these; return the problems, one sentence each; empty means fine."""

    def describe(self, settings: Any) -> str:
        """Say in one sentence where this goes."""


__all__ = ["Destination", "Output", "Pipeline", "RunRequest"]
