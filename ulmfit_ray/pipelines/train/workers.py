"""Any training task on Ray Train: workers run `training.loop`, rank 0 publishes checkpoints, the driver watches.

Ray's own checkpoints are not used, nor its reports, which are a barrier and would write a file that must be whole at
the next start. Ours are in the output folder; a new launch and a worker group that Ray restarts both resume from the
newest one. What happens after an error is in failures.py.
"""

import collections
import json
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import ray.train
import torch
from ray.train.torch import TorchConfig, TorchTrainer

from ulmfit_ray.model.files import load_tensors
from ulmfit_ray.pipelines.options import RayOptions, Scaling
from ulmfit_ray.pipelines.runtime import cluster_cpus, require_resources, watched_resources
from ulmfit_ray.pipelines.train.failures import Failures, repeatable_errors_named
from ulmfit_ray.pipelines.train.mailbox import Mailbox
from ulmfit_ray.pipelines.train.publishing import CheckpointPublisher
from ulmfit_ray.pipelines.train.watch import watch
from ulmfit_ray.reporting.logs import configure_logging
from ulmfit_ray.reporting.tensorboard import EventFiles
from ulmfit_ray.storage.checkpoints import FOLDER, Checkpoint, newest_checkpoint
from ulmfit_ray.storage.folder import Folder, quoted_uri
from ulmfit_ray.storage.model_directory import LogRow
from ulmfit_ray.storage.scratch import scratch_directory
from ulmfit_ray.training.config import TrainingConfig
from ulmfit_ray.training.distributed import of_first_worker
from ulmfit_ray.training.loop import Report, train
from ulmfit_ray.training.memory import KEEP_MEMORY
from ulmfit_ray.training.state import State
from ulmfit_ray.training.task import Task

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingResult:
    """The end of a training run: its last state and checkpoint, and its log."""

    state: State
    checkpoint: Checkpoint
    log: list[LogRow]


MakeTask = Callable[[torch.device, str | None], tuple[Task, dict[str, Any]]]
"""(device, precision of the checkpoint to go on from) -> the task on a worker, and facts for every checkpoint, the
precision among them."""


def run_training(
    make_task: MakeTask,
    training: TrainingConfig,
    folder: Folder,
    scaling: Scaling,
    options: RayOptions,
    stage: str,
    *,
    with_event_files: bool = False,
    lease: str = "",
) -> TrainingResult:
    """Train, or go on training, until the last step, and return the last state.

    `lease` is the id of the output's lease, without which the workers publish no checkpoint.

    Raises:
        RuntimeError: training failed; the message is the worker's.
        KeyboardInterrupt: it was stopped by a signal, after a checkpoint.
    """
    found = newest_checkpoint(folder)
    if found is None or not found.is_last:
        num_cpus = _cpus_per_worker(scaling, options)
        mailbox = Mailbox()
        settings = _WorkerSettings(make_task, training, folder.uri, mailbox, num_cpus, lease)
        event_files = EventFiles(folder) if with_event_files else None
        saved = found.step if found else 0
        with watched_resources(options, **_least(scaling)):
            watch(_trainer(settings, scaling), mailbox, stage, saved=saved, event_files=event_files)
        mailbox.close()
        found = newest_checkpoint(folder)
    if found is not None and found.is_stopped:
        raise KeyboardInterrupt(f"stopped at step {found.step:,}: the same command goes on from there")
    if found is None or not found.is_last:
        raise RuntimeError(f"training ended before its last step; checkpoints are in {folder.uri}/{FOLDER}")
    state, log = _load(folder, found)
    return TrainingResult(state, found, log)


