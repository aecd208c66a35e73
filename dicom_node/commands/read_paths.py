"""Files and folders -> studies, and a reason for every file that is not read."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

from dicom_node.core.errors import StudyError
from dicom_node.core.identifiers import study_key
from dicom_node.core.marks import marked_slices
from dicom_node.core.study import Instance, Study
from dicom_node.imaging.header import read_instance

_SKIPPED_FOLDERS = frozenset({"__MACOSX", ".git"})


def read_studies(paths: Iterable[Path]) -> tuple[list[Study], list[tuple[Path, str]]]:
    """Read headers and group them by study, as the node would hold them.

    The node's own results are left out, as the node leaves them out; of one SOP Instance in several files the first is kept.

    Returns
    -------
    studies
        In order of the first file of each.
    not_read
        Path and reason of every file that is no readable DICOM object, is a repetition, or is the node's own.
    """
    by_study: dict[str, dict[str, Instance]] = {}
    not_read: list[tuple[Path, str]] = []
    for path in _files(paths, not_read):
        try:
            instance = read_instance(path)
        except StudyError as error:
            not_read.append((path, str(error)))
            continue
        if instance.facts.made_by_this_node:
            not_read.append((path, "This is a result that this node made; it is never analysed."))
            continue
        held = by_study.setdefault(instance.study_instance_uid, {})
        if instance.sop_instance_uid in held:
            same = held[instance.sop_instance_uid].digest == instance.digest
            not_read.append(
                (path, "The same object again." if same else "Another object under the same UID; the first file is kept.")
            )
            continue
        held[instance.sop_instance_uid] = instance
    studies = [Study(study_key(uid), uid, tuple(held.values())) for uid, held in by_study.items()]
    return [dataclasses.replace(study, marks=marked_slices(study.instances)) for study in studies], not_read


def _files(paths: Iterable[Path], not_read: list[tuple[Path, str]]) -> Iterator[Path]:
    """Yield each file once, those of a folder in the order of their names."""
    seen: set[Path] = set()
    for given in paths:
        if given.is_dir():
            found = sorted(
                p for p in given.rglob("*") if p.is_file() and not _SKIPPED_FOLDERS.intersection(p.relative_to(given).parts)
            )
            if not found:
                not_read.append((given, "The folder holds no file."))
        elif given.is_file():
            found = [given]
        else:
            not_read.append((given, "There is no such file or folder."))
            continue
        for path in found:
            if path.resolve() not in seen:
                seen.add(path.resolve())
                yield path
