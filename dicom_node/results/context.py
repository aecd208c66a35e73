"""What every output is built from: the run, its findings, the study, and the header that results are addressed by."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydicom.dataset import Dataset

from dicom_node.core import codes
from dicom_node.core.codes import Code
from dicom_node.core.findings import Findings, SaliencyMap
from dicom_node.core.identifiers import derived_uid
from dicom_node.core.product import DISCLAIMER, SYNTHETIC, UNVALIDATED
from dicom_node.core.run import RunRequest
from dicom_node.core.study import Instance, Study
from dicom_node.imaging.slice_header import CT_CLASSES
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
    def volumetric(self) -> bool:
        """Whether the result is about slices of a CT series, not about one radiograph."""
        return self.primary.sop_class_uid in CT_CLASSES

    @property
    def result_code(self) -> Code:
        """The result as a whole, as messages name it."""
        return codes.AI_CT_RESULT if self.volumetric else codes.AI_RESULT

    @property
    def procedure(self) -> Code:
        """The imaging procedure that is reported on; of an image that shows no chest no chest procedure is claimed."""
        abstention = self.findings.abstention
        if abstention is not None and abstention.reason in ("not_chest", "lungs_not_found"):
            return codes.IMAGING
        return codes.CHEST_CT if self.volumetric else codes.CHEST_RADIOGRAPHY

    @cached_property
    def shown(self) -> tuple[tuple[Instance, int | None], ...]:
        """The images that pictures are drawn of, each with its frame: the key slices of a volume, the highest first; else one."""
        kept = [(self.study.instance(p.sop_instance_uid), p.frame) for p in self.findings.pictures]
        return tuple(kept) if self.volumetric and kept else ((self.primary, None),)

    @property
    def frame(self) -> int | None:
        """The frame of the primary instance that is shown; ``None`` of a single image."""
        instance, frame = self.shown[0]
        return frame if instance.sop_instance_uid == self.primary.sop_instance_uid else None

    @property
    def saliency(self) -> SaliencyMap | None:
        """The map that is shown: Grad-CAM of the image read, else the first map of it."""
        return self.saliency_of(self.primary.sop_instance_uid, self.frame)

    def saliency_of(self, sop_instance_uid: str, frame: int | None) -> SaliencyMap | None:
        """Return the map of one image or slice; ``None`` when there is none."""
        mine = [m for m in self.findings.maps if (m.sop_instance_uid, m.frame) == (sop_instance_uid, frame)]
        return next((m for m in mine if m.method == codes.GRAD_CAM), mine[0] if mine else None)

    @cached_property
    def orientation(self) -> tuple[str, ...]:
        """Patient Orientation, upper case: (direction of rows, direction of columns); empty when the source states none.

        Of a CT slice it follows from Image Orientation (Patient): x goes to the left, y to the back, z to the head (PS3.3 C.7.6.2).
        """
        value = self.source.get("PatientOrientation")
        parts = () if not value or isinstance(value, str) else tuple(str(v).strip().upper() for v in value)
        if len(parts) == 2 and all(parts):
            return parts
        cosines = self.primary.facts.image_orientation if self.volumetric else ()
        return (_towards(cosines[:3]), _towards(cosines[3:])) if len(cosines) == 6 else ()


def _towards(cosines: tuple[float, ...]) -> str:
    """Return the letter of the direction that a row or column mostly goes to."""
    axis = max(range(3), key=lambda n: abs(cosines[n]))
    return ("RL", "AP", "FH")[axis][cosines[axis] > 0]


def is_image(instance: Instance) -> bool:
    """Whether the object is an image by what its header shows."""
    return instance.facts.has_pixel_data or bool(instance.facts.rows)