def _cpus_per_worker(scaling: Scaling, options: RayOptions) -> int:
    """Wait for what the workers need at least, and return the cores of each."""
    require_resources(options, **_least(scaling))
    # Shared out only now: before, an autoscaling cluster may have had no core at all.
    return scaling.num_cpus or (1 if scaling.use_gpu else max(1, cluster_cpus() // scaling.num_workers))


def _least(scaling: Scaling) -> dict[str, Any]:
    """Return what a training needs at least, as `require_resources` wants it."""
    num_workers = scaling.least_workers
    return {
        "num_cpus": num_workers * (scaling.num_cpus or 1),
        "num_gpus": num_workers if scaling.use_gpu else 0,
        "what": f"training with {num_workers} workers",
    }


@dataclass(frozen=True)
class _WorkerSettings:
    """What every worker must know of the job."""

    make_task: MakeTask
    training: TrainingConfig
    output: str
    mailbox: Mailbox
    num_threads: int
    lease: str


def _trainer(settings: _WorkerSettings, scaling: Scaling) -> TorchTrainer:
    num_workers: Any = (scaling.least_workers, scaling.num_workers) if scaling.is_elastic else scaling.num_workers
    return TorchTrainer(
        _train_on_worker,
        train_loop_config={"settings": settings},
        torch_config=TorchConfig(backend="nccl" if scaling.use_gpu else "gloo"),
        # Ray Train's second version, which 2.60 uses; mypy sees the classes of the first.
        scaling_config=ray.train.ScalingConfig(  # type: ignore[call-arg]
            num_workers=num_workers,
            elastic_resize_monitor_interval_s=scaling.resize_seconds,
            use_gpu=scaling.use_gpu,
            resources_per_worker={"CPU": settings.num_threads} | ({"GPU": 1} if scaling.use_gpu else {}),
        ),
        run_config=ray.train.RunConfig(  # type: ignore[call-arg]
            # A snapshot that a killed launch left truncated would stop Ray from starting: never the same name.
            name=f"launch-{secrets.token_hex(4)}",
            storage_path=quoted_uri(f"{settings.output}/{FOLDER}/ray-train"),
            failure_config=ray.train.FailureConfig(max_failures=-1),
            callbacks=[Failures(settings.output, settings.mailbox)],  # type: ignore[list-item]
            worker_runtime_env={"env_vars": KEEP_MEMORY},
        ),
    )


def _load(folder: Folder, checkpoint: Checkpoint) -> tuple[State, list[LogRow]]:
    """Return a checkpoint's state and the training log up to it."""
    with scratch_directory() as scratch:
        (scratch / "state").write_bytes(folder.read_bytes(f"{checkpoint.name}/state.safetensors"))
        state = load_tensors(scratch / "state")
    return state, [json.loads(line) for line in folder.read_bytes(f"{checkpoint.name}/training_log.jsonl").splitlines()]


def _train_on_worker(loop_config: dict[str, _WorkerSettings]) -> None:
    """The train function (all ranks)."""
    configure_logging()
    settings = loop_config["settings"]
    torch.set_num_threads(settings.num_threads)
    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    with repeatable_errors_named(rank, world_size):
        folder, device = Folder(settings.output), ray.train.torch.get_device()
        found = _checkpoint_of_first_worker(folder, is_first=rank == 0)
        start, log = _load(folder, found) if found else (None, [])
        task, facts = settings.make_task(device, found.facts["precision"] if found else None)
        if found and rank == 0:
            logger.info("going on from step %d of %s", found.step, folder.uri)
        reports = train(task, settings.training, start=start, should_stop=settings.mailbox.is_stop_asked)
        if rank == 0:
            num_steps = settings.training.num_epochs * task.steps_per_epoch
            settings.mailbox.put({"log": log, "num_steps": num_steps})
            make_checkpoint = partial(Checkpoint, world_size=world_size, facts=facts)
            with CheckpointPublisher(folder, settings.mailbox, settings.lease) as publisher:
                _show_and_publish(reports, log, settings.mailbox, publisher, make_checkpoint)
        else:
            collections.deque(reports, maxlen=0)


def _checkpoint_of_first_worker(folder: Folder, *, is_first: bool) -> Checkpoint | None:
    """Return the newest checkpoint that rank 0 sees, so that all go on from the same one (all ranks)."""
    found = newest_checkpoint(folder) if is_first else None
    text = of_first_worker(json.dumps(asdict(found)) if found else "")
    return Checkpoint(**json.loads(text)) if text else None


def _show_and_publish(
    reports: Iterator[Report],
    log: list[LogRow],
    mailbox: Mailbox,
    publisher: CheckpointPublisher,
    make_checkpoint: Callable[..., Checkpoint],
) -> None:
    """Send the reports to the driver, and publish the states (rank 0 only)."""
    began = time.monotonic()
    for report in reports:
        publisher.check()
        if report.metrics or report.is_epoch_end:
            # From row to row, so that what a checkpoint takes is in the row after it.
            seconds, began = round(time.monotonic() - began, 3), time.monotonic()
            log.append({"step": report.step, "epoch": report.epoch + 1} | report.metrics | {"seconds": seconds})
            mailbox.put({"row": log[-1], "num_steps": report.num_steps, "is_epoch_end": report.is_epoch_end})
        if report.state is not None:
            checkpoint = make_checkpoint(step=report.step, is_last=report.is_last, is_stopped=report.is_stopped)
            publisher.publish(checkpoint, report.state, log)
