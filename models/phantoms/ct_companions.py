"""What lies beside the axial series in a CT study and must not be read: localizer, coronal reformat, dose report."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian

from models.phantoms.ct import CtPhantom
from models.phantoms.ct_dicom import finished, identified, image
from models.phantoms.dicom import code_item, made_uid

DOSE_REPORT = UID("1.2.840.10008.5.1.4.1.1.88.67")


def as_localizer(phantom: CtPhantom, *, seed: str = "phantom_ct", series: str = "99", **elements: Any) -> list[Dataset]:
    """Return the frontal scout: one image, mean HU along the way from front to back; its plane is coronal."""
    shadow = phantom.hu.mean(1)[::-1]
    spacing = (phantom.spacing_mm[1], phantom.spacing_mm[0], phantom.spacing_mm[2])
    ds = image(
        np.asarray(shadow, np.float32),
        seed=seed,
        series=series,
        instance="localizer",
        number=1,
        spacing_mm=spacing,
        orientation=(1, 0, 0, 0, 0, -1),
        center_mm=(0.0, 0.0, 0.0),
    )
    ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    ds.SeriesDescription, ds.ScanOptions, ds.ConvolutionKernel = "Scout", "SURVIEW", "T20f"
    return [finished(ds, ExplicitVRLittleEndian, elements)]


def as_coronal(phantom: CtPhantom, *, seed: str = "phantom_ct", series: str = "3", step: int = 4, **elements: Any) -> list[Dataset]:
    """Return a coronal reformat: every ``step``-th plane from front to back."""
    rows = phantom.hu.shape[1]
    spacing = (phantom.spacing_mm[1] * step, phantom.spacing_mm[0], phantom.spacing_mm[2])
    found = []
    for number, r in enumerate(range(0, rows, step), start=1):
        ds = image(
            phantom.hu[::-1, r],
            seed=seed,
            series=series,
            instance=f"coronal {r}",
            number=number,
            spacing_mm=spacing,
            orientation=(1, 0, 0, 0, 0, -1),
            center_mm=(0.0, (r - (rows - 1) / 2) * phantom.spacing_mm[1], 0.0),
        )
        ds.ImageType = ["DERIVED", "SECONDARY", "MPR"]
        ds.SeriesDescription = "Coronal"
        found.append(finished(ds, ExplicitVRLittleEndian, elements))
    return found


def dose_report(*, seed: str = "phantom_ct", series: str = "998") -> Dataset:
    """Return a small X-Ray Radiation Dose SR (PS3.16 TID 10011: total DLP and one irradiation event, no more)."""
    ds = identified(seed, series, "dose")
    ds.SOPClassUID = DOSE_REPORT
    ds.Modality = "SR"
    ds.SeriesDescription = "Dose report"
    ds.InstanceNumber = 1
    ds.ReferencedPerformedProcedureStepSequence = Sequence([])
    ds.PerformedProcedureCodeSequence = Sequence([])
    ds.CompletionFlag, ds.VerificationFlag = "COMPLETE", "UNVERIFIED"
    ds.ValueType = "CONTAINER"
    ds.ConceptNameCodeSequence = Sequence([code_item("113701", "DCM", "X-Ray Radiation Dose Report")])
    ds.ContinuityOfContent = "SEPARATE"
    ds.ContentTemplateSequence = Sequence([_template("10011")])
    totals = _container("113811", "CT Accumulated Dose Data")
    totals.ContentSequence = Sequence(
        [
            _number("113812", "Total Number of Irradiation Events", "1", "{events}", "events"),
            _number("113813", "CT Dose Length Product Total", "182.5", "mGy.cm", "mGy.cm"),
        ]
    )
    event = _container("113819", "CT Acquisition")
    event.ContentSequence = Sequence(
        [
            _item(
                "CODE", ("123014", "DCM", "Target Region"), ConceptCodeSequence=Sequence([code_item("816094009", "SCT", "Chest")])
            ),
            _item("UIDREF", ("113769", "DCM", "Irradiation Event UID"), UID=made_uid(seed, "irradiation event")),
        ]
    )
    ds.ContentSequence = Sequence(
        [
            _item(
                "CODE",
                ("121058", "DCM", "Procedure reported"),
                "HAS CONCEPT MOD",
                ConceptCodeSequence=Sequence([code_item("77477000", "SCT", "Computed Tomography X-Ray")]),
            ),
            totals,
            event,
        ]
    )
    for keyword in ("AcquisitionDate", "AcquisitionTime"):
        delattr(ds, keyword)
    return ds


def _item(value_type: str, name: tuple[str, str, str], relation: str = "CONTAINS", **values: Any) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = relation, value_type
    item.ConceptNameCodeSequence = Sequence([code_item(*name)])
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def _container(value: str, meaning: str) -> Dataset:
    return _item("CONTAINER", (value, "DCM", meaning), ContinuityOfContent="SEPARATE")


def _number(value: str, meaning: str, number: str, unit: str, unit_meaning: str) -> Dataset:
    measured = Dataset()
    measured.NumericValue = number
    measured.MeasurementUnitsCodeSequence = Sequence([code_item(unit, "UCUM", unit_meaning)])
    return _item("NUM", (value, "DCM", meaning), MeasuredValueSequence=Sequence([measured]))


def _template(identifier: str) -> Dataset:
    item = Dataset()
    item.MappingResource, item.TemplateIdentifier = "DCMR", identifier
    return item
