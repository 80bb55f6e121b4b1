"""The driver while workers train: it shows what they report, and turns Ctrl-C into a checkpoint.

`fit` runs in a thread of its own, because in the main thread it ignores Ctrl-C while it waits for resources, and
exits without a word otherwise. So the main thread is free to watch the mailbox and the signals.
"""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Any

from ray.train.torch import TorchTrainer

from ulmfit_ray.pipelines.metrics import training_row
from ulmfit_ray.pipelines.train.failures import in_words
from ulmfit_ray.pipelines.train.mailbox import Mailbox, Message
from ulmfit_ray.reporting.logs import say_progress
from ulmfit_ray.reporting.progress import Bar
from ulmfit_ray.reporting.tensorboard import EventFiles
from ulmfit_ray.reporting.training_log import Row, epoch_line, forecast

POLL_SECONDS = 0.5
Listener = Callable[[list[Message]], bool]
"""Is given the messages of each poll; says whether the workers are to stop."""
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Let a listener hear what is said in a training that runs in this thread inside the block."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def watch(
    trainer: TorchTrainer, mailbox: Mailbox, stage: str, *, saved: int, event_files: EventFiles | None = None
) -> None:
    """Run the trainer to its end, and show its progress.

    `saved` is the step of the newest checkpoint there is, 0 if there is none. `event_files` get all rows of the log.

    Raises:
        RuntimeError: the training ended with an error of a worker.
        KeyboardInterrupt: a second signal came.
    """
    watched = _Watched(stage, saved, event_files)
    fit = InThread(trainer.fit)
    with watched, stop_signals(mailbox, watched.since):
        for messages in messages_until(fit.has_ended, mailbox):
            watched.show(messages)
    if fit.error is not None:
        raise RuntimeError(in_words(fit.error)) from fit.error


def messages_until(has_ended: Callable[[float], bool], mailbox: Mailbox) -> Iterator[list[Message]]:
    """Yield the messages of each poll, [] too, up to those that are there at the end."""
    listener = _listener.get()
    is_over = False
    while not is_over:
        is_over = has_ended(POLL_SECONDS)
        messages = mailbox.take()
        yield messages
        if listener is not None and listener(messages):
            mailbox.ask_to_stop()


class InThread:
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

    def __init__(self, stage: str, saved: int, event_files: EventFiles | None = None) -> None:
        super().__init__()
        self._event_files = self.enter_context(event_files) if event_files else None
        self.saved = saved
        self._stage = stage
        self._bar: Bar | None = None
        self._bars = self.enter_context(ExitStack())
        """Ends the bar that is shown."""
        self._log: list[Row] = []
        self._done = 0
        """Steps of earlier runs."""
        self._is_forecast = False

    def show(self, messages: list[Message]) -> None:
        """Show messages of rank 0, and of the controller when workers have failed."""
        for message in messages:
            if "failed" in message:
                self._show_failure(message)
            elif "saved" in message:
                self.saved = message["saved"]
            elif "log" in message:
                self._begin(message["log"], message["num_steps"])
            else:
                self._show(message)
        if self._event_files and any("row" in message for message in messages):
            self._event_files.flush()

    def _begin(self, log: list[Row], num_steps: int) -> None:
        """Begin with the rows up to the checkpoint that the workers go on from, [] at the start."""
        self._log, self._done = log, int(log[-1]["step"]) if log else 0
        if self._event_files:
            self._event_files.begin(log)
        if log:
            self._bar_from(self._done, num_steps).advance(0)

    def _show_failure(self, message: Message) -> None:
        # What comes next begins at an earlier step, after a pause: a bar that went on would tell wrong times.
        self._bars.close()
        self._bar = None
        since = f"step {message['step']:,}" if message["step"] else "the beginning"
        print(f"{message['failed']}\n    All workers start again from {since}.", file=sys.stderr, flush=True)

    def since(self) -> str:
        """Return from where on a training that ends at once would have to be repeated."""
        return f"step {self.saved:,}" if self.saved else "the start"

    def _bar_from(self, step: int, num_steps: int) -> Bar:
        """Return the bar; the first time, start it at a step. Its clock starts here: before, Ray found its workers."""
        if self._bar is None:
            self._bar = self._bars.enter_context(Bar(self._stage, num_steps, "steps", done=step, comes_in_bursts=False))
        return self._bar

    def _show(self, message: Message) -> None:
        row, num_steps = message["row"], message["num_steps"]
        self._log.append(row)
        if self._event_files:
            self._event_files.add(row)
        bar = self._bar_from(row["step"], num_steps)
        if message["is_epoch_end"]:
            bar.leave_out(row["seconds"])
            num_epochs = num_steps * row["epoch"] // row["step"]
            rows = [other for other in self._log if other["epoch"] == row["epoch"]]
            say_progress(f"epoch {row['epoch']} of {num_epochs}: {epoch_line(rows)}", **row)
            return
        note = f"loss {row['loss']:.3f}, rate {row['learning_rate']:.2g}"
        training_row(self._stage, row)
        bar.advance(row["step"] - bar.done, note=note, total=num_steps, tokens=row["tokens"])
        if not self._is_forecast:
            rows = [other for other in self._log if other["step"] > self._done]
            said = forecast(rows, num_steps, self._done)
            self._is_forecast = bool(said)
            if said:
                say_progress(f"{self._stage}: {said}")


@contextmanager
def stop_signals(mailbox: Mailbox, since: Callable[[], str]) -> Iterator[None]:
    """Let a first SIGINT or SIGTERM ask the workers for a checkpoint, and a second one end at once.

    `since` says from where on work would be lost by that.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            raise KeyboardInterrupt(f"ended at once: what was trained since {since()} is lost")
        print(
            "\nstopping: the workers finish their step and write a checkpoint."
            f" A second Ctrl-C ends at once and loses what was trained since {since()}.",
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
