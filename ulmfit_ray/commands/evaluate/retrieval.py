"""How well vectors find what judgments say is relevant, beside TF-IDF and BM25 of the same token ids.

Queries are scored block by block against all documents at once, whose vectors and words are held in memory: meant for
judged collections.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ulmfit_ray.commands.evaluate.retrieval_files import check_runs, write_per_query, write_runs
from ulmfit_ray.commands.evaluate.retrieval_systems import BM25, TUNED_BM25, Found, Systems, find
from ulmfit_ray.commands.result_file import place_of, refuse_existing
from ulmfit_ray.config import ConfigError, Run, operational
from ulmfit_ray.corpus.judgments import Query, read_qrels, read_queries
from ulmfit_ray.corpus.query_pairs import documents_of, read_query_pairs
from ulmfit_ray.evaluation.ranking import Estimate, estimate, judge, measure_at
from ulmfit_ray.reporting.tables import print_table
from ulmfit_ray.retrieval.bm25 import BM25Options
from ulmfit_ray.storage.embedding_dataset import EmbeddingDataset
from ulmfit_ray.storage.token_dataset import TokenDataset

Values = dict[str, dict[str, np.ndarray]]
"""System -> metric -> its value for each query (Q,)."""
RUN_DEPTH = 1000
"""Results of each query in a run file, as is the custom at TREC."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateRetrievalConfig(Run):
    """Score vectors, TF-IDF and BM25 against relevance judgments."""

    embeddings: str
    """Embedding dataset of the documents."""
    model: tuple[str, ...]
    """Model directory that the embeddings were made with (of several, in the same order); it encodes the queries."""
    tokens: str
    """Token dataset of the documents, for TF-IDF and BM25."""
    queries: str
    """Queries in BEIR's layout: jsonl with _id and text."""
    qrels: str
    """Judgments: BEIR's query-id, corpus-id, score, with tabs, or TREC's four columns. Only judged queries count."""
    metrics: tuple[str, ...] = ("ndcg@10", "recall@100", "mrr@10")
    """Any of ndcg, recall, precision, map, mrr, success, each with @ and how many results count; the first is the one
    that systems are compared by."""
    bm25: BM25Options = field(default_factory=BM25Options)
    """Other constants get a row of their own beside the usual ones."""
    pairs_file: str | None = None
    """Pairs that the model was trained with, each with a doc_id: queries whose document has a pair there are judged
    apart from the others, too."""
    against: str = BM25
    """The system that all others are compared with, query by query."""
    output: str | None = operational(None)
    """Write the figures to this JSON file too."""
    per_query: str | None = operational(None)
    """Write every metric of every system and query to this Parquet file."""
    runs: str | None = operational(None)
    """Write each system's results to a file of its own in this folder, in the layout that trec_eval reads."""
    overwrite: bool = operational(False)
    """Replace the files --output, --per-query and those of --runs if they are there."""

    def __post_init__(self) -> None:
        if not self.metrics:
            raise ConfigError("--metrics must name at least one metric")
        for metric in self.metrics:
            try:
                measure_at(metric)
            except ValueError as error:
                raise ConfigError(f"--metrics: {error}") from None


def run(config: EvaluateRetrievalConfig) -> dict[str, Any]:
    """Print a table of figures and one of differences, write the files that are asked for, and return the figures."""
    # torch comes with it, which --help can do without.
    from ulmfit_ray.joint_encoder import JointEncoder

    refuse_existing(config.output, config.overwrite)
    refuse_existing(config.per_query, config.overwrite, "--per-query")
    embeddings, tokens = EmbeddingDataset(config.embeddings), TokenDataset(config.tokens)
    encoder = JointEncoder.of_embeddings(embeddings, config.model)
    queries, judgments = _judged_queries(config)
    systems = Systems(embeddings, tokens, encoder, config.bm25)
    if config.against not in systems.names:
        raise ConfigError(f"--against {config.against} is none of the systems: {', '.join(systems.names)}")
    _check_judged_documents(config, judgments, systems.doc_ids)
    parts = {} if config.pairs_file is None else _parts(config.pairs_file, judgments, systems.doc_ids)
    if config.runs is not None:
        ids = [*(query.query_id for query in queries), *systems.doc_ids]
        check_runs(config.runs, systems.names, ids, overwrite=config.overwrite)
    texts = [query.text for query in queries]
    num_silent = systems.num_silent(texts)
    if num_silent:
        print(f"{num_silent:,} of {len(texts):,} queries have no word that the model knows")
    depth = max(measure_at(metric)[1] for metric in config.metrics)
    found = find(systems, texts, max(depth, RUN_DEPTH) if config.runs else depth)
    values = _judge(found, systems.doc_ids, judgments, config.metrics)
    result = _print_figures(config, values, f"{len(queries):,} queries, {len(systems.doc_ids):,} documents")
    for name, part in parts.items():
        own = {system: {metric: row[metric][part] for metric in row} for system, row in values.items()}
        result[name] = _print_figures(config, own, f"{part.sum():,} queries whose document is {name} --pairs-file")
    if config.output is not None:
        folder, name = place_of(config.output)
        folder.publish_json(result, name)
    if config.per_query is not None:
        write_per_query(config.per_query, values, queries)
    if config.runs is not None:
        write_runs(config.runs, found, queries, systems.doc_ids)
    return result


