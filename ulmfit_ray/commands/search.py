"""Queries -> the nearest documents of an embedding dataset, exactly, in one process."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
import tyro

from ulmfit_ray.config import ConfigError, Run, operational
from ulmfit_ray.corpus.judgments import Query, read_queries
from ulmfit_ray.reporting.tables import print_table
from ulmfit_ray.retrieval.search import Hits, nearest
from ulmfit_ray.storage.embedding_dataset import EmbeddingDataset, vectors_of
from ulmfit_ray.storage.folder import Folder, scratch_directory


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchConfig(Run):
    """Find the documents whose vectors are nearest to the vector of a query."""

    embeddings: str
    """Embedding dataset of the documents."""
    model: str
    """Model directory that the embeddings were made with; it encodes the queries."""
    query: tuple[str, ...] = ()
    """Text of one or more queries."""
    queries: str | None = None
    """File of queries: BEIR's jsonl (_id, text), or text with one query in each line."""
    k: Annotated[int, tyro.conf.arg(aliases=["-k"])] = 10
    """Number of documents to find for each query."""
    output: str | None = operational(None)
    """File to write the hits to (.jsonl or .parquet) instead of printing them."""

    def __post_init__(self) -> None:
        if bool(self.query) == (self.queries is not None):
            raise ConfigError("name --query TEXT or --queries FILE, one of the two")
        if self.k < 1:
            raise ConfigError("-k must be at least 1")
        if self.output is not None and not self.output.endswith((".jsonl", ".parquet")):
            raise ConfigError(f"--output {self.output} must end in .jsonl or .parquet")


def run(config: SearchConfig) -> list[dict[str, Any]]:
    """Search, print or write the hits, and return them as rows."""
    # torch comes with it, which --help can do without.
    from ulmfit_ray.document_encoder import DocumentEncoder

    embeddings = EmbeddingDataset(config.embeddings)
    encoder = DocumentEncoder.load(config.model)
    embeddings.check_model(encoder.directory.fingerprint, config.model)
    queries = [Query(str(number + 1), text) for number, text in enumerate(config.query)]
    if config.queries is not None:
        queries = read_queries(config.queries)
    vectors = encoder.encode([query.text for query in queries], embeddings.pooling)
    hits = nearest(vectors, map(vectors_of, embeddings.tables()), config.k)
    rows = _rows(embeddings, queries, hits)
    if config.output is None:
        _print(queries, rows)
    else:
        _write(rows, config.output)
    return rows


def _rows(embeddings: EmbeddingDataset, queries: Sequence[Query], hits: Hits) -> list[dict[str, Any]]:
    """Return one row for each hit: query, rank, score, the document's id and kept columns."""
    wanted = sorted({int(row) for row in hits.rows.flat})
    found: dict[int, dict[str, Any]] = {}
    first = 0
    for table in embeddings.tables():
        own = [row for row in wanted if first <= row < first + table.num_rows]
        names = [name for name in table.schema.names if name not in ("num_tokens", "embedding")]
        values = table.select(names).take(pa.array([row - first for row in own], pa.int64())).to_pylist()
        found |= dict(zip(own, values, strict=True))
        first += table.num_rows
    return [
        {"query_id": query.query_id, "query": query.text, "rank": rank + 1, "score": float(score)} | found[int(row)]
        for query, rows, scores in zip(queries, hits.rows, hits.scores, strict=True)
        for rank, (row, score) in enumerate(zip(rows, scores, strict=True))
    ]


def _print(queries: Sequence[Query], rows: Sequence[dict[str, Any]]) -> None:
    for query in queries:
        own = [row for row in rows if row["query_id"] == query.query_id]
        shown = [name for name in own[0] if name not in ("query_id", "query", "rank", "score")] if own else []
        print_table(
            query.text,
            ["rank", "score", *shown],
            [[str(row["rank"]), f"{row['score']:.3f}", *(str(row[name]) for name in shown)] for row in own],
            right=("rank", "score"),
        )


def _write(rows: list[dict[str, Any]], output: str) -> None:
    place, _, name = output.rpartition("/")
    with scratch_directory() as scratch:
        if name.endswith(".parquet"):
            pq.write_table(pa.Table.from_pylist(rows), scratch / name)
        else:
            (scratch / name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        Folder(place).publish(scratch / name, name)
    print(f"{len(rows):,} hits written to {output}")
