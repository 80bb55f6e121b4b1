"""How well a language model predicts the next token of a token dataset, beside word frequencies."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ulmfit_ray.commands.result_file import place_of, refuse_existing
from ulmfit_ray.config import ConfigError, Run, operational
from ulmfit_ray.evaluation.language_model import bits_per_byte, word_frequency_perplexity
from ulmfit_ray.model.description import ModelDescription
from ulmfit_ray.reporting.progress import Bar
from ulmfit_ray.reporting.tables import print_summary
from ulmfit_ray.storage.model_directory import ModelDirectory
from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.streams.language_model import LMStream
from ulmfit_ray.streams.selection import Selection, count_tokens, everything
from ulmfit_ray.text.sizes import word_bytes
from ulmfit_ray.text.vocab import UNK_ID, Vocab

if TYPE_CHECKING:
    from ulmfit_ray.model.awd_lstm import LanguageModel

Figures = dict[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateLanguageModelConfig(Run):
    """Measure loss, perplexity, next-word accuracy and bits per byte of a language model on a token dataset."""

    model: str
    """Model directory of the language model."""
    tokens: str
    """Token dataset with the model's vocabulary."""
    columns: int = 10
    """Columns that all documents, joined, are cut into; the papers take 10 for validation and 1 for test. The state is
    carried over from document to document, and each column begins without one."""
    bptt: int = 72
    """Tokens of each column that are read at once: memory and time, no figure."""
    output: str | None = operational(None)
    """Write the figures to this JSON file too."""
    per_document: str | None = operational(None)
    """Write each document's loss and perplexity to this Parquet file; there each is read by itself, from no state."""
    overwrite: bool = operational(False)
    """Replace the files --output and --per-document if they are there."""

    def __post_init__(self) -> None:
        if self.columns < 1 or self.bptt < 1:
            raise ConfigError("--columns and --bptt must be at least 1")
        if self.per_document is not None and not self.per_document.endswith(".parquet"):
            raise ConfigError(f"--per-document {self.per_document} must end in .parquet")


def run(config: EvaluateLanguageModelConfig) -> Figures:
    """Print the figures and return them."""
    refuse_existing(config.output, config.overwrite)
    refuse_existing(config.per_document, config.overwrite, "--per-document")
    directory, tokens = ModelDirectory(config.model), TokenDataset(config.tokens)
    if directory.description.kind != "lm":
        raise ConfigError(f"--model {config.model} is a {directory.description.kind}, and no language model")
    directory.check_tokens(tokens.manifest.vocab, config.tokens)
    documents, backward = everything(tokens), directory.description.direction == "backward"
    stream = _stream(config, tokens, documents, backward)
    model = _load(directory)
    figures = _score(model, stream, config.tokens)
    figures |= _beside(figures["loss"], directory, tokens, documents)
    print_summary(f"{config.tokens}, {config.columns} columns", figures)
    if config.output is not None:
        folder, name = place_of(config.output)
        folder.publish_json({"columns": config.columns, **figures}, name)
    if config.per_document is not None:
        from ulmfit_ray.commands.evaluate.per_document import write_per_document

        write_per_document(model, tokens, config.per_document, backward=backward)
    return figures


def _stream(
    config: EvaluateLanguageModelConfig, tokens: TokenDataset, documents: Selection, backward: bool
) -> LMStream:
    return LMStream(
        tokens,
        documents,
        global_batch_size=config.columns,
        bptt=config.bptt,
        columns=slice(None),
        seed=0,
        shuffle=False,
        backward=backward,
        remedy="lower --columns",
    )


def _load(directory: ModelDirectory) -> "LanguageModel":
    # --help can do without torch, here and above.
    import torch

    from ulmfit_ray.model.files import load_model

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with directory.weights() as weights:
        model: LanguageModel = load_model(directory.description, weights, device)
    return model


def _score(model: "LanguageModel", stream: LMStream, what: str) -> Figures:
    """Return how many words were predicted, the mean loss in nats, and the part of the words predicted right."""
    from ulmfit_ray.training.tasks.language_model import score_windows

    with Bar(f"reading {what}", stream.num_windows, "windows") as bar:
        total, correct, count = 0.0, 0, 0
        for part in score_windows(model, stream.windows(0), "float32", model.decoder_bias.device):
            total, correct, count = total + part[0], correct + part[1], count + part[2]
            bar.advance(1, tokens=part[2])
    loss = total / count
    return {
        "tokens": count,
        "loss": loss,
        "perplexity": math.exp(min(loss, 700.0)),
        "accuracy": correct / count,
    }


def _beside(loss: float, directory: ModelDirectory, tokens: TokenDataset, documents: Selection) -> Figures:
    """Return what stands beside the loss, as far as it is known: unknown words, word frequencies, bits per byte."""
    vocab = Vocab.from_json(directory.vocab)
    size = _num_words(directory.description)
    counts = count_tokens(tokens, documents, len(vocab))
    # To the model, all other words are xxunk.
    seen = _others_unknown(counts[:size], int(counts.sum()))
    figures: Figures = {"unknown_rate": float(seen[UNK_ID] / seen.sum())}
    if vocab.num_tokens:
        trained = _others_unknown(vocab.counts[:size], vocab.num_tokens)
        figures["word_frequency_perplexity"] = word_frequency_perplexity(trained, seen)
    known_bytes = _known_bytes(tokens, vocab, counts, size)
    if known_bytes is None:
        print(f"bits per byte are not known: {tokens.folder.uri} was made by an earlier version: tokenize it again")
    else:
        figures["bits_per_byte"] = bits_per_byte(loss, documents.total_tokens, known_bytes)
    return figures


def _num_words(description: ModelDescription) -> int:
    assert description.architecture is not None
    return description.architecture.vocab_size


def _others_unknown(counts: np.ndarray, num_tokens: int) -> np.ndarray:
    """Return counts (V,) in which all tokens that are no word among them are xxunk."""
    counts = counts.copy()
    counts[UNK_ID] = num_tokens - (counts.sum() - counts[UNK_ID])
    return counts


def _known_bytes(tokens: TokenDataset, vocab: Vocab, counts: np.ndarray, size: int) -> int | None:
    """Return the bytes of cleaned text without those of words that the model does not know; None: not counted."""
    figures = tokens.manifest.figures
    if "num_text_bytes" not in figures:
        return None
    cut_off = int(word_bytes(pa.array(vocab.itos[size:], pa.string())) @ counts[size:])
    return int(figures["num_text_bytes"]) - int(figures["num_unknown_bytes"]) - cut_off
