"""Where the lungs are, and whether what was found can be a pair of lungs at all.

The network was taught on chests alone, so it marks "lungs" in a knee too. Whether the picture is a frontal chest is for
``frontal_gate.py``, which judges the facts that are measured here; the limits here say whether the mask itself can be used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from models.session import Session
from pipelines.blocks.chest_template import SIDE, coarse
from pipelines.blocks.prepare_cxr import Prepared, prepare, to_source


class LungLimits(BaseModel):
    """What a plausible pair of lungs looks like. Shares are of the image, border cut away; lengths of its sides."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    least_area: float = Field(default=0.12, description="Share of the image that is lung, at least. Adults lie at 0.2 to 0.5.")
    most_area: float = Field(
        default=0.70, description="At most. A thumbnail of one lung, or a picture without a chest, lies above."
    )
    least_side: float = Field(
        default=0.15, description="Share of the lung area on its smaller side. An effusion may halve one lung."
    )
    least_main: float = Field(
        default=0.55, description="Share of the marked area in the two largest pieces. Bowel gas lies in many."
    )
    least_height: float = Field(default=0.40, description="Height of the lungs against the image. Adults lie above 0.45.")
    least_confidence: float = Field(default=0.80, description="Mean probability inside the marked area.")
    least_parted: float = Field(
        default=0.40, description="Share of the lungs' height where two lungs lie apart. A lateral has one blob."
    )
    most_cut_off: float = Field(
        default=0.25, description="Share of an image border that may be lung before the lungs count as cut off."
    )
    least_symmetry: float = Field(default=0.35, description="Overlap (Dice) with the mirror image. An oblique view lies below.")


@dataclass(frozen=True)
class LungFacts:
    """Measured on the network's grid; see ``LungLimits`` for the units."""

    area: float = 0.0
    side: float = 0.0
    main: float = 0.0
    height: float = 0.0
    confidence: float = 0.0
    contrast: float = 0.0  # how much darker than their surroundings, in standard deviations of the picture
    parted: float = 0.0
    symmetry: float = 0.0
    cut_off: float = 0.0  # share of the image's left, right and top border that is lung
    tilt: float = 0.0  # of the line between the two pieces' centres: 0 lies across, 1 stands upright; 0 for one piece
    taper: float = 0.0  # -1..1: above 0 the lower quarter of the mask is wider than the upper one, as in a standing chest
    level: float = 0.0  # height of the mask's centre in the image, 0 at the top
    aspect: float = 0.0  # width of the mask's box over its height, at most 4


@dataclass(frozen=True)
class Lungs:
    """The lungs of one image.

    ``mask``: uint8 (rows, columns) of the source, 1 in lung. ``box``: (x0, y0, x1, y1) in source pixels, ends exclusive.
    ``problem``: "" when plausible, else the sentence that says why not. ``in_box``, ``in_whole``: the picture within the lungs' box
    and as a whole, by ``chest_template.coarse``.
    """

    mask: NDArray[np.uint8]
    box: tuple[float, float, float, float]
    facts: LungFacts
    problem: str
    in_box: NDArray[np.float64] = field(default_factory=lambda: np.zeros((SIDE, SIDE)))
    in_whole: NDArray[np.float64] = field(default_factory=lambda: np.zeros((SIDE, SIDE)))

    def record(self) -> dict[str, Any]:
        """Return the facts for the result's provenance."""
        return {key: round(value, 4) for key, value in asdict(self.facts).items()} | {"problem": self.problem}


def find_lungs(
    image: NDArray[np.float32],
    session: Session,
    config: Mapping[str, Any],
    limits: LungLimits,
    reductions: dict[int, NDArray[np.float32]] | None = None,
) -> Lungs:
    """Return the lungs of a radiograph, believed or not.

    ``image``: float32 (rows, columns), brighter = more attenuation. ``config``: the bundle's, for ``preprocessing`` and ``mask``.
    ``reductions``: of ``prepare``.
    """
    prepared, probability, lungs = _looked_at(image, session, config, limits, reductions)
    placed = to_source(probability, prepared) >= float(config["mask"]["threshold"])
    rows, columns = np.nonzero(placed.any(1))[0], np.nonzero(placed.any(0))[0]
    box = lungs.box
    if rows.size:
        box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
    return replace(lungs, mask=placed.astype(np.uint8), box=box)


