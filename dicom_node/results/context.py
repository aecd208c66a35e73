"""What every output is built from: the run, its findings, the study, and the header that results are addressed by."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydicom.dataset import Dataset

from dicom_node.core import codes
from dicom_node.core.findings import Findings, SaliencyMap
from dicom_node.core.identifiers import derived_uid
from dicom_node.core.product import DISCLAIMER, SYNTHETIC, UNVALIDATED
from dicom_node.core.run import RunRequest
from dicom_node.core.study import Instance, Study
from dicom_node.results.settings import ResultsSettings
from dicom_node.results.source import read_source

_OFFSET = re.compile(r"^([+-])(\d{2})(\d{2})$")


@dataclass(frozen=True)
class ResultContext:
    """One run's result, ready to be written in any form.

    ``built`` holds what was made so far, by role and by kind: pydicom data sets for DICOM objects, so that a later output can refer
    to them. ``predecessors``: (SOP Class UID, SOP Instance UID, role) of the reports of the run that this one replaces.
    """

    run: RunRequest
    findings: Findings
    study: Study
    settings: ResultsSettings
    timezone: dt.tzinfo
    unvalidated: bool = False
    built: dict[str, Any] = field(default_factory=dict)
    predecessors: tuple[tuple[str, str, str], ...] = ()
    may_flag: bool = True  # whether a positive result may draw attention to itself

    @cached_property
    def primary(self) -> Instance:
        """The instance that the result is about: the one read; for a refusal the first candidate, else image, else object.

        Raises
        ------
        ValueError
            The study holds nothing: there is nobody to answer to.
        """
        held = self.study.instances
        if not held:
            raise ValueError("a result needs a study that holds at least one object")
        if self.findings.read:
            return self.study.instance(self.findings.read[0])
        left_out = {n.sop_instance_uid for n in self.findings.not_read}
        candidates = [i for i in held if i.sop_instance_uid not in left_out]
        return next((i for i in (*candidates, *held) if is_image(i)), (candidates or list(held))[0])

    @cached_property
    def source(self) -> Dataset:
        """The primary instance's header, decoded, without pixels; its character set is one that can be written back."""
        return read_source(self.primary)

    def uid(self, *parts: str) -> str:
        """Return a UID that depends on the run and ``parts`` alone."""
        return derived_uid(self.run.run_key, *parts)

    @property
    def link(self) -> str:
        """Address of the result's page, which leads to a login; empty where the site has none."""
        base = self.settings.result_link.rstrip("/")
        return f"{base}/results/{self.run.run_key}" if base else ""

    @cached_property
    def zone(self) -> dt.tzinfo:
        """The source's offset (0008,0201) if it states one, else the site's time zone."""
        match = _OFFSET.match(str(self.source.get("TimezoneOffsetFromUTC", "") or "").strip())
        if match is None:
            return self.timezone
        offset = dt.timedelta(hours=int(match[2]), minutes=int(match[3]))
        if offset > dt.timedelta(hours=14):
            return self.timezone  # no place on earth is that far from UTC
        return dt.timezone(-offset if match[1] == "-" else offset)

    @cached_property
    def timestamp(self) -> dt.datetime:
        """The run's time stamp in the source's zone, whole seconds; every created object carries it."""
        return self.run.requested_at.astimezone(self.zone).replace(microsecond=0)

    @property
    def synthetic(self) -> bool:
        """Whether any model that spoke was trained on artificial images."""
        return any(bundle.synthetic for bundle in self.findings.bundles)

    @property
    def disclaimer(self) -> tuple[str, ...]:
        """The lines that every output shows."""
        return (DISCLAIMER, *([UNVALIDATED] if self.unvalidated else []), *([SYNTHETIC] if self.synthetic else []))

    @property
    def saliency(self) -> SaliencyMap | None:
        """The map that is shown: Grad-CAM of the image read, else the first map of it."""
        mine = [m for m in self.findings.maps if m.sop_instance_uid == self.primary.sop_instance_uid]
        return next((m for m in mine if m.method == codes.GRAD_CAM), mine[0] if mine else None)

    @cached_property
    def orientation(self) -> tuple[str, ...]:
        """Patient Orientation, upper case: (direction of rows, direction of columns); empty when the source states none."""
        value = self.source.get("PatientOrientation")
        parts = () if not value or isinstance(value, str) else tuple(str(v).strip().upper() for v in value)
        return parts if len(parts) == 2 and all(parts) else ()


def is_image(instance: Instance) -> bool:
    """Whether the object is an image by what its header shows."""
    return instance.facts.has_pixel_data or bool(instance.facts.rows)
