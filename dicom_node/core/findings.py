"""What a pipeline says: findings with their probabilities, a decision under a policy, maps and masks, or an abstention."""

from __future__ import annotations

import dataclasses
import enum
import functools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_node.core.codes import Code


class Decision(enum.StrEnum):
    """What the policy says of one finding."""

    POSITIVE = "positive"  # at or above the operating threshold
    NEGATIVE = "negative"  # below the operating threshold
    NOT_ASSESSED = "not_assessed"  # the model cannot speak about this class


class Zone(enum.StrEnum):
    """Where the whole result lies (ML.md 3)."""

    SUSPECTED = "suspected"  # at or above the upper threshold
    GRAY = "gray"  # between, or flagged, or without a guarantee: a person must look
    NOT_SUSPECTED = "not_suspected"  # below the lower threshold of every assessed class


@dataclass(frozen=True)
class Finding:
    """One class. ``probability`` is calibrated, 0..1; ``None`` when the class is not assessed (``note`` says why)."""

    key: str  # lower case, as in the bundle: "abnormal", "tuberculosis", "pneumonia"
    code: Code
    decision: Decision
    probability: float | None = None
    threshold: float | None = None
    threshold_low: float | None = None
    threshold_high: float | None = None
    note: str = ""


@dataclass(frozen=True)
class BundleRef:
    """Which model gave the answer."""

    name: str
    version: str
    sha256: str  # bundle hash
    evidence: str  # demo | internal | external
    synthetic: bool = False
    twin: bool = False

    @property
    def label(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True)
class PolicyRef:
    """Which operating point decided. ``guarantee`` is a sentence: what is promised, or "no valid guarantee" and why."""

    name: str
    sha256: str
    feasible: bool
    guarantee: str


@dataclass(frozen=True)
class Spread:
    """A small map and how it lies over an image: ``rows @ grid @ columns.T`` is the map on the image's grid.

    ``grid``: float32 (h, w). ``rows``: float32 (rows of the image, h). ``columns``: float32 (columns of the image, w). A map of
    7 x 7 over a radiograph is 0.2 MB this way and 30 MB the other.
    """

    grid: NDArray[np.float32]
    rows: NDArray[np.float32]
    columns: NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the image."""
        return len(self.rows), len(self.columns)

    def whole(self) -> NDArray[np.float32]:
        """Return the map on the image's grid."""
        return np.asarray(self.rows @ self.grid @ self.columns.T, np.float32)

    def sampled(self, rows: int, columns: int) -> NDArray[np.float32]:
        """Return the map at the middles of (rows, columns) equal parts of the image."""
        down, across = ((np.arange(n) + 0.5) * whole / n for n, whole in ((rows, len(self.rows)), (columns, len(self.columns))))
        return Spread(self.grid, self.rows[down.astype(int)], self.columns[across.astype(int)]).whole()


@dataclass(frozen=True)
class SaliencyMap:
    """Where the network looked.

    ``placed``: the map, or how it lies over the image. ``values``: float32 (rows, columns) on the grid of the image that was read
    (after its own orientation, no resampling left), raw and non-negative; all zero means "no positive evidence".
    """

    finding_key: str
    method: Code
    method_name: str  # "Grad-CAM", "Grad-CAM++"
    sop_instance_uid: str
    placed: NDArray[np.float32] | Spread
    energy_in_lung: float | None = None  # share 0..1
    border_share: float | None = None  # share in the outer 5 %

    @functools.cached_property
    def values(self) -> NDArray[np.float32]:
        """The map on the image's grid."""
        return self.placed.whole() if isinstance(self.placed, Spread) else self.placed

    def sampled(self, longest: int) -> NDArray[np.float32]:
        """Return the map with ``longest`` points on the long side at most: enough to say where it is strongest."""
        rows, columns = self.placed.shape
        share = min(1.0, longest / max(rows, columns))
        if isinstance(self.placed, Spread):
            return self.placed.sampled(max(1, round(rows * share)), max(1, round(columns * share)))
        return self.placed


@dataclass(frozen=True)
class LungMask:
    """uint8 (rows, columns) on the grid of the image that was read: 1 in lung."""

    sop_instance_uid: str
    values: NDArray[np.uint8]
    bundle: BundleRef


@dataclass(frozen=True)
class Picture:
    """The image that was read, as it is displayed, reduced for a picture: so it need not be decoded again to draw on it.

    ``values``: uint8 (h, w). ``shape``: (rows, columns) of the image.
    """

    sop_instance_uid: str
    shape: tuple[int, int]
    values: NDArray[np.uint8]


@dataclass(frozen=True)
class NotRead:
    """An instance of the study that was not read, and why (key of ``core/abstentions.py``)."""

    sop_instance_uid: str
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Abstention:
    """The run gives no finding. ``detail`` names facts (never identifiers) that make the reason concrete."""

    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Flag:
    """Something a reader must know: the result stands, but is not called normal."""

    key: str  # "under_exposed", "low_resolution", "shortcut_suspect", "lossy", ...
    text: str


