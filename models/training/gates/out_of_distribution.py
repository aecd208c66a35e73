"""How far an image lies from those a classifier learned from: fit that distance of a bundle anew, its limit on unseen images.

``python -m models.training.gates.out_of_distribution --bundle DIR --data DIR``. The distance is that of Mahalanobis from the nearer
of two centres (normal, abnormal) with one covariance for both (Lee et al., NeurIPS 2018), shrunk as Ledoit and Wolf (2004) do. The
limit is chosen on adults of the part ``calibration``: training images lie nearer to their own centres than new ones do, so a limit
chosen on them would flag too many. Weights, thresholds and temperature of the bundle stay as they are; its hash changes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf

from models.bundle import Bundle, load_bundle
from models.card import rewrite
from models.training.cxr.start import shipped_lungs
from models.training.data import adult, read_index
from models.training.embeddings import embed
from models.training.package import save_reference

#: Of 1,000 new images of the kind it learned from, how many may be called unlike them.
FLAGGED = 0.005

Floats = NDArray[np.float64]


def fit(learned: NDArray[np.float32], labels: NDArray[np.intp], held: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Return the arrays of ``reference.npz`` that ``pipelines/blocks/classify.py`` reads.

    Parameters
    ----------
    learned
        Embeddings of the training images, (n, k).
    labels
        0 or 1 for each of them.
    held
        Embeddings of other images of the same kind, (m, k): the limit is chosen on them.
    """
    x = np.asarray(learned, np.float64)
    centres = np.stack([x[labels == label].mean(0) for label in np.unique(labels)])
    away = x - centres[np.searchsorted(np.unique(labels), labels)]
    covariance, _ = ledoit_wolf(away, assume_centered=True)
    precision = np.linalg.inv(covariance + 1e-9 * np.trace(covariance) / len(covariance) * np.eye(len(covariance)))
    distances = nearest(np.asarray(held, np.float64), centres, precision)
    return {
        "embedding_mean": centres.astype(np.float32),
        "embedding_precision": precision.astype(np.float32),
        "embedding_distance_quantiles": np.quantile(distances, np.linspace(0, 1, 101)).astype(np.float32),
        "distance_limit": np.asarray(np.quantile(distances, 1 - FLAGGED, method="higher"), np.float32),
    }


def nearest(embeddings: Floats, centres: Floats, precision: Floats) -> Floats:
    """Return the distance of each embedding (n, k) from the nearest centre (c, k)."""
    away = embeddings[:, None] - centres[None]
    return np.sqrt(np.maximum(np.einsum("nck,kl,ncl->nc", away, precision, away).min(1), 0))


def refit(folder: Path, data: Path, lungs: Path, cache: Path) -> Bundle:
    """Fit the distance of the bundle in ``folder`` anew, write it there, and return the bundle."""
    load_bundle(folder)  # a damaged bundle must not get sound hashes by this
    adults = [row for row in read_index(data) if adult(row)]
    learn, hold = ([row for row in adults if row.part == part] for part in ("train", "calibration"))
    learned, held = embed(data, learn, folder, lungs, cache), embed(data, hold, folder, lungs, cache)
    with np.load(folder / "reference.npz", allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    arrays |= fit(learned.embedding, np.array([row.abnormal for row in learn]), held.embedding)
    save_reference(folder, **arrays)
    return rewrite(folder)


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(prog="python -m models.training.gates.out_of_distribution", description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True, help="classifier bundle; its reference.npz is written anew")
    parser.add_argument("--data", type=Path, required=True, help="research set that the bundle learned from")
    parser.add_argument("--lungs", type=Path, help="lung bundle (default: the shipped one)")
    options = parser.parse_args()
    with TemporaryDirectory() as cache:
        made = refit(options.bundle, options.data, options.lungs or shipped_lungs(), Path(cache))
    print(f"{made.label}  sha256: {made.sha256}")


if __name__ == "__main__":
    main()
