"""What the verbs that train a language model share: streams, task, figures, warnings."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import torch

from ulmfit_ray.config import ConfigError
from ulmfit_ray.evaluation.language_model import word_frequency_perplexity
from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.awd_lstm import LanguageModel
from ulmfit_ray.pipelines.train.config import LanguageModelRun
from ulmfit_ray.pipelines.train.job import Figures, TrainingVerb, run_training_verb
from ulmfit_ray.pipelines.train.workers import TrainingResult
from ulmfit_ray.reporting.model_card import language_model_card
from ulmfit_ray.reporting.training_log import kept_row
from ulmfit_ray.storage.manifest import Manifest
from ulmfit_ray.storage.model_directory import read_tokenizer_model
from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.streams.language_model import LMStream
from ulmfit_ray.streams.selection import Selection, count_tokens, everything, select
from ulmfit_ray.training.config import LanguageModelTraining
from ulmfit_ray.training.distributed import of_first_worker, own_rows
from ulmfit_ray.training.precision import resolve_precision
from ulmfit_ray.training.tasks.language_model import LanguageModelTask

Run = TypeVar("Run", bound=LanguageModelRun)


@dataclass(frozen=True, slots=True)
class Start:
    """What a training of a language model begins with."""

    architecture: Architecture
    """Its vocab_size is 0 if it is to be the tokens' own."""
    direction: str
    make_model: Callable[[Architecture], LanguageModel]
    """Called on each worker, with the same random numbers: the model with its first weights."""
    inputs: dict[str, str] = field(default_factory=dict)
    """Fingerprints of what it is made of."""
    figures: Figures = field(default_factory=dict)
    """What the manifest says of it."""


def chosen_for_tokens(config: Run) -> Run:
    """Return the config with epochs and batch chosen for its tokens, where they were left open."""
    num_tokens = TokenDataset(config.tokens).manifest.counts.num_tokens
    return replace(config, training=config.training.chosen_for(num_tokens))


def run_language_model(name: str, config: LanguageModelRun, start: Start) -> Manifest | None:
    """Train, or go on training, and write the model directory; return its manifest (None after --dry-run)."""
    tokens, valid = _open_tokens(config)
    vocab = tokens.folder.read_json("vocab.json")
    architecture = with_vocab_size(start.architecture, len(vocab["tokens"]))
    verb = TrainingVerb(
        name=name,
        inputs={"tokens": tokens.fingerprint} | ({"valid": valid.fingerprint} if valid else {}) | start.inputs,
        tokens=tokens,
        steps_per_epoch=_steps_per_epoch(config, tokens),
        make_task=partial(make_task, config=config, start=start, architecture=architecture),
        new_model=partial(LanguageModel, architecture),
        direction=start.direction,
        pooling="mean",
        vocab=vocab,
        tokenizer=tokens.folder.read_json("tokenizer.json"),
        tokenizer_model=read_tokenizer_model(tokens.folder),
        vocab_fingerprint=tokens.manifest.vocab,
        tokenizer_fingerprint=tokens.manifest.tokenizer,
        figures=partial(_figures, training=config.training, of_start=start.figures),
        warning=_warning,
        card=language_model_card,
        shown=(
            *("train_tokens", "tokens_left_out", "num_parameters", "num_steps", "perplexity"),
            *("word_frequency_perplexity", "accuracy"),
        ),
    )
    return run_training_verb(config, verb)


def _open_tokens(config: LanguageModelRun) -> tuple[TokenDataset, TokenDataset | None]:
    tokens = TokenDataset(config.tokens)
    valid = TokenDataset(config.valid) if config.valid else None
    if valid is not None and valid.manifest.vocab != tokens.manifest.vocab:
        raise ConfigError(
            f"the vocabulary of {config.valid} ({valid.manifest.vocab[:12]}) is not that of {config.tokens}"
            f" ({tokens.manifest.vocab[:12]}): tokenize it with --vocab {config.tokens}"
        )
    return tokens, valid


