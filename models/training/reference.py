"""What later images are compared with: the arrays of a classifier bundle's ``reference.npz``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


def of_embeddings(embeddings: NDArray[np.floating[Any]]) -> Arrays:
    """Return where the training images' embeddings (n, K) lie, as ``pipelines/blocks/classify.py`` reads it.

    Centre and precision (inverse covariance) for the distance of Mahalanobis, the covariance shrunk by a tenth towards its
    diagonal; the quantiles of that distance, and the limit beyond which one in 200 of these images lies.
    """
    centre = embeddings.mean(0)
    spread = np.cov(embeddings.T) + 1e-6 * np.eye(embeddings.shape[1])
    precision = np.linalg.inv(0.9 * spread + 0.1 * np.diag(np.diag(spread)))
    distances = np.sqrt(np.einsum("nk,kl,nl->n", embeddings - centre, precision, embeddings - centre))
    return {
        "embedding_mean": centre.astype(np.float32),
        "embedding_precision": precision.astype(np.float32),
        "embedding_distance_quantiles": np.quantile(distances, np.linspace(0, 1, 101)).astype(np.float32),
        "distance_limit": np.asarray(np.quantile(distances, 0.995), np.float32),
    }


def of_scores(scores: NDArray[np.float64]) -> Arrays:
    """Return how the probabilities (n,) of images that nothing was learned from are spread."""
    return {
        "score_deciles": np.quantile(scores, np.linspace(0, 1, 11)).astype(np.float32),
        "score_histogram": np.histogram(scores, 20, (0, 1))[0].astype(np.int32),
    }
