"""What every SR document shares: content items with one line of code each, the observer, references, the document's header."""

from __future__ import annotations

import copy
from collections.abc import Container, Iterable
from typing import Any

import highdicom as hd
from highdicom.sr import (
    CodeContentItem,
    CompositeContentItem,
    ContainerContentItem,
    ContentSequence,
    ImageContentItem,
    ObserverContext,
    TextContentItem,
)
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes as dicom_codes
from pydicom.sr.coding import Code as SrCode
from pydicom.uid import UID, RawDataStorage

from dicom_node.core import codes
from dicom_node.core.codes import Code
from dicom_node.core.findings import NotRead
from dicom_node.core.product import PRODUCT_NAME
from dicom_node.core.study import Instance
from dicom_node.results.context import ResultContext
from dicom_node.results.header import coded, observer_device_uid, predecessor_references, reference, stamp

ENGLISH = Code("en", "RFC5646", "English")
COUNTRY = Code("US", "ISO3166_1", "United States")


def concept(code: Code) -> SrCode:
    """Return the code in pydicom's form."""
    return SrCode(*code)


def text(name: Code, words: str, relation: str = "CONTAINS") -> Any:
    """Return a TEXT item."""
    return TextContentItem(name=concept(name), value=words, relationship_type=relation)


def code(name: Code, value: Code, relation: str = "CONTAINS") -> Any:
    """Return a CODE item."""
    return CodeContentItem(name=concept(name), value=concept(value), relationship_type=relation)


def container(name: Code, items: list[Any]) -> Any:
    """Return a CONTAINER item that is contained in another one."""
    made = ContainerContentItem(name=concept(name), relationship_type="CONTAINS")
    made.ContentSequence = ContentSequence(items)
    return made


def with_children(item: Any, children: list[Any]) -> Any:
    """Put items below an item that is not a container."""
    if children:
        item.ContentSequence = ContentSequence(children)
    return item


def refer(name: Code, sop_class_uid: str, sop_instance_uid: str, relation: str = "CONTAINS") -> Any:
    """Return an IMAGE item, or a COMPOSITE item where the object is not an image (PS3.3 C.18.3, C.18.4)."""
    kind = ImageContentItem if is_image_class(sop_class_uid) else CompositeContentItem
    return kind(
        name=concept(name),
        referenced_sop_class_uid=sop_class_uid,
        referenced_sop_instance_uid=sop_instance_uid,
        relationship_type=relation,
    )


def is_image_class(sop_class_uid: str) -> bool:
    """Whether the SOP class is an image; unknown and private ones are not taken for one."""
    name = UID(sop_class_uid).name
    return "Image Storage" in name or name.startswith("Segmentation Storage")


def observer(context: ResultContext) -> ObserverContext:
    """Return the device that observed: the deciding model, else the node (TID 1004)."""
    bundles = context.findings.bundles
    return ObserverContext(
        observer_type=dicom_codes.DCM.Device,
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=observer_device_uid(context),
            name=bundles[0].label if bundles else PRODUCT_NAME,
            manufacturer_name=context.settings.manufacturer,
            model_name=PRODUCT_NAME,
            serial_number=context.settings.device_serial_number,
        ),
    )


def left_out(context: ResultContext) -> list[tuple[NotRead, Instance | None, int]]:
    """Return why images were left, each with its image and how many it stands for.

    A radiograph stands for itself. Slices of a CT series that were left for the same reason are one, in the name of the first.
    """
    held = {i.sop_instance_uid: i for i in context.study.instances}
    left = context.findings.not_read
    if not context.volumetric:
        return [(one, held.get(one.sop_instance_uid), 1) for one in left]
    groups: dict[tuple[str, str, str], list[NotRead]] = {}
    for one in left:
        series = held[one.sop_instance_uid].series_instance_uid if one.sop_instance_uid in held else ""
        groups.setdefault((series, one.reason, one.detail), []).append(one)
    return [(group[0], held.get(group[0].sop_instance_uid), len(group)) for group in groups.values()]


def named_instances(context: ResultContext) -> list[Instance]:
    """Return the received instances that a report names: the primary one, those read, those left.

    Of a series the slices that the model read and those that are shown: three hundred names more would tell nobody anything.
    """
    left = [one.sop_instance_uid for one, _, _ in left_out(context)]
    read: Iterable[str] = context.findings.read
    if context.volumetric and not context.findings.abstention:
        shown = (instance.sop_instance_uid for instance, _ in context.shown)
        read = (*shown, *(one.sop_instance_uid for one in context.findings.slices))
    uids = [context.primary.sop_instance_uid, *read, *left]
    held = {i.sop_instance_uid: i for i in context.study.instances}
    return [held[uid] for uid in dict.fromkeys(uids) if uid in held]