def _print_figures(config: EvaluateRetrievalConfig, values: Values, title: str) -> dict[str, Any]:
    """Print a table of figures and one of differences; return both as they are written."""
    figures = {name: {metric: estimate(own) for metric, own in row.items()} for name, row in values.items()}
    differences = _differences(values, config.against, config.metrics[0])
    _print(figures, title)
    _print_differences(differences, config)
    return {
        "num_queries": len(values[config.against][config.metrics[0]]),
        "systems": {name: {metric: asdict(own) for metric, own in row.items()} for name, row in figures.items()},
        "against": {config.against: {name: asdict(difference) for name, difference in differences.items()}},
    } | ({TUNED_BM25: asdict(config.bm25)} if config.bm25 != BM25Options() else {})


def _judged_queries(config: EvaluateRetrievalConfig) -> tuple[list[Query], list[dict[str, float]]]:
    """Return the queries that are judged, and the grades of each one's judged documents."""
    qrels = read_qrels(config.qrels)
    queries = [query for query in read_queries(config.queries) if query.query_id in qrels]
    if not queries:
        raise ConfigError(f"no query of {config.queries} is judged in {config.qrels}")
    return queries, [qrels[query.query_id] for query in queries]


def _parts(pairs_file: str, judgments: Sequence[dict[str, float]], doc_ids: Sequence[str]) -> dict[str, np.ndarray]:
    """Return which queries (Q,) have a relevant document among those of the pairs, and which have none.

    Raises:
        ConfigError: the pairs are of another corpus.
        ValueError: the file has no pairs, or one without its document's id.
    """
    trained = documents_of(read_query_pairs(pairs_file), pairs_file)
    if trained.isdisjoint(doc_ids):
        raise ConfigError(
            f"no doc_id of {pairs_file} (such as {min(trained)!r}) is in the corpus (such as {doc_ids[0]!r})"
        )
    relevant = [{doc_id for doc_id, grade in grades.items() if grade > 0} for grades in judgments]
    is_in = np.array([not trained.isdisjoint(own) for own in relevant])
    return {name: part for name, part in (("in", is_in), ("not in", ~is_in)) if part.any()}


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


def _judge(
    found: Found, doc_ids: Sequence[str], judgments: Sequence[dict[str, float]], metrics: Sequence[str]
) -> Values:
    return {
        name: judge([[doc_ids[row] for row in rows] for rows in hits.rows], judgments, metrics)
        for name, hits in found.items()
    }


def _differences(values: Values, against: str, metric: str) -> dict[str, Estimate]:
    """Return each other system's paired difference from one of them."""
    return {name: estimate(row[metric] - values[against][metric]) for name, row in values.items() if name != against}


def _print(figures: dict[str, dict[str, Estimate]], title: str) -> None:
    metrics = list(next(iter(figures.values())))
    print_table(
        f"{title} (± standard error)",
        ["system", *metrics],
        [
            [name, *(f"{own.mean:.3f} ± {own.standard_error:.3f}" for own in row.values())]
            for name, row in figures.items()
        ],
        right=metrics,
    )


def _print_differences(differences: dict[str, Estimate], config: EvaluateRetrievalConfig) -> None:
    column = f"{config.metrics[0]} minus that of {config.against}"
    print_table(
        "query by query (± standard error of the paired difference)",
        ["system", column, ""],
        [
            [name, f"{own.mean:+.3f} ± {own.standard_error:.3f}", "within the noise" if own.is_noise else ""]
            for name, own in differences.items()
        ],
        right=(column,),
    )
