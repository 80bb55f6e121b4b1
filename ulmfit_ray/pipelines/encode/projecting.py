"""The second half of `embed --project`: of what the models made a sample is drawn, a projection is learned from it, and
each shard goes through that.

The sample are the documents with the smallest hashes, of their ids and places: it depends on the corpus alone.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ulmfit_ray.config import ConfigError
from ulmfit_ray.encoding.projection import SAMPLE, Method, Projection
from ulmfit_ray.evaluation.vector_quality import VectorQuality
from ulmfit_ray.lifecycle import Outcome
from ulmfit_ray.pipelines.attempts import Phase
from ulmfit_ray.pipelines.encode.config import EmbedConfig
from ulmfit_ray.pipelines.encode.quality import sampled
from ulmfit_ray.pipelines.encode.verb import WORK_RECEIPTS, shard_file
from ulmfit_ray.pipelines.shards import PhaseResult, map_shards, run_phase
from ulmfit_ray.storage.commit import commit_shard
from ulmfit_ray.storage.embedding_dataset import PROJECTION_FILE, finished_vectors, vector_columns, vectors_of
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.parquet_dataset import BLOCK_ROWS, write_parquet
from ulmfit_ray.storage.plan import Plan, PlannedUnits, whole_units
from ulmfit_ray.storage.receipts import READING_THREADS, Receipt, Receipts, read_receipt
from ulmfit_ray.storage.scratch import scratch_directory

SAMPLE_RECEIPTS = "work/sample/done"
HASHES = 2**64


@dataclass(frozen=True, slots=True)
class Projecting:
    """Draw the sample on all cores, learn from it on the driver, project on all cores."""

    config: EmbedConfig
    method: Method
    parts: np.ndarray

    def __call__(self, plan: Plan, made: PhaseResult) -> tuple[PhaseResult, Mapping[str, Any]]:
        """Make the final shards; return their receipts and what the manifest says of the projection."""
        folder = Folder(self.config.output)
        shards = made.receipts.with_documents().names()
        if not folder.exists(PROJECTION_FILE):
            share = SAMPLE / max(1, made.receipts.total("num_documents"))
            drawn = self._run("sample", SAMPLE_RECEIPTS, plan, made, partial(sample_shard, folder.uri, share=share))
            self._learn(folder, drawn.receipts.with_documents().names())
        found = self._run("project", "done", plan, made, partial(project_shard, self.config))
        before = sampled(folder, shards, "work")
        return found, {"mean_cosine_before": round(VectorQuality.of(before).mean_cosine, 4)} if len(before) > 1 else {}

    def _run(self, stage: str, where: str, plan: Plan, made: PhaseResult, work: Callable[..., Receipt]) -> PhaseResult:
        """Do something with every shard that the models made, and return the receipts."""
        phase = Phase(job="embed", stage=stage, output=self.config.output, plan=plan.fingerprint, where=where)
        num_bytes = 4 * int(self.parts.max()) * made.receipts.total("num_documents")
        mean_bytes = num_bytes // max(1, len(made.receipts))

        def dataflow(pending: PlannedUnits, receipts: Receipts) -> Iterator[Outcome]:
            return map_shards(phase, pending, partial(work, plan.fingerprint), mean_bytes)

        units = whole_units(made.receipts.shards)
        return run_phase(phase, units, dataflow, lambda unit: f"{self.config.output}/work/{unit.stem}.parquet")

    def _learn(self, folder: Folder, shards: Sequence[str]) -> None:
        with ThreadPoolExecutor(READING_THREADS) as pool:
            sample = list(pool.map(partial(_read_sample, folder), shards))
        try:
            if sum(map(len, sample)) < 2:
                raise ValueError("there is nothing to learn from fewer than two documents")
            projection = Projection.fit(self.method, self.parts, np.concatenate(sample))
        except ValueError as error:
            raise ConfigError(
                f"--project {self.config.project}: {error}; --overwrite starts afresh with another"
            ) from error
        with scratch_directory() as scratch:
            projection.save(scratch / PROJECTION_FILE)
            folder.publish(scratch / PROJECTION_FILE, PROJECTION_FILE)


def sample_shard(output: str, plan: str, shard: str, *, share: float) -> Receipt:
    """Write the vectors of a shard's documents that are in the sample, on a worker."""
    began = time.monotonic()
    folder = Folder(output)
    blocks, first = [np.empty((0, 0), np.float32)], 0
    with folder.open(shard_file(WORK_RECEIPTS, shard)) as source:
        for batch in pq.ParquetFile(source).iter_batches(BLOCK_ROWS, columns=["doc_id", "embedding"]):
            vectors = vectors_of(pa.Table.from_batches([batch]))
            places = (f"{shard} {first + number} " for number in range(len(vectors)))
            ids = zip(places, batch.column("doc_id").to_pylist(), strict=True)
            is_in = np.array([_hash(place + doc_id) < share * HASHES for place, doc_id in ids], bool)
            first += len(vectors)
            if is_in.any():
                blocks.append(vectors[is_in])
    own = np.concatenate(blocks[1:]) if len(blocks) > 1 else blocks[0]
    receipt = Receipt(plan=plan, shard=shard, num_documents=len(own), num_tokens=0)
    made = read_receipt(folder, shard, WORK_RECEIPTS)
    files = {f"work/sample/{shard}.npy": lambda path: np.save(path, own, allow_pickle=False)}
    return commit_shard(folder, replace(receipt, last=made.last), files, began=began, where=SAMPLE_RECEIPTS)


def _read_sample(folder: Folder, shard: str) -> np.ndarray:
    with folder.local_files([f"work/sample/{shard}.npy"]) as place:
        found: np.ndarray = np.load(Path(place) / f"work/sample/{shard}.npy", allow_pickle=False)
        return found


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def project_shard(config: EmbedConfig, plan: str, shard: str) -> Receipt:
    """Make and commit one final shard of one that the models made, on a worker."""
    began = time.monotonic()
    folder = Folder(config.output)
    made = read_receipt(folder, shard, WORK_RECEIPTS)
    with folder.local_files([PROJECTION_FILE]) as place:
        projection = Projection.load(Path(place) / PROJECTION_FILE)
    with folder.open(shard_file(WORK_RECEIPTS, shard)) as source:
        table = pq.read_table(source)
    if table.num_rows != made.num_documents:
        raise RuntimeError(f"work/{shard}.parquet has {table.num_rows} documents, its receipt {made.num_documents}")
    projected = projection.apply(vectors_of(table))
    vectors = finished_vectors(projected, table["doc_id"].to_pylist(), normalize=config.normalize)
    table = table.drop_columns(["embedding"])
    for name, column in vector_columns(vectors, config.dtype).items():
        table = table.append_column(name, column)
    kept = {name: digest for name, digest in made.files.items() if not name.startswith("work/")}
    files = {shard_file("done", shard): partial(write_parquet, table)}
    return commit_shard(folder, replace(made, plan=plan, files=kept), files, began=began)