def glance_at(image: NDArray[np.float32], session: Session, config: Mapping[str, Any], limits: LungLimits) -> Lungs:
    """Return what ``find_lungs`` does, in half the time, without the mask and with the whole image as the box."""
    return _looked_at(image, session, config, limits, None)[2]


def _looked_at(
    image: NDArray[np.float32],
    session: Session,
    config: Mapping[str, Any],
    limits: LungLimits,
    reductions: dict[int, NDArray[np.float32]] | None,
) -> tuple[Prepared, NDArray[np.float32], Lungs]:
    """Return the prepared picture, the probability of lung in the two main pieces (0 outside), and the facts."""
    prepared = prepare(image, config["preprocessing"], reductions=reductions)
    threshold = float(config["mask"]["threshold"])
    probability = session.run({"image": prepared.network_input})["mask_probability"][0, 0]
    seen = _seen(prepared)
    # a first look takes small false pieces away, so that one marker does not widen the box
    whole = (probability >= threshold) & seen
    mask = _main_pieces(whole)
    facts = measure(mask, whole, probability, prepared.network_input[0, 0], seen)
    picture, inner = _picture(prepared.network_input[0, 0], mask, seen)
    box = (0.0, 0.0, float(image.shape[1]), float(image.shape[0]))
    nothing = np.zeros((0, 0), np.uint8)
    lungs = Lungs(nothing, box, facts, implausible(facts, limits), coarse(picture, inner), coarse(picture))
    return prepared, np.where(mask, probability, 0).astype(np.float32), lungs