def built_object(context: ResultContext, kind: str) -> Dataset | None:
    """Return the object of a kind that was built for this run, any flavour; ``None`` when there is none."""
    found = context.built.get(kind)
    return found if isinstance(found, Dataset) else None


def built_objects(context: ResultContext, kind: str) -> list[Dataset]:
    """Return every object of a kind of which a run gives several (``#2``, ``#3``), in their order; of any other, one or none."""
    numbered = {role: found for role, found in context.built.items() if role.startswith(f"{kind}#") and isinstance(found, Dataset)}
    first = built_object(context, kind)
    return [*([first] if first is not None else []), *(numbered[role] for role in sorted(numbered))]


def document(
    sop_class: Any, context: ResultContext, role: str, description: str, content: Any, made: list[Dataset], sop_class_uid: str = ""
) -> Dataset:
    """Wrap a content tree: complete, preliminary, unverified (PS3.3 C.17.2).

    Parameters
    ----------
    sop_class
        highdicom's class.
    content
        The root container.
    made
        Objects of this run that the tree refers to.
    sop_class_uid
        Written instead of the class's own: highdicom has no Basic Text SR.
    """
    evidence = [*(reference(i) for i in named_instances(context)), *(identity(m) for m in made)]
    report = unaddressed(
        sop_class,
        evidence,
        content,
        (context.uid("series", role), context.uid("instance", role)),
        context.settings.manufacturer,
        predecessor_references(context, role),
        sop_class_uid,
    )
    report.PerformedProcedureCodeSequence = Sequence([coded(codes.COMPUTER_AIDED_DIAGNOSIS)])
    stamp(report, context, role, description)
    return report


def unaddressed(
    sop_class: Any,
    evidence: list[Dataset],
    content: Any,
    uids: tuple[str, str],
    manufacturer: str,
    predecessors: list[Dataset],
    sop_class_uid: str = "",
) -> Dataset:
    """Return a document that is addressed to nobody yet: complete, preliminary, unverified.

    Parameters
    ----------
    evidence, predecessors
        Objects, by their bare identity.
    uids
        Series and SOP Instance UID.
    """
    report: Dataset = sop_class(
        evidence=[_for_highdicom(item) for item in evidence],
        content=_without_children(content),
        series_instance_uid=uids[0],
        series_number=1,
        sop_instance_uid=uids[1],
        instance_number=1,
        manufacturer=manufacturer,
        is_complete=True,
        is_final=False,
        is_verified=False,
        previous_versions=predecessors or None,
    )
    report.ContentSequence = content.ContentSequence
    classes = {item.SOPInstanceUID: item.SOPClassUID for item in evidence}
    _check_references(content, classes)
    _name_classes(report, classes)
    if sop_class_uid:
        report.SOPClassUID = sop_class_uid
    report.CodingSchemeIdentificationSequence = Sequence([coding_scheme(manufacturer)])
    return report


def _for_highdicom(item: Dataset) -> Dataset:
    """Replace a SOP class outside the standard: highdicom looks it up in the standard's tables."""
    if UID(item.SOPClassUID).name == item.SOPClassUID:
        item = copy.deepcopy(item)
        item.SOPClassUID = RawDataStorage
    return item


def _without_children(root: Dataset) -> Dataset:
    """Return the root alone: highdicom copies the tree that it is given, and reads the copy several times."""
    alone = Dataset()
    alone.update({element.tag: element for element in root if element.keyword != "ContentSequence"})
    alone.ContentSequence = Sequence([])
    return alone


def _check_references(root: Dataset, evidence: Container[str]) -> None:
    """Refuse a tree that names an object which is not among the evidence (PS3.3 C.17.2.3)."""
    for item in root.get("ContentSequence", ()):
        for named in item.get("ReferencedSOPSequence", ()):
            if named.ReferencedSOPInstanceUID not in evidence:
                raise ValueError("the document names an object that is not among its evidence")
        _check_references(item, evidence)


def _name_classes(report: Dataset, classes: dict[str, str]) -> None:
    for study in report.get("CurrentRequestedProcedureEvidenceSequence", []):
        for series in study.ReferencedSeriesSequence:
            for item in series.ReferencedSOPSequence:
                item.ReferencedSOPClassUID = classes[item.ReferencedSOPInstanceUID]


def coding_scheme(manufacturer: str) -> Dataset:
    """Declare our own codes (PS3.3 C.12.1, Coding Scheme Identification Sequence)."""
    item = Dataset()
    item.CodingSchemeDesignator = codes.PRIVATE_SCHEME
    item.CodingSchemeName = codes.PRIVATE_SCHEME_NAME
    item.CodingSchemeResponsibleOrganization = manufacturer
    return item


def identity(made: Dataset) -> Dataset:
    """Return the identity of an object of ours, without its patient."""
    bare = Dataset()
    for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        setattr(bare, keyword, made[keyword].value)
    return bare
