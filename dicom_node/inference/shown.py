"""What the page shows of a run once its arrays are gone: the image that was read, reduced, and each map as shades of gray.

Of a CT series these are the key slices, the highest first. One file in the run's own folder, deleted with it. The picture is
lossless: what a reader judges is what the network's input was made from. It is packed when somebody looks, not before: that takes
longer than many a model, and few results are looked at here.
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import cv2
import numpy as np
from numpy.typing import NDArray

from dicom_node.imaging.overlay import wash
from dicom_node.inference.findings_store import arrays_are_there, load_findings

_FILE, _FACTS = "shown.npz", "facts"
#: A map is smooth: so many points on its long side tell it all.
_MAP_SIDE = 320


@dataclass(frozen=True)
class ShownMap:
    """A map that can be laid over the image."""

    finding: str
    method: str
    evidence: bool  # whether anything is coloured


@dataclass(frozen=True)
class Shown:
    """A picture that can be shown. ``shape``: (rows, columns) of the source image; ``size``: (rows, columns) of the picture."""

    sop_instance_uid: str
    shape: tuple[int, int]
    size: tuple[int, int]
    maps: tuple[ShownMap, ...]
    frame: int | None = None  # of a multi-frame object, counted from 1


def keep_shown(folder: Path) -> None:
    """Write the file from the run's arrays; nothing where those are gone, or hold no picture."""
    if not arrays_are_there(folder):
        return
    findings = load_findings(folder)
    if not findings.pictures:
        return
    parts: dict[str, NDArray[np.uint8]] = {}
    said = []
    for place, picture in enumerate(findings.pictures):
        parts[_image(place)] = picture.values
        shown = picture.sop_instance_uid, picture.frame
        mine = [one for one in findings.maps if (one.sop_instance_uid, one.frame) == shown]
        kept = []
        for number, one in enumerate(mine):
            small = one.sampled(_MAP_SIDE)
            highest = float(small.max(initial=0.0))
            gray = cv2.convertScaleAbs(small, alpha=255 / highest if highest > 0 else 0)
            parts[_map(place, number)] = np.asarray(gray, np.uint8)
            kept.append({"finding": one.finding_key, "method": one.method_name, "evidence": highest > 0})
        which = {"sop_instance_uid": picture.sop_instance_uid, "frame": picture.frame}
        said.append({**which, "shape": picture.shape, "size": picture.values.shape, "maps": kept})
    parts[_FACTS] = np.frombuffer(json.dumps({"pictures": said}).encode(), np.uint8)
    _write(folder / _FILE, parts)


def load_shown(folder: Path) -> tuple[Shown, ...]:
    """Return what can be shown, the first picture first; nothing when nothing was kept."""
    try:
        if not (folder / _FILE).exists():
            keep_shown(folder)  # the worker has not come to it since the result was sent, or died before it
        facts = json.loads(_part(folder, _FACTS).tobytes())
    except (OSError, ValueError):
        return ()
    return tuple(_shown(one) for one in facts.get("pictures", [facts]))  # a file of an older node has one picture


def _shown(facts: dict[str, Any]) -> Shown:
    shape, size = ((int(facts[name][0]), int(facts[name][1])) for name in ("shape", "size"))
    maps = tuple(ShownMap(**one) for one in facts["maps"])
    return Shown(str(facts["sop_instance_uid"]), shape, size, maps, facts.get("frame"))


def image_png(folder: Path, place: int = 0) -> bytes:
    """Return a picture, the first of a run unless told otherwise. Raises ``OSError`` where there is none."""
    return _png(_part(folder, _image(place)))


def map_png(folder: Path, number: int, place: int = 0) -> bytes:
    """Return the colours of a map of a picture, of its size, transparent where nothing is coloured. Raises ``OSError``."""
    pictures = load_shown(folder)
    if not 0 <= place < len(pictures) or not 0 <= number < len(pictures[place].maps):
        raise FileNotFoundError("no such map")
    whole = cv2.resize(_part(folder, _map(place, number)), pictures[place].size[::-1], interpolation=cv2.INTER_LINEAR)
    return _png(cv2.cvtColor(wash(np.asarray(whole, np.uint8)), cv2.COLOR_RGBA2BGRA))


def _image(place: int) -> str:
    return f"image{place or ''}"


def _map(place: int, number: int) -> str:
    return f"map{number}" if place == 0 else f"map{place}.{number}"


def _png(pixels: NDArray[np.uint8] | cv2.Mat) -> bytes:
    _, data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return bytes(data)


def _part(folder: Path, name: str) -> NDArray[np.uint8]:
    try:
        with (folder / _FILE).open("rb") as handle, np.load(handle, allow_pickle=False) as parts:
            return np.asarray(parts[name], np.uint8)
    except (ValueError, KeyError, BadZipFile) as error:
        raise OSError("the file of what is shown is damaged") from error


def _write(target: Path, parts: dict[str, NDArray[np.uint8]]) -> None:
    temporary = target.with_name(f".{uuid.uuid4().hex}{target.suffix}")
    try:
        with temporary.open("wb") as handle:
            np.savez(handle, **parts)  # type: ignore[arg-type]
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(target)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
