"""A job on a cluster, followed to its end: its log on the terminal, and what a person's Ctrl-C means.

The log is read in a thread, so that the main thread can be interrupted. Connections break while jobs go on: the stream
begins anew then, and what was printed before is left out. A server that says nothing at all is not waited for without
end: its requests have no time limits of their own.
"""

import asyncio
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

Answer = TypeVar("Answer")
SILENT_SECONDS = 10
"""After so long without a word of the log, the server is asked how the job is."""
ANSWER_SECONDS = 60
"""How long one answer of the server may take."""
LOST_SECONDS = 600
"""How long a server that does not answer is asked again."""
LONGEST_PAUSE_SECONDS = 30
QUESTION = "\nstop the job, leave it running, or go on following it? [stop/leave/FOLLOW] "


class _TerminatedError(KeyboardInterrupt):
    """SIGTERM came: nobody is there to be asked."""


class Following:
    """One job, followed: `run` prints its log and returns what became of it."""

    def __init__(
        self, client: "JobSubmissionClient", job: str, ask: Callable[[str], str] | None, commands: str = ""
    ) -> None:
        """`ask` puts a question to the person, None if there is nobody; `commands` are told to who leaves the job."""
        self._client, self._job, self._ask, self._commands = client, job, ask, commands
        self._num_printed = 0
        self._is_stopping = False

    def run(self) -> "JobDetails":
        """Print the log until the job has ended.

        Raises:
            KeyboardInterrupt: the person, or SIGTERM, leaves the job running.
            ConnectionError: the server does not answer any more.
            RuntimeError: the server does not know the job any more.
        """
        with _sigterm_is_told_apart():
            while True:
                try:
                    return self._until_the_end()
                except KeyboardInterrupt as interrupt:
                    self._interrupted(interrupt)

    def _until_the_end(self) -> "JobDetails":
        pause = 1.0
        while True:
            num_before = self._num_printed
            with _log_of(self._client, self._job) as chunks:
                self._print(chunks)
            info = self._info()
            self._print_rest()
            if info.status.is_terminal():
                return info
            pause = 1.0 if self._num_printed > num_before else min(2 * pause, LONGEST_PAUSE_SECONDS)
            time.sleep(pause)

    def _print(self, chunks: "queue.SimpleQueue[str | None]") -> None:
        """Print the log until its stream ends, or the job has ended and its log stays silent."""
        num_known = self._num_printed
        while True:
            try:
                text = chunks.get(timeout=SILENT_SECONDS)
            except queue.Empty:
                info = self._info()
                if info.status.is_terminal():
                    return
                if info.status.value == "PENDING":
                    print(f"waiting: {info.message}", flush=True)
                continue
            if text is None:
                return
            new, num_known = text[num_known:], max(0, num_known - len(text))
            self._write(new)

    def _print_rest(self) -> None:
        """Print what a broken stream left out; a proxy may let no stream through at all."""
        try:
            log = _within(ANSWER_SECONDS, lambda: self._client.get_job_logs(self._job))
        except (OSError, RuntimeError):
            # The node that has the log may be gone; then what was printed is all there is.
            return
        self._write(log[self._num_printed :])

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()
        self._num_printed += len(text)

    def _info(self) -> "JobDetails":
        """Return how the job is, once the server says so."""
        began, pause = time.monotonic(), 1.0
        while True:
            try:
                return _within(ANSWER_SECONDS, lambda: self._client.get_job_info(self._job))
            except (OSError, RuntimeError) as error:
                if "status code 404" in str(error):
                    raise RuntimeError(
                        f"the cluster does not know job {self._job} any more: its head was started anew;"
                        " submit the same command again to finish the rest"
                    ) from error
                if time.monotonic() - began > LOST_SECONDS:
                    raise ConnectionError(
                        f"the job server has not answered for {LOST_SECONDS} seconds ({error}); the job may go on"
                    ) from error
                print(f"waiting: the job server does not answer ({error})", file=sys.stderr, flush=True)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            time.sleep(pause)

    def _interrupted(self, interrupt: KeyboardInterrupt) -> None:
        """Ask what to do; a second interruption, nobody to be asked, or SIGTERM leaves the job."""
        if isinstance(interrupt, _TerminatedError) or self._ask is None or self._is_stopping:
            self._leave()
        try:
            answer = self._ask(QUESTION).strip().lower()
        except (KeyboardInterrupt, EOFError):
            self._leave()
        if answer and "stop".startswith(answer):
            self._stop()
        elif answer and "leave".startswith(answer):
            self._leave()

    def _stop(self) -> None:
        self._is_stopping = True
        print("the job is being stopped; Ctrl-C leaves it at that", file=sys.stderr, flush=True)
        try:
            _within(ANSWER_SECONDS, lambda: self._client.stop_job(self._job))
        except KeyboardInterrupt:
            self._leave()
        except (OSError, RuntimeError) as error:
            self._is_stopping = False
            print(f"the job is not stopped: {error}", file=sys.stderr, flush=True)

    def _leave(self) -> NoReturn:
        what = "is being stopped" if self._is_stopping else "goes on"
        raise KeyboardInterrupt(f"job {self._job} {what} on the cluster\n{self._commands}".rstrip())


def exit_status(info: "JobDetails") -> int | None:
    """Return the exit status of a job that has ended, as a shell has it; None if it has none: it was stopped, or lost.

    A job that was ended by signal 9 has 137.
    """
    code = info.driver_exit_code
    if info.status.value == "STOPPED" or code is None:
        return None
    return code if code >= 0 else 128 - code


@contextmanager
def _log_of(client: "JobSubmissionClient", job: str) -> Iterator["queue.SimpleQueue[str | None]"]:
    """Give the pieces of a job's log as they come, from its beginning, and None when the stream ends or breaks."""
    chunks: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    is_over = threading.Event()

    async def read() -> None:
        async for text in client.tail_job_logs(job):
            if is_over.is_set():
                return
            chunks.put(text)

    def read_all() -> None:
        try:
            asyncio.run(read())
        except Exception:
            # Whatever broke the stream, the job's state says whether to begin anew.
            pass
        finally:
            chunks.put(None)

    threading.Thread(target=read_all, daemon=True).start()
    try:
        yield chunks
    finally:
        is_over.set()


def _within(seconds: float, ask: Callable[[], Answer]) -> Answer:
    """Return the answer to a request that has no time limit.

    Raises:
        ConnectionError: it has not come after `seconds`.
        Exception: what the request raises.
    """
    answers: queue.SimpleQueue[tuple[Any, Exception | None]] = queue.SimpleQueue()

    def wait() -> None:
        try:
            answers.put((ask(), None))
        except Exception as error:
            answers.put((None, error))

    # A thread of a pool would be waited for when the command ends.
    threading.Thread(target=wait, daemon=True).start()
    try:
        answer, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise ConnectionError(f"no answer within {seconds} seconds") from None
    if error is not None:
        raise error
    return answer


@contextmanager
def _sigterm_is_told_apart() -> Iterator[None]:
    """Let SIGTERM be a `_TerminatedError` while the block runs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminated(number: int, frame: object) -> NoReturn:
        raise _TerminatedError

    before = signal.signal(signal.SIGTERM, terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
