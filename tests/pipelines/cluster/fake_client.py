"""A job server's client that tells what a test says: how each stream of the log goes, and how the job is."""

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any

from ray.job_submission import JobStatus


def info(status: str, code: int | None = None, message: str = "") -> SimpleNamespace:
    return SimpleNamespace(status=JobStatus(status), driver_exit_code=code, message=message)


class FakeClient:
    """`streams`: pieces of the log, a signal that comes in the middle, or what breaks the stream; one list for each
    connection. `infos`: what the server answers, one after another, the last one for ever."""

    def __init__(self, streams: Sequence[Sequence[Any]] = ((),), infos: Sequence[Any] = (), log: str = "") -> None:
        self.streams, self.infos, self.log = list(streams), list(infos or [info("SUCCEEDED", 0)]), log
        self.submitted: dict[str, Any] = {}
        self.stopped = threading.Event()

    def submit_job(self, **options: Any) -> str:
        self.submitted = options
        return options["submission_id"]

    async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
        for piece in self.streams.pop(0) if self.streams else ():
            if isinstance(piece, signal.Signals):
                os.kill(os.getpid(), piece)
                # The job goes on until it is stopped.
                while not self.stopped.is_set():
                    await asyncio.sleep(0.01)
            elif isinstance(piece, Exception):
                raise piece
            else:
                yield piece

    def get_job_info(self, job: str) -> Any:
        answer = self.infos.pop(0) if len(self.infos) > 1 else self.infos[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def get_job_logs(self, job: str) -> str:
        return self.log

    def stop_job(self, job: str) -> bool:
        self.stopped.set()
        return True
