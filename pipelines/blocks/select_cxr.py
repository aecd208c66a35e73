"""Which radiograph of a study is read, by header alone, and why the others are not.

One exposure counts once; For Presentation beats For Processing; ``DERIVED\\PRIMARY`` is the normal Image Type of CR and DX, so it
says nothing. Of several frontal images the newest is read. The order of arrival never matters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydicom.uid import UID

from dicom_node.core.findings import NotRead
from dicom_node.core.run import Selection
from dicom_node.core.study import Instance, Study
from pipelines.blocks.quality import Outcome, body_part_gate, matrix_gate, view_gate, view_of

CR = "1.2.840.10008.5.1.4.1.1.1"
DX_FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.1"
DX_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
RADIOGRAPHS = frozenset({CR, DX_FOR_PRESENTATION, DX_FOR_PROCESSING})

_COMPANION = re.compile(
    r"bone[ _-]?(supp|free|sub|only|image)|supp?ress|soft[ _-]?tissue|dual[ _-]?(energy|exposure)|subtract|\binver(t|s)"
    r"|\bnegative\b|annotat|measure|\bmark(ed|up)\b|\btubes?\b|line[ _-]?enh"
    r"|enhanced (visual|line|tube)|pneumothorax[ _-]?(vis|enh)|\bcad\b|overlay|key[ _-]?image|secondary"
    r"|screen[ _-]?(shot|capture)|saliency|heat[ _-]?map|\bstitch",
    re.IGNORECASE,
)
_LATERAL = re.compile(r"\blat(eral)?\b|profil|seitlich|\bll\b|\brl\b|oblique", re.IGNORECASE)

#: Of several reasons the study's refusal is that of the image which came closest to being read.
_CLOSEST = (
    "unreadable_pixels", "ap_view", "for_processing", "derived_image", "not_frontal", "not_chest", "matrix_size", "multi_frame",
    "not_grayscale", "phantom", "unsupported_object",
)  # fmt: skip


def select_frontal(study: Study, *, accept_ap: bool, least: int, most: int) -> Selection:
    """Return the frontal radiograph to read; several only where no header says which is the frontal chest.

    Parameters
    ----------
    accept_ap
        Whether AP views may be read.
    least, most
        Pixels: shortest and longest side that is read.
    """
    instances = sorted((i for i in study.instances if not i.facts.made_by_this_node), key=lambda i: i.sop_instance_uid)
    if not any(i.facts.has_pixel_data or i.sop_class_uid in RADIOGRAPHS for i in instances):
        return Selection((), tuple(NotRead(i.sop_instance_uid, "unsupported_object", _kind(i)) for i in instances), "no_image")
    refused: dict[str, NotRead] = {}

    def leave(instance: Instance, reason: str, detail: str = "") -> None:
        refused.setdefault(instance.sop_instance_uid, NotRead(instance.sop_instance_uid, reason, detail))

    usable: list[Instance] = []
    for instance in instances:
        reason, detail = _unusable(instance, accept_ap, least, most)
        if reason:
            leave(instance, reason, detail)
        else:
            usable.append(instance)

    presented = {i.sop_instance_uid for i in usable if not _for_processing(i)}
    for instance in usable:
        if _for_processing(instance):
            if presented:
                leave(instance, "for_processing")
            else:
                leave(instance, "unsupported_object", "a For Processing image; its For Presentation twin was not received")
        elif word := companion_word(instance):
            leave(instance, "derived_image", word)
        elif (presented - {instance.sop_instance_uid}) & set(instance.facts.source_instances):
            leave(instance, "derived_image", "made from another image of the study")
    usable = [i for i in usable if i.sop_instance_uid not in refused]

    for group in _exposures(usable):
        for other in sorted(group, key=_preference)[1:]:
            leave(other, "same_exposure")
    usable = [i for i in usable if i.sop_instance_uid not in refused]

    certain = [i for i in usable if view_of(i.facts) and body_part_gate(i.facts).outcome is Outcome.PASS]
    if certain:
        newest = sorted(certain, key=lambda i: (view_of(i.facts) == "PA", *_moment(i)), reverse=True)
        read = newest[:1]
        for other in usable:
            if other not in read:
                leave(other, "older_repeat" if other in certain else "not_needed")
    else:  # every candidate lacks its view or its body part: the pixels decide, the likeliest first
        read = sorted(usable, key=lambda i: (-_known(i), _says_lateral(i), *(_negated(m) for m in _moment(i))))
    if read:
        return Selection(tuple(read), tuple(refused.values()))
    reasons = {n.reason: n for n in refused.values()}
    closest = next((reasons[r] for r in _CLOSEST if r in reasons), None)
    if closest is None:
        return Selection((), tuple(refused.values()), "no_image")
    return Selection((), tuple(refused.values()), closest.reason, closest.detail)


def companion_word(instance: Instance) -> str:
    """Return why this is a processed or annotated copy (the word found), or ``""``."""
    facts = instance.facts
    if len(facts.image_type) > 1 and facts.image_type[1] == "SECONDARY":
        return "Image Type says SECONDARY"
    for name, text in (
        ("Series Description", facts.series_description),
        ("Derivation Description", facts.derivation_description),
        ("Image Type", " ".join(facts.image_type[2:])),
    ):
        if match := _COMPANION.search(text):
            return f'{name} says "{match.group(0)}"'
    return ""


def _unusable(instance: Instance, accept_ap: bool, least: int, most: int) -> tuple[str, str]:
    facts = instance.facts
    if instance.sop_class_uid.startswith(SECONDARY_CAPTURE):
        return "unsupported_object", "Secondary Capture"
    if instance.sop_class_uid not in RADIOGRAPHS:
        return "unsupported_object", _kind(instance)
    if facts.modality and facts.modality not in ("CR", "DX", "DR", "RG"):
        return "unsupported_object", f"Modality {facts.modality[:16]}"
    if not facts.has_pixel_data:
        return "unreadable_pixels", "the object has no pixel data"
    if facts.quality_control_image in ("YES", "BOTH"):
        return "phantom", "Quality Control Image"
    if (facts.frames or 1) > 1:
        return "multi_frame", f"{facts.frames} frames"
    if (facts.samples_per_pixel or 1) > 1 or (facts.photometric and not facts.photometric.startswith("MONOCHROME")):
        return "not_grayscale", facts.photometric
    for gate in (
        matrix_gate(facts.rows, facts.columns, least=least, low=least, most=most),
        body_part_gate(facts),
        view_gate(facts, accept_ap=accept_ap),
    ):
        if gate.outcome is Outcome.REJECT:
            return gate.code, gate.detail
    if "LOCALIZER" in facts.image_type:
        return "derived_image", "localizer"
    return "", ""


def _kind(instance: Instance) -> str:
    """Return what the object is, in the standard's words (PS3.6, table A-1), else by its modality."""
    name = str(UID(instance.sop_class_uid).name)
    if name != instance.sop_class_uid:
        return name.removesuffix(" Storage")
    modality = instance.facts.modality
    return f"Object of a kind that the standard does not list{f', modality {modality[:16]}' if modality else ''}"


