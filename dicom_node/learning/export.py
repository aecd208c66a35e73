"""A training set to take away: de-identified images, labels with their lineage, regions, and a manifest of it all.

It is whole or not there: everything is written into a folder beside the target, which takes the target's name at the end.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.errors import InvalidDicomError

from dicom_node.core.errors import StoreError, StudyError, UsageError
from dicom_node.home import Home
from dicom_node.imaging.pixels import stored_values
from dicom_node.learning import kept_elements as kept
from dicom_node.learning.burned_in_text import has_writing
from dicom_node.learning.deidentify import Person, deidentified
from dicom_node.learning.export_lines import label_line, region_line
from dicom_node.learning.export_rows import Case, Filter, Image, Privacy, cases, changed, count_opt_outs
from dicom_node.learning.manifest import manifest
from dicom_node.learning.pseudonyms import Pseudonyms
from dicom_node.store.connect import reading

_BROKEN = (OSError, InvalidDicomError, StudyError, ValueError, AttributeError, KeyError, TypeError, NotImplementedError, EOFError)


@dataclass
class Written:
    """What lies in the folder so far. ``files``: path below it -> SHA-256 and size. ``left_out``: how many of what, by reason."""

    folder: Path
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)  # SOP Instance UID of the source -> path
    left_out: Counter[str] = field(default_factory=Counter)

    def write(self, name: str, data: bytes) -> None:
        """Write one file."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self.files[name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def export(database: sa.Engine, home: Home, out: Path, wanted: Filter, privacy: Privacy) -> dict[str, Any]:
    """Write a training set to ``out`` and return its manifest.

    Raises
    ------
    UsageError
        There is something in ``out`` already, or there is nothing to export.
    StoreError
        A patient opted out, or was erased, while it was written: run it again.
    OSError
        It cannot be written; nothing is left of it.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is not empty: an export goes into a folder of its own")
    names = Pseudonyms(home.site_key())
    with reading(database) as connection:
        found = cases(connection, wanted, privacy)
        opt_outs = count_opt_outs(connection)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.parent / f".{out.name}.{uuid.uuid4().hex}.partial"
    partial.mkdir(mode=0o700)
    try:
        written = Written(partial)
        exported = _write_cases(written, home, found, names)
        with reading(database) as connection:
            if changed(connection, exported, privacy):
                raise StoreError("a patient opted out or was erased while the export was written; nothing is kept: run it again")
        if not exported:
            raise UsageError(f"there is nothing to export. Left out: {dict(written.left_out) or 'nothing'}")
        made = manifest(found, exported, written.files, written.left_out, wanted, names, opt_outs)
        written.write("manifest.json", json.dumps(made, indent=1, sort_keys=True, ensure_ascii=False).encode())
        if out.exists():
            out.rmdir()
        os.replace(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return made


def _write_cases(written: Written, home: Home, found: Iterable[Case], names: Pseudonyms) -> list[Case]:
    """Write images, labels and regions; return the cases of which anything was."""
    exported, labels, regions = [], [], []
    for case in found:
        reason = "results: patient opted out" if case.opted_out else "results: patient unknown" if not case.person else ""
        if reason:
            written.left_out[reason] += 1
            continue
        person = person_of(case, names)
        for image in case.images:
            _write_image(written, home, image, person, names)
        images = {
            i.sop_instance_uid: written.images[i.sop_instance_uid] for i in case.images if i.sop_instance_uid in written.images
        }
        if not images:
            written.left_out["results: no image left"] += 1
            continue
        exported.append(case)
        labels += [label_line(case, label, person, images, names) for label in case.labels]
        regions += [line for one in case.regions if (line := region_line(case, *one, person, images, names))]
    written.write("labels.jsonl", _lines(labels))
    written.write("rois.jsonl", _lines(regions))
    return exported


def person_of(case: Case, names: Pseudonyms) -> Person:
    """Return whom the export makes of the patient of a case."""
    return Person(names.name("pt", case.person), names.days(case.person), case.years)


def _write_image(written: Written, home: Home, image: Image, person: Person, names: Pseudonyms) -> None:
    if image.sop_instance_uid in written.images:  # two pipelines read it
        return
    try:
        reason, data = _image(home, image, person, names)
    except _BROKEN:  # the message could quote the header
        reason, data = "images: unreadable", b""
    if reason:
        written.left_out[reason] += 1
        return
    path = f"images/{person.pseudonym}/{names.uid(image.sop_instance_uid)}.dcm"
    written.write(path, data)
    written.images[image.sop_instance_uid] = path


def _image(home: Home, image: Image, person: Person, names: Pseudonyms) -> tuple[str, bytes]:
    """Return why an image is left out, or its de-identified bytes."""
    if not image.storage_key:
        return "images: deleted", b""
    if image.sop_class_uid not in kept.SOP_CLASSES:
        return "images: kind of object", b""
    source = dcmread(home.store / image.storage_key)
    if str(source.get("BurnedInAnnotation", "") or "").strip().upper() == "YES":
        return "images: burned-in annotation", b""
    if str(source.get("PhotometricInterpretation", "")).strip() not in kept.WORDS["PhotometricInterpretation"]:
        return "images: not grayscale", b""
    pixels, _ = stored_values(source)
    if has_writing(pixels):
        return "images: writing in the picture", b""
    return "", _bytes(deidentified(source, pixels, person, names))


def _bytes(dataset: Dataset) -> bytes:
    from io import BytesIO

    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(row, sort_keys=True, ensure_ascii=False) + "\n" for row in rows).encode()
