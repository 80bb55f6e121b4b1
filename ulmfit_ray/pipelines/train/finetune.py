"""Language model + token dataset -> language model of that text (ULMFiT's second stage).

The vocabulary is the new tokens'. A word that the model knows keeps its vector, by its name; a new one begins with the
mean of all. First the last layer group is trained, which holds the word vectors, then all.
"""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from ulmfit_ray.config import ConfigError
from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.awd_lstm import LanguageModel
from ulmfit_ray.model.fastai import OLD_NAMES
from ulmfit_ray.model.files import load_model
from ulmfit_ray.model.transfer import rows_of, transfer, transfer_layers
from ulmfit_ray.pipelines.train.config import FinetuneConfig
from ulmfit_ray.pipelines.train.job import Figures
from ulmfit_ray.pipelines.train.language_model import Start, chosen_for_tokens, run_language_model
from ulmfit_ray.storage.manifest import Manifest
from ulmfit_ray.storage.model_directory import ModelDirectory
from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.text.vocab import Vocab


def run(config: FinetuneConfig) -> Manifest | None:
    """Train, or go on training, and write the model directory; return its manifest (None after --dry-run)."""
    config = chosen_for_tokens(config)
    directory, tokens = ModelDirectory(config.model), TokenDataset(config.tokens)
    if directory.description.kind != "lm":
        raise ConfigError(
            f"--model {config.model} is a {directory.description.kind}; fine-tuning starts from a language model"
        )
    start = start_of(config, directory, tokens)
    print(_found(start.figures), flush=True)
    if directory.manifest.tokenizer != tokens.manifest.tokenizer:
        print(f"note: the text of {config.model} was cleaned or cut by other rules than {config.tokens}", flush=True)
    return run_language_model("finetune", config, start)


def start_of(config: FinetuneConfig, directory: ModelDirectory, tokens: TokenDataset) -> Start:
    """Return what training starts with: the model's layers, and the vectors of the words it shares with the tokens."""
    known = directory.description.architecture
    assert known is not None
    vocab = Vocab.from_json(tokens.folder.read_json("vocab.json"))
    architecture = config.architecture.changed(known.scaled_dropouts())
    rows = _rows(directory, vocab)[: architecture.vocab_size or len(vocab)]
    return Start(
        architecture,
        directory.description.direction,
        partial(_model, config=config, rows=rows),
        inputs={"weights": directory.fingerprint},
        figures={"base": directory.fingerprint} | _shares(rows, vocab, config.reset_embeddings),
    )


def _rows(directory: ModelDirectory, vocab: Vocab) -> Tensor:
    assert directory.description.architecture is not None
    known = directory.vocab["tokens"][: directory.description.architecture.vocab_size]
    return rows_of(vocab.itos, known, OLD_NAMES)


def _shares(rows: Tensor, vocab: Vocab, reset_embeddings: bool) -> Figures:
    """Return which part of the words, and of the text, the model has vectors for."""
    is_found = np.zeros(len(rows), bool) if reset_embeddings else (rows >= 0).numpy()
    counts = vocab.counts[: len(rows)]
    return {
        "num_words": len(rows),
        "words_found": int(is_found.sum()),
        "tokens_found": float(counts[is_found].sum() / max(1, counts.sum())),
    }


def _found(figures: Figures) -> str:
    return (
        f"{figures['words_found']:,} of {figures['num_words']:,} words, {figures['tokens_found']:.2%} of the tokens,"
        " have their vectors from the model"
    )


def _model(architecture: Architecture, *, config: FinetuneConfig, rows: Tensor) -> LanguageModel:
    directory = ModelDirectory(config.model)
    with directory.weights() as path:
        source = load_model(directory.description, path, torch.device("cpu"))
    target = LanguageModel(architecture)
    if config.reset_embeddings:
        transfer_layers(source, target)
    else:
        transfer(source, target, rows)
    return target
