"""Which failures of workers end a training, and which make all workers start again from the newest checkpoint.

When a worker has raised an error or is gone, Ray's controller notices within a second, whatever the others wait
for. It tells its callbacks, ends all workers, and starts them again. An error that a callback itself raises ends the
training: that is how an error that would be the same next time stops it at once, and how a training that does not get
any further stops at all.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray.train
import ray.util
import torch
from ray.exceptions import RayActorError, RayError, RayTaskError

from ulmfit_ray.pipelines.train.mailbox import Mailbox
from ulmfit_ray.storage.checkpoints import newest_step
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.lease import LeaseLostError
from ulmfit_ray.storage.store_errors import StoreLostError
from ulmfit_ray.training.loop import NotFiniteError

OF_SURROUNDINGS = (OSError, RuntimeError, EOFError, RayError)
"""Errors that may be gone at another attempt: of disks, networks, other workers (torch's are RuntimeErrors)."""
LASTING = (FileNotFoundError, PermissionError, StoreLostError, LeaseLostError, torch.OutOfMemoryError)
"""Those among them that another attempt would raise again, as it would all other errors."""
FOR_A_PERSON = (OSError, ValueError, ArithmeticError)
"""Errors whose text can stand alone; of others (KeyError: 'a') the kind is needed too."""
MAX_FAILURES = 10
"""Failures in succession, without a new checkpoint between them, that are followed by another start."""
SHUTDOWN_SECONDS = {"TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": "2"}
"""A variable of the controller's environment: how long workers may take to leave their group. One that waits for
another which has failed cannot leave it, and Ray would grant it 30 seconds before it is killed."""


class RepeatableError(RuntimeError):
    """What a worker raises instead of an error that it would raise again: the text for who started the job."""


@contextmanager
def repeatable_errors_named(rank: int, world_size: int) -> Iterator[None]:
    """Raise errors of the block that would be raised again as a RepeatableError, which names the worker if need be."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OF_SURROUNDINGS) and not isinstance(error, LASTING):
            raise
        is_text_enough = isinstance(error, FOR_A_PERSON) and str(error)
        said = str(error) if is_text_enough else f"{type(error).__name__}: {error}"
        # A loss is that of all workers.
        if world_size > 1 and not isinstance(error, NotFiniteError):
            said = f"worker {rank} of {world_size}, on node {ray.util.get_node_ip_address()}: {said}"
        raise RepeatableError(said) from error


class Failures(ray.train.UserCallback):
    """Looks at each failure, in the process of Ray's controller, and ends the training if another start is in vain."""

    def __init__(self, output: str, mailbox: Mailbox) -> None:
        self._output, self._mailbox = output, mailbox
        self._most = MAX_FAILURES
        self._step, self._count = -1, 0

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Raise what ends the training, or tell the driver that the workers start again.

        Raises:
            RuntimeError: the failure would be repeated, or there were too many without a new checkpoint.
        """
        os.environ.update(SHUTDOWN_SECONDS)
        for error in worker_exceptions.values():
            if isinstance(error, RepeatableError):
                raise RuntimeError(str(error))
        step = self._newest_step()
        self._count = self._count + 1 if step == self._step else 1
        self._step = step
        said = _first_in_words(worker_exceptions)
        if self._count > self._most:
            raise RuntimeError(f"{said}\n    This was failure {self._count} without a new checkpoint between them.")
        self._mailbox.put({"failed": said, "step": step})

    def _newest_step(self) -> int:
        try:
            return newest_step(Folder(self._output))
        except OSError:
            # Where the workers cannot reach the output, it may be out of reach from here, too: no progress.
            return self._step


def _first_in_words(worker_exceptions: dict[int, Exception]) -> str:
    for rank, error in sorted(worker_exceptions.items()):
        # Ray wraps it. The other workers' errors, of broken connections, come of this one.
        if isinstance(getattr(error, "health_check_failure", error), RayActorError):
            return f"worker {rank}: its process is gone: killed, out of memory, or lost with its node"
    rank, error = min(worker_exceptions.items())
    lines = str(error).strip().splitlines() or [""]
    return f"worker {rank}: {type(error).__name__}: {lines[0]}"


def in_words(error: BaseException) -> str:
    """Return what a person needs to know of an error that `fit` has raised."""
    failure = error.controller_failure if isinstance(error, ray.train.ControllerError) else error
    if isinstance(failure, RayTaskError):
        failure = failure.cause
    return str(failure) or type(failure).__name__