def _for_processing(instance: Instance) -> bool:
    return instance.sop_class_uid == DX_FOR_PROCESSING or instance.facts.presentation_intent == "FOR PROCESSING"


def _exposures(instances: Sequence[Instance]) -> list[list[Instance]]:
    """Group the images of one exposure: same irradiation event, same acquisition time on one station, or one source image."""
    groups: list[tuple[set[str], list[Instance]]] = []
    for instance in instances:
        marks = _exposure_marks(instance)
        joined = [g for g in groups if g[0] & marks]
        members = [m for g in joined for m in g[1]]
        for group in joined:
            marks |= group[0]
            groups.remove(group)
        groups.append((marks, [*members, instance]))
    return [members for _, members in groups]


def _exposure_marks(instance: Instance) -> set[str]:
    facts = instance.facts
    marks = {f"image {uid}" for uid in (instance.sop_instance_uid, *facts.source_instances)}
    if facts.irradiation_event_uid:
        marks.add(f"event {facts.irradiation_event_uid}")
    elif facts.acquisition_datetime and not facts.acquisition_datetime.endswith("000000.000000"):  # midnight: no time was written
        marks.add(f"time {facts.acquisition_datetime} {facts.station_name} {view_of(facts)}")
    return marks


def _preference(instance: Instance) -> tuple[bool, str, str]:
    """Among copies of one exposure: not lossy, then the first that was made, then by UID."""
    return instance.facts.lossy == "01", instance.facts.content_datetime or "9", instance.sop_instance_uid


def _moment(instance: Instance) -> tuple[str, int, str]:
    number = instance.facts.instance_number
    return (
        instance.facts.acquisition_datetime or instance.facts.content_datetime,
        int(number) if number.isdigit() else 0,
        instance.sop_instance_uid,
    )


def _known(instance: Instance) -> int:
    return int(bool(view_of(instance.facts))) + int(body_part_gate(instance.facts).outcome is Outcome.PASS)


def _says_lateral(instance: Instance) -> bool:
    return bool(_LATERAL.search(f"{instance.facts.series_description} {instance.facts.protocol_name}"))


def _negated(value: str | int) -> tuple[int, ...]:
    """Return a sort key that puts the later moment first."""
    return (-value,) if isinstance(value, int) else tuple(-ord(c) for c in value) or (1,)
