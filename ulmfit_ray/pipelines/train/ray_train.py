"""Any training task on Ray Train: workers run `training.loop`, rank 0 publishes checkpoints, the driver watches.

Ray's own checkpoints are not used: ours lie in the output, and both a new launch and a restarted worker group go
on from the newest one. Errors that would repeat are reported and not raised, or Ray would run them again.
"""

import json
import secrets
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import ray.train
import torch
from ray.train.torch import TorchConfig, TorchTrainer
from ray.util.queue import Empty, Queue
from torch import Tensor

from ulmfit_ray.config import ConfigError, operational
from ulmfit_ray.model.files import load_tensors, save_tensors
from ulmfit_ray.pipelines.runtime import RayOptions, cluster_cpus, require_resources
from ulmfit_ray.reporting.progress import Bar
from ulmfit_ray.storage.checkpoints import FOLDER, newest_checkpoint, publish_checkpoint
from ulmfit_ray.storage.folder import Folder, scratch_directory
from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.training.loop import NotFiniteError, Report, TrainingConfig, train
from ulmfit_ray.training.memory import KEEP_MEMORY

MAX_FAILURES = 10
"""Worker groups lost before the job gives up (Ray's default is none)."""
REPEATABLE_ERRORS = (NotFiniteError, ValueError, TypeError, LookupError, AttributeError, FileNotFoundError)
"""Raised again they would be, on all ranks alike: said to the driver instead."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scaling:
    """How many workers train, and with what; the result is the same up to the order of summation."""

    num_workers: int = operational(1)
    """Workers; the global batch is shared out evenly among them."""
    use_gpu: bool = operational(False)
    """One GPU for each worker."""
    num_cpus: int | None = operational(None)
    """Cores of each worker (default: all there are, shared out; 1 with GPUs)."""

    def __post_init__(self) -> None:
        if self.num_workers < 1 or (self.num_cpus is not None and self.num_cpus < 1):
            raise ConfigError("--scaling.num-workers and --scaling.num-cpus must be at least 1")

    def check(self, training: TrainingConfig) -> None:
        """Raise ConfigError if the global batch cannot be shared out evenly."""
        if training.global_batch_size % self.num_workers:
            size = training.global_batch_size
            raise ConfigError(f"global_batch_size ({size}) must be a multiple of num_workers ({self.num_workers})")


@dataclass(frozen=True)
class TrainingResult:
    """The end of a training run: its last state, its log, and what the worker found out."""

    state: dict[str, Tensor]
    log: list[dict[str, Any]]
    facts: dict[str, Any]


MakeTask = Callable[[torch.device, str | None], tuple[Any, TrainingConfig, dict[str, Any]]]
"""(device, precision of the checkpoint to go on from) -> the task (training.loop.Task) on a worker, its config, and
facts for every checkpoint, the precision among them."""


def run_training(
    make_task: MakeTask, folder: Folder, scaling: Scaling, options: RayOptions, stage: str
) -> TrainingResult:
    """Train, or go on training, until the last step, and return the last state.

    Raises:
        RuntimeError: training failed; the message is the worker's.
    """
    if not _is_finished(folder):
        num_cpus = scaling.num_cpus or (1 if scaling.use_gpu else max(1, cluster_cpus() // scaling.num_workers))
        require_resources(
            options,
            num_cpus=num_cpus * scaling.num_workers,
            num_gpus=scaling.num_workers if scaling.use_gpu else 0,
            what=f"training with {scaling.num_workers} workers",
        )
        errors: list[str] = []
        messages: Queue = Queue()
        trainer = _trainer(make_task, folder, scaling, messages, num_cpus)
        with _watching(messages, stage, errors), _interruptible():
            trainer.fit()
        messages.shutdown()
        if errors:
            raise RuntimeError(errors[-1])
    found = newest_checkpoint(folder)
    if found is None or not found[1]["is_last"]:
        raise RuntimeError(f"training ended before its last step; checkpoints are in {folder.uri}/{FOLDER}")
    state, log = load_checkpoint(folder, found[0])
    return TrainingResult(state, log, found[1])


def _trainer(make_task: MakeTask, folder: Folder, scaling: Scaling, messages: Queue, num_cpus: int) -> TorchTrainer:
    return TorchTrainer(
        _train_on_worker,
        train_loop_config={"make_task": make_task, "folder": folder.uri, "messages": messages, "threads": num_cpus},
        torch_config=TorchConfig(backend="nccl" if scaling.use_gpu else "gloo"),
        scaling_config=ray.train.ScalingConfig(
            num_workers=scaling.num_workers,
            use_gpu=scaling.use_gpu,
            resources_per_worker={"CPU": num_cpus} | ({"GPU": 1} if scaling.use_gpu else {}),
        ),
        # Ray Train's second version, which 2.60 uses; mypy sees the class of the first.
        run_config=ray.train.RunConfig(  # type: ignore[call-arg]
            # A snapshot that a killed launch left truncated would stop Ray from starting: never the same name.
            name=f"launch-{secrets.token_hex(4)}",
            storage_path=f"{folder.uri}/{FOLDER}/ray-train",
            failure_config=ray.train.FailureConfig(max_failures=MAX_FAILURES),
            worker_runtime_env={"env_vars": KEEP_MEMORY},
        ),
    )


def training_plan(tokens: TokenDataset, training: TrainingConfig, scaling: Scaling) -> str:
    """Return what --dry-run says of a training job."""
    return (
        f"{tokens.manifest['num_documents']:,} documents, {tokens.manifest['num_tokens']:,} tokens,"
        f" {training.num_epochs} epochs, {scaling.num_workers} workers"
    )


def _is_finished(folder: Folder) -> bool:
    found = newest_checkpoint(folder)
    return found is not None and bool(found[1]["is_last"])


def load_checkpoint(folder: Folder, name: str) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Return a checkpoint's state and the training log up to it."""
    with scratch_directory() as scratch:
        (scratch / "state").write_bytes(folder.read_bytes(f"{name}/state.safetensors"))
        state = load_tensors(scratch / "state")
    return state, [json.loads(line) for line in folder.read_bytes(f"{name}/training_log.jsonl").splitlines()]


