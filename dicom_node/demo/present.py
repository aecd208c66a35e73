"""Writes the answers where a person can look at them: objects, a picture, text."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from pydicom import Dataset, dcmwrite

DSRDUMP = Path("/usr/bin/dsrdump")


def write_answers(
    out: Path, name: str, story: dict[str, Any], results: Path, back: Sequence[Dataset]
) -> list[tuple[Path, Dataset]]:
    """Write what came back from the PACS, the messages as sent, and pictures and text made from them; return the objects' files."""
    folder = out / name
    folder.mkdir(parents=True)
    files: list[tuple[Path, Dataset]] = []
    for number, dataset in enumerate(sorted(back, key=lambda d: (int(d.SeriesNumber), int(d.InstanceNumber))), start=1):
        files.append((write_object(folder, number, dataset), dataset))
        if dataset.Modality == "OT":
            picture = Image.fromarray(dataset.pixel_array)
            picture.save(folder / ("overlay.png" if dataset.InstanceNumber == 1 else f"overlay-{dataset.InstanceNumber}.png"))
            if not (out / "overlay.png").exists():
                picture.save(out / "overlay.png")
    for item in story["artifacts"]:
        source = results / item["storage_key"]
        if source.suffix == ".json":
            (folder / "fhir.json").write_text(
                json.dumps(json.loads(source.read_bytes()), indent=2, ensure_ascii=False), encoding="utf-8"
            )
        elif source.suffix == ".hl7":
            (folder / "oru.txt").write_bytes(source.read_bytes().replace(b"\r", b"\n"))
    (folder / "story.json").write_text(json.dumps(story, indent=2, ensure_ascii=False, default=str), encoding="utf-8")
    return files


def write_object(folder: Path, number: int, dataset: Dataset) -> Path:
    """Write an object, a report as text beside it; return the object's file."""
    file = folder / f"{number}-{_slug(str(dataset.get('SeriesDescription', 'object')))}.dcm"
    dcmwrite(file, dataset, enforce_file_format=True)
    if dataset.Modality == "SR":
        file.with_suffix(".txt").write_text(_report_text(file, dataset), encoding="utf-8")
    return file


def _report_text(file: Path, dataset: Dataset) -> str:
    """Return the report as DCMTK prints it, else its content items line by line."""
    if DSRDUMP.exists():
        done = subprocess.run([DSRDUMP, "-Ei", "+Pl", file], capture_output=True, check=False)
        if done.returncode == 0:
            return done.stdout.decode("utf-8", "replace")
    return "\n".join(_lines(dataset, 0)) + "\n"


def _lines(item: Dataset, depth: int) -> list[str]:
    lines = []
    for child in item.get("ContentSequence", []):
        name = child.ConceptNameCodeSequence[0].CodeMeaning if child.get("ConceptNameCodeSequence") else ""
        value = child.get("TextValue", "")
        if child.get("ConceptCodeSequence"):
            value = child.ConceptCodeSequence[0].CodeMeaning
        if child.get("MeasuredValueSequence"):
            value = child.MeasuredValueSequence[0].NumericValue
        lines.append(f"{'  ' * depth}{name}: {value}".rstrip(": "))
        lines += _lines(child, depth + 1)
    return lines


def _slug(text: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in text).lower().split())
