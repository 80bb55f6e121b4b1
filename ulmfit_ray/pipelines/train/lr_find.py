"""Token dataset -> a learning rate: a few steps at rates that rise, thrown away again, and a look at their losses.

One Ray task, which yields a rate and a loss at a time. It is no run of Ray Train, because nothing of one is wanted: no
checkpoint to go on from, and no second worker, since any number of workers gives the same losses. If the worker is lost
with its node, all steps are made again.
"""

import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import ray
import torch
from ray.exceptions import RayError, RayTaskError

from ulmfit_ray.config import ConfigError
from ulmfit_ray.lifecycle import claim_output, output_lease, print_dry_run
from ulmfit_ray.pipelines.runtime import largest_node_cpus, ray_session, require_resources, watched_resources
from ulmfit_ray.pipelines.train import finetune, pretrain
from ulmfit_ray.pipelines.train.config import FindLearningRateConfig, FinetuneConfig
from ulmfit_ray.pipelines.train.language_model import Start, chosen_for_tokens, make_task, with_vocab_size
from ulmfit_ray.reporting.curves import rate_curve
from ulmfit_ray.reporting.logs import configure_logging
from ulmfit_ray.reporting.progress import Bar
from ulmfit_ray.reporting.tables import print_summary
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.manifest import Manifest, write_manifest
from ulmfit_ray.storage.model_directory import ModelDirectory
from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.training.loop import NotFiniteError, train
from ulmfit_ray.training.memory import KEEP_MEMORY
from ulmfit_ray.training.rate_sweep import ADAM_BETA1, RateSweep, exponential

VERB = "lr-find"
WORKERS = 4
"""Of so many workers one must come to the end."""
Step = tuple[float, float, float]
"""Learning rate, loss in nats per token, tokens."""


def run(config: FindLearningRateConfig) -> Manifest | None:
    """Try the rates, write the curve and print the suggestion; return the manifest (None after --dry-run)."""
    with output_lease(VERB, config):
        return _run(config)


def _run(config: FindLearningRateConfig) -> Manifest | None:
    config = chosen_for_tokens(config)
    tokens = TokenDataset(config.tokens)
    start = _start(config, tokens)
    folder, manifest = claim_output(VERB, config, inputs={"tokens": tokens.fingerprint} | start.inputs)
    if manifest is not None:
        _show("complete, nothing to do", manifest, folder)
        return manifest
    if config.dry_run:
        print_dry_run(config, f"{config.num_steps} steps at rates from {config.first_rate:g} to {config.last_rate:g}")
        return None
    architecture = with_vocab_size(start.architecture, int(tokens.manifest.figures["vocab_size"]))
    with ray_session(config.ray):
        sweep = _sweep(config, replace(start, architecture=architecture))
        manifest = _write(folder, sweep, config, tokens)
    _show(VERB, manifest, folder)
    return manifest


def _start(config: FindLearningRateConfig, tokens: TokenDataset) -> Start:
    """Return what the steps start from: what pretrain or finetune would."""
    if config.model is None:
        return pretrain.start_of(config)
    model = ModelDirectory(config.model)
    if model.description.kind != "lm":
        raise ConfigError(f"--model {config.model} is a {model.description.kind}; needed is a language model")
    like = FinetuneConfig(model=config.model, tokens=config.tokens, output=config.output)
    return finetune.start_of(like, model, tokens)


def _sweep(config: FindLearningRateConfig, start: Start) -> RateSweep:
    """Let a worker make the steps; another one from the beginning, if the first is lost.

    Raises:
        RuntimeError: too many workers were lost.
    """
    for number in range(1, WORKERS + 1):
        try:
            return _steps_of_worker(config, start)
        except RayTaskError as error:
            raise error.cause from None
        except RayError as error:
            said = f"the worker is gone (killed, out of memory, or lost with its node): {type(error).__name__}"
            print(
                f"{said}\n    {WORKERS - number} more are tried, from the first step on.", file=sys.stderr, flush=True
            )
    raise RuntimeError(f"{WORKERS} workers were lost, one after the other")


