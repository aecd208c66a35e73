"""The gate of the shipped lung bundle, on drawn pictures of which it has seen none."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from dicom_node.core.abstentions import REASONS
from models.bundle import SHIPPED, find_bundle, load_bundle
from models.phantoms.cxr import chest_phantom
from models.phantoms.other_views import abdomen, lateral, limb
from models.session import Session
from pipelines.blocks.frontal_gate import FRONTAL, KINDS, OTHER, REFUSALS, FrontalGate, Judged, load_gate
from pipelines.blocks.lungs import LungLimits, Lungs, find_lungs

BUNDLE = load_bundle(find_bundle("lungs_cxr", None, [SHIPPED]))
SIZE = 320


@pytest.fixture(scope="module")
def gate() -> FrontalGate:
    found = load_gate(BUNDLE.folder, BUNDLE.sha256)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def session() -> Session:
    return Session(BUNDLE.model, threads=1, device="cpu")


def lungs_of(image: np.ndarray, session: Session) -> Lungs:
    return find_lungs(np.ascontiguousarray(image), session, BUNDLE.config, LungLimits())


@pytest.mark.parametrize("seed", [61, 62])
def test_a_chest_passes_whatever_its_header_says(seed: int, gate: FrontalGate, session: Session) -> None:
    judged = gate.judge(lungs_of(chest_phantom(seed, SIZE)[0], session))
    assert set(judged.probabilities) == set(KINDS)
    assert sum(judged.probabilities.values()) == pytest.approx(1)
    assert gate.refusal(judged, stated=True) == gate.refusal(judged, stated=False) == ("", "")


@pytest.mark.parametrize(
    ("name", "codes", "headers"),
    [
        ("on its side", {"rotated"}, (True, False)),
        ("upside down", {"rotated"}, (True, False)),
        ("negative", {"inverted"}, (True, False)),
        ("lateral", {"not_frontal", "lungs_not_found"}, (True, False)),
        ("abdomen", {"lungs_not_found"}, (True, False)),
        ("knee", {"lungs_not_found"}, (False,)),  # one in thirty drawn knees passes under a header that says chest PA: see the card
    ],
)
def test_what_is_no_upright_frontal_chest_is_refused_by_name(
    name: str, codes: set[str], headers: tuple[bool, ...], gate: FrontalGate, session: Session
) -> None:
    chest = chest_phantom(63, SIZE)[0]
    drawn = {
        "on its side": lambda: np.rot90(chest),
        "upside down": lambda: chest[::-1, ::-1],
        "negative": lambda: 1 - chest,
        "lateral": lambda: lateral(63, SIZE),
        "abdomen": lambda: abdomen(63, SIZE),
        "knee": lambda: limb(63, SIZE),
    }
    judged = gate.judge(lungs_of(drawn[name](), session))
    for stated in headers:
        assert gate.refusal(judged, stated=stated)[0] in codes, (stated, judged.probabilities)


def test_every_refusal_of_the_gate_is_a_reason_of_the_node(gate: FrontalGate) -> None:
    assert set(REFUSALS) == set(KINDS) - {FRONTAL}
    assert {code for code, _ in REFUSALS.values()} <= set(REASONS)
    certain = Judged({kind: float(kind == OTHER) for kind in KINDS})
    assert gate.refusal(certain, stated=True)[0] == "lungs_not_found"


def test_a_stated_header_is_believed_further_than_a_silent_one(gate: FrontalGate) -> None:
    assert 0 < gate.thresholds["stated"] < gate.thresholds["silent"] < 1
    between = sum(gate.thresholds.values()) / 2
    judged = Judged({kind: between if kind == FRONTAL else (1 - between) / 4 for kind in KINDS})
    assert gate.refusal(judged, stated=True) == ("", "")
    assert gate.refusal(judged, stated=False) != ("", "")


def test_the_gate_costs_a_few_milliseconds(gate: FrontalGate, session: Session) -> None:
    lungs = lungs_of(chest_phantom(61, SIZE)[0], session)
    took = []
    for _ in range(20):
        started = time.thread_time()
        gate.judge(lungs)
        took.append(time.thread_time() - started)
    assert min(took) < 0.005


def test_a_bundle_without_a_gate_has_none_and_one_of_another_version_is_not_misread(tmp_path: Path, gate: FrontalGate) -> None:
    assert load_gate(tmp_path, "no gate") is None
    for name in ("gate.npz", "gate.yaml"):
        (tmp_path / name).write_bytes((BUNDLE.folder / name).read_bytes())
    said = yaml.safe_load((tmp_path / "gate.yaml").read_text())
    assert load_gate(tmp_path, "same") is not None
    (tmp_path / "gate.yaml").write_text(yaml.safe_dump({**said, "features": said["features"][::-1]}))
    with pytest.raises(ValueError, match="features"):
        load_gate(tmp_path, "other")
