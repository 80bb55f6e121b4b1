"""Recall, milliseconds, bytes and memory of `index` and of searches with it, beside exact search in the same run.

    python benchmarks/search_index.py [--documents 1000000] [--kinds flat hnsw ivf-pq] [--output FILE.json]
    python benchmarks/search_index.py --embeddings EMBEDDINGS [--kinds ...] [--output FILE.json]

Without --embeddings the vectors are made here: clusters of 50 on average, some a hundred times as large as others; a
member is as far from its centre as centres are from zero. The index is made by the command, in a process of its own,
whose peak of memory counts. Queries are documents, drawn otherwise than those by which the command
chose the effort; they are searched for one at a time, themselves left out. Beside ivf-pq stand two designs that were
not chosen, over the same lists and with the same effort: its candidates not compared by whole vectors, and vectors of
a byte a number in place of codes.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from reporting import report

from ulmfit_ray.commands.indexed import open_vectors
from ulmfit_ray.commands.shards import vector_blocks
from ulmfit_ray.retrieval.faiss_index import VectorIndex
from ulmfit_ray.retrieval.recall import NUM_HITS, recall, without_own
from ulmfit_ray.retrieval.search import Hits, nearest, normalize_rows
from ulmfit_ray.storage.commit import commit_shard
from ulmfit_ray.storage.embedding_dataset import EmbeddingDataset, embedding_table
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.job_record import JobRecord
from ulmfit_ray.storage.manifest import Manifest, write_dataset_manifest
from ulmfit_ray.storage.parquet_dataset import write_parquet
from ulmfit_ray.storage.receipts import Receipt
from ulmfit_ray.storage.search_index import SearchIndex

SHARD_ROWS = 50_000
CLUSTER_SIZE = 50
SEED = 17
"""Of the queries: another than the command's."""


