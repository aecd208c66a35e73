"""The overlay picture as a Secondary Capture (PS3.3 A.8.1): the one object that every viewer shows."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from dicom_node.core.artifact import DICOM, Artifact
from dicom_node.core.codes import Code
from dicom_node.core.findings import Decision, Findings
from dicom_node.core.product import DISCLAIMER
from dicom_node.imaging.grayscale import grayscale
from dicom_node.imaging.overlay import Overlay, draw_on, reduced
from dicom_node.imaging.overlay_bands import Caption, ClassBar
from dicom_node.imaging.pixels import read_dataset
from dicom_node.results import report_text
from dicom_node.results.context import ResultContext
from dicom_node.results.header import coded, pixel_spacing, reference, skeleton, stamp
from dicom_node.results.part10 import as_artifact

MEDIA_TYPE = DICOM
SOP_CLASS_UIDS: tuple[str, ...] = (str(SecondaryCaptureImageStorage),)
VARIANTS: tuple[str, ...] = ()
AFTER: tuple[str, ...] = ()

_SOURCE_PURPOSE = Code("121322", "DCM", "Source image for image processing operation")
_SEGMENTATION = Code("113076", "DCM", "Segmentation")


def wanted(findings: Findings) -> bool:
    """A refusal gives no picture: it must not pop up as an image."""
    return findings.abstention is None and bool(findings.read)


def build(context: ResultContext, variant: str) -> Artifact:
    """Draw the picture and wrap it. Modality OT, so that no hanging protocol takes it for the radiograph."""
    overlay = draw(context)
    role = "secondary_capture"
    sc = hd.sc.SCImage.from_ref_dataset(
        skeleton(context, *overlay.pixels.shape[:2]),
        overlay.pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),  # overwritten by stamp with the source's, or with nothing
        series_instance_uid=context.uid("series", role),
        series_number=1,
        sop_instance_uid=context.uid("instance", role),
        instance_number=1,
        manufacturer=context.settings.manufacturer,
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    _describe(sc, context, overlay)
    stamp(sc, context, role, "AI overlay (RUO)")
    return as_artifact(context, role, sc)


def draw(context: ResultContext) -> Overlay:
    """Draw the picture of an analysed run. Errors of the pixels are those of ``dicom_node.imaging.pixels``."""
    image, shape = _image(context)
    saliency, lungs = context.saliency, context.findings.lungs
    mine = lungs is not None and lungs.sop_instance_uid == context.primary.sop_instance_uid
    return draw_on(
        image,
        shape,
        caption(context),
        saliency=saliency.placed if saliency else None,
        lungs=lungs.values if lungs is not None and mine else None,
    )


def _image(context: ResultContext) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Return the image, reduced, and its shape before that: as the pipeline left it, else decoded here."""
    left = context.findings.picture
    if left is not None and left.sop_instance_uid == context.primary.sop_instance_uid:
        return left.values, left.shape
    values = grayscale(read_dataset(Path(context.primary.path))).values
    return reduced(values), (values.shape[0], values.shape[1])


def caption(context: ResultContext) -> Caption:
    """Return the words around the image; no patient, no order, no date of birth."""
    findings = context.findings
    bars = tuple(
        ClassBar(
            name=report_text.plain(f.code.meaning),
            probability=None if f.decision is Decision.NOT_ASSESSED else f.probability,
            threshold=f.threshold,
            gray_zone=(f.threshold_low, f.threshold_high) if f.threshold_low is not None and f.threshold_high is not None else None,
            positive=f.decision is Decision.POSITIVE,
            note=report_text.plain(f.note),
        )
        for f in findings.findings
    )
    saliency = context.saliency
    named = next((f.code.meaning for f in findings.findings if saliency and f.key == saliency.finding_key), "")
    place = report_text.attention_place(saliency, context.orientation) if saliency else ""
    lines = (
        *([place] if place else []),
        *(report_text.plain(f"Note: {flag.text}") for flag in findings.flags),
        *report_text.not_read_lines(context),
        *report_text.method_lines(context),
        " ".join(part for part in (f"Analysed {report_text.moment(context)}.", report_text.revision_line(context)) if part),
        report_text.NOT_REVIEWED,
    )
    return Caption(
        warnings=context.disclaimer,
        headline=report_text.headline(context),
        tone=findings.zone.value if findings.zone else "",
        bars=bars,
        lines=lines,
        map_name=report_text.plain(f"{saliency.method_name}, {named}".rstrip(", ")) if saliency else "",
        lung_name=report_text.plain(f"Lungs as segmented by {findings.lungs.bundle.label}") if findings.lungs else "",
    )


def _describe(sc: Dataset, context: ResultContext, overlay: Overlay) -> None:
    sc.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    sc.ConversionType = "WSD"
    sc.BurnedInAnnotation = "YES"
    sc.RecognizableVisualFeatures = "NO"
    lossy = str(context.source.get("LossyImageCompression", "") or "")
    sc.LossyImageCompression = lossy if lossy in ("00", "01") else "00"
    spacing = pixel_spacing(context)
    if spacing is None:
        sc.pop("PixelSpacing", None)
    else:
        scaled = (spacing[0] * overlay.scale_y, spacing[1] * overlay.scale_x)
        sc.PixelSpacing = [f"{value:.12f}"[:16] for value in scaled]  # VR DS: at most 16 characters
    sc.DerivationDescription = report_text.plain(
        f"{DISCLAIMER}. {' '.join(report_text.method_lines(context))} Picture pixel (x, y) is source pixel "
        f"((x - {overlay.offset_x}) * {overlay.scale_x:.6f}, (y - {overlay.offset_y}) * {overlay.scale_y:.6f}), counted from the "
        f"corner of the top left pixel; the image is {overlay.image_shape[1]} x {overlay.image_shape[0]} pixels of the picture."
    )[:1024]
    item = Dataset()
    original = reference(context.primary)
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = original.SOPClassUID, original.SOPInstanceUID
    item.PurposeOfReferenceCodeSequence = [coded(_SOURCE_PURPOSE)]
    sc.SourceImageSequence = Sequence([item])
    sc.DerivationCodeSequence = Sequence([coded(_SEGMENTATION)])
    sc.ImageComments = ". ".join(context.disclaimer)
