"""How near to float32 the vectors are that are made in bfloat16, or stored in fewer bits, on a trained model.

    python benchmarks/encode_precision.py --model MODEL --tokens TOKENS [--documents 1000] [--output FILE.json]

For each pooling: the smallest cosine of a document's two vectors once the mean of all documents is taken away (without
that, and on random weights, all cosines are near 1 and prove nothing), and the share of each document's ten nearest
neighbours that are the same. Runs without Ray.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from reporting import report

from ulmfit_ray.document_encoder import DocumentEncoder
from ulmfit_ray.model.description import Reading
from ulmfit_ray.retrieval.search import nearest, normalize_rows
from ulmfit_ray.storage.embedding_dataset import vector_columns, vectors_of
from ulmfit_ray.storage.token_dataset import TokenDataset, flat_tokens

POOLINGS = ("last", "mean", "idf-mean", "max", "concat")
STORED = ("float16", "int8")
NEIGHBOURS = 10


def some_documents(tokens: TokenDataset, number: int) -> list[np.ndarray]:
    """Return documents drawn evenly over the dataset."""
    documents: list[np.ndarray] = []
    for table in tokens.tables():
        values, offsets = flat_tokens(table["tokens"])
        documents += np.split(values.astype(np.int64), offsets[1:-1])
    places = np.linspace(0, len(documents) - 1, min(number, len(documents))).round().astype(int)
    return [documents[place] for place in places]


def compared(exact: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Return how near vectors (N, D) are to the exact ones."""
    centred = [normalize_rows(vectors - exact.mean(0)) for vectors in (exact, other)]
    found = [_neighbours(vectors) for vectors in (exact, other)]
    same = [len(set(one) & set(two)) / NEIGHBOURS for one, two in zip(*found, strict=True)]
    return {
        "smallest_centred_cosine": round(float(np.einsum("nd,nd->n", *centred).min()), 6),
        "neighbours_in_common": round(float(np.mean(same)), 4),
    }


def _neighbours(vectors: np.ndarray) -> Sequence[Sequence[int]]:
    rows = nearest(vectors, iter([vectors]), NEIGHBOURS + 1).rows
    return [[row for row in own.tolist() if row != number][:NEIGHBOURS] for number, own in enumerate(rows)]


def stored(vectors: np.ndarray, dtype: str) -> np.ndarray:
    """Return vectors as they are read again when they are stored in a number format."""
    import pyarrow as pa

    return vectors_of(pa.table(vector_columns(vectors, dtype)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--tokens", required=True)
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    encoder = DocumentEncoder.load(options.model)
    documents = some_documents(TokenDataset(options.tokens), options.documents)
    result = {}
    for pooling in POOLINGS:
        exact = encoder.token_encoder(Reading(pooling=pooling)).encode(documents)
        others = {"bfloat16": encoder.token_encoder(Reading(pooling=pooling, precision="bfloat16")).encode(documents)}
        others |= {f"stored as {name}": stored(exact, name) for name in STORED}
        result[pooling] = {name: compared(exact, vectors) for name, vectors in others.items()}
        print(pooling, result[pooling], flush=True)
    report({"documents": len(documents), "against float32": result}, options.output)


if __name__ == "__main__":
    main()
