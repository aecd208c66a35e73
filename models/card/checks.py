"""Do the maps explain; how often do the gates err; does the answer hold when the picture changes; what does it cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.training.markdown import change, interval, number, table


def explanations(metrics: Mapping[str, Any]) -> list[str]:
    """Return the randomisation test and the pointing game, a row a map."""
    told = metrics.get("explanations")
    if not told or not told.get("maps"):
        return []
    head = ("map", "strongest in a box", "guess: middle of that lung", "guess: centre of the lungs", "energy in box (even map)",
            "in a box, images learned from", "likeness, new last layer / last block", "randomisation")  # fmt: skip
    rows = [_explained(name, check) for name, check in told["maps"].items()]
    note = (
        "Patients whose map is strongest inside a radiologist's box, of those whose images the network neither learned from nor "
        "was chosen by; the guesses need no network. Likeness: Spearman correlation with the map after the last layer, then the "
        "last block too, were drawn anew (Adebayo et al., 2018); it must fall below 0.5."
    )
    return ["## Do its maps explain?", table(head, rows), note]


def _explained(name: str, check: Mapping[str, Any]) -> tuple[str, ...]:
    places, random = check.get("pointing") or {}, check.get("randomisation")
    unseen, seen = places.get("unseen") or {}, places.get("seen") or {}
    energy, even = unseen.get("energy_in_boxes"), unseen.get("box_area")
    alike, verdict = "-", "-"
    if random:
        alike = " / ".join("no part of it" if s["untouched"] else number(s["spearman"], 2) for s in random["steps"])
        verdict = "passes" if random["passes"] else "FAILS"
    return (
        name,
        _hits(unseen, "pointing"),
        _hits(unseen, "middle_of_a_lung"),
        _hits(unseen, "centre_of_lungs"),
        f"{number(energy[0], 2)} ({number(even[0], 2)})" if energy and even else "-",
        _hits(seen, "pointing"),
        alike,
        verdict,
    )


def _hits(places: Mapping[str, Any], name: str) -> str:
    return f"{places[name]['hits']}/{places[name]['n']}" if name in places else "-"


def gates(metrics: Mapping[str, Any]) -> list[str]:
    """Return the gates' errors as counts with intervals."""
    rows, text = metrics.get("gates", []), metrics.get("gates_text", "")
    if not rows and not text:
        return []
    lines = [
        (r["gate"], r["wrong_to"], r.get("people", "-"), f"{r['hits']}/{r['n']}", interval(r["clopper_pearson"])) for r in rows
    ]
    head = ("gate", "error", "people", "errors", "share (Clopper-Pearson)")
    return ["## How often its gates err", *([table(head, lines)] if lines else []), *([text] if text else [])]


def steadiness(metrics: Mapping[str, Any]) -> list[str]:
    """Return what changed pictures, pasted opacities and temperature do, and the speed: a line each."""
    lines = []
    if changes := metrics.get("stability"):
        worst = max(changes, key=lambda e: abs(e["difference"][0]))
        lines.append(
            f"Changed pictures ({', '.join(e['change'] for e in changes)}): the AUC changes most under {worst['change']}, by "
            f"{change(worst['difference'])}."
        )
    if pasted := metrics.get("pasted"):
        lines.append(
            f"Reacts to an opacity: of {pasted['n']} normal test radiographs {pasted['higher']} score higher once one is laid "
            f"into a lung ({interval(pasted['wilson'])}, Wilson)."
        )
    if judged := metrics.get("calibration"):
        after, before = judged["after"], judged["before"]
        lines.append(
            f"Calibration (n={after['n']}): Brier {number(after['brier'])}, ECE {number(after['ece'])}; before the temperature "
            f"{number(before['brier'])} and {number(before['ece'])}."
        )
    if speed := metrics.get("speed"):
        ratio = speed.get("map_cost_ratio")
        maps = "" if ratio is None else f"; with its maps {ratio:.2f} times what it costs without"
        lines.append(f"Speed: {speed['ms_per_image']:.1f} ms of CPU an image (ONNX Runtime, {speed['threads']} thread){maps}.")
    return ["## Other checks", "\n".join(f"- {line}" for line in lines)] if lines else []
