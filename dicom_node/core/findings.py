"""What a pipeline says: findings with their probabilities, a decision under a policy, maps and masks, or an abstention."""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_node.core.bundle_ref import BundleRef
from dicom_node.core.codes import Code
from dicom_node.core.maps import LungMask, LungVolume, PackedSlices, Picture, SaliencyMap, Spread

__all__ = [
    "Abstention",
    "BundleRef",
    "Decision",
    "Finding",
    "Findings",
    "Flag",
    "LungMask",
    "LungVolume",
    "Measurement",
    "NotRead",
    "Picture",
    "PolicyRef",
    "SaliencyMap",
    "SliceScore",
    "Spread",
    "Zone",
    "probability_text",
]


class Decision(enum.StrEnum):
    """What the policy says of one finding."""

    POSITIVE = "positive"  # at or above the operating threshold
    NEGATIVE = "negative"  # below the operating threshold
    NOT_ASSESSED = "not_assessed"  # the model cannot speak about this class


class Zone(enum.StrEnum):
    """Where the whole result lies."""

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

    @property
    def gray_zone(self) -> tuple[float, float] | None:
        """The lower and upper threshold; ``None`` where the policy has no zone between them."""
        low, high = self.threshold_low, self.threshold_high
        return (low, high) if low is not None and high is not None and low < high else None


@dataclass(frozen=True)
class PolicyRef:
    """Which operating point decided. ``guarantee`` is a sentence: what is promised, or "no valid guarantee" and why."""

    name: str
    sha256: str
    feasible: bool
    guarantee: str

    @property
    def sentence(self) -> str:
        """What a reader is told: ``Policy "screening": sensitivity >= 0.90 …``; a bundle may begin its guarantee with "none"."""
        promise = self.guarantee.rstrip(".") or "no valid guarantee"
        if promise == "none" or promise.startswith("none:"):
            promise = "no guarantee" + promise.removeprefix("none")
        return f'Policy "{self.name}": {promise}.'


@dataclass(frozen=True)
class SliceScore:
    """What the network said of one slice. ``probability`` as the network gave it, 0..1; the patient's is made of all of them."""

    sop_instance_uid: str
    frame: int | None  # of a multi-frame object, counted from 1
    probability: float
    how: str  # why this slice: "marked" by a person, or "automatic"


@dataclass(frozen=True)
class Measurement:
    """A number beside the findings, e.g. what the clinical data contributed."""

    name: str  # lower case: "clinical_contribution"
    code: Code
    value: float
    unit: Code


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
    picture: Picture | None = None  # the first of ``pictures``: whoever gives one alone need not make a tuple of it
    provenance: dict[str, Any] = field(default_factory=dict)  # preprocessing facts: JSON values only
    embedding: tuple[float, ...] = ()  # what the deciding network made of the image: to tell which cases are alike
    slices: tuple[SliceScore, ...] = ()  # of a volume: those that the network read, feet to head
    measurements: tuple[Measurement, ...] = ()
    lung_volume: LungVolume | None = None
    pictures: tuple[Picture, ...] = ()  # the key slices of a volume, the highest first

    def __post_init__(self) -> None:
        """Keep ``picture`` and ``pictures`` one thing; ``pictures`` tells where both are given."""
        if self.pictures:
            object.__setattr__(self, "picture", self.pictures[0])
        elif self.picture is not None:
            object.__setattr__(self, "pictures", (self.picture,))

    @property
    def status(self) -> str:
        """``analysed`` or ``not_analysed``."""
        return "not_analysed" if self.abstention else "analysed"

    @property
    def left(self) -> list[tuple[str, str]]:
        """Reason and detail of every image that was not read; none where the refusal itself says it of the only one."""
        said = [(one.reason, one.detail) for one in self.not_read]
        return [] if self.abstention and said == [(self.abstention.reason, self.abstention.detail)] else said

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
        bare = dataclasses.replace(self, maps=(), lungs=None, picture=None, pictures=(), lung_volume=None)
        plain = dataclasses.asdict(bare)
        plain["maps"] = [_without_array(m) for m in self.maps]
        plain["lungs"] = _without_array(self.lungs) if self.lungs else None
        plain["lung_volume"] = _without_array(self.lung_volume) if self.lung_volume else None
        plain["pictures"] = [_without_array(p) for p in self.pictures]
        del plain["picture"]
        return plain

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name: ``map0`` (or its ``.grid``, ``.rows``, ``.columns``), ``picture0``, …, lungs in bits."""
        named: dict[str, NDArray[Any]] = {}
        for n, one in enumerate(self.maps):
            if isinstance(one.placed, Spread):
                named |= {f"map{n}.{part}": getattr(one.placed, part) for part in ("grid", "rows", "columns")}
            else:
                named[f"map{n}"] = one.placed
        if self.lungs is not None:
            named["lungs"] = np.packbits(self.lungs.values, axis=1)
            named["lungs.columns"] = np.asarray(self.lungs.values.shape[1])
        if self.lung_volume is not None:
            packed = self.lung_volume.packed()
            named["lung_volume.columns"] = np.asarray(packed.columns)
            named |= {f"lung_volume.{value}": plane for value, plane in packed.planes.items()}
        named |= {f"picture{n}": picture.values for n, picture in enumerate(self.pictures)}
        return named

    @classmethod
    def from_json(cls, data: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Findings:
        """Rebuild what ``to_json`` and ``arrays`` gave."""
        lungs, volume = data["lungs"], data.get("lung_volume")
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
            provenance=data["provenance"],
            embedding=tuple(data.get("embedding", ())),
            slices=tuple(SliceScore(**s) for s in data.get("slices", ())),
            measurements=tuple(
                Measurement(**{**m, "code": Code(*m["code"]), "unit": Code(*m["unit"])}) for m in data.get("measurements", ())
            ),
            lung_volume=_lung_volume(volume, arrays) if volume else None,
            pictures=_pictures(data, arrays),
        )


def _without_array(item: SaliencyMap | LungMask | LungVolume | Picture) -> dict[str, Any]:
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


def _lung_volume(data: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> LungVolume:
    named = {name.removeprefix("lung_volume."): plane for name, plane in arrays.items() if name.startswith("lung_volume.")}
    planes = {int(value): plane for value, plane in named.items() if value.isdigit()}
    packed = PackedSlices(planes, int(arrays["lung_volume.columns"]))
    bundle = BundleRef(**data["bundle"]) if data["bundle"] else None
    return LungVolume(tuple((uid, frame) for uid, frame in data["slices"]), packed, data["method"], bundle)


def _pictures(data: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> tuple[Picture, ...]:
    """Return the pictures; findings that an older version of the node wrote hold one at most."""
    if "pictures" not in data:
        said, named = [data["picture"]] if data.get("picture") else [], ["picture"]
    else:
        said, named = data["pictures"], [f"picture{n}" for n in range(len(data["pictures"]))]
    return tuple(
        Picture(one["sop_instance_uid"], (one["shape"][0], one["shape"][1]), arrays[name], one.get("frame"))
        for one, name in zip(said, named, strict=False)
    )


def _finding(data: dict[str, Any]) -> Finding:
    return Finding(**{**data, "code": Code(*data["code"]), "decision": Decision(data["decision"])})


def probability_text(value: float) -> str:
    """Return two decimals, and never a certainty that no model has: ``>0.99``, ``<0.01``."""
    if value < 0.005:
        return "<0.01"
    return ">0.99" if value >= 0.995 else f"{value:.2f}"
