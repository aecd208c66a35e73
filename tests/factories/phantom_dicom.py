"""Radiographs for tests, good and bad: one call each. All are small, and drawn; nobody's."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import encapsulate

from dicom_node.core.identifiers import study_key
from dicom_node.core.study import Study
from dicom_node.imaging.header import read_instance
from models.phantoms import other_views
from models.phantoms.cxr import chest_phantom
from models.phantoms.dicom import as_radiograph, made_uid, to_bytes

SIDE = 512


@functools.lru_cache(maxsize=32)
def picture(kind: str = "chest", seed: int = 1, side: int = SIDE) -> NDArray[np.float32]:
    """Return a drawn picture: chest, abnormal, abdomen, lateral or limb."""
    if kind in ("chest", "abnormal"):
        return chest_phantom(seed, side, abnormal=kind == "abnormal")[0]
    drawn: NDArray[np.float32] = getattr(other_views, kind)(seed, side)
    return drawn


def chest(seed: str = "one", **elements: Any) -> Dataset:
    """A good DX chest PA of an adult."""
    return as_radiograph(picture(), seed=seed, **elements)


#: Header and pixels that must be refused, each with the reason's key.
BAD: dict[str, tuple[str, dict[str, Any]]] = {
    "lateral": ("not_frontal", {"ViewPosition": "LL", "ViewCodeSequence": None}),
    "child": ("too_young", {"PatientBirthDate": "20200101"}),
    "age_unknown": ("age_unknown", {"PatientBirthDate": None}),
    "born_1900": ("age_unknown", {"PatientBirthDate": "19000101"}),
    "bedside": ("ap_view", {"ViewPosition": "AP", "ViewCodeSequence": None}),
    "hip": ("not_chest", {"BodyPartExamined": "HIP", "AnatomicRegionSequence": None}),
    "no_pixels": ("unreadable_pixels", {"PixelData": None}),
    "cut_off": ("unreadable_pixels", {"PixelData": b"\1\0" * 1000}),
    "too_long": ("unreadable_pixels", {"Rows": SIDE // 2 + 100}),
    "no_photometric": ("unreadable_pixels", {"PhotometricInterpretation": None}),
    "multi_frame": ("multi_frame", {"NumberOfFrames": "2", "PixelData": bytes(SIDE * SIDE * 4)}),
    "no_rows": ("matrix_size", {"Rows": 0}),
    "huge": ("matrix_size", {"Rows": 65000, "Columns": 65000}),
    "wrong_polarity": ("inverted", {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}),
    "quality_control": ("phantom", {"QualityControlImage": "YES"}),
    "annotated": ("derived_image", {"ImageType": ["DERIVED", "SECONDARY"]}),
    "empty_picture": ("poor_quality", {"PixelData": bytes(SIDE * SIDE * 2)}),
}


def bad(name: str) -> Dataset:
    """One of ``BAD``."""
    return chest(f"bad_{name}", **BAD[name][1])


def colour() -> Dataset:
    """An RGB photograph of a film under the DX SOP class."""
    ds = chest("colour")
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    ds.PixelData = bytes(SIDE * SIDE * 3)
    return ds


def unknown_syntax() -> Dataset:
    """Pixels in a retired compression."""
    ds = chest("syntax")
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.55"
    ds.PixelData = encapsulate([b"\xff\xd8 not read \xff\xd9"])
    ds["PixelData"].is_undefined_length = True
    return ds


def stripped(kind: str = "chest") -> Dataset:
    """Neither body part nor view in the header."""
    gone = (
        "BodyPartExamined",
        "ViewPosition",
        "ViewCodeSequence",
        "AnatomicRegionSequence",
        "SeriesDescription",
        "StudyDescription",
    )
    return as_radiograph(picture(kind), seed=f"stripped_{kind}", **dict.fromkeys(gone, None))


def tagged_chest(kind: str) -> Dataset:
    """Something else under the tags of a chest PA."""
    return as_radiograph(picture(kind), seed=f"tagged_{kind}")


def companions(seed: str = "five") -> list[Dataset]:
    """A PA image and five copies of its exposure that must not be read."""
    source = chest(seed, IrradiationEventUID=made_uid(seed, "event"))
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID

    def copy(number: str, **elements: Any) -> Dataset:
        series = {"SeriesInstanceUID": made_uid(seed, "series", number)}
        return as_radiograph(picture(), seed=seed, instance=number, **{**series, **elements})

    return [
        source,
        copy("2", SeriesDescription="Chest PA bone suppressed"),
        copy("3", ImageType=["DERIVED", "PRIMARY", "", "SOFT_TISSUE"]),
        copy("4", SeriesDescription="Chest PA inverted"),
        copy("5", DerivationDescription="annotated by technologist"),
        copy("6", SourceImageSequence=[item]),
    ]


def study_of(folder: Path, *datasets: Dataset) -> Study:
    """Write the objects and return the study they make."""
    instances = []
    for n, ds in enumerate(datasets):
        path = folder / f"{n}.dcm"
        path.write_bytes(to_bytes(ds))
        instances.append(read_instance(path))
    uid = instances[0].study_instance_uid
    return Study(study_key(uid), uid, tuple(instances))
