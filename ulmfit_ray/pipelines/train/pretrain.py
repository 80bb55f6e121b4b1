"""Token dataset -> language model, on Ray Train."""

import math
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch

from ulmfit_ray.config import ConfigError, operational
from ulmfit_ray.lifecycle import claim_output, print_dry_run
from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.awd_lstm import LanguageModel
from ulmfit_ray.model.files import describe, save_tensors
from ulmfit_ray.pipelines.runtime import RayRun, ray_session
from ulmfit_ray.pipelines.train.ray_train import Scaling, TrainingResult, run_training, training_plan
from ulmfit_ray.reporting.model_card import language_model_card
from ulmfit_ray.reporting.progress import print_summary
from ulmfit_ray.storage.folder import Folder, scratch_directory
from ulmfit_ray.storage.model_directory import write_model_directory
from ulmfit_ray.storage.token_dataset import TokenDataset, flat_tokens
from ulmfit_ray.streams.language_model import LMStream, Selection, select
from ulmfit_ray.training.distributed import of_first_worker, own_rows
from ulmfit_ray.training.loop import TrainingConfig
from ulmfit_ray.training.precision import Precision, resolve_precision
from ulmfit_ray.training.tasks.language_model import LanguageModelTask, LanguageModelTraining


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainConfig(RayRun):
    """Train an AWD-LSTM language model from scratch on a token dataset."""

    tokens: str
    """Token dataset."""
    output: str = operational()
    """Directory or URI of the model."""
    valid: str | None = None
    """Token dataset to validate on, with the same vocabulary (default: held-out documents of --tokens)."""
    valid_fraction: float = 0.1
    """Part of the documents held out, chosen by a hash of id and seed; 0: none."""
    direction: Literal["forward", "backward"] = "forward"
    """backward: each document is read from its end."""
    architecture: Architecture = field(default_factory=Architecture)
    training: LanguageModelTraining = field(default_factory=LanguageModelTraining)
    scaling: Scaling = operational(default_factory=Scaling)
    precision: Precision = "auto"
    """auto: bfloat16 where the hardware has it, else float32."""
    seed: int = 0
    """Of initial weights, order of documents, dropout, and the choice of held-out documents."""

    def __post_init__(self) -> None:
        if not 0 <= self.valid_fraction < 1:
            raise ConfigError("--valid-fraction must lie in [0, 1)")
        if self.seed < 0:
            raise ConfigError("--seed must not be negative")
        self.scaling.check(self.training)


def run(config: PretrainConfig) -> dict[str, Any]:
    """Train, or go on training, and write the model directory; return its manifest."""
    tokens, valid = _open_tokens(config)
    vocab = tokens.folder.read_json("vocab.json")
    architecture = _resolve(config.architecture, len(vocab["tokens"]))
    inputs = {"tokens": tokens.fingerprint} | ({"valid": valid.fingerprint} if valid else {})
    folder, manifest = claim_output("pretrain", config, inputs=inputs)
    if manifest is not None:
        print_summary("complete, nothing to do", _summary(folder, manifest))
        return manifest
    if config.dry_run:
        print_dry_run(config, training_plan(tokens, config.training, config.scaling))
        return {}
    with ray_session(config.ray):
        make_task = partial(_make_task, config=config, architecture=architecture)
        result = run_training(make_task, folder, config.scaling, config.ray, "pretrain")
    manifest = _write_model(config, folder, tokens, architecture, vocab, result)
    print_summary("pretrain", _summary(folder, manifest))
    return manifest


def _open_tokens(config: PretrainConfig) -> tuple[TokenDataset, TokenDataset | None]:
    tokens = TokenDataset(config.tokens)
    valid = TokenDataset(config.valid) if config.valid else None
    if valid is not None and valid.vocab_fingerprint != tokens.vocab_fingerprint:
        raise ConfigError(
            f"the vocabulary of {config.valid} ({valid.vocab_fingerprint[:12]}) is not that of {config.tokens}"
            f" ({tokens.vocab_fingerprint[:12]}): tokenize it with --vocab {config.tokens}"
        )
    return tokens, valid


def _resolve(architecture: Architecture, vocab_size: int) -> Architecture:
    """Return the architecture with the number of words it will know."""
    if architecture.vocab_size > vocab_size:
        raise ConfigError(
            f"--architecture.vocab-size {architecture.vocab_size}: the tokens' vocabulary has {vocab_size}"
        )
    return replace(architecture, vocab_size=architecture.vocab_size or vocab_size)


def _selections(config: PretrainConfig) -> tuple[TokenDataset, Selection, TokenDataset, Selection | None]:
    tokens, valid = _open_tokens(config)
    if valid is not None:
        everything = partial(select, fraction=0.0, seed=config.seed, held_out=False)
        return tokens, everything(tokens), valid, everything(valid)
    part = partial(select, tokens, fraction=config.valid_fraction, seed=config.seed)
    return tokens, part(held_out=False), tokens, part(held_out=True) if config.valid_fraction else None


