"""How well vectors find what judgments say is relevant, beside TF-IDF and BM25 of the same token ids.

All scores of all queries against all documents are held in memory: meant for judged collections, which are small.
"""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from ulmfit_ray.config import ConfigError, Run, operational
from ulmfit_ray.corpus.judgments import read_qrels, read_queries
from ulmfit_ray.evaluation.ranking import Metric, evaluate_scores
from ulmfit_ray.reporting.tables import print_table
from ulmfit_ray.retrieval.lexical import LexicalIndex, standardize
from ulmfit_ray.retrieval.search import normalize_rows
from ulmfit_ray.storage.embedding_dataset import EmbeddingDataset, vectors_of
from ulmfit_ray.storage.folder import Folder
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
    output: str | None = operational(None)
    """Write the figures to this JSON file too."""


def run(config: EvaluateRetrievalConfig) -> FigureTable:
    """Print a table of figures and return them."""
    # torch comes with it, which --help can do without.
    from ulmfit_ray.document_encoder import DocumentEncoder

    embeddings, tokens = EmbeddingDataset(config.embeddings), TokenDataset(config.tokens)
    encoder = DocumentEncoder.load(config.model)
    embeddings.check_model(encoder.directory.fingerprint, config.model)
    encoder.directory.check_tokens(tokens.manifest.vocab, config.tokens)
    qrels = read_qrels(config.qrels)
    queries = [query for query in read_queries(config.queries) if query.query_id in qrels]
    if not queries:
        raise ConfigError(f"no query of {config.queries} is judged in {config.qrels}")
    doc_ids = [str(doc_id) for table in tokens.tables() for doc_id in table["doc_id"]]
    if doc_ids != [str(doc_id) for table in embeddings.tables() for doc_id in table["doc_id"]]:
        raise ConfigError(f"{config.embeddings} was not made from {config.tokens}: their documents differ")
    judgments = [qrels[query.query_id] for query in queries]
    scores = score_all(embeddings, tokens, encoder, [query.text for query in queries])
    figures = {name: evaluate_scores(matrix, doc_ids, judgments) for name, matrix in scores.items()}
    _print(figures, len(queries), len(doc_ids))
    result = {name: {metric: asdict(value) for metric, value in row.items()} for name, row in figures.items()}
    if config.output is not None:
        place, _, name = config.output.rpartition("/")
        Folder(place).publish_json({"num_queries": len(queries), "systems": result}, name)
    return result


def score_all(
    embeddings: EmbeddingDataset, tokens: TokenDataset, encoder: "DocumentEncoder", texts: list[str]
) -> dict[str, np.ndarray]:
    """Return a score matrix (queries, documents) for each system: vectors, their blocks, TF-IDF, BM25, both."""
    documents = np.concatenate([vectors_of(table) for table in embeddings.tables()])
    queries = encoder.encode(texts, embeddings.pooling)
    scores = {"vectors": normalize_rows(queries) @ normalize_rows(documents).T}
    if len(embeddings.blocks) > 1:
        for block in embeddings.blocks:
            part = slice(block.start, block.stop)
            scores[block.name] = normalize_rows(queries[:, part]) @ normalize_rows(documents[:, part]).T
    lexical = LexicalIndex((flat_tokens(table["tokens"]) for table in tokens.tables()), len(encoder.vocab))
    # A query's words outside the vocabulary are xxunk (id 0), which says nothing about a document.
    ids = [document[document > 0] for document in encoder.numericalize(texts)]
    scores["tfidf"], scores["bm25"] = lexical.tf_idf(ids), lexical.bm25(ids)
    scores["bm25 + vectors"] = standardize(scores["bm25"]) + standardize(scores["vectors"])
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
