"""Which documents mark slices: those in which a person points at images, and no list of images, no note of rejection."""

from __future__ import annotations

import dataclasses

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_node.core.marks import marked_slices
from dicom_node.core.study import HeaderFacts, Instance
from dicom_node.imaging.marks import marks_of

KOS = "1.2.840.10008.5.1.4.1.1.88.59"
COMPREHENSIVE = "1.2.840.10008.5.1.4.1.1.88.33"
GSPS = "1.2.840.10008.5.1.4.1.1.11.1"


def item(**elements: object) -> Dataset:
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def code(value: str) -> Sequence:
    return Sequence([item(CodeValue=value, CodingSchemeDesignator="DCM", CodeMeaning="x")])


def image(uid: str, *frames: int) -> Dataset:
    named = item(ReferencedSOPInstanceUID=uid)
    if frames:
        named.ReferencedFrameNumber = list(frames)
    return item(ValueType="IMAGE", ReferencedSOPSequence=Sequence([named]))


def container(name: str, *items: Dataset) -> Dataset:
    return item(ValueType="CONTAINER", ConceptNameCodeSequence=code(name), ContentSequence=Sequence(items))


def observer(kind: str) -> Dataset:
    return item(ValueType="CODE", ConceptNameCodeSequence=code("121005"), ConceptCodeSequence=code(kind))


def document(sop_class: str, title: str, *items: Dataset) -> Dataset:
    return item(SOPClassUID=sop_class, ConceptNameCodeSequence=code(title), ContentSequence=Sequence(items))


def test_a_note_of_interest_marks_what_it_names() -> None:
    """Single images and frames, each once."""
    note = document(KOS, "113000", image("1.1"), image("1.2", 3, 4), image("1.1"))
    assert marks_of(note) == ("1.1", "1.2 3", "1.2 4")


@pytest.mark.parametrize("title", ["113001", "113037", "113038", "113039", "113030", "113018", "113004"])
def test_a_note_of_another_title_marks_nothing(title: str) -> None:
    """Rejection, manifest, printing, teaching: none of them says "look here"."""
    assert marks_of(document(KOS, title, image("1.1"))) == ()


def test_a_report_marks_what_a_person_measured_and_not_what_was_looked_at() -> None:
    """The image library is a list; a measurement's image, however deep, is a mark."""
    library = container("111028", container("126200", image("1.9")))
    measured = container("126010", container("125007", item(ValueType="NUM", ContentSequence=Sequence([image("1.5")]))))
    report = document(COMPREHENSIVE, "126000", observer("121006"), library, measured)
    assert marks_of(report) == ("1.5",)
    by_machine = document(COMPREHENSIVE, "126000", observer("121007"), measured)
    assert marks_of(by_machine) == ()


def test_a_presentation_state_marks_images_that_were_drawn_on() -> None:
    """A saved window names images too, and marks none; a shape for all images marks none unless there is only one."""
    drawn = Sequence([item(GraphicType="POLYLINE")])
    all_images = Sequence([item(ReferencedImageSequence=Sequence([item(ReferencedSOPInstanceUID=u) for u in ("1.1", "1.2")]))])
    window = item(SOPClassUID=GSPS, ReferencedSeriesSequence=all_images)
    assert marks_of(window) == ()
    on_one = item(GraphicObjectSequence=drawn, ReferencedImageSequence=Sequence([item(ReferencedSOPInstanceUID="1.2")]))
    text_only = item(ReferencedImageSequence=Sequence([item(ReferencedSOPInstanceUID="1.1")]))
    state = item(SOPClassUID=GSPS, ReferencedSeriesSequence=all_images, GraphicAnnotationSequence=Sequence([on_one, text_only]))
    assert marks_of(state) == ("1.2",)
    everywhere = Sequence([item(GraphicObjectSequence=drawn)])
    assert marks_of(item(SOPClassUID=GSPS, ReferencedSeriesSequence=all_images, GraphicAnnotationSequence=everywhere)) == ()


def test_odd_documents_raise_nothing() -> None:
    """Images refer to images as well; a tree without end, and a UID that is none, are passed over."""
    assert marks_of(item(SOPClassUID="1.2.840.10008.5.1.4.1.1.2")) == ()
    deep = image("1.1")
    for _ in range(40):
        deep = container("1", deep)
    assert marks_of(document(COMPREHENSIVE, "126000", deep)) == ()
    assert marks_of(document(KOS, "113000", item(ValueType="IMAGE"))) == ()


SLICE = Instance("ct", "1.1", "s", "st", "", "", "", HeaderFacts(has_pixel_data=True))
MANY = dataclasses.replace(SLICE, sop_instance_uid="1.2", facts=HeaderFacts(has_pixel_data=True, frames=9))
NOTE = dataclasses.replace(SLICE, sop_instance_uid="2.1", facts=HeaderFacts(marks=("1.1", "1.2 9", "1.2 10", "1.2", "7.7")))


def test_marks_on_slices_of_the_study_count() -> None:
    """A frame that is not there, a multi-frame object as a whole and an object of elsewhere are no slices of the study."""
    assert marked_slices((NOTE, MANY, SLICE)) == (("1.1", None), ("1.2", 9))
    assert marked_slices((SLICE, MANY, NOTE), said=[("1.2", 2), ("1.1", 1)]) == (("1.1", None), ("1.2", 2), ("1.2", 9))


def test_the_nodes_own_documents_and_answers_to_them_mark_nothing() -> None:
    """A copy of our report that a radiologist verified names the slices that we chose."""
    own = dataclasses.replace(NOTE, facts=dataclasses.replace(NOTE.facts, made_by_this_node=True))
    answer = dataclasses.replace(NOTE, facts=dataclasses.replace(NOTE.facts, references=("1.1", "9.9")))
    assert marked_slices((SLICE, MANY, own)) == ()
    assert marked_slices((SLICE, MANY, answer), ours={"9.9"}) == ()
    assert marked_slices((SLICE, MANY, answer), ours={"8.8"}) != ()
