"""What an actor of `neighbours` does: all vectors are at hand, and shard after shard is compared with them."""

import tempfile
import time
from functools import partial
from itertools import accumulate, chain

import numpy as np
import pyarrow as pa

from ulmfit_ray.pipelines.neighbours.config import NeighboursConfig
from ulmfit_ray.retrieval.neighbours import nearest_others
from ulmfit_ray.retrieval.search import normalize_rows
from ulmfit_ray.storage.commit import commit_shard
from ulmfit_ray.storage.embedding_dataset import OWN_COLUMNS, EmbeddingDataset, finite_vectors_of
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.neighbour_dataset import neighbour_table
from ulmfit_ray.storage.parquet_dataset import write_parquet
from ulmfit_ray.storage.receipts import Receipt


class Neighbours:
    """All vectors of an embedding dataset, and the shards made of them."""

    def __init__(self, config: NeighboursConfig, fingerprint: str, plan: str) -> None:
        self._embeddings, self._folder = EmbeddingDataset(config.embeddings), Folder(config.output)
        self._plan, self._k = plan, config.k
        firsts = accumulate((row.num_documents for row in self._embeddings.shards), initial=0)
        self._shards = {row.shard: (row, first) for row, first in zip(self._embeddings.shards, firsts, strict=False)}
        # An error here would end the actor, and Ray would start another for ever: it is raised with the first shard.
        self._problem = ""
        if self._embeddings.fingerprint != fingerprint:
            self._problem = (
                f"embeddings {config.embeddings} have changed since this job began: --overwrite starts afresh"
            )
            return
        try:
            self._read()
        except ValueError as error:
            self._problem = str(error)

    def _read(self) -> None:
        """Bring all unit vectors into a local file, and all ids into memory."""
        shape = (self._embeddings.manifest.counts.num_documents, self._embeddings.dimension)
        # The file goes with the process, however that ends: its name is deleted as soon as it is open.
        with tempfile.NamedTemporaryFile() as file:
            self._vectors = np.memmap(file.name, np.float32, "w+", shape=shape)
        ids, first = [], 0
        for row in self._embeddings.shards:
            for block in self._embeddings.row_blocks(row, ["doc_id", *self._embeddings.vector_columns]):
                vectors = finite_vectors_of(block, f"{row.file} of {self._embeddings.folder.uri}")
                self._vectors[first : first + len(vectors)] = normalize_rows(vectors)
                ids.append(block["doc_id"])
                first += len(vectors)
        self._ids = pa.chunked_array(chain.from_iterable(column.chunks for column in ids)).combine_chunks()

    def __call__(self, shard: str) -> Receipt:
        """Make and commit the shard of one embedding shard.

        Raises:
            RuntimeError: the embeddings have been made again since the job began, or cannot be compared.
        """
        if self._problem:
            raise RuntimeError(self._problem)
        began = time.monotonic()
        row, first = self._shards[shard]
        own = np.arange(first, first + row.num_documents)
        hits = nearest_others(self._vectors[first : first + row.num_documents], own, self._vectors, self._k)
        kept = [name for name in self._embeddings.columns(row) if name not in OWN_COLUMNS]
        table = neighbour_table(self._embeddings.read(row, kept), self._ids, hits.rows, hits.scores)
        receipt = Receipt(plan=self._plan, shard=shard, num_documents=row.num_documents, num_tokens=row.num_tokens)
        files = {f"shards/{shard}.parquet": partial(write_parquet, table)}
        return commit_shard(self._folder, receipt, files, began=began)