def _make_task(
    device: torch.device, precision: str | None, *, config: PretrainConfig, architecture: Architecture
) -> tuple[LanguageModelTask, TrainingConfig, dict[str, Any]]:
    """Build the task on a worker (all ranks alike)."""
    training = config.training
    tokens, train_selection, valid, valid_selection = _selections(config)
    make_stream = partial(
        LMStream,
        global_batch_size=training.global_batch_size,
        bptt=training.bptt,
        columns=own_rows(training.global_batch_size),
        seed=config.seed,
        backward=config.direction == "backward",
    )
    stream = make_stream(tokens, train_selection)
    valid_stream = None
    if valid_selection is not None:
        valid_stream = make_stream(valid, valid_selection, shuffle=False, what="validation tokens (--valid-fraction)")
    precision = precision or of_first_worker(resolve_precision(config.precision, device))
    torch.manual_seed(config.seed)
    task = LanguageModelTask(
        LanguageModel(architecture),
        training,
        train_windows=stream.windows,
        steps_per_epoch=stream.num_windows,
        valid_windows=valid_stream.windows if valid_stream else None,
        seed=config.seed,
        precision=precision,
        device=device,
    )
    facts = {"precision": precision, "device": str(device), "train_tokens": train_selection.total_tokens}
    if valid_selection is not None:
        facts["valid_tokens"] = valid_selection.total_tokens
        facts["word_frequency_perplexity"] = word_frequency_perplexity(
            architecture.vocab_size, (tokens, train_selection), (valid, valid_selection)
        )
    return task, training, facts


def word_frequency_perplexity(
    vocab_size: int, train: tuple[TokenDataset, Selection], valid: tuple[TokenDataset, Selection]
) -> float:
    """Return the perplexity of word frequencies alone: add-one, counted on `train`, scored on `valid`."""
    counts = token_counts(vocab_size, *train) + 1
    scored = token_counts(vocab_size, *valid)
    log_probabilities = np.log(counts / counts.sum())
    return math.exp(-float(scored @ log_probabilities) / scored.sum())


def token_counts(vocab_size: int, dataset: TokenDataset, selection: Selection) -> np.ndarray:
    """Return how often each of the first `vocab_size` words occurs in the selection, the others as xxunk."""
    counts = np.zeros(vocab_size, np.int64)
    for table, documents in zip(dataset.tables(), selection.documents, strict=True):
        values, offsets = flat_tokens(table["tokens"])
        in_selection = np.zeros(table.num_rows, bool)
        in_selection[documents] = True
        ids = values[np.repeat(in_selection, np.diff(offsets))].astype(np.int64)
        counts += np.bincount(np.where(ids < vocab_size, ids, 0), minlength=vocab_size)
    return counts


def _write_model(
    config: PretrainConfig,
    folder: Folder,
    tokens: TokenDataset,
    architecture: Architecture,
    vocab: dict[str, Any],
    result: TrainingResult,
) -> dict[str, Any]:
    model = LanguageModel(architecture)
    weights = {name[6:]: value for name, value in result.state.items() if name.startswith("model.")}
    model.load_state_dict(weights)
    names = ("precision", "train_tokens", "valid_tokens", "word_frequency_perplexity")
    last_epoch = [row for row in result.log if "perplexity" in row][-1:]
    figures = {name: result.facts[name] for name in names if name in result.facts}
    figures |= {name: row[name] for row in last_epoch for name in ("loss", "perplexity", "accuracy")}
    figures |= {"num_steps": int(result.state["step"]), "num_parameters": sum(p.numel() for p in model.parameters())}
    description = describe(model, direction=config.direction, pooling="mean") | {"precision": figures["precision"]}
    job = folder.read_json("config.json")["job"]
    with scratch_directory() as scratch:
        save_tensors(weights, scratch / "model.safetensors")
        manifest = write_model_directory(
            folder,
            job=job,
            model=description,
            weights=scratch / "model.safetensors",
            vocab=vocab,
            tokenizer=tokens.folder.read_json("tokenizer.json"),
            log=result.log,
            card=language_model_card(description, job, figures),
            facts=figures | {"vocab": tokens.vocab_fingerprint, "tokenizer": tokens.manifest["tokenizer"]},
        )
    folder.delete("checkpoints")
    return manifest


def _summary(folder: Folder, manifest: dict[str, Any]) -> dict[str, Any]:
    names = ("train_tokens", "num_parameters", "num_steps", "perplexity", "word_frequency_perplexity", "accuracy")
    return {name.removeprefix("num_"): manifest[name] for name in names if name in manifest} | {"output": folder.uri}