def measure(
    mask: NDArray[np.bool_],
    whole: NDArray[np.bool_],
    probability: NDArray[np.float32],
    picture: NDArray[np.float32],
    seen: NDArray[np.bool_],
) -> LungFacts:
    """Measure a mask, the two main pieces of ``whole``. All arrays (h, w); ``seen``: where the network saw image, not padding."""
    if not mask.any() or not seen.any():
        return LungFacts()
    rows, columns = np.nonzero(mask)
    height = (rows.max() - rows.min() + 1) / np.count_nonzero(seen.any(1))
    middle = (columns.min() + columns.max()) / 2
    left = float((columns < middle).mean())
    inside = picture[mask]
    ring = cv2.dilate(mask.astype(np.uint8), np.ones((1, 1 + 2 * max(2, mask.shape[0] // 12)), np.uint8)).astype(bool)
    around = picture[ring & ~mask & seen]
    spread = float(picture[seen].std()) or 1.0
    contrast = (float(around.mean()) - float(inside.mean())) / spread if around.size else 0.0
    mirrored = np.zeros_like(mask)
    across = np.round(2 * middle - columns).astype(int)
    valid = (across >= 0) & (across < mask.shape[1])
    mirrored[rows[valid], across[valid]] = True
    return LungFacts(
        area=float(mask.sum() / seen.sum()),
        side=min(left, 1 - left),
        main=float(mask.sum() / whole.sum()),
        height=float(height),
        confidence=float(probability[mask].mean()),
        contrast=contrast,
        symmetry=float(2 * np.count_nonzero(mask & mirrored) / (mask.sum() + mirrored.sum())),
        parted=_parted(mask),
        cut_off=_touching(mask, seen),
        tilt=_tilt(mask),
        taper=_taper(mask),
        level=float((rows.mean() - np.nonzero(seen.any(1))[0][0]) / np.count_nonzero(seen.any(1))),
        aspect=min(4.0, float((columns.max() - columns.min() + 1) / (rows.max() - rows.min() + 1))),
    )


def implausible(facts: LungFacts, limits: LungLimits) -> str:
    """Return why this is not a pair of lungs from the front, or ``""``."""
    if not limits.least_area <= facts.area <= limits.most_area:
        return f"lungs cover {facts.area:.0%} of the image"
    if facts.confidence < limits.least_confidence:
        return "the lung outline is uncertain"
    if facts.main < limits.least_main:
        return "the marked areas lie scattered"
    if facts.side < limits.least_side:
        return "only one side was found"
    if facts.height < limits.least_height:
        return "the marked areas are too low for lungs"
    return ""


def not_frontal(facts: LungFacts, limits: LungLimits) -> str:
    """Return why this looks like no frontal view, or ``""``: asked where the header does not state the view."""
    if facts.symmetry < limits.least_symmetry:
        return "the two sides do not mirror each other, as in a lateral or oblique view"
    if facts.parted < limits.least_parted:
        return "the two lungs do not lie apart, as in a lateral view"
    return ""


def _parted(mask: NDArray[np.bool_]) -> float:
    """Return the share of the mask's rows that hold two or more runs."""
    rows = mask[mask.any(1)]
    starts = np.count_nonzero(rows & ~np.pad(rows, ((0, 0), (1, 0)))[:, :-1], axis=1)
    return float((starts >= 2).mean())


def _tilt(mask: NDArray[np.bool_]) -> float:
    count, _, stats, centres = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count < 3 or stats[1:, cv2.CC_STAT_AREA].min() < 0.1 * mask.sum():
        return 0.0
    across, down = np.abs(centres[1] - centres[2])
    return float(np.arctan2(down, across) / (np.pi / 2))


def _taper(mask: NDArray[np.bool_]) -> float:
    counts = mask[mask.any(1)].sum(1)
    quarter = max(1, len(counts) // 4)
    upper, lower = float(counts[:quarter].mean()), float(counts[-quarter:].mean())
    return (lower - upper) / (lower + upper)


def _main_pieces(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    largest = sorted(range(1, count), key=lambda n: -int(stats[n, cv2.CC_STAT_AREA]))[:2]
    found: NDArray[np.bool_] = np.isin(labels, largest)
    return found


def _seen(prepared: Prepared) -> NDArray[np.bool_]:
    """Return where the network's input shows the source image: not the padding that squares it."""
    size = prepared.network_input.shape[-1]
    rows, columns = prepared.source_shape
    x = np.arange(size) * prepared.affine[0, 0] + prepared.affine[0, 2]
    y = np.arange(size) * prepared.affine[1, 1] + prepared.affine[1, 2]
    seen: NDArray[np.bool_] = ((y >= -0.5) & (y <= rows - 0.5))[:, None] & ((x >= -0.5) & (x <= columns - 0.5))[None, :]
    return seen


def _picture(
    network_input: NDArray[np.float32], mask: NDArray[np.bool_], seen: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], tuple[float, float, float, float]]:
    """Return what the network saw without the padding, and the mask's box in it (all of it where the mask is empty)."""
    rows, columns = np.nonzero(seen.any(1))[0], np.nonzero(seen.any(0))[0]
    top, left = int(rows[0]), int(columns[0])
    picture = network_input[top : rows[-1] + 1, left : columns[-1] + 1]
    if not mask.any():
        return picture, (0.0, 0.0, float(picture.shape[1]), float(picture.shape[0]))
    marked_rows, marked_columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    x0, y0, x1, y1 = marked_columns[0] - left, marked_rows[0] - top, marked_columns[-1] + 1 - left, marked_rows[-1] + 1 - top
    return picture, (float(x0), float(y0), float(x1), float(y1))


def _touching(mask: NDArray[np.bool_], seen: NDArray[np.bool_]) -> float:
    rows, columns = np.nonzero(seen.any(1))[0], np.nonzero(seen.any(0))[0]
    top = mask[rows[0], columns[0] : columns[-1] + 1]
    left, right = mask[rows[0] : rows[-1] + 1, columns[0]], mask[rows[0] : rows[-1] + 1, columns[-1]]
    return float(max(top.mean(), left.mean(), right.mean()))