def _steps_of_worker(config: FindLearningRateConfig, start: Start) -> RateSweep:
    """Let a worker make the steps, and show how far it is."""
    scaling, num_gpus = config.scaling, int(config.scaling.use_gpu)
    require_resources(config.ray, num_cpus=scaling.num_cpus or 1, num_gpus=num_gpus, what=VERB)
    num_cpus = scaling.num_cpus or (1 if scaling.use_gpu else largest_node_cpus())
    task: Any = ray.remote(sweep_steps)
    task = task.options(
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        num_returns="streaming",
        max_retries=0,
        runtime_env={"env_vars": KEEP_MEMORY},
    )
    sweep = RateSweep()
    with (
        watched_resources(config.ray, num_cpus=num_cpus, num_gpus=num_gpus, what=VERB),
        Bar(VERB, config.num_steps, "steps") as bar,
    ):
        # One answer is asked for at a time, because each is shown when it comes.
        for answer in task.remote(config, start, num_cpus):
            rate, loss, num_tokens = ray.get(answer)
            sweep.add(rate, loss)
            bar.advance(1, note=f"loss {loss:.3f}, rate {rate:.1e}", tokens=num_tokens)
    return sweep


def sweep_steps(config: FindLearningRateConfig, start: Start, num_threads: int) -> Iterator[Step]:
    """Yield the steps until the last one or until the loss diverges (on a worker)."""
    configure_logging()
    torch.set_num_threads(num_threads)
    device = torch.device("cuda" if config.scaling.use_gpu else "cpu")
    config = plain(config)
    task, _ = make_task(device, None, config=config, start=start, architecture=start.architecture)
    # Epochs that are whole, though the sweep ends within one.
    training = replace(config.training, num_epochs=math.ceil(config.num_steps / task.steps_per_epoch))
    sweep = RateSweep()
    try:
        for report in train(task, training, schedule=partial(_schedule, config=config)):
            # A report of a checkpoint alone has no figures.
            if report.is_epoch_end or not report.metrics:
                continue
            rate, loss = report.metrics["learning_rate"], report.metrics["loss"]
            sweep.add(rate, loss)
            yield rate, loss, report.metrics["tokens"]
            if report.step == config.num_steps or sweep.has_diverged:
                return
    except NotFiniteError:
        # The end of the curve: it has gone as far up as it can.
        return


def plain(config: FindLearningRateConfig) -> FindLearningRateConfig:
    """Return the config of a sweep: all layers are trained, and nothing but rate and loss of a step matters."""
    training = replace(
        config.training,
        learning_rate=config.last_rate,
        unfreeze=(0,),
        stage_epochs=(),
        stage_rates=(),
        chain_thaw=False,
        vary_bptt=False,
        keep_best=False,
        patience=0,
        judge_by="loss",
        report_every_steps=1,
        checkpoint_every_steps=5 * config.num_steps,
    )
    config = replace(config, training=training)
    # To count the words of held-out documents takes a pass over the tokens, and only nt-asgd wants to be validated.
    return config if training.needs_validation else replace(config, valid=None, valid_fraction=0.0)


def _schedule(step: int, num_steps: int, *, config: FindLearningRateConfig) -> tuple[float, float]:
    """Return the multiplier of the last rate, and Adam's first beta; the loop's own number of steps is larger."""
    rate = exponential(step, num_steps=config.num_steps, first=config.first_rate, last=config.last_rate)
    return rate / config.last_rate, ADAM_BETA1


def _write(folder: Folder, sweep: RateSweep, config: FindLearningRateConfig, tokens: TokenDataset) -> Manifest:
    suggested = sweep.suggested_rate(config.num_steps)
    rows = zip(sweep.rates, sweep.losses, sweep.smoothed, strict=True)
    lines = ["learning_rate,loss,smoothed_loss", *(",".join(map(repr, row)) for row in rows)]
    files = {
        "lr_find.csv": "\n".join([*lines, ""]).encode(),
        "lr_find.png": rate_curve(sweep.rates, sweep.losses, sweep.smoothed, suggested),
    }
    for name, content in files.items():
        folder.publish_bytes(content, name)
    manifest = Manifest(
        job=VERB,
        vocab=tokens.manifest.vocab,
        tokenizer=tokens.manifest.tokenizer,
        files={name: folder.sha256(name) for name in files},
        figures={"learning_rate": float(f"{suggested:.2g}"), "num_steps": len(sweep.rates)},
    )
    return write_manifest(folder, manifest)


def _show(title: str, manifest: Manifest, folder: Folder) -> None:
    rate = manifest.figures["learning_rate"]
    print_summary(title, {"steps": manifest.figures["num_steps"], "suggested rate": f"{rate:g}", "output": folder.uri})
    print(f"--training.learning-rate {rate:g}")
