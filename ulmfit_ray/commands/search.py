"""Queries -> the best documents of an embedding dataset, exactly or by an index, in one process."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
import tyro

from ulmfit_ray.commands.indexed import indexed_hits
from ulmfit_ray.commands.result_file import place_of, refuse_existing
from ulmfit_ray.commands.scoring import (
    all_vectors,
    check_documents,
    cosines,
    index_words,
    is_silent,
    known_words,
)
from ulmfit_ray.commands.shards import documents_at, vector_blocks
from ulmfit_ray.config import ConfigError, Run, operational
from ulmfit_ray.corpus.judgments import Query, read_queries
from ulmfit_ray.reporting.tables import print_table
from ulmfit_ray.retrieval.bm25 import BM25Options
from ulmfit_ray.retrieval.faiss_index import require_faiss
from ulmfit_ray.retrieval.hybrid import together
from ulmfit_ray.retrieval.search import Hits, best, nearest
from ulmfit_ray.retrieval.snippet import snippet
from ulmfit_ray.storage.embedding_dataset import OWN_COLUMNS, EmbeddingDataset
from ulmfit_ray.storage.scratch import scratch_directory
from ulmfit_ray.storage.search_index import SearchIndex
from ulmfit_ray.storage.token_dataset import TokenDataset

if TYPE_CHECKING:
    from ulmfit_ray.joint_encoder import JointEncoder

Row = dict[str, Any]
"""A hit as it is shown and written: HIT_COLUMNS, doc_id, and the document's kept columns."""
HIT_COLUMNS = ("query_id", "query", "rank", "score")


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchConfig(Run):
    """Find the documents whose vectors are nearest to the vector of a query."""

    embeddings: str
    """Embedding dataset of the documents."""
    model: tuple[str, ...]
    """Model directory that the embeddings were made with (of several, in the same order); it encodes the queries."""
    query: tuple[str, ...] = ()
    """Text of one or more queries."""
    queries: str | None = None
    """File of queries: BEIR's jsonl (_id, text), or text with one query in each line."""
    k: Annotated[int, tyro.conf.arg(aliases=["-k"])] = 10
    """Number of documents to find for each query."""
    index: str | None = None
    """Index of the embedding dataset, made by `index`: a query does not look at every vector then."""
    hybrid: bool = False
    """Rank by words and vectors together: BM25 plus cosine, each with mean 0 and deviation 1 over all documents (the
    row "bm25 + vectors" of `evaluate retrieval`). With an index that has words, only the thousand best documents by
    either are compared; else it needs --tokens, and holds the vectors and all scores in memory."""
    tokens: str | None = None
    """Token dataset of the documents, for --hybrid without an index."""
    bm25: BM25Options = field(default_factory=BM25Options)
    snippet: int | None = operational(None)
    """Show kept texts in one line and at most this many characters of each, around a word of the query."""
    output: str | None = operational(None)
    """File to write the hits to (.jsonl or .parquet) instead of printing them."""
    overwrite: bool = operational(False)
    """Replace the file --output if it is there."""
    json: bool = operational(False)
    """Print a JSON object for each hit instead of tables."""

    def __post_init__(self) -> None:
        if bool(self.query) == (self.queries is not None):
            raise ConfigError("name --query TEXT or --queries FILE, one of the two")
        if self.k < 1:
            raise ConfigError("-k must be at least 1")
        if self.output is not None and not self.output.endswith((".jsonl", ".parquet")):
            raise ConfigError(f"--output {self.output} must end in .jsonl or .parquet")
        if self.output is not None and self.json:
            raise ConfigError("name --output FILE or --json, one of the two")
        if self.index is None and self.hybrid != (self.tokens is not None):
            raise ConfigError("name --hybrid and --tokens DIR together, or neither; or an --index that has words")
        if self.index is not None and (self.tokens is not None or self.bm25 != BM25Options()):
            raise ConfigError("--tokens and --bm25.* are for a search without --index: an index has its own words")
        if self.snippet is not None and self.snippet < 1:
            raise ConfigError("--snippet must be at least 1")


def run(config: SearchConfig) -> list[Row]:
    """Search, print or write the hits, and return them as rows."""
    refuse_existing(config.output, config.overwrite)
    if config.index is not None:
        require_faiss()
    # torch comes with it, which --help can do without.
    from ulmfit_ray.joint_encoder import JointEncoder

    embeddings = EmbeddingDataset(config.embeddings)
    index = None if config.index is None else _opened(config.index, embeddings, config.hybrid)
    encoder = JointEncoder.of_embeddings(embeddings, config.model)
    queries = _queries(config)
    rows = _rows(embeddings, queries, _hits(config, embeddings, index, encoder, queries))
    if config.snippet is not None:
        rows = [_shortened(row, config.snippet) for row in rows]
    if config.output is not None:
        _write(rows, config.output)
    elif config.json:
        for row in rows:
            print(_json(row))
    else:
        _print(rows)
    return rows


