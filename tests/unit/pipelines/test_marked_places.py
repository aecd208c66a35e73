"""Marks on other reconstructions find their slices by position, and only where patient, scan and planes are the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from dicom_node.core.study import HeaderFacts, Instance, Mark
from dicom_node.imaging.slice_header import CT, SliceHeader
from dicom_node.imaging.volume import Volume, hounsfield_volume
from pipelines.blocks.marked_places import MarkedPlaces, Planes, covered_by, marked_places, other_scan
from tests.factories import ct_series as ct

THIN = Planes((0.0, 0.0, 1.0), tuple(float(z) for z in range(10)), 1.0, 8.0)


def header(z: float, thickness: float | None, orientation: tuple[float, ...] = ct.AXIAL) -> SliceHeader:
    return SliceHeader(None, orientation, (-170.0, -170.0, z), (0.7, 0.7), thickness, None, None)


@pytest.mark.parametrize(
    ("z", "thickness", "places"),
    [
        (4.0, 5.0, (2, 3, 4, 5, 6)),
        (4.5, 5.0, (2, 3, 4, 5, 6)),  # on both faces lies a slice: five of 1 mm, not six
        (4.0, 3.0, (3, 4, 5)),
        (4.2, 1.0, (4,)),
        (4.6, 0.5, (5,)),  # thinner than the distance: the nearest
        (4.4, None, (4,)),  # thickness unknown: the nearest
        (0.0, 5.0, (0, 1, 2)),  # half of it lies below the first slice
        (-0.5, 0.5, (0,)),
    ],
)
def test_a_mark_covers_the_slices_within_its_thickness(z: float, thickness: float | None, places: tuple[int, ...]) -> None:
    assert covered_by(header(z, thickness), THIN) == (places, "")


@pytest.mark.parametrize(
    ("marked", "why"),
    [
        (header(9.6, 0.5), "a place without slices"),
        (header(-40.0, 5.0), "a place without slices"),
        (header(4.0, 10.0), "a slab of 10 mm"),
        (header(4.0, 5.0, ct.CORONAL), "planes that are not parallel"),
        (header(4.0, 5.0, ct.tilted(1.0)), "planes that are not parallel"),
        (header(float("nan"), 5.0), "its place is not known"),
        (header(4.0, 5.0, ()), "its place is not known"),
        (None, "its place is not known"),
    ],
)
def test_where_nothing_can_be_said_for_certain_nothing_is(marked: SliceHeader | None, why: str) -> None:
    assert covered_by(marked, THIN) == ((), why)


def test_a_slice_that_was_interpolated_is_no_image_to_be_read() -> None:
    """In a gap of the series there is nothing; a thick mark covers what lies beside it."""
    gap = dataclasses.replace(THIN, along_mm=tuple(None if z == 4 else float(z) for z in range(10)))
    assert covered_by(header(4.0, 0.5), gap) == ((), "a place without slices")
    assert covered_by(header(4.0, 3.0), gap) == ((3, 5), "")


def test_patients_that_lie_the_other_way_round_are_parallel() -> None:
    """Rows to the other side, slices from head to feet: the planes are the same."""
    assert covered_by(header(4.0, 1.0, (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0)), THIN) == ((4,), "")


def one(**facts: Any) -> Instance:
    known = {"frame_of_reference_uid": "1.9", "acquisition_number": "1", **facts}
    return Instance(CT, "1.1", "1.2", "1.3", "", "", "", HeaderFacts(**known))


@pytest.mark.parametrize(
    ("marked", "read", "why"),
    [
        ({}, {}, ""),
        ({"acquisition_number": ""}, {}, ""),
        ({"frame_of_reference_uid": "1.8"}, {}, "another frame of reference"),
        ({"frame_of_reference_uid": ""}, {}, "another frame of reference"),
        ({"frame_of_reference_uid": ""}, {"frame_of_reference_uid": ""}, "another frame of reference"),
        ({"acquisition_number": "2"}, {}, "another scan"),
        ({"irradiation_event_uid": "1.5"}, {"irradiation_event_uid": "1.6"}, "another scan"),
        # scanners count reconstructions differently; the event is the scan itself
        ({"irradiation_event_uid": "1.5", "acquisition_number": "2"}, {"irradiation_event_uid": "1.5"}, ""),
        ({"irradiation_event_uid": "1.5"}, {}, ""),
    ],
)
def test_only_images_of_the_same_scan_share_a_place(marked: dict[str, str], read: dict[str, str], why: str) -> None:
    """One Frame of Reference, and one breath as far as the headers tell."""
    assert other_scan(one(**marked), [one(**read)]) == why


@pytest.fixture(scope="module")
def thin(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Instance], Volume]:
    """The series that is read: 24 slices, 5 mm apart."""
    instances = ct.series(tmp_path_factory.mktemp("thin"))
    return instances, hounsfield_volume(instances)


def other(folder: Path, **elements: Any) -> list[Instance]:
    """Return three slices of another reconstruction, 10 mm apart, 10 mm thick unless told otherwise."""

    def change(_n: int, ds: Dataset) -> Dataset:
        values = {"SeriesInstanceUID": "1.2.840.99.7", "SeriesNumber": 5, "SliceThickness": "10", **elements}
        for keyword, value in values.items():
            setattr(ds, keyword, value)
        return ds

    return ct.series(folder, at=ct.positions(count=3, spacing=10.0), change=change, first=500)


def placed(marks: list[Mark], others: list[Instance], thin: tuple[list[Instance], Volume], most: float = 10.0) -> MarkedPlaces:
    instances, volume = thin
    return marked_places(marks, ct.study_of(instances, others), instances, volume, most)


def test_own_marks_and_marks_of_another_series_are_one_set(tmp_path: Path, thin: tuple[list[Instance], Volume]) -> None:
    """Each slice once, feet to head, whatever the order of the marks; the series that was marked is told."""
    others = other(tmp_path)  # the last slice first: at 20, 10, 0 mm
    own = thin[1].slices[3]
    assert own is not None
    marks: list[Mark] = [(others[1].sop_instance_uid, None), (own.sop_instance_uid, None), (own.sop_instance_uid, None)]
    found = placed(marks, others, thin)
    assert (found.own, found.nowhere) == ((3,), ())
    assert [(of.series, of.places) for of in found.by_position] == [("5", (1, 2))]
    assert found.places == (1, 2, 3)
    assert placed(marks[::-1], others, thin).places == found.places


def test_a_mark_elsewhere_is_counted_with_its_reason(tmp_path: Path, thin: tuple[list[Instance], Volume]) -> None:
    """Another frame of reference, a thick slab, an object that is not held: none is read, all are told."""
    others = other(tmp_path, FrameOfReferenceUID="1.2.840.99.44")
    assert placed([(others[0].sop_instance_uid, None), ("1.2.3", None)], others, thin).nowhere == (
        "another frame of reference",
        "an image that is not held",
    )
    slabs = other(tmp_path / "slabs")
    assert placed([(slabs[0].sop_instance_uid, None)], slabs, thin, most=8.0) == MarkedPlaces((), (), ("a slab of 10 mm",))


def test_a_frame_of_an_enhanced_ct_is_mapped_by_its_own_position(tmp_path: Path, thin: tuple[list[Instance], Volume]) -> None:
    """Where a frame lies stands in its functional groups; a frame that is not there lies nowhere."""
    slices = [ct.ct_slice(600 + n, ct.AXIAL, place) for n, place in enumerate(ct.positions(count=3, spacing=30.0))]
    frames = ct.multi_frame(slices)
    frames.SeriesInstanceUID, frames.SeriesNumber = "1.2.840.99.8", 6
    many = ct.written(frames, tmp_path)
    found = placed([(many.sop_instance_uid, 2), (many.sop_instance_uid, 4)], [many], thin)
    assert found.places == (6,)
    assert found.nowhere == ("its place is not known",)


def test_a_copy_of_a_slice_that_came_twice_is_that_slice(tmp_path: Path, thin: tuple[list[Instance], Volume]) -> None:
    """It is of the series that is read, so it is one slice and no slab, although it is thicker than the slices' distance."""
    (copy,) = ct.series(tmp_path, at=[ct.positions()[7]], first=700)
    thick = dataclasses.replace(copy, facts=dataclasses.replace(copy.facts, slice_thickness_mm=7.5))
    instances, volume = thin
    found = marked_places([(thick.sop_instance_uid, None)], ct.study_of(instances, [thick]), [*instances, thick], volume, 8.0)
    assert found.places == (7,)


def test_a_tilted_series_is_measured_along_its_own_normal(tmp_path: Path) -> None:
    """Slices of a tilted gantry lie one behind the other along their normal, which is not the way that the table moved."""
    tilt = ct.tilted(15)
    read = ct.series(tmp_path / "read", orientation=tilt, at=ct.positions(orientation=tilt))
    volume = hounsfield_volume(read)
    thick = ct.series(tmp_path / "thick", orientation=tilt, at=ct.positions(orientation=tilt)[9:10], first=800)
    study = ct.study_of(read, thick)
    marked = [dataclasses.replace(i, series_instance_uid="1.2.840.99.7") for i in thick]
    study = ct.study_of(read, marked)
    found = marked_places([(marked[0].sop_instance_uid, None)], study, read, volume, 8.0)
    assert found.places == (9,)
    straight = ct.series(tmp_path / "straight", at=ct.positions()[9:10], first=900)
    found = marked_places([(straight[0].sop_instance_uid, None)], ct.study_of(read, straight), read, volume, 8.0)
    assert found.nowhere == ("planes that are not parallel",)
    assert np.isclose(volume.direction[0] @ volume.direction[0], 1)
