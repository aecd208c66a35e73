"""What a classifier bundle makes of every radiograph of the research set: embedding and logit, computed once and kept in a file.

Images are read and cropped by the node's own blocks, so a row here is what the node itself would have kept of the image.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.bundle import load_bundle
from models.session import Session
from models.training.data import Row, index_hash, read_gray
from pipelines.blocks.lungs import LungLimits, find_lungs
from pipelines.blocks.prepare_cxr import prepare


class Embedded(NamedTuple):
    """``embedding``: float32 (n, K). ``logit``: float32 (n,), of the bundle's first class. Rows in the order that was asked."""

    embedding: NDArray[np.float32]
    logit: NDArray[np.float32]


def embed(data: Path, rows: Sequence[Row], classifier: Path, lungs: Path, cache: Path) -> Embedded:
    """Return what the bundle makes of ``rows``; read from ``cache`` where the same images went through the same bundles."""
    network, finder = load_bundle(classifier), load_bundle(lungs)
    asked = [network.sha256, finder.sha256, index_hash(data), *(row.image_id for row in rows)]
    name = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
    kept = Path(cache) / f"embeddings-{name}.npz"
    if kept.exists():
        with np.load(kept, allow_pickle=False) as stored:
            return Embedded(stored["embedding"], stored["logit"])
    session, looking = (Session(bundle.model, threads=1, device="cpu") for bundle in (network, finder))
    embedding, logit = [], []
    for row in rows:
        image = read_gray(data, row.file)
        seen = find_lungs(image, looking, finder.config, LungLimits())
        ready = prepare(image, network.config["preprocessing"], seen.box, lungs=seen.mask)
        said = session.run({"image": ready.network_input})
        embedding.append(said["embedding"][0])
        logit.append(said["logits"][0, 0])
    made = Embedded(np.asarray(embedding, np.float32), np.asarray(logit, np.float32))
    kept.parent.mkdir(parents=True, exist_ok=True)
    np.savez(kept, embedding=made.embedding, logit=made.logit)
    return made