def _queries(config: SearchConfig) -> list[Query]:
    if config.queries is None:
        return [Query(str(number + 1), text) for number, text in enumerate(config.query)]
    queries = read_queries(config.queries)
    if not queries:
        raise ConfigError(f"{config.queries} has no query")
    return queries


def _opened(uri: str, embeddings: EmbeddingDataset, needs_words: bool) -> SearchIndex:
    """Return the index, if it is of these embeddings and has the words that are needed."""
    index = SearchIndex(uri)
    index.check_embeddings(embeddings)
    if needs_words and not index.has_words:
        raise ConfigError(
            f"index {index.folder.uri} has no words for --hybrid: make it with `ulmfit-ray index --tokens DIR`, or"
            " leave it out and name --tokens DIR here"
        )
    return index


def _hits(
    config: SearchConfig,
    embeddings: EmbeddingDataset,
    index: SearchIndex | None,
    encoder: "JointEncoder",
    queries: Sequence[Query],
) -> Hits:
    """Return the best documents; warn of queries that cannot find anything."""
    tokens = None if config.tokens is None else TokenDataset(config.tokens)
    if tokens is not None:
        encoder.first.directory.check_tokens(tokens.manifest.vocab, tokens.folder.uri)
        check_documents(embeddings, tokens)
    texts = [query.text for query in queries]
    ids = encoder.first.numericalize(texts)
    for query in queries:
        if is_silent(encoder, query.text):
            what = f"query {query.query_id} ({query.text!r}) has no word that the model knows"
            so = (
                "it is known by its spelling alone"
                if encoder.first.spelled_words(query.text)
                else "its hits mean nothing"
            )
            print(f"warning: {what}: {so}", file=sys.stderr)
    vectors = encoder.encode_queries(texts)
    if index is not None:
        return indexed_hits(index, vectors, known_words(ids) if config.hybrid else None, config.k)
    if tokens is None:
        return nearest(vectors, vector_blocks(embeddings), config.k)
    bm25 = index_words(tokens, config.bm25).all_scores(known_words(ids))
    return best(together(bm25, cosines(vectors, all_vectors(embeddings))), config.k)


def _rows(embeddings: EmbeddingDataset, queries: Sequence[Query], hits: Hits) -> list[Row]:
    """Return one row for each hit. A kept column that is called like one of a hit's own gets `document_` before it."""
    wanted = [row for row in hits.rows.ravel().tolist() if row >= 0]
    found = documents_at(embeddings, wanted, without=OWN_COLUMNS)
    return [
        {"query_id": query.query_id, "query": query.text, "rank": rank + 1, "score": float(score)}
        | {f"document_{name}" if name in HIT_COLUMNS else name: value for name, value in found[int(row)].items()}
        for query, rows, scores in zip(queries, hits.rows, hits.scores, strict=True)
        for rank, (row, score) in enumerate(zip(rows, scores, strict=True))
        if row >= 0
    ]


def _shortened(row: Row, size: int) -> Row:
    """Return a row with its long kept texts cut; what names the query and the document stays whole."""
    return {
        name: snippet(value, row["query"], size)
        if isinstance(value, str) and name not in (*HIT_COLUMNS, "doc_id")
        else value
        for name, value in row.items()
    }


def _print(rows: Sequence[Row]) -> None:
    for (_, text), group in groupby(rows, lambda row: (row["query_id"], row["query"])):
        own = list(group)
        shown = [name for name in own[0] if name not in HIT_COLUMNS]
        print_table(
            text,
            ["rank", "score", *shown],
            [[str(row["rank"]), f"{row['score']:.3f}", *(str(row[name]) for name in shown)] for row in own],
            right=("rank", "score"),
        )


def _json(row: Row) -> str:
    """Return a row as a line of JSON; dates and times, which JSON has not, are text."""
    return json.dumps(row, ensure_ascii=False, default=str)


def _write(rows: list[Row], output: str) -> None:
    folder, name = place_of(output)
    with scratch_directory() as scratch:
        if name.endswith(".parquet"):
            pq.write_table(pa.Table.from_pylist(rows), scratch / name)
        else:
            (scratch / name).write_text("".join(_json(row) + "\n" for row in rows))
        folder.publish(scratch / name, name)
    print(f"{len(rows):,} hits written to {output}")
