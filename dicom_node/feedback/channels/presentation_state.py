"""Presentation states (PS3.3, A.33): shapes on the image that was read, kept as weak regions. Never a verdict.

Workstations save presentation states unasked, with whatever lies on the image. So a shape counts only as a hint where somebody
looked: closed ones on the image itself, or on our picture of it, whose scale is known. Lines, arrows and calipers are left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from pydicom.dataset import Dataset

from dicom_node.core.artifact import kind_of
from dicom_node.core.feedback import Channel, Claim, Region, Targets
from dicom_node.feedback.reports.content_items import coordinates
from dicom_node.feedback.reports.reading import Document, Nothing, Unclear, Unmatched, reader
from dicom_node.imaging.element_values import all_texts, decoded_person_name, first_text, integer, sequence_items

_CLASS = "1.2.840.10008.5.1.4.1.1.11."
#: Grayscale, colour, pseudo-colour and blending: states of two-dimensional images.
SOP_CLASSES = frozenset(f"{_CLASS}{number}" for number in (1, 2, 3, 4))

Points = tuple[tuple[float, float], ...]

#: How the picture's pixels lie on the source's, as the picture itself says.
_SCALE = re.compile(r"source pixel \(\(x - (-?\d+)\) \* ([0-9.]+), \(y - (-?\d+)\) \* ([0-9.]+)\)")
_CORNERS_OF_A_CIRCLE = 24


def read(document: Document) -> Claim | Nothing | Unclear | Unmatched:
    """Return the shapes; which result was made from their image is known from the image."""
    regions: list[Region] = []
    runs: set[str] = set()
    for uid, frame, points in _shapes(document.dataset):
        placed = _on_source(document, uid, frame, points)
        if placed is not None:
            source, frame, points, of = placed
            regions.append(Region(source, points, frame=frame))
            runs |= of
    if not regions:
        return Nothing("A presentation state shows no closed shape on an image that was read.")
    if len(runs) > 1:
        return Nothing("A presentation state shows shapes on images of several results; they are not kept.")
    return Claim(
        channel=Channel.PRESENTATION_STATE,
        source=document.uid,
        at=document.moment(document.text("PresentationCreationDate") + document.text("PresentationCreationTime")),
        targets=Targets(run_key=runs.pop(), study_key=document.study_key),
        reader=reader(decoded_person_name(document.dataset, "ContentCreatorName")),
        regions=tuple(regions),
        digest=document.digest,
    )


def _on_source(document: Document, uid: str, frame: int, points: Points) -> tuple[str, int, Points, set[str]] | None:
    """Return image, frame, points there, results; ``None`` where the image was not read, or our picture's scale is not known."""
    runs = set(document.known.results_from(uid))
    if runs:
        return uid, frame, points, runs
    made = document.known.ours([uid]).get(uid)
    picture = document.known.stored(uid) if made is not None and kind_of(made.role) == "secondary_capture" else None
    if made is None or picture is None:
        return None
    scale = _SCALE.search(first_text(picture, "DerivationDescription"))
    source, of_source = next(_images(picture, "SourceImageSequence"), ("", 1))
    if scale is None or not source:
        return None
    left, across, top, down = (float(number) for number in scale.groups())
    return source, of_source, tuple(((x - left) * across, (y - top) * down) for x, y in points), {made.run_key}


def _shapes(dataset: Dataset) -> Iterator[tuple[str, int, Points]]:
    """Yield image, frame and corners of each closed shape."""
    for annotation in sequence_items(dataset, "GraphicAnnotationSequence"):
        images = list(_images(annotation)) or [
            one for series in sequence_items(dataset, "ReferencedSeriesSequence") for one in _images(series)
        ]
        for graphic in sequence_items(annotation, "GraphicObjectSequence"):
            points = _closed(graphic)
            if points:
                yield from ((uid, frame, points) for uid, frame in images)


def _images(dataset: Dataset, keyword: str = "ReferencedImageSequence") -> Iterator[tuple[str, int]]:
    for item in sequence_items(dataset, keyword):
        uid = first_text(item, "ReferencedSOPInstanceUID")
        frames = [int(text) for text in all_texts(item, "ReferencedFrameNumber") if text.isdigit()]
        if uid:
            yield from ((uid, frame) for frame in frames or [1])


def _closed(graphic: Dataset) -> Points:
    """Return the corners of a closed shape in pixels (column, row); nothing for lines, points and other units."""
    if first_text(graphic, "GraphicAnnotationUnits").upper() != "PIXEL" or integer(graphic, "GraphicDimensions") not in (2, None):
        return ()
    numbers = coordinates(graphic)
    points = tuple(zip(numbers[::2], numbers[1::2], strict=False))
    kind = first_text(graphic, "GraphicType").upper()
    if kind in ("POLYLINE", "INTERPOLATED") and len(points) >= 4 and points[0] == points[-1]:
        return points[:-1]
    if kind == "CIRCLE" and len(points) == 2:
        (x, y), edge = points
        radius = math.dist((x, y), edge)
        return _ellipse((x, y), (radius, 0.0), (0.0, radius)) if radius > 0 else ()
    if kind == "ELLIPSE" and len(points) == 4:  # the ends of the long axis, then of the short one
        (ax, ay), (bx, by), (cx, cy), (dx, dy) = points
        return _ellipse(((ax + bx) / 2, (ay + by) / 2), ((bx - ax) / 2, (by - ay) / 2), ((dx - cx) / 2, (dy - cy) / 2))
    return ()


def _ellipse(middle: tuple[float, float], one: tuple[float, float], other: tuple[float, float]) -> Points:
    turns = (2 * math.pi * step / _CORNERS_OF_A_CIRCLE for step in range(_CORNERS_OF_A_CIRCLE))
    return tuple(
        (
            round(middle[0] + one[0] * math.cos(turn) + other[0] * math.sin(turn), 3),
            round(middle[1] + one[1] * math.cos(turn) + other[1] * math.sin(turn), 3),
        )
        for turn in turns
    )
