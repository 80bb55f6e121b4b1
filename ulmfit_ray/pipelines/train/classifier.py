"""Language model + labelled token dataset -> classifier (ULMFiT's third stage)."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from ulmfit_ray.config import ConfigError
from ulmfit_ray.evaluation.classification import (
    best_thresholds,
    figures_of_classes,
    figures_of_numbers,
    figures_of_several,
    majority_accuracy,
)
from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.awd_lstm import AWDLSTM
from ulmfit_ray.model.classifier import POOLING, Classifier
from ulmfit_ray.model.description import ClassifierHead
from ulmfit_ray.model.files import load_model
from ulmfit_ray.pipelines.train.config import TrainClassifierConfig
from ulmfit_ray.pipelines.train.job import Figures, TrainingVerb, run_training_verb
from ulmfit_ray.pipelines.train.workers import TrainingResult
from ulmfit_ray.reporting.model_card import classifier_card
from ulmfit_ray.reporting.training_log import kept_row
from ulmfit_ray.storage.manifest import Manifest
from ulmfit_ray.storage.model_directory import ModelDirectory
from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.streams.labelled import LabelledBatches, in_order
from ulmfit_ray.streams.labelled_parts import LabelledParts, LabelOptions, labelled_parts
from ulmfit_ray.training.config import ClassifierTraining
from ulmfit_ray.training.distributed import of_first_worker, rank, world_size
from ulmfit_ray.training.precision import resolve_precision
from ulmfit_ray.training.tasks.classifier import ClassifierTask, Judgement

JUDGED_BY = {"single-label": ("loss", "accuracy", "f1"), "multi-label": ("loss", "f1"), "regression": ("loss",)}
"""The figures that an epoch can be judged by."""
LEAST_ROWS = 2
"""A batch norm needs so many documents."""
VALID_ROWS = 64
"""Documents of a worker that are validated at once."""


def run(config: TrainClassifierConfig) -> Manifest | None:
    """Train, or go on training, and write the model directory; return its manifest (None after --dry-run)."""
    directory, tokens = ModelDirectory(config.model), TokenDataset(config.tokens)
    valid = TokenDataset(config.valid) if config.valid else None
    if directory.description.kind != "lm":
        raise ConfigError(
            f"--model {config.model} is a {directory.description.kind}; a classifier starts from a language model"
        )
    for uri, dataset in ((config.tokens, tokens), (config.valid, valid)):
        if dataset is not None:
            directory.check_tokens(dataset.manifest.vocab, str(uri))
    parts = labelled_parts(tokens, valid, label_options(config))
    architecture = _architecture(config, directory)
    # The embedding, each LSTM layer, and the head are a group.
    chosen = config.training.chosen_for(len(parts.train), architecture.num_layers + 2)
    config = replace(config, training=chosen)
    batches = _batches(config, parts, backward=False)
    _check(config, parts, batches)
    head = _head(config, parts)
    verb = TrainingVerb(
        name="train-classifier",
        inputs={"tokens": tokens.fingerprint, "weights": directory.fingerprint}
        | ({"valid": valid.fingerprint} if valid else {}),
        tokens=tokens,
        steps_per_epoch=batches.num_batches,
        make_task=partial(make_task, config=replace(config, objective=head.objective, labels=head.labels)),
        new_model=partial(_new_classifier, architecture, head),
        direction=directory.description.direction,
        pooling=POOLING,
        vocab=directory.vocab,
        tokenizer=directory.tokenizer,
        tokenizer_model=directory.tokenizer_model,
        vocab_fingerprint=directory.manifest.vocab,
        tokenizer_fingerprint=directory.manifest.tokenizer,
        figures=partial(_figures, training=config.training, of_parts=_figures_of(parts, directory.fingerprint)),
        warning=_warning,
        card=classifier_card,
        shown=(
            *("num_train", "num_valid", "num_unlabelled", "num_parameters", "num_steps"),
            *("loss", "accuracy", "f1", "majority_accuracy", "rmse", "rmse_of_mean"),
        ),
    )
    return run_training_verb(config, verb)


def label_options(config: TrainClassifierConfig) -> LabelOptions:
    """Return which documents take part, and what their labels are."""
    return LabelOptions(
        label=config.label,
        objective=config.objective,
        labels=config.labels,
        label_separator=config.label_separator,
        valid_fraction=config.valid_fraction,
        labelled_documents=config.labelled_documents,
        seed=config.seed,
    )


def _batches(config: TrainClassifierConfig, parts: LabelledParts, *, backward: bool) -> LabelledBatches:
    size = config.training.global_batch_size
    return LabelledBatches(parts.train, global_batch_size=size, seed=config.seed, backward=backward)


def _check(config: TrainClassifierConfig, parts: LabelledParts, batches: LabelledBatches) -> None:
    """Raise ConfigError if the options do not suit the labels or the number of documents."""
    smallest, judged_by = len(parts.train) // batches.num_batches, JUDGED_BY[parts.objective]
    if config.head.norm == "batch" and smallest < LEAST_ROWS:
        raise ConfigError(
            f"--training.global-batch-size {config.training.global_batch_size}: of {len(parts.train):,} documents some"
            " would be a batch by themselves, too few for a batch norm: raise it, or use --head.norm layer"
        )
    if smallest < config.scaling.num_workers:
        raise ConfigError(
            f"--scaling.num-workers {config.scaling.num_workers}: {len(parts.train):,} documents in batches of at most"
            f" {config.training.global_batch_size} make some of {smallest}, and each worker needs a document"
        )
    if config.training.judge_by not in judged_by:
        raise ConfigError(
            f"--training.judge-by {config.training.judge_by}: {parts.objective} has {', '.join(judged_by)}"
        )
    given = config.training.class_weights
    if parts.objective == "regression" and (given != ("none",) or config.training.label_smoothing):
        raise ConfigError("--training.class-weights and --training.label-smoothing are for labels, not for numbers")
    if given not in (("none",), ("balanced",)) and len(given) != len(parts.labels):
        raise ConfigError(
            f"--training.class-weights has {len(given)} numbers for the {len(parts.labels)} labels"
            f" {', '.join(parts.labels[:10])}"
        )


def _head(config: TrainClassifierConfig, parts: LabelledParts) -> ClassifierHead:
    return ClassifierHead(
        objective=parts.objective,
        labels=parts.labels,
        hidden_sizes=config.head.hidden_sizes,
        norm=config.head.norm,
        has_bias=config.head.norm == "none",
    )


def _architecture(config: TrainClassifierConfig, directory: ModelDirectory) -> Architecture:
    assert directory.description.architecture is not None
    return config.architecture.changed(directory.description.architecture)


def _new_classifier(architecture: Architecture, head: ClassifierHead) -> Classifier:
    return Classifier(AWDLSTM(architecture), head)


def start_of(config: TrainClassifierConfig, directory: ModelDirectory, parts: LabelledParts) -> Classifier:
    """Return the classifier before its first step: the language model's layers, a new head."""
    torch.manual_seed(config.seed)
    model = _new_classifier(_architecture(config, directory), _head(config, parts))
    if not config.from_scratch:
        with directory.weights() as path:
            language_model = load_model(directory.description, path, torch.device("cpu"))
        model.backbone.load_state_dict(language_model.backbone.state_dict())
    if parts.objective == "regression":
        model.target_mean.fill_(float(parts.train.targets.values.mean()))
        model.target_std.fill_(float(parts.train.targets.values.std()))
    return model


