"""Where the lungs of a CT are, and whether what was found is a plausible pair of an adult's lungs.

Found by grey values and shape (``lungs_ct_classical``), or by a network that an operator brings (``lungs_ct_network``); either way
the same questions decide whether to believe it. A volume that fails is refused: no later step can tell an abdomen from a chest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from dicom_node.imaging.volume import Volume
from models.session import Session
from pipelines.blocks import lungs_ct_classical, lungs_ct_network

RIGHT, LEFT = 1, 2

FLAG_TEXTS = {
    "unequal_lungs": "The two lungs differ much in volume.",
    "lungs_split": "The two lungs touch and were divided in the middle.",
    "lungs_cut_off": "The lungs reach the first or last slice: they are not covered whole.",
}


class CtLungLimits(BaseModel):
    """What a plausible pair of an adult's lungs looks like."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    least_litres: float = Field(default=1.5, description="Volume of both lungs (l), at least. Below: a child, or no whole chest.")
    most_litres: float = Field(default=9.0, description="Volume of both lungs (l), at most.")
    least_ratio: float = Field(default=0.4, description="Volume of the left lung against the right, below which it is flagged.")
    most_ratio: float = Field(default=2.5, description="The same, above.")
    least_height_mm: float = Field(default=180.0, description="Lungs from lowest to highest slice (mm), at least.")
    least_hu: float = Field(default=-950.0, description="Median of the lungs (HU), at least.")
    most_hu: float = Field(default=-500.0, description="Median of the lungs (HU), at most.")
    least_body_hu: float = Field(default=-100.0, description="Median of the body without lungs (HU), at least.")
    most_body_hu: float = Field(default=100.0, description="Median of the body without lungs (HU), at most.")
    most_cut_off: float = Field(
        default=0.25, description="Lung in the first or last slice, against its widest slice, above which it is flagged."
    )


@dataclass(frozen=True)
class CtLungs:
    """The lungs of one volume, believed or not.

    ``sides``: uint8 (slices, rows, columns) of the volume: 1 the patient's right lung, 2 the left. ``problem``: "" when plausible,
    else the sentence that says why not, and ``code`` its key of ``core/abstentions.py``. ``flags``: keys of ``FLAG_TEXTS``.
    ``record``: JSON facts.
    """

    sides: NDArray[np.uint8]
    problem: str = ""
    code: str = ""
    flags: tuple[str, ...] = ()
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def mask(self) -> NDArray[np.uint8]:
        """Both lungs, 1 in lung; made anew each time."""
        return np.minimum(self.sides, np.uint8(1))

    @property
    def right(self) -> NDArray[np.uint8]:
        """The patient's right lung."""
        return np.asarray(self.sides == RIGHT, np.uint8)

    @property
    def left(self) -> NDArray[np.uint8]:
        """The patient's left lung."""
        return np.asarray(self.sides == LEFT, np.uint8)

    def box(self) -> tuple[slice, slice, slice] | None:
        """Return the voxels between the mask's ends; ``None`` without lungs."""
        ends = [np.nonzero(self.sides.any(axes))[0] for axes in ((1, 2), (0, 2), (0, 1))]
        if not ends[0].size:
            return None
        z, y, x = (slice(int(e[0]), int(e[-1]) + 1) for e in ends)
        return z, y, x


_DEFAULT = CtLungLimits()


def find_lungs(
    volume: Volume,
    limits: CtLungLimits = _DEFAULT,
    *,
    session: Session | None = None,
    config: Mapping[str, Any] | None = None,
    threads: int = 1,
) -> CtLungs:
    """Return the lungs; with ``session`` and ``config`` (a bundle's) by that network, else by grey values and shape. Never raises.

    So many ``threads`` work on slices; the lungs do not depend on them.

    Raises
    ------
    ValueError
        The bundle's configuration makes no sense (``lungs_ct_network``): a defect of the bundle, not of the study.
    """
    if session is not None and config is not None:
        sides, facts = lungs_ct_network.segment(volume.hu, volume.spacing_mm, session, config)
        facts |= {"method": "network"}
    else:
        sides, _, facts = lungs_ct_classical.segment(volume.hu, volume.spacing_mm, threads)
        facts |= {"method": "classical"}
    return _judged(volume, sides, facts, limits)


def _judged(volume: Volume, sides: NDArray[np.uint8], facts: dict[str, Any], limits: CtLungLimits) -> CtLungs:
    dz, dy, dx = volume.spacing_mm
    # plane by plane: a count of one is ten times as fast as a sum over axes
    per_slice = {side: np.array([np.count_nonzero(plane == side) for plane in sides]) for side in (RIGHT, LEFT)}
    right, left = (float(per_slice[side].sum()) * dz * dy * dx / 1e6 for side in (RIGHT, LEFT))
    both = per_slice[RIGHT] + per_slice[LEFT]
    seen = np.nonzero(both)[0]
    height = float((seen[-1] - seen[0] + 1) * dz) if seen.size else 0.0
    record = facts | {"right_l": round(right, 3), "left_l": round(left, 3), "height_mm": round(height, 1)}
    if not seen.size:
        return CtLungs(sides, "no lungs were found", "lungs_not_found", record=record)
    # every second voxel each way of the lungs' box tells a median as well
    box = CtLungs(sides).box() or (slice(None),) * 3
    hu, inside = volume.hu[box][::2, ::2, ::2], sides[box][::2, ::2, ::2] > 0
    lung_hu = float(np.median(hu[inside]))
    flesh = hu[~inside & (hu > -300) & (hu < 400)]
    body_hu = float(np.median(flesh)) if flesh.size else 0.0
    record |= {"lung_hu": round(lung_hu), "body_hu": round(body_hu)}
    flags = []
    if min(right, left) > 0 and not limits.least_ratio <= left / right <= limits.most_ratio:
        flags.append("unequal_lungs")
    if facts.get("parted") == "split in the middle":
        flags.append("lungs_split")
    if max(both[0], both[-1]) > limits.most_cut_off * both.max():
        flags.append("lungs_cut_off")
    problem, code = "", ""
    if min(right, left) == 0:
        problem, code = "only one lung was found", "lungs_not_found"
    elif not limits.least_litres <= right + left <= limits.most_litres:
        problem, code = f"the lungs measure {right + left:.1f} l", "lungs_not_found"
    elif height < limits.least_height_mm:
        problem, code = f"the lungs are {height / 10:.0f} cm high in this series", "short_coverage"
    elif not limits.least_hu <= lung_hu <= limits.most_hu:
        problem, code = f"what looks like lungs has a median of {lung_hu:.0f} HU", "lungs_not_found"
    elif not limits.least_body_hu <= body_hu <= limits.most_body_hu:
        problem, code = f"the body has a median of {body_hu:.0f} HU", "not_hounsfield"
    return CtLungs(sides, problem, code, tuple(flags), record)
