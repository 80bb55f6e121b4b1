"""The driver while workers train: it shows what they report, and turns Ctrl-C into a checkpoint.

`fit` runs in a thread of its own, because in the main thread it ignores Ctrl-C while it waits for resources, and
exits without a word otherwise. So the main thread is free to watch the mailbox and the signals.
"""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

from ray.train.torch import TorchTrainer

from ulmfit_ray.pipelines.train.failures import in_words
from ulmfit_ray.pipelines.train.mailbox import Mailbox, Message
from ulmfit_ray.reporting.progress import Bar

POLL_SECONDS = 0.5


def watch(trainer: TorchTrainer, mailbox: Mailbox, stage: str, *, saved: int) -> None:
    """Run the trainer to its end, and show its progress.

    `saved` is the step of the newest checkpoint there is, 0 if there is none.

    Raises:
        RuntimeError: the training ended with an error of a worker.
        KeyboardInterrupt: a second signal came.
    """
    watched = _Watched(stage, saved)
    fit = _InThread(trainer.fit)
    with watched, _stop_signals(mailbox, watched):
        while not fit.has_ended(POLL_SECONDS):
            watched.show(mailbox.take())
        watched.show(mailbox.take())
    if fit.error is not None:
        raise RuntimeError(in_words(fit.error)) from fit.error


class _InThread:
    """A function that runs in a thread which does not keep the process alive."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.error: BaseException | None = None
        """What the function has raised."""
        self._thread = threading.Thread(target=self._run, args=(function,), daemon=True)
        self._thread.start()

    def _run(self, function: Callable[[], Any]) -> None:
        try:
            function()
        except BaseException as error:
            self.error = error

    def has_ended(self, seconds: float) -> bool:
        """Wait for the end, at most `seconds`, and tell whether it has come."""
        self._thread.join(seconds)
        return not self._thread.is_alive()


class _Watched(ExitStack):
    """What was shown so far: a bar from the checkpoint or the first report on, and the last checkpoint."""

    def __init__(self, stage: str, saved: int) -> None:
        super().__init__()
        self.saved = saved
        self._stage = stage
        self._bar: Bar | None = None

    def show(self, messages: list[Message]) -> None:
        """Show messages of rank 0, and of the controller when workers have failed."""
        for message in messages:
            if "failed" in message:
                self._show_failure(message)
            elif "saved" in message:
                self.saved = message["saved"]
            elif "found" in message:
                self._bar_from(message["found"], message["num_steps"]).advance(0)
            else:
                self._show(message)

    def _show_failure(self, message: Message) -> None:
        # What comes next begins at an earlier step, after a pause: a bar that went on would tell wrong times.
        self.close()
        self._bar = None
        since = f"step {message['step']:,}" if message["step"] else "the beginning"
        print(f"{message['failed']}\n    All workers start again from {since}.", file=sys.stderr, flush=True)

    def _bar_from(self, step: int, num_steps: int) -> Bar:
        """Return the bar; the first time, start it at a step. Its clock starts here: before, Ray found its workers."""
        if self._bar is None:
            self._bar = self.enter_context(Bar(self._stage, num_steps, "steps", done=step))
        return self._bar

    def _show(self, message: Message) -> None:
        row = message["row"]
        if message["is_epoch_end"]:
            figures = ", ".join(f"{name} {value:,.4g}" for name, value in row.items() if name not in ("step", "epoch"))
            print(f"epoch {row['epoch']}: {figures}" if figures else f"epoch {row['epoch']} done", flush=True)
            return
        bar = self._bar_from(row["step"], message["num_steps"])
        steps = row["step"] - bar.done
        note = f"loss {row['loss']:.3f}"
        bar.advance(steps, note=note, total=message["num_steps"], tokens=row.get("tokens", 0))


@contextmanager
def _stop_signals(mailbox: Mailbox, watched: _Watched) -> Iterator[None]:
    """Let a first SIGINT or SIGTERM ask the workers for a checkpoint, and a second one end at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        received.append(number)
        since = f"step {watched.saved:,}" if watched.saved else "the start"
        if len(received) > 1:
            raise KeyboardInterrupt(f"ended at once: what was trained since {since} is lost")
        print(
            "\nstopping: the workers finish their step and write a checkpoint."
            f" A second Ctrl-C ends at once and loses what was trained since {since}.",
            file=sys.stderr,
            flush=True,
        )
        mailbox.ask_to_stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