def make_task(
    device: torch.device, precision: str | None, *, config: TrainClassifierConfig
) -> tuple[ClassifierTask, dict[str, Any]]:
    """Build the task, and the facts for its checkpoints, on a worker (all ranks alike)."""
    directory = ModelDirectory(config.model)
    valid = TokenDataset(config.valid) if config.valid else None
    parts = labelled_parts(TokenDataset(config.tokens), valid, label_options(config))
    share = {"rank": rank(), "world_size": world_size()}
    backward = directory.description.direction == "backward"
    batches = _batches(config, parts, backward=backward)
    precision = precision or of_first_worker(resolve_precision(config.precision, device))
    valid_batches = None
    if parts.valid is not None:
        valid_batches = partial(in_order, parts.valid, size=VALID_ROWS * world_size(), backward=backward, **share)
    model = start_of(config, directory, parts)
    task = ClassifierTask(
        model,
        config.training,
        head_dropouts=config.head.dropouts,
        class_weights=_class_weights(config.training, parts),
        batches=partial(batches.batches, **share),
        steps_per_epoch=batches.num_batches,
        valid_batches=valid_batches,
        judge=partial(judge, objective=parts.objective, mean=float(model.target_mean), std=float(model.target_std)),
        seed=config.seed,
        precision=precision,
        device=device,
    )
    return task, {"precision": precision, "device": str(device)}


