"""Up to six pictures: the highest false positives, the lowest false negatives, and one right call of each kind."""

from __future__ import annotations

from pathlib import Path

import cv2

from dicom_node.core.findings import Decision, Findings
from dicom_node.imaging.overlay import draw_on
from dicom_node.imaging.overlay_bands import Caption, ClassBar
from models.training.evaluate_bundle.figures import group_of
from models.training.evaluate_bundle.reading import Read, Reader

WARNING = "RESEARCH USE ONLY - NOT FOR DIAGNOSIS"


def choose(read: Read, tau: float, views: list[str] | None, people: str = "adults") -> list[tuple[str, int]]:
    """Return what each picture shows, and the place of its image in ``read``: never a patient twice. No ``views``: all."""
    mine = [n for n, row in enumerate(read.rows) if group_of(row) == people and (views is None or row.view in views)]
    p = read.probabilities
    called = sorted((n for n in mine if p[n] >= tau), key=lambda n: -p[n])
    quiet = sorted((n for n in mine if p[n] < tau), key=lambda n: p[n])
    wanted = (
        ("false positive", [n for n in called if not read.rows[n].abnormal], 2),
        ("false negative", [n for n in quiet if read.rows[n].abnormal], 2),
        ("true positive", [n for n in called if read.rows[n].abnormal], 1),
        ("true negative", [n for n in quiet if not read.rows[n].abnormal], 1),
    )
    shown: list[tuple[str, int]] = []
    seen: set[str] = set()
    for kind, candidates, most in wanted:
        taken = 0
        for n in candidates:
            if taken < most and read.rows[n].patient not in seen:
                seen.add(read.rows[n].patient)
                shown.append((kind, n))
                taken += 1
    return shown


def write(reader: Reader, data: Path, read: Read, chosen: list[tuple[str, int]], folder: Path) -> list[dict[str, object]]:
    """Read the chosen images once more, draw them as PNG, and return what each file shows."""
    listed: list[dict[str, object]] = []
    for count, (kind, n) in enumerate(chosen, 1):
        row, line = read.rows[n], read.lines[n]
        found = reader.read(data, line, row)
        if found.picture is None:
            continue
        first = found.maps[0] if found.maps else None
        drawn = draw_on(
            found.picture.values,
            found.picture.shape,
            caption(found, f"{kind}: line {line} of the list, {row.source}, labelled {row.label}"),
            saliency=first.placed if first else None,
            lungs=found.lungs.values if found.lungs else None,
        )
        name = f"overlay-{count}-{kind.replace(' ', '-')}.png"
        done, png = cv2.imencode(".png", drawn.pixels[:, :, ::-1])
        if not done:
            raise OSError(f"{name} cannot be written")
        (folder / name).write_bytes(png.tobytes())
        listed.append({"file": name, "kind": kind, "line": line, "source": row.source, "probability": read.probabilities[n]})
    return listed


def caption(found: Findings, told: str) -> Caption:
    """Return the words around a picture."""
    bars = tuple(
        ClassBar(
            name=f.code.meaning,
            probability=None if f.decision is Decision.NOT_ASSESSED else f.probability,
            threshold=f.threshold,
            positive=f.decision is Decision.POSITIVE,
            note=f.note,
        )
        for f in found.findings
    )
    return Caption(
        warnings=(WARNING,),
        headline=found.headline,
        tone=found.zone.value if found.zone else "",
        bars=bars,
        lines=(f"Evaluation, {told}.", *(f"Note: {flag.text}" for flag in found.flags), "Not reviewed by a radiologist."),
        map_name=found.maps[0].method_name if found.maps else "",
        lung_name=f"Lungs as segmented by {found.lungs.bundle.label}" if found.lungs else "",
    )
