"""The embedding dataset: Parquet shards of vectors.

Columns: `doc_id`, `num_tokens`, `num_unknown`, the kept columns of the token dataset, on demand `tokens`, and
`embedding: fixed_size_list<float32, float16 or int8>[D]`. Of int8 there is `embedding_scale: float32` too: a vector is
its whole numbers times that.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ulmfit_ray.model.description import Block, Reading
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.parquet_dataset import ParquetDataset, column_of_rows, document_columns, rows_of_column

NumberFormat = Literal["float32", "float16", "int8"]
PROJECTION_FILE = "projection.npz"
SCALE = "embedding_scale"
LARGEST_INT8 = 127
OWN_COLUMNS = ("num_tokens", "num_unknown", "tokens", SCALE, "embedding")
"""What a shard has beside the document's id and the kept columns."""


def embedding_table(
    tokens: pa.Table,
    num_tokens: np.ndarray,
    vectors: np.ndarray,
    *,
    num_unknown: np.ndarray,
    dtype: NumberFormat = "float32",
    keep_tokens: bool = False,
) -> pa.Table:
    """Return the rows of an embedding shard: a token shard's documents with their vectors (N, D).

    `num_unknown` (N,) are each document's tokens that the model does not know.
    """
    columns = document_columns(tokens, num_tokens)
    own = {name: columns.pop(name) for name in ("doc_id", "num_tokens")}
    own["num_unknown"] = pa.array(num_unknown.astype(np.int32))
    kept = {"tokens": tokens["tokens"]} if keep_tokens else {}
    return pa.table(own | columns | kept | vector_columns(vectors, dtype))


def finished_vectors(vectors: np.ndarray, doc_ids: Sequence[str], *, normalize: bool) -> np.ndarray:
    """Return vectors (N, D) of documents as they are stored, scaled to length 1 if asked.

    Raises:
        ValueError: one is zero, or has a number that is not finite; the document is named.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    is_good = np.isfinite(lengths[:, 0]) & (lengths[:, 0] > 0)
    if not is_good.all():
        number = int(is_good.argmin())
        what = "is zero" if lengths[number, 0] == 0 else "has a number that is not finite"
        raise ValueError(
            f"the vector of document {doc_ids[number]!r} {what}: try another pooling, or float32; or leave the document"
            " out"
        )
    return vectors / lengths if normalize else vectors


def vector_columns(vectors: np.ndarray, dtype: NumberFormat) -> dict[str, pa.Array]:
    """Return the columns that hold vectors (N, D) in a number format."""
    if dtype != "int8":
        return {"embedding": column_of_rows(vectors.astype(dtype))}
    # Each row has a scale of its own: it must not depend on the rows beside it.
    largest = np.abs(vectors).max(1, initial=0)
    scales = (np.where(largest > 0, largest, 1) / LARGEST_INT8).astype(np.float32)
    whole = np.rint(vectors / scales[:, None]).astype(np.int8)
    return {SCALE: pa.array(scales), "embedding": column_of_rows(whole)}


def vectors_of(table: pa.Table) -> np.ndarray:
    """Return the vectors of a shard as float32 (N, D)."""
    vectors = rows_of_column(table["embedding"]).astype(np.float32)
    return vectors * table[SCALE].to_numpy()[:, None] if SCALE in table.schema.names else vectors


def first_vectors(folder: Folder, file: str, num_rows: int) -> np.ndarray:
    """Return the vectors of a shard's first documents as float32 (N, D)."""
    with folder.open(file) as source:
        parquet = pq.ParquetFile(source)
        columns = [name for name in (SCALE, "embedding") if name in parquet.schema_arrow.names]
        batch = next(parquet.iter_batches(num_rows, columns=columns))
        return vectors_of(pa.Table.from_batches([batch]))


def finite_vectors_of(table: pa.Table, place: str) -> np.ndarray:
    """Return the vectors of documents as float32 (N, D); `place` is where they lie, for the message.

    Raises:
        ValueError: a vector has a number that is infinite or none; the document is named.
    """
    vectors = vectors_of(table)
    is_finite = np.isfinite(vectors).all(axis=1)
    if not is_finite.all():
        doc_id = table["doc_id"][int(is_finite.argmin())].as_py()
        raise ValueError(
            f"the vector of document {doc_id!r} in {place} has a number that is not finite: embed the text again, in"
            " float32"
        )
    return vectors


class EmbeddingDataset(ParquetDataset):
    """A finished embedding dataset, opened for reading."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri, "embed")

    def check_models(self, fingerprints: Sequence[str], uris: Sequence[str]) -> None:
        """Raise ValueError if queries would be encoded by other models than the documents were."""
        made_by = str(self.manifest.model).split("+")
        if made_by == list(fingerprints):
            return
        if sorted(made_by) == sorted(fingerprints):
            raise ValueError(f"{self.folder.uri} was made by these models in another order than {' '.join(uris)}")
        if len(made_by) != len(uris):
            models = "1 model" if len(made_by) == 1 else f"{len(made_by)} models"
            raise ValueError(f"{self.folder.uri} was made by {models}, not {len(uris)}: name the same with --model")
        (first, *_) = [uri for own, made, uri in zip(fingerprints, made_by, uris, strict=True) if own != made]
        raise ValueError(f"{self.folder.uri} was not made by {first}: their fingerprints differ")

    @property
    def blocks(self) -> list[Block]:
        """Return the blocks that lie side by side in a vector: a retriever's, or several models'; projected, none."""
        return [Block(**block) for block in self.job.config["blocks"]]

    @property
    def dimension(self) -> int:
        """Return how many numbers a vector has."""
        with self.folder.open(self.shards[0].file) as source:
            size: int = pq.read_schema(source).field("embedding").type.list_size
        return size

    @property
    def pooling(self) -> str:
        """Return how outputs became vectors; of several models, joined by a plus."""
        assert self.manifest.pooling is not None
        return self.manifest.pooling

    @property
    def readings(self) -> list[Reading]:
        """Return how each model read the documents: queries must go the same way."""
        own = self.job.config
        layer = own.get("layer")
        return [
            Reading(
                pooling=pooling,
                last_tokens=own.get("pool_last"),
                layer=layer if isinstance(layer, int) else None,
                precision=own.get("precision", "float32"),
            )
            for pooling in self.pooling.split("+")
        ]

    @property
    def projection_file(self) -> str | None:
        """Return the file with the projection that queries must go through, too (None: there is none)."""
        return PROJECTION_FILE if PROJECTION_FILE in self.manifest.files else None

    @property
    def vector_columns(self) -> list[str]:
        """Return the names of the columns that hold the vectors."""
        return [SCALE, "embedding"] if self.job.config.get("dtype") == "int8" else ["embedding"]