def _train_on_worker(settings: dict[str, Any]) -> None:
    """The train function (all ranks)."""
    torch.set_num_threads(settings["threads"])
    folder, messages = Folder(settings["folder"]), settings["messages"]
    is_first = ray.train.get_context().get_world_rank() == 0
    device = ray.train.torch.get_device()
    try:
        found = newest_checkpoint(folder)
        start, log = load_checkpoint(folder, found[0]) if found else (None, [])
        task, config, facts = settings["make_task"](device, found[1]["precision"] if found else None)
        for report in train(task, config, start=start):
            log.append({"step": report.step, "epoch": report.epoch + 1} | report.metrics)
            if is_first:
                messages.put({"row": log[-1], "num_steps": report.num_steps, "is_epoch_end": report.is_epoch_end})
            if report.state is not None:
                if is_first:
                    _publish(folder, report, log, facts)
                # A barrier of up to two seconds: at checkpoints only, on all ranks.
                ray.train.report({"step": report.step})
    except REPEATABLE_ERRORS as error:
        messages.put({"error": f"{error}" if str(error) else type(error).__name__})


def _publish(folder: Folder, report: Report, log: list[dict[str, Any]], facts: dict[str, Any]) -> None:
    """Write a checkpoint to a local folder and publish it (rank 0 only)."""
    assert report.state is not None
    with scratch_directory() as scratch:
        save_tensors(report.state, scratch / "state.safetensors")
        (scratch / "training_log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log))
        is_last = report.is_epoch_end and report.step == report.num_steps
        files = {name: scratch / name for name in ("state.safetensors", "training_log.jsonl")}
        world_size = ray.train.get_context().get_world_size()
        publish_checkpoint(folder, report.step, files, facts | {"is_last": is_last, "world_size": world_size})


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C end a run as everywhere else: Ray Train's own handler, which it leaves behind, exits silently."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as stop:
        raise KeyboardInterrupt from stop
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)


@contextmanager
def _watching(messages: Queue, stage: str, errors: list[str]) -> Iterator[None]:
    """Show what rank 0 says while the driver waits in `fit`."""
    done = threading.Event()

    def watch() -> None:
        bar: Bar | None = None
        with ExitStack() as stack:
            while not (done.is_set() and messages.empty()):
                try:
                    message = messages.get(timeout=0.5)
                except Empty:
                    continue
                if "error" in message:
                    errors.append(message["error"])
                elif bar is None:
                    # The clock starts with the first report: what went before is Ray finding its workers.
                    bar = stack.enter_context(Bar(stage, message["num_steps"], "steps", done=message["row"]["step"]))
                else:
                    _show(bar, message)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(timeout=10)


def _show(bar: Bar, message: dict[str, Any]) -> None:
    row = message["row"]
    steps = row["step"] - bar.done
    if message["is_epoch_end"]:
        figures = ", ".join(f"{name} {value:,.4g}" for name, value in row.items() if name not in ("step", "epoch"))
        print(f"epoch {row['epoch']}: {figures}" if figures else f"epoch {row['epoch']} done", flush=True)
    else:
        bar.advance(steps, note=f"loss {row['loss']:.3f}", total=message["num_steps"], tokens=row.get("tokens", 0))
