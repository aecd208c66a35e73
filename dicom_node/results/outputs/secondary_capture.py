"""The overlay picture as a Secondary Capture (PS3.3 A.8.1): the one object that every viewer shows.

Of a CT series each key slice is a single-frame object of one series: every viewer pages through a series, and many show no colour
multi-frame; an answer can then name one slice.
"""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from dicom_node.core.artifact import DICOM, Artifact, plain_role
from dicom_node.core.codes import Code
from dicom_node.core.findings import Decision, Findings, SaliencyMap, probability_text
from dicom_node.core.product import DISCLAIMER
from dicom_node.imaging.grayscale import grayscale
from dicom_node.imaging.overlay import Overlay, draw_on, reduced
from dicom_node.imaging.overlay_bands import Caption, ClassBar
from dicom_node.imaging.pixels import read_dataset
from dicom_node.results import report_text, slices
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


def build(context: ResultContext, variant: str) -> Artifact | tuple[Artifact, ...]:
    """Draw the picture, or one a key slice, and wrap it. Modality OT, so that no hanging protocol takes it for the radiograph."""
    made = tuple(_built(context, place) for place in range(len(context.shown)))
    return made if len(made) > 1 else made[0]


def _built(context: ResultContext, place: int) -> Artifact:
    overlay = draw(context, place)
    role = "secondary_capture" + (f"#{place + 1}" if place else "")
    sc = hd.sc.SCImage.from_ref_dataset(
        skeleton(context, *overlay.pixels.shape[:2]),
        overlay.pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),  # overwritten by stamp with the source's, or with nothing
        series_instance_uid=context.uid("series", plain_role(role)),
        series_number=1,
        sop_instance_uid=context.uid("instance", role),
        instance_number=1,
        manufacturer=context.settings.manufacturer,
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    _describe(sc, context, overlay, place)
    stamp(sc, context, role, "AI key slices (RUO)" if context.volumetric else "AI overlay (RUO)")
    return as_artifact(context, role, sc)


def draw(context: ResultContext, place: int = 0) -> Overlay:
    """Draw a picture of an analysed run: of the image read, or of its ``place``-th key slice.

    Errors of the pixels are those of ``dicom_node.imaging.pixels``.
    """
    image, shape = _image(context, place)
    saliency = _saliency(context, place)
    return draw_on(
        image,
        shape,
        caption(context, place),
        saliency=saliency.placed if saliency else None,
        lungs=_lungs(context, place),
    )


def _image(context: ResultContext, place: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Return the image, reduced, and its shape before that: as the pipeline left it, else decoded here."""
    instance, frame = context.shown[place]
    for left in context.findings.pictures:
        if (left.sop_instance_uid, left.frame) == (instance.sop_instance_uid, frame):
            return left.values, left.shape
    values = grayscale(read_dataset(Path(instance.path))).values
    return reduced(values), (values.shape[0], values.shape[1])


def _saliency(context: ResultContext, place: int) -> SaliencyMap | None:
    instance, frame = context.shown[place]
    return context.saliency_of(instance.sop_instance_uid, frame)


def _lungs(context: ResultContext, place: int) -> NDArray[np.uint8] | None:
    (instance, frame), lungs, volume = context.shown[place], context.findings.lungs, context.findings.lung_volume
    if volume is not None:
        of_slice = volume.of(instance.sop_instance_uid, frame)
        return None if of_slice is None else (of_slice > 0).astype(np.uint8)
    return lungs.values if lungs is not None and lungs.sop_instance_uid == instance.sop_instance_uid else None


def caption(context: ResultContext, place: int = 0) -> Caption:
    """Return the words around an image; no patient, no order, no date of birth."""
    findings = context.findings
    bars = tuple(
        ClassBar(
            name=report_text.plain(f.code.meaning),
            probability=None if f.decision is Decision.NOT_ASSESSED else f.probability,
            threshold=f.threshold,
            gray_zone=f.gray_zone,
            positive=f.decision is Decision.POSITIVE,
            note=report_text.plain(f.note),
        )
        for f in findings.findings
    )
    saliency = _saliency(context, place)
    named = next((f.code.meaning for f in findings.findings if saliency and f.key == saliency.finding_key), "")
    attention = report_text.attention_place(saliency, context.orientation) if saliency else ""
    if context.volumetric and attention:
        attention = report_text.map_words(context, saliency) if saliency else ""
    lines = (
        *(report_text.plain(line) for line in _slice_lines(context, place)),
        *([attention] if attention else []),
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
        lung_name=report_text.plain(f"Lungs as segmented by {_lung_maker(findings)}") if _lung_maker(findings) else "",
    )


def _slice_lines(context: ResultContext, place: int) -> list[str]:
    """Say which slice this is and what the model gave for it; nothing for a radiograph."""
    if not context.volumetric:
        return []
    (instance, frame), finding = context.shown[place], slices.decided_finding(context)
    scores = (s for s in context.findings.slices if (s.sop_instance_uid, s.frame) == (instance.sop_instance_uid, frame))
    score = next(scores, None)
    name = slices.slice_name(context, instance.sop_instance_uid, frame)
    said = f"Key slice {place + 1} of {len(context.shown)}: {name}"
    if finding is None or score is None:
        return [f"{said}."]
    value, how = probability_text(score.probability), slices.HOW.get(score.how, score.how)
    return [f"{said}, {how}; {finding.code.meaning} on this slice: {value}. The bars above are of the patient."]


def _lung_maker(findings: Findings) -> str:
    if findings.lung_volume is not None:
        bundle = findings.lung_volume.bundle
        return bundle.label if bundle else f"a rule ({findings.lung_volume.method})"
    return findings.lungs.bundle.label if findings.lungs else ""


def _describe(sc: Dataset, context: ResultContext, overlay: Overlay, place: int) -> None:
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
    instance, frame = context.shown[place]
    original = reference(instance)
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = original.SOPClassUID, original.SOPInstanceUID
    if frame is not None:
        item.ReferencedFrameNumber = frame
    item.PurposeOfReferenceCodeSequence = [coded(_SOURCE_PURPOSE)]
    sc.SourceImageSequence = Sequence([item])
    sc.DerivationCodeSequence = Sequence([coded(_SEGMENTATION)])
    sc.ImageComments = ". ".join(context.disclaimer)
