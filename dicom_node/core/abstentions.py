"""Why a study is not analysed: one list of reasons, each with its DICOM code and the sentence that people read.

A refusal is a result: it is coded, shown, and sent where the patient is certain (``sendable``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from dicom_node.core import codes
from dicom_node.core.codes import Code


@dataclass(frozen=True)
class Reason:
    """A kind of refusal. ``code`` goes into SR, FHIR and HL7; ``text`` is the sentence for people."""

    key: str
    code: Code
    text: str


def _own(key: str, text: str) -> Reason:
    return Reason(key, codes.private(key.upper().replace("_", "-")[:16], text[:64].rstrip()), text)


_ALL = (
    Reason("unsupported_object", codes.OBJECT_TYPES_NOT_SUPPORTED, "Not a kind of image that this pipeline reads."),
    Reason(
        "unsupported_transfer_syntax",
        codes.OBJECT_TYPES_NOT_SUPPORTED,
        "The image is compressed in a way that cannot be decoded here.",
    ),
    Reason("unreadable", codes.OBJECTS_INCORRECTLY_FORMATTED, "The object cannot be read: it is damaged or not valid DICOM."),
    Reason("unreadable_pixels", codes.OBJECTS_INCORRECTLY_FORMATTED, "The pixel data is missing, cut off or cannot be decoded."),
    Reason("incomplete_series", codes.OBJECT_SET_INCOMPLETE, "Images are missing from the series."),
    Reason("no_image", codes.OBJECT_SET_INCOMPLETE, "The study holds no image."),
    Reason("poor_quality", codes.INSUFFICIENT_QUALITY, "The image quality is not sufficient."),
    Reason("pipeline_failed", codes.DISCONTINUED, "The analysis failed for a technical reason."),
    _own("not_chest", "Not a chest image."),
    _own("not_frontal", "Not a frontal (PA or AP) view."),
    _own("ap_view", "AP view: no operating point of this model is valid for it."),
    _own("not_grayscale", "Colour image: this pipeline reads grayscale radiographs."),
    _own("multi_frame", "Multi-frame object: this pipeline reads single radiographs."),
    _own("matrix_size", "Image matrix too small or too large."),
    _own("inverted", "Grayscale contradicts its photometric tag."),
    _own("rotated", "The image looks turned: on its side or upside down."),
    _own("lungs_not_found", "No plausible pair of lungs was found in the image."),
    _own("too_young", "Patient is younger than the intended use."),
    _own("age_unknown", "Patient age unknown; the model is for adults only."),
    _own("derived_image", "Derived, annotated or processed copy."),
    _own("for_processing", "For Processing image; the For Presentation twin is read instead."),
    _own("same_exposure", "Another copy of the exposure that is read."),
    _own("older_repeat", "Older repeat; the newest frontal image is read."),
    _own("not_needed", "View or body part not stated; a stated frontal chest is read."),
    _own("out_of_distribution", "Image is unlike those the model was made with."),
    _own("phantom", "Phantom or quality control image."),
    _own("synthetic_model", "Model trained on synthetic images; not allowed here."),
    # CT series
    _own("localizer", "Localizer (scout) image."),
    _own("not_axial", "Not an axial CT series."),
    _own("reformatted", "Reformatted or projected series (MPR, MIP)."),
    _own("thick_slices", "CT slices too thick for this pipeline."),
    _own("short_coverage", "The series covers too little of the chest."),
    _own("too_few_slices", "Too few slices for a volume."),
    _own("duplicate_slices", "Different images lie at one slice position."),
    _own("uneven_spacing", "CT slices are not evenly spaced."),
    _own("mixed_geometry", "Slices of unlike orientation, matrix or frame of reference."),
    _own("not_hounsfield", "Pixel values are not Hounsfield units."),
    _own("other_series", "Another series of the study is read."),
    _own("no_nodule_slices", "No slice is marked, and none shows a nodule that could be chosen."),
    # held: shown in the story, nothing is sent
    _own("patient_conflict", "Images of two patients share one study."),
    _own("changed_pixels", "An image came again with other pixels under the same UID."),
    _own("study_too_old", "Study is older than the rule allows."),
    _own("study_date_unknown", "Study date missing or unreadable."),
    _own("images_deleted", "Images of the study were deleted by retention."),
    _own("images_rejected", "The department rejected the images."),
    _own("patient_merged", "The hospital merged this patient with another since the images were made."),
    _own("patient_changed_in_pacs", "The archive has the study under another patient."),
    _own("accession_changed_in_pacs", "The archive has the study under another accession number."),
    _own("incomplete_study", "Images that the archive lists did not arrive."),
    _own("no_rule", "No routing rule matched."),
    _own("hold_rule", "A hold rule matched."),
    _own("opted_out", "Patient opted out."),
)

REASONS: dict[str, Reason] = {reason.key: reason for reason in _ALL}


#: Holds that only a person ends; any other is a routing decision, which the next arrival may change.
PERSON_DECIDES = frozenset(("patient_conflict", "changed_pixels", "opted_out"))
#: Holds that end when the images come again with a corrected header, or when a person ends them. Nothing leaves before.
WAITS_FOR_CORRECTION = frozenset(("patient_merged", "patient_changed_in_pacs", "accession_changed_in_pacs"))

#: A hold that the next arrival ends, or a person.
INCOMPLETE = "incomplete_study"


def reason(key: str) -> Reason:
    """Return the reason of this key; ``KeyError`` for one that is not in the list (a defect of the caller)."""
    return REASONS[key]


def sentence(key: str, detail: str = "") -> str:
    """Return the reason for people, and what makes it concrete: whole sentences, each with its period."""
    concrete = detail.strip()
    if not concrete:
        return reason(key).text
    end = "" if concrete[-1] in ".!?" else "."
    return f"{reason(key).text} {concrete[0].upper()}{concrete[1:]}{end}"


def counted(left: Iterable[tuple[str, str]]) -> list[str]:
    """Return why images were left (reason, detail) in sentences, each once with its number: ``… (3 images)``."""
    numbers = Counter(sentence(key, detail) for key, detail in left)
    return [text + (f" ({number} images)" if number > 1 else "") for text, number in numbers.items()]