def write_clusters(uri: str, num_documents: int, dimension: int) -> None:
    """Write an embedding dataset of clustered vectors."""
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(max(1, num_documents // CLUSTER_SIZE), dimension)).astype(np.float32)
    weights = draw.pareto(1.5, len(centres)) + 0.1
    folder = Folder(uri)
    folder.publish_json(
        {"job": JobRecord("embed", "ulmfit-ray embed ...", {"blocks": []}, {}).to_json()}, "config.json"
    )
    receipts = []
    for number, first in enumerate(range(0, num_documents, SHARD_ROWS)):
        size = min(SHARD_ROWS, num_documents - first)
        members = draw.choice(len(centres), size, p=weights / weights.sum())
        vectors = centres[members] + draw.standard_normal((size, dimension), np.float32)
        documents = pa.table({"doc_id": [str(first + row) for row in range(size)]})
        table = embedding_table(documents, np.ones(size), vectors, num_unknown=np.zeros(size))
        receipt = Receipt(plan="p", shard=f"part-{number:07d}", num_documents=size, num_tokens=size)
        files = {f"shards/{receipt.shard}.parquet": partial(write_parquet, table)}
        receipts.append(commit_shard(folder, receipt, files, began=time.monotonic()))
    manifest = Manifest(job="embed", vocab="v", tokenizer="t", plan="p", model="m", pooling="mean", files={})
    write_dataset_manifest(folder, receipts, "parquet", manifest)


def peak_megabytes(process: int | str) -> int:
    """Return the largest resident memory that a process has had; 0 if it has ended.

    What the kernel says of a child that has ended is not it: there the parent's memory at its start counts, too.
    """
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next((int(line.split()[1]) // 1000 for line in lines if line.startswith("VmHWM")), 0)


def make_index(embeddings: str, kind: str, output: str) -> dict[str, object]:
    """Run the command; return its peak of memory, and what its manifest says."""
    command = [sys.executable, "-m", "ulmfit_ray.cli", "index", "--embeddings", embeddings, "--output", output]
    process, peak = subprocess.Popen([*command, "--kind", kind], stdout=sys.stderr), 0
    while process.poll() is None:
        peak = max(peak, peak_megabytes(process.pid))
        time.sleep(0.1)
    if process.returncode:
        raise SystemExit(process.returncode)
    figures = SearchIndex(output).manifest.figures
    shown = ("effort", "bytes_per_document", "seconds")
    return {"peak_megabytes_of_making_it": peak} | {name: figures[name] for name in shown}


class Judge:
    """Queries, and what an exact search finds for them."""

    def __init__(self, dataset: EmbeddingDataset, num_queries: int) -> None:
        num_documents = dataset.manifest.counts.num_documents
        size = min(num_queries, num_documents)
        self.own = np.sort(np.random.default_rng(SEED).choice(num_documents, size, replace=False))
        self.queries = normalize_rows(self._own_vectors(dataset))
        began = time.perf_counter()
        hits = nearest(self.queries, vector_blocks(dataset), NUM_HITS + 1)
        self.exact_seconds = time.perf_counter() - began
        self.exact = without_own(hits, self.own, NUM_HITS)

    def _own_vectors(self, dataset: EmbeddingDataset) -> np.ndarray:
        parts, first = [], 0
        for block in vector_blocks(dataset):
            parts.append(block[self.own[(self.own >= first) & (self.own < first + len(block))] - first])
            first += len(block)
        return np.concatenate(parts)

    def figures(self, search: Callable[[np.ndarray], Hits]) -> dict[str, float]:
        """Return recall and milliseconds of a function that gives 11 hits of queries (Q, D); one query at a time."""
        search(self.queries)
        seconds, hits = [], []
        for query in self.queries:
            began = time.perf_counter()
            hits.append(search(query[None]))
            seconds.append(time.perf_counter() - began)
        found = Hits(np.concatenate([hit.rows for hit in hits]), np.concatenate([hit.scores for hit in hits]))
        return {
            "recall_at_10": round(recall(without_own(found, self.own, NUM_HITS), self.exact), 4),
            "milliseconds_per_query": round(1000 * float(np.mean(seconds)), 2),
            "milliseconds_of_the_slowest_of_100": round(1000 * float(np.quantile(seconds, 0.99)), 2),
        }


def other_designs(index: VectorIndex, dataset: EmbeddingDataset, judge: Judge) -> dict[str, dict[str, float]]:
    """Return the figures of designs beside ivf-pq; hits count as right by their whole vectors."""
    import faiss

    lists = index._index
    parameters = faiss.SearchParametersIVF(nprobe=index.effort)

    def judged(other: faiss.Index, queries: np.ndarray) -> Hits:
        padded = np.pad(queries, ((0, 0), (0, other.d - queries.shape[1])))
        _, rows = other.search(padded, NUM_HITS + 1, params=parameters)
        scores = [index.vectors(own) @ query for own, query in zip(rows, queries, strict=True)]
        return Hits(rows, np.stack(scores))

    whole = faiss.IndexIVFScalarQuantizer(
        lists.quantizer, lists.d, lists.nlist, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    for number, block in enumerate(vector_blocks(dataset)):
        unit = np.pad(normalize_rows(block), ((0, 0), (0, lists.d - block.shape[1])))
        if not number:
            whole.train(unit)
        whole.add(unit)
    return {
        "ivf-pq without whole vectors": judge.figures(partial(judged, lists)),
        "ivf, a byte a number": judge.figures(partial(judged, whole)),
    }


def measure(embeddings: str, kinds: list[str], num_queries: int, work: str) -> dict[str, object]:
    """Return the figures of all kinds over an embedding dataset."""
    dataset = EmbeddingDataset(embeddings)
    judge = Judge(dataset, num_queries)
    designs: dict[str, object] = {}
    for kind in kinds:
        made = make_index(embeddings, kind, f"{work}/{kind}")
        index = open_vectors(SearchIndex(f"{work}/{kind}"), Path(work, kind))
        designs[kind] = judge.figures(lambda queries, index=index: index.search(queries, NUM_HITS + 1)) | made
        if kind == "ivf-pq":
            designs |= other_designs(index, dataset, judge)
    return {
        "documents": dataset.manifest.counts.num_documents,
        "dimension": dataset.dimension,
        "queries": len(judge.queries),
        "exact search": {
            "seconds of all queries at once": round(judge.exact_seconds, 1),
            "peak_megabytes_of_this_process": peak_megabytes("self"),
        },
        "designs": designs,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--embeddings")
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--kinds", nargs="+", default=["flat", "hnsw", "ivf-pq"])
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        if options.embeddings is None:
            write_clusters(f"{work}/embeddings", options.documents, options.dimension)
        result = measure(options.embeddings or f"{work}/embeddings", options.kinds, options.queries, work)
    report({"vectors": "made in clusters" if options.embeddings is None else "real"} | result, options.output)


if __name__ == "__main__":
    main()
