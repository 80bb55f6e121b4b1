"""What all training verbs do: claim the output, train on Ray, write the model directory.

A `TrainingVerb` holds what differs between them: inputs, task, shape of the model, figures and model card.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from ulmfit_ray.config import ConfigError
from ulmfit_ray.lifecycle import claim_output, output_lease, print_dry_run
from ulmfit_ray.model.description import ModelDescription
from ulmfit_ray.model.files import save_tensors
from ulmfit_ray.model.kinds import Model, describe
from ulmfit_ray.pipelines.options import RayOptions, Scaling
from ulmfit_ray.pipelines.runtime import ray_session
from ulmfit_ray.pipelines.train.workers import MakeTask, TrainingResult, run_training
from ulmfit_ray.reporting.curves import training_curves
from ulmfit_ray.reporting.tables import print_summary
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.job_record import JobRecord, read_job
from ulmfit_ray.storage.manifest import Figure, Manifest, Totals
from ulmfit_ray.storage.model_directory import write_model_directory
from ulmfit_ray.storage.scratch import scratch_directory
from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.training.config import TrainingConfig
from ulmfit_ray.training.stages import stages_of
from ulmfit_ray.training.state import State, final_weights

Figures = dict[str, Figure]


class TrainingRun(Protocol):
    """What the configs of all training verbs have."""

    @property
    def dry_run(self) -> bool:
        """Whether to stop after the plan."""

    @property
    def tensorboard(self) -> bool:
        """Whether event files are written."""

    @property
    def ray(self) -> RayOptions:
        """Where the job runs."""

    @property
    def training(self) -> TrainingConfig:
        """How weights change."""

    @property
    def scaling(self) -> Scaling:
        """Workers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingVerb:
    """What one training verb adds to the common road."""

    name: str
    inputs: dict[str, str]
    """Fingerprints of what it reads."""
    tokens: TokenDataset
    """What it trains on."""
    steps_per_epoch: int
    """About how many; the exact number is known when the held-out documents are."""
    make_task: MakeTask
    new_model: Callable[[], Model]
    """Builds a model of the shape that is written."""
    direction: str
    pooling: str
    vocab: dict[str, Any]
    """Content of vocab.json, as `tokenizer` of tokenizer.json and `tokenizer_model` of tokenizer.model."""
    tokenizer: dict[str, Any]
    tokenizer_model: bytes | None
    vocab_fingerprint: str
    tokenizer_fingerprint: str
    figures: Callable[[TrainingResult], Figures]
    """What the manifest says of this run, beside steps, parameters and precision."""
    card: Callable[[ModelDescription, JobRecord, Figures, Totals], str]
    warning: Callable[[Figures], str]
    """What is wrong with these figures and what to change; "" if nothing."""
    shown: tuple[str, ...]
    """Figures of the closing summary, in this order."""
    finished: Callable[[State], State] = lambda weights: weights
    """Weights as they were trained -> those of the model that is written."""


def run_training_verb(config: TrainingRun, verb: TrainingVerb) -> Manifest | None:
    """Train, or go on training, and write the model directory; return its manifest (None after --dry-run)."""
    with torch.device("meta"):
        shape = verb.new_model()
    _check_stages(config.training, shape)
    with output_lease(verb.name, config) as lease:
        return _run(config, verb, shape, lease)


def _run(config: TrainingRun, verb: TrainingVerb, shape: Model, lease: str) -> Manifest | None:
    folder, manifest = claim_output(verb.name, config, inputs=verb.inputs)
    if manifest is not None:
        print_summary("complete, nothing to do", _summary(folder, manifest, verb))
        return manifest
    if config.dry_run:
        print_dry_run(config, _planned_work(config, verb, shape))
        return None
    print(f"{verb.name}: {_planned_work(config, verb, shape)}", flush=True)
    with ray_session(config.ray):
        result = run_training(
            *(verb.make_task, config.training, folder, config.scaling, config.ray, verb.name),
            with_event_files=config.tensorboard,
            lease=lease,
        )
    manifest = _write_model(folder, verb, result)
    print_summary(verb.name, _summary(folder, manifest, verb))
    warning = verb.warning(manifest.figures)
    if warning:
        print(f"warning: {warning}", file=sys.stderr)
    return manifest


def _check_stages(training: TrainingConfig, model: Model) -> None:
    try:
        stages_of(training, len(model.layer_groups()))
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _planned_work(config: TrainingRun, verb: TrainingVerb, shape: Model) -> str:
    """Return how large the work is: a person who began days of training on a laptop is to see it."""
    counts, training = verb.tokens.manifest.counts, config.training
    return (
        f"{counts.num_documents:,} documents, {counts.num_tokens:,} tokens;"
        f" {_num_parameters(shape):,} parameters; {training.num_epochs:,} epochs of about"
        f" {verb.steps_per_epoch:,} steps; {config.scaling.num_workers} workers"
    )


def _num_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _write_model(folder: Folder, verb: TrainingVerb, result: TrainingResult) -> Manifest:
    """Write the model directory from the last state, then delete the checkpoints."""
    weights = verb.finished(final_weights(result.state))
    model = verb.new_model()
    model.load_state_dict(weights)
    precision = str(result.checkpoint.facts["precision"])
    figures = verb.figures(result) | {
        "precision": precision,
        "num_steps": result.checkpoint.step,
        "num_parameters": _num_parameters(model),
    }
    description = describe(model, direction=verb.direction, pooling=verb.pooling, precision=precision)
    job = read_job(folder)
    with scratch_directory() as scratch:
        save_tensors(weights, scratch / "model.safetensors")
        manifest = write_model_directory(
            folder,
            job=job,
            model=description,
            weights=scratch / "model.safetensors",
            vocab=verb.vocab,
            tokenizer=verb.tokenizer,
            tokenizer_model=verb.tokenizer_model,
            log=result.log,
            curves=training_curves(result.log),
            card=verb.card(description, job, figures, verb.tokens.manifest.counts),
            manifest=Manifest(
                job=verb.name,
                vocab=verb.vocab_fingerprint,
                tokenizer=verb.tokenizer_fingerprint,
                files={},
                figures=figures,
            ),
        )
    folder.delete("checkpoints")
    return manifest


def _summary(folder: Folder, manifest: Manifest, verb: TrainingVerb) -> Figures:
    figures = {name: manifest.figures[name] for name in verb.shown if name in manifest.figures}
    return {name.removeprefix("num_"): value for name, value in figures.items()} | {"output": folder.uri}