def with_vocab_size(architecture: Architecture, vocab_size: int) -> Architecture:
    """Return the architecture with the number of words it will know."""
    if architecture.vocab_size > vocab_size:
        raise ConfigError(
            f"--architecture.vocab-size {architecture.vocab_size}: the tokens' vocabulary has {vocab_size}"
        )
    return replace(architecture, vocab_size=architecture.vocab_size or vocab_size)


def _selections(config: LanguageModelRun) -> tuple[TokenDataset, Selection, TokenDataset, Selection | None]:
    """Return the training dataset and the documents selected from it, then the same for validation (None: none)."""
    tokens, valid = _open_tokens(config)
    if valid is not None:
        return tokens, everything(tokens), valid, everything(valid)
    part = partial(select, tokens, fraction=config.valid_fraction, seed=config.seed)
    return tokens, part(held_out=False), tokens, part(held_out=True) if config.valid_fraction else None


def make_task(
    device: torch.device, precision: str | None, *, config: LanguageModelRun, start: Start, architecture: Architecture
) -> tuple[LanguageModelTask, dict[str, Any]]:
    """Build the task, and the facts for its checkpoints, on a worker (all ranks alike)."""
    training = config.training
    tokens, train_selection, valid, valid_selection = _selections(config)
    make_stream = partial(
        LMStream,
        global_batch_size=training.global_batch_size,
        bptt=training.bptt,
        columns=own_rows(training.global_batch_size),
        seed=config.seed,
        backward=start.direction == "backward",
        vary_bptt=training.vary_bptt,
    )
    stream = make_stream(tokens, train_selection)
    precision = precision or of_first_worker(resolve_precision(config.precision, device))
    facts: dict[str, Any] = {"precision": precision, "device": str(device)}
    facts["train_tokens"], facts["tokens_left_out"] = train_selection.total_tokens, stream.tokens_left_out
    valid_stream = None
    if valid_selection is not None:
        valid_stream = make_stream(
            valid, valid_selection, shuffle=False, vary_bptt=False, what="validation tokens (--valid-fraction)"
        )
        facts["valid_tokens"] = valid_selection.total_tokens
        facts["word_frequency_perplexity"] = word_frequency_perplexity(
            count_tokens(tokens, train_selection, architecture.vocab_size),
            count_tokens(valid, valid_selection, architecture.vocab_size),
        )
    torch.manual_seed(config.seed)
    task = LanguageModelTask(
        start.make_model(architecture),
        training,
        train_windows=stream.windows,
        steps_per_epoch=stream.num_windows,
        valid_windows=valid_stream.windows if valid_stream else None,
        seed=config.seed,
        precision=precision,
        device=device,
    )
    return task, facts


def _figures(result: TrainingResult, *, training: LanguageModelTraining, of_start: Figures) -> Figures:
    names = ("train_tokens", "tokens_left_out", "valid_tokens", "word_frequency_perplexity")
    figures: Figures = {name: result.checkpoint.facts[name] for name in names if name in result.checkpoint.facts}
    row = kept_row(result.log, keep_best=training.keep_best, judge_by=training.judge_by)
    if row is not None:
        figures |= {name: row[name] for name in ("loss", "perplexity", "accuracy", "epoch")}
    return figures | of_start


def _steps_per_epoch(config: LanguageModelRun, tokens: TokenDataset) -> int:
    held_out = 0.0 if config.valid else config.valid_fraction
    per_step = config.training.global_batch_size * config.training.bptt
    return math.ceil(tokens.manifest.counts.num_tokens * (1 - held_out) / per_step)


def _warning(figures: Figures) -> str:
    if "perplexity" not in figures:
        return ""
    perplexity, frequencies = float(figures["perplexity"]), float(figures["word_frequency_perplexity"])
    if perplexity < frequencies:
        return ""
    return (
        f"the model has learned nothing from context: its perplexity is {perplexity:.0f}, that of word frequencies"
        f" alone {frequencies:.0f}.\n    {figures['num_steps']:,} steps are too few or too large: raise"
        " --training.num-epochs, or lower --training.global-batch-size and --training.bptt"
        " (about 1,000 tokens a step suit a small corpus)"
    )
