"""Checkpoints written while training goes on (rank 0 only).

A copy of the state is made at its step; a thread saves, hashes and publishes it. One is under way at a time, and the
next one waits for it. So the first worker's node holds one more state in memory (three to four times the model), and
for a while one in its temporary folder.
"""

import json
import logging
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import torch

from ulmfit_ray.model.files import copied, save_copies
from ulmfit_ray.pipelines.train.mailbox import Mailbox
from ulmfit_ray.storage.checkpoints import Checkpoint, publish_checkpoint
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.lease import check_lease
from ulmfit_ray.storage.model_directory import LogRow
from ulmfit_ray.storage.scratch import scratch_directory
from ulmfit_ray.training.state import State

logger = logging.getLogger(__name__)


class CheckpointPublisher:
    """Publishes checkpoints in a thread; used as a context, whose end waits for the last one.

    A driver that was stopped, or lost, may have a successor whose workers make checkpoints, too: each kind would delete
    the other's. So none is published without the lease of that id ("": nobody holds one).
    """

    def __init__(self, folder: Folder, mailbox: Mailbox, lease: str = "") -> None:
        self._folder, self._mailbox, self._lease = folder, mailbox, lease
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._under_way: Future[None] | None = None

    def __enter__(self) -> "CheckpointPublisher":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True)
        if error is None:
            self.check()

    def publish(self, checkpoint: Checkpoint, state: State, log: list[LogRow]) -> None:
        """Copy the state and begin to publish it; wait first for a checkpoint that is still under way.

        Raises:
            Exception: that one failed; the error is its own.
        """
        if self._under_way is not None:
            self._under_way.result()
        lines = "".join(json.dumps(row) + "\n" for row in log)
        self._under_way = self._thread.submit(self._write, checkpoint, copied(state), lines)

    def check(self) -> None:
        """Raise the error of a checkpoint that has failed; do not wait for one that is under way."""
        if self._under_way is not None and self._under_way.done():
            self._under_way.result()

    def _write(self, checkpoint: Checkpoint, state: dict[str, torch.Tensor], lines: str) -> None:
        with scratch_directory() as scratch:
            save_copies(state, scratch / "state.safetensors")
            (scratch / "training_log.jsonl").write_text(lines)
            files = {name: scratch / name for name in ("state.safetensors", "training_log.jsonl")}
            if self._lease:
                check_lease(self._folder, self._lease)
            publish_checkpoint(self._folder, checkpoint, files)
        self._mailbox.put({"saved": checkpoint.step})