@dataclass(frozen=True)
class Findings:
    """The outcome of one run."""

    pipeline: str
    read: tuple[str, ...] = ()  # SOP Instance UIDs that were read, the primary one first
    not_read: tuple[NotRead, ...] = ()
    findings: tuple[Finding, ...] = ()
    zone: Zone | None = None
    headline: str = ""  # one sentence in plain words: "Abnormal, above threshold."
    policy: PolicyRef | None = None
    bundles: tuple[BundleRef, ...] = ()  # the deciding bundle first
    flags: tuple[Flag, ...] = ()
    abstention: Abstention | None = None
    maps: tuple[SaliencyMap, ...] = ()
    lungs: LungMask | None = None
    picture: Picture | None = None
    provenance: dict[str, Any] = field(default_factory=dict)  # preprocessing facts: JSON values only
    embedding: tuple[float, ...] = ()  # what the deciding network made of the image: to tell which cases are alike

    @property
    def status(self) -> str:
        """``analysed`` or ``not_analysed``."""
        return "not_analysed" if self.abstention else "analysed"

    @property
    def decision(self) -> str:
        """``positive``, ``negative`` or ``review``; ``""`` when not analysed."""
        if self.abstention or self.zone is None:
            return ""
        if self.zone is Zone.GRAY:
            return "review"
        return "positive" if self.zone is Zone.SUSPECTED else "negative"

    @property
    def flagged(self) -> bool:
        """Whether somebody should look first."""
        return self.zone is Zone.SUSPECTED

    def warned(self, flag: Flag) -> Findings:
        """Return the same findings with one more flag: what was not suspected then needs a person."""
        if flag in self.flags:
            return self
        flagged = dataclasses.replace(self, flags=(*self.flags, flag))
        if self.zone is not Zone.NOT_SUSPECTED:
            return flagged
        headline = "Below the threshold, but the result has warnings (see notes); needs human review."
        return dataclasses.replace(flagged, zone=Zone.GRAY, headline=headline)

    def to_json(self) -> dict[str, Any]:
        """Return everything but the arrays as plain values; ``arrays`` holds the rest."""
        plain = dataclasses.asdict(dataclasses.replace(self, maps=(), lungs=None, picture=None))
        plain["maps"] = [{**_without_array(m)} for m in self.maps]
        plain["lungs"] = _without_array(self.lungs) if self.lungs else None
        plain["picture"] = _without_array(self.picture) if self.picture else None
        return plain

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name: ``map0`` (or its ``.grid``, ``.rows``, ``.columns``), …, ``picture``, ``lungs`` in bits."""
        named: dict[str, NDArray[Any]] = {}
        for n, one in enumerate(self.maps):
            if isinstance(one.placed, Spread):
                named |= {f"map{n}.{part}": getattr(one.placed, part) for part in ("grid", "rows", "columns")}
            else:
                named[f"map{n}"] = one.placed
        if self.lungs is not None:
            named["lungs"] = np.packbits(self.lungs.values, axis=1)
            named["lungs.columns"] = np.asarray(self.lungs.values.shape[1])
        if self.picture is not None:
            named["picture"] = self.picture.values
        return named

    @classmethod
    def from_json(cls, data: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Findings:
        """Rebuild what ``to_json`` and ``arrays`` gave."""
        lungs, picture = data["lungs"], data.get("picture")
        return cls(
            pipeline=data["pipeline"],
            read=tuple(data["read"]),
            not_read=tuple(NotRead(**n) for n in data["not_read"]),
            findings=tuple(_finding(f) for f in data["findings"]),
            zone=Zone(data["zone"]) if data["zone"] else None,
            headline=data["headline"],
            policy=PolicyRef(**data["policy"]) if data["policy"] else None,
            bundles=tuple(BundleRef(**b) for b in data["bundles"]),
            flags=tuple(Flag(**f) for f in data["flags"]),
            abstention=Abstention(**data["abstention"]) if data["abstention"] else None,
            maps=tuple(
                SaliencyMap(**{**m, "method": Code(*m["method"])}, placed=_placed(arrays, f"map{n}"))
                for n, m in enumerate(data["maps"])
            ),
            lungs=LungMask(
                lungs["sop_instance_uid"],
                np.unpackbits(arrays["lungs"], axis=1, count=int(arrays["lungs.columns"])),
                BundleRef(**lungs["bundle"]),
            )
            if lungs
            else None,
            picture=Picture(picture["sop_instance_uid"], (picture["shape"][0], picture["shape"][1]), arrays["picture"])
            if picture
            else None,
            provenance=data["provenance"],
            embedding=tuple(data.get("embedding", ())),
        )


def _without_array(item: SaliencyMap | LungMask | Picture) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for f in dataclasses.fields(item):
        value = getattr(item, f.name)
        if f.name not in ("values", "placed"):
            plain[f.name] = dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
    return plain


def _placed(arrays: dict[str, NDArray[Any]], name: str) -> NDArray[np.float32] | Spread:
    if name in arrays:
        return arrays[name]
    return Spread(arrays[f"{name}.grid"], arrays[f"{name}.rows"], arrays[f"{name}.columns"])


def _finding(data: dict[str, Any]) -> Finding:
    return Finding(**{**data, "code": Code(*data["code"]), "decision": Decision(data["decision"])})


def probability_text(value: float) -> str:
    """Return two decimals, and never a certainty that no model has: ``>0.99``, ``<0.01``."""
    if value < 0.005:
        return "<0.01"
    return ">0.99" if value >= 0.995 else f"{value:.2f}"
