"""Whether vectors of two sentences are as near as people say their meanings are, as STS-B asks.

Beside the vectors stand what anybody would try first: means of the model's word vectors, plain and weighted by idf.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ulmfit_ray.commands.result_file import place_of, refuse_existing
from ulmfit_ray.config import ConfigError, Run, operational
from ulmfit_ray.corpus.formats.options import ReadingOptions
from ulmfit_ray.corpus.sentence_pairs import SentencePair, read_sentence_pairs
from ulmfit_ray.evaluation.similarity import spearman
from ulmfit_ray.reporting.tables import print_table
from ulmfit_ray.retrieval.search import normalize_rows

if TYPE_CHECKING:
    from ulmfit_ray.document_encoder import DocumentEncoder


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateSimilarityConfig(Run):
    """Compare the cosines of pairs of sentences with the scores that people gave them."""

    model: str
    """Model directory of any kind."""
    input: str
    """File of pairs in a format that has columns, plain or compressed."""
    text_columns: tuple[str, str] = ("sentence1", "sentence2")
    """Columns with the two sentences (of STS-B as it is distributed: 5 6, with --format tsv and --no-header)."""
    score_column: str = "score"
    """Column with the score (of STS-B: 4)."""
    format: Literal["auto", "csv", "tsv", "jsonl", "json", "parquet"] = "auto"
    """auto: by extension."""
    delimiter: str | None = None
    """Character between the cells of a csv row (default: a comma)."""
    header: bool = True
    """The first row (csv, tsv) names the columns; else they are 0, 1, 2 ..."""
    pooling: Literal["last", "mean", "idf-mean", "max", "concat"] | None = None
    """How outputs become a vector (default: what the model says); of a retriever, in its context block."""
    output: str | None = operational(None)
    """Write the figures to this JSON file too."""
    overwrite: bool = operational(False)
    """Replace the file --output if it is there."""


def run(config: EvaluateSimilarityConfig) -> dict[str, Any]:
    """Print a table of rank correlations and return them."""
    # torch comes with it, which --help can do without.
    from ulmfit_ray.document_encoder import DocumentEncoder

    refuse_existing(config.output, config.overwrite)
    pairs = _pairs(config)
    encoder = DocumentEncoder.load(config.model)
    scores = np.array([pair.score for pair in pairs])
    figures = {name: spearman(scores, found) for name, found in _cosines(encoder, pairs, config.pooling).items()}
    print_table(
        f"{len(pairs):,} pairs of sentences",
        ["system", "Spearman's rank correlation (± standard error)"],
        [[name, f"{own.mean:.3f} ± {own.standard_error:.3f}"] for name, own in figures.items()],
        right=("Spearman's rank correlation (± standard error)",),
    )
    result = {"num_pairs": len(pairs), "spearman": {name: asdict(own) for name, own in figures.items()}}
    if config.output is not None:
        folder, name = place_of(config.output)
        folder.publish_json(result, name)
    return result


def _pairs(config: EvaluateSimilarityConfig) -> list[SentencePair]:
    options = ReadingOptions(
        columns=(*config.text_columns, config.score_column),
        delimiter="\t" if config.delimiter == "\\t" else config.delimiter,
        header=config.header,
    )
    try:
        return read_sentence_pairs(
            config.input,
            columns=config.text_columns,
            score=config.score_column,
            format_name=config.format,
            options=options,
        )
    except ValueError as error:
        raise ConfigError(f"--input: {error}") from error


def _cosines(encoder: "DocumentEncoder", pairs: Sequence[SentencePair], pooling: str | None) -> dict[str, np.ndarray]:
    """Return each system's cosine of each pair."""
    sides = [pair.first for pair in pairs], [pair.second for pair in pairs]
    vectors = [encoder.encode_queries(texts, pooling) for texts in sides]
    systems = {"vectors": vectors}
    blocks = encoder.directory.description.blocks
    if len(blocks) > 1:
        systems |= {block.name: [side[:, block.start : block.stop] for side in vectors] for block in blocks}
    table, idf = encoder.model.word_table().numpy(force=True), encoder.vocab.idf()
    ids = [encoder.numericalize(texts) for texts in sides]
    systems["mean of word vectors"] = [_means(table, side, np.ones_like(idf)) for side in ids]
    systems["idf-weighted mean of word vectors"] = [_means(table, side, idf) for side in ids]
    return {name: _paired(*both) for name, both in systems.items()}


def _means(table: np.ndarray, documents: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Return the weighted means (N, E) of the vectors of each document's words; words that have no vector are xxunk."""
    known = [np.where(document < len(table), document, 0) for document in documents]
    return np.stack([weights[ids] @ table[ids] / weights[ids].sum() for ids in known])


def _paired(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.einsum("nd,nd->n", normalize_rows(first), normalize_rows(second))
