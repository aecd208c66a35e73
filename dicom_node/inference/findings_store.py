"""Findings on disk: ``findings.json`` and ``arrays.npz`` in the run's own folder. Whole or not there at all."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path

import numpy as np

from dicom_node.core.findings import Findings

_JSON = "findings.json"
_ARRAYS = "arrays.npz"


def save_findings(folder: Path, findings: Findings) -> None:
    """Write both files. ``findings.json`` comes last: its presence says that the run is finished."""
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / _ARRAYS, lambda path: np.savez(path, **findings.arrays()))  # type: ignore[arg-type]
    text = json.dumps(findings.to_json(), ensure_ascii=False)
    _replace(folder / _JSON, lambda path: path.write_text(text, encoding="utf-8"))


def has_findings(folder: Path) -> bool:
    """Say whether the run's outcome is there."""
    return (folder / _JSON).exists()


def arrays_are_there(folder: Path) -> bool:
    """Say whether maps, masks and picture have not been deleted yet."""
    return (folder / _ARRAYS).exists()


def load_outcome(folder: Path) -> Findings:
    """Read the findings without maps, masks and picture."""
    data = json.loads((folder / _JSON).read_text(encoding="utf-8"))
    return Findings.from_json({**data, "maps": [], "lungs": None, "lung_volume": None, "pictures": []}, {})


def drop_arrays(folder: Path) -> None:
    """Delete maps, masks and picture once the objects made from them are there, and what a crash left half written."""
    (folder / _ARRAYS).unlink(missing_ok=True)
    for leftover in folder.glob(".*"):
        leftover.unlink(missing_ok=True)


def load_findings(folder: Path) -> Findings:
    """Read what ``save_findings`` wrote."""
    data = json.loads((folder / _JSON).read_text(encoding="utf-8"))
    with np.load(folder / _ARRAYS, allow_pickle=False) as arrays:
        return Findings.from_json(data, {name: arrays[name] for name in arrays.files})


def _replace(target: Path, write: object) -> None:
    # a name of its own for each process: of two that work on one run, neither may cut off what the other writes.
    # np.savez appends .npz to other suffixes, so it keeps the suffix
    temporary = target.with_name(f".{uuid.uuid4().hex}{target.suffix}")
    try:
        write(temporary)  # type: ignore[operator]
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(target)
    except OSError:
        temporary.unlink(missing_ok=True)  # a full disk must not fill further at each try
        raise
