"""Studies made of header facts alone, for decisions that open no file."""

from __future__ import annotations

from typing import Any

from dicom_node.core.phi import Phi
from dicom_node.core.study import HeaderFacts, Instance, Study

CR_IMAGE = "1.2.840.10008.5.1.4.1.1.1"
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
DOSE_SR = "1.2.840.10008.5.1.4.1.1.88.67"
PRESENTATION_STATE = "1.2.840.10008.5.1.4.1.1.11.1"


def instance(
    number: int = 1, sop_class_uid: str = CR_IMAGE, calling_ae: str = "PACS1", called_ae: str = "AINODE", **facts: Any
) -> Instance:
    """Return a chest CR, PA, of an adult, made on 1 March 2024 at noon; ``facts`` replace what the header says."""
    header: dict[str, Any] = {
        "patient_id": Phi("P1"),
        "patient_name": Phi("DOE^JOHN"),
        "birth_date": Phi("19800101"),
        "study_date": "20240301",
        "study_time": "120000",
        "modality": "CR",
        "body_part": "CHEST",
        "view_position": "PA",
        "has_pixel_data": sop_class_uid in (CR_IMAGE, CT_IMAGE),
        **facts,
    }
    return Instance(
        sop_class_uid,
        f"1.2.3.{number}",
        "1.2.3",
        "1.2",
        "1.2.840.10008.1.2.1",
        "0" * 64,
        "",
        HeaderFacts(**header),
        calling_ae,
        called_ae,
    )


def study(*instances: Instance) -> Study:
    """Return a study of these instances."""
    return Study("st_aaaaaaaaaa", "1.2", instances or (instance(),))
