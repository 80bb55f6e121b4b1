"""How well vectors find what judgments say is relevant, beside TF-IDF and BM25 of the same token ids.

All scores of all queries against all documents are held in memory: meant for judged collections, which are small.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ulmfit_ray.commands.result_file import place_of, refuse_existing
from ulmfit_ray.commands.scoring import (
    all_vectors,
    check_documents,
    cosines,
    index_words,
    known_words,
    says_something,
)
from ulmfit_ray.commands.shards import shard_tables
from ulmfit_ray.config import ConfigError, Run, operational
from ulmfit_ray.corpus.judgments import read_qrels, read_queries
from ulmfit_ray.evaluation.ranking import Metric, evaluate_scores
from ulmfit_ray.reporting.tables import print_table
from ulmfit_ray.retrieval.bm25 import BM25Options
from ulmfit_ray.retrieval.hybrid import together
from ulmfit_ray.retrieval.lexical import LexicalIndex
from ulmfit_ray.storage.embedding_dataset import EmbeddingDataset
from ulmfit_ray.storage.token_dataset import TokenDataset, flat_tokens

if TYPE_CHECKING:
    from ulmfit_ray.document_encoder import DocumentEncoder

FigureTable = dict[str, dict[str, dict[str, float]]]
"""System -> metric -> mean and standard_error."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateRetrievalConfig(Run):
    """Score vectors, TF-IDF and BM25 against relevance judgments."""

    embeddings: str
    """Embedding dataset of the documents."""
    model: str
    """Model directory that the embeddings were made with; it encodes the queries."""
    tokens: str
    """Token dataset of the documents, for TF-IDF and BM25."""
    queries: str
    """Queries in BEIR's layout: jsonl with _id and text."""
    qrels: str
    """Judgments in BEIR's layout: query-id, corpus-id, score, tab-separated. Only judged queries count."""
    bm25: BM25Options = field(default_factory=BM25Options)
    output: str | None = operational(None)
    """Write the figures to this JSON file too."""
    overwrite: bool = operational(False)
    """Replace the file --output if it is there."""


def run(config: EvaluateRetrievalConfig) -> FigureTable:
    """Print a table of figures and return them."""
    # torch comes with it, which --help can do without.
    from ulmfit_ray.document_encoder import DocumentEncoder

    refuse_existing(config.output, config.overwrite)
    embeddings, tokens = EmbeddingDataset(config.embeddings), TokenDataset(config.tokens)
    encoder = DocumentEncoder.load(config.model)
    embeddings.check_model(encoder.directory.fingerprint, config.model)
    qrels = read_qrels(config.qrels)
    queries = [query for query in read_queries(config.queries) if query.query_id in qrels]
    if not queries:
        raise ConfigError(f"no query of {config.queries} is judged in {config.qrels}")
    encoder.directory.check_tokens(tokens.manifest.vocab, tokens.folder.uri)
    check_documents(embeddings, tokens)
    doc_ids = [str(doc_id) for table in shard_tables(tokens) for doc_id in table["doc_id"]]
    judgments = [qrels[query.query_id] for query in queries]
    _check_judged_documents(config, judgments, doc_ids)
    scores = score_all(embeddings, tokens, encoder, [query.text for query in queries], config.bm25)
    figures = {name: evaluate_scores(matrix, doc_ids, judgments) for name, matrix in scores.items()}
    _print(figures, len(queries), len(doc_ids))
    result = {name: {metric: asdict(value) for metric, value in row.items()} for name, row in figures.items()}
    if config.output is not None:
        folder, name = place_of(config.output)
        folder.publish_json({"num_queries": len(queries), "systems": result}, name)
    return result


def _check_judged_documents(
    config: EvaluateRetrievalConfig, judgments: Sequence[dict[str, float]], doc_ids: Sequence[str]
) -> None:
    """Raise ConfigError if none of the judged documents is in the corpus; print how many are missing if some are."""
    judged = {doc_id for grades in judgments for doc_id in grades}
    missing = judged - set(doc_ids)
    if missing == judged:
        raise ConfigError(
            f"no document that {config.qrels} judges (such as {min(judged)!r}) is in {config.tokens} (such as"
            f" {doc_ids[0]!r}):\n    tokenize the text with --id-column and the column that holds the judged ids"
        )
    if missing:
        print(f"{len(missing):,} of {len(judged):,} judged documents are not in the corpus: no system can find them")


def score_all(
    embeddings: EmbeddingDataset,
    tokens: TokenDataset,
    encoder: "DocumentEncoder",
    texts: list[str],
    options: BM25Options,
) -> dict[str, np.ndarray]:
    """Return a score matrix (queries, documents) for each system: vectors, their blocks, TF-IDF, BM25, both."""
    documents, queries = all_vectors(embeddings), encoder.encode(texts, embeddings.pooling)
    scores = {"vectors": cosines(queries, documents)}
    if len(embeddings.blocks) > 1:
        for block in embeddings.blocks:
            part = slice(block.start, block.stop)
            scores[block.name] = cosines(queries[:, part], documents[:, part])
    ids = encoder.numericalize(texts)
    num_unknown = sum(not says_something(query) for query in ids)
    if num_unknown:
        print(f"{num_unknown:,} of {len(ids):,} queries have no word that the model knows")
    words = known_words(ids)
    shards = (flat_tokens(table["tokens"]) for table in shard_tables(tokens))
    scores["tfidf"] = LexicalIndex(shards, len(encoder.vocab)).tf_idf(words)
    scores["bm25"] = index_words(tokens, options).all_scores(words)
    scores["bm25 + vectors"] = together(scores["bm25"], scores["vectors"])
    return scores


def _print(figures: dict[str, dict[str, Metric]], num_queries: int, num_documents: int) -> None:
    metrics = list(next(iter(figures.values())))
    print_table(
        f"{num_queries:,} queries, {num_documents:,} documents (± standard error)",
        ["system", *metrics],
        [
            [system, *(f"{metric.mean:.3f} ± {metric.standard_error:.3f}" for metric in row.values())]
            for system, row in figures.items()
        ],
        right=metrics,
    )
