"""Trainings that were finished are kept, so that a recipe which was stopped goes on where it was.

A training is named by everything that shapes it (settings, network, which slices); another name trains anew. Scores and weights lie
in ``<folder>/<name>-<hash>.npz``, written whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


def kept(folder: Path, name: str, facts: Mapping[str, Any], make: Callable[[], Arrays]) -> Arrays:
    """Return the arrays of the training ``name``: read where it was done with the same ``facts`` (JSON values), else made."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    path = folder / f"{name}-{digest}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        made = make()
        unfinished = path.with_name("." + path.name)
        np.savez(str(unfinished), allow_pickle=False, **made)
        os.replace(unfinished, path)
    with np.load(path, allow_pickle=False) as stored:
        return {key: stored[key] for key in stored.files}


def digest_of(*arrays: NDArray[Any]) -> str:
    """Return the SHA-256 of arrays: names the slices of a training."""
    whole = hashlib.sha256()
    for array in arrays:
        whole.update(str((array.dtype.str, array.shape)).encode() + np.ascontiguousarray(array).tobytes())
    return whole.hexdigest()
