"""What `embed` says of the vectors it has made: from a sample of the shards, and from all receipts."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ulmfit_ray.evaluation.vector_quality import VectorQuality
from ulmfit_ray.storage.embedding_dataset import first_vectors
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.parquet_dataset import BLOCK_ROWS
from ulmfit_ray.storage.receipts import Receipts, unknown_figures

SHARDS, ROWS = 40, 100
"""Of the sample: shards, evenly chosen, and vectors of each."""


def sampled(folder: Folder, shards: Sequence[str], where: str = "shards") -> np.ndarray:
    """Return vectors (N, D) of documents drawn from shards all over a data set; equal shards give an equal sample."""
    places = np.unique(np.linspace(0, len(shards) - 1, min(SHARDS, len(shards))).round().astype(int))
    random, found = np.random.default_rng(0), []
    for place in places:
        vectors = first_vectors(folder, f"{where}/{shards[place]}.parquet", BLOCK_ROWS)
        found.append(vectors[np.sort(random.permutation(len(vectors))[:ROWS])])
    return np.concatenate(found)


def quality_figures(folder: Folder, receipts: Receipts) -> dict[str, Any]:
    """Return what the manifest of an embedding dataset says of its vectors."""
    figures: dict[str, Any] = dict(unknown_figures(receipts))
    if receipts.has_all("num_repeated"):
        figures["num_repeated"] = receipts.total("num_repeated")
    vectors = sampled(folder, receipts.with_documents().names())
    if len(vectors) > 1:
        found = VectorQuality.of(vectors)
        figures |= {
            "lengths": [round(length, 4) for length in found.lengths],
            "mean_cosine": round(found.mean_cosine, 4),
            "cosine_deviation": round(found.deviation, 4),
        }
    return figures


def quality_rows(figures: dict[str, Any], num_documents: int) -> dict[str, object]:
    """Return the rows of the summary."""
    rows: dict[str, object] = {}
    if "num_repeated" in figures:
        share = figures["num_repeated"] / max(1, num_documents)
        rows["repeated within a shard"] = f"{figures['num_repeated']:,} ({share:.2%})"
    if "lengths" in figures:
        low, middle, high = figures["lengths"]
        rows["lengths of vectors, 1 / 50 / 99 %"] = f"{low:.3g} / {middle:.3g} / {high:.3g}"
        rows["cosine of random pairs"] = f"{figures['mean_cosine']:.3f} ± {figures['cosine_deviation']:.3f}"
    if "mean_cosine_before" in figures:
        rows["cosine of random pairs, unprojected"] = f"{figures['mean_cosine_before']:.3f}"
    return rows