def _class_weights(training: ClassifierTraining, parts: LabelledParts) -> np.ndarray | None:
    if training.class_weights == ("none",) or parts.objective == "regression":
        return None
    if training.class_weights == ("balanced",) and parts.objective == "multi-label":
        return (len(parts.train) - parts.counts) / np.maximum(parts.counts, 1)
    if training.class_weights == ("balanced",):
        return len(parts.train) / (len(parts.labels) * np.maximum(parts.counts, 1))
    return np.array([float(word) for word in training.class_weights])


def judge(outputs: np.ndarray, targets: np.ndarray, *, objective: str, mean: float, std: float) -> Judgement:
    """Return figures of the head's outputs (N, C), float64, and of several labels the thresholds that suit them.

    The outputs of a regression are in units of `std` around `mean`, and so is its loss; all else is in the targets'.
    """
    if objective == "regression":
        found = figures_of_numbers(targets, outputs[:, 0] * std + mean)
        named = {name: float(found[name]) for name in ("rmse", "mae", "r2", "spearman") if name in found}
        return {"loss": (named["rmse"] / std) ** 2} | named, None
    if objective == "multi-label":
        probabilities = 1 / (1 + np.exp(-outputs))
        thresholds = best_thresholds(targets, probabilities)
        found = figures_of_several(targets, probabilities, thresholds)
        return {
            "loss": found["log_loss"],
            "f1": found["macro_f1"],
            "micro_f1": found["micro_f1"],
            "exact_match": found["exact_match"],
        }, thresholds
    exponentials = np.exp(outputs - outputs.max(1, keepdims=True))
    found = figures_of_classes(targets, exponentials / exponentials.sum(1, keepdims=True))
    return {"loss": found["log_loss"], "accuracy": found["accuracy"], "f1": found["macro_f1"]}, None


def _figures_of(parts: LabelledParts, base: str) -> Figures:
    """Return what the manifest says of the documents, and what a model must be better than."""
    num_unlabelled = sum(part.num_unlabelled for part in (parts.train, parts.valid) if part is not None)
    figures: Figures = {"base": base, "num_train": len(parts.train), "num_unlabelled": num_unlabelled}
    if parts.objective != "regression":
        figures["label_counts"] = dict(zip(parts.labels, parts.counts.tolist(), strict=True))
    if parts.valid is None:
        return figures
    figures["num_valid"] = len(parts.valid)
    targets = parts.valid.targets.values
    if parts.objective == "single-label":
        figures["majority_accuracy"] = majority_accuracy(parts.train.targets.values, targets)
    elif parts.objective == "regression":
        figures["rmse_of_mean"] = float(np.sqrt(np.square(targets - parts.train.targets.values.mean()).mean()))
    return figures


def _figures(result: TrainingResult, *, training: ClassifierTraining, of_parts: Figures) -> Figures:
    row = kept_row(result.log, keep_best=training.keep_best, judge_by=training.judge_by)
    found = {} if row is None else {name: value for name, value in row.items() if name not in ("step", "seconds")}
    return of_parts | found


def _warning(figures: Figures) -> str:
    """Say that a classifier is no better than naming the most frequent label, or the mean."""
    for name, of_none, sign in (("accuracy", "majority_accuracy", 1), ("rmse", "rmse_of_mean", -1)):
        if name in figures and of_none in figures and sign * (figures[name] - figures[of_none]) <= 0:
            return (
                f"the classifier has learned nothing: its {name.replace('rmse', 'root mean square error')} is"
                f" {figures[name]:.3f}, and {figures[of_none]:.3f} without looking at the documents.\n    Over a"
                " language model of little text use --training.unfreeze 0 --training.discriminative-decay 1 and a"
                " --training.learning-rate of about 1e-2"
            )
    return ""
