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

from ulmfit_ray.pipelines.train.mailbox import Mailbox, Message
from ulmfit_ray.reporting.progress import Bar

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


def watch(trainer: TorchTrainer, mailbox: Mailbox, stage: str, *, saved: int) -> None:
    """Run the trainer to its end, show its progress, and raise what its workers said.

    `saved` is the step of the newest checkpoint there is, 0 if there is none.

    Raises:
        RuntimeError: a worker sent an error.
        KeyboardInterrupt: a second signal came.
    """
    watched = _Watched(stage, saved)
    fit = InThread(trainer.fit)
    with watched, stop_signals(mailbox, watched.since):
        for messages in messages_until(fit.has_ended, mailbox):
            watched.show(messages)
    if watched.errors:
        raise RuntimeError(watched.errors[-1])
    fit.raise_error()


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
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(function,), daemon=True)
        self._thread.start()

    def _run(self, function: Callable[[], Any]) -> None:
        try:
            function()
        except BaseException as error:
            self._error = error

    def has_ended(self, seconds: float) -> bool:
        """Wait for the end, at most `seconds`, and tell whether it has come."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def raise_error(self) -> None:
        """Raise what the function raised."""
        if self._error is not None:
            raise self._error


class _Watched(ExitStack):
    """What was shown so far: a bar from the checkpoint or the first report on, the errors, the last checkpoint."""

    def __init__(self, stage: str, saved: int) -> None:
        super().__init__()
        self.errors: list[str] = []
        self.saved = saved
        self._stage = stage
        self._bar: Bar | None = None

    def show(self, messages: list[Message]) -> None:
        """Show messages of rank 0, and keep the errors of all ranks."""
        for message in messages:
            if "error" in message:
                self.errors.append(message["error"])
            elif "saved" in message:
                self.saved = message["saved"]
            elif "found" in message:
                self._bar_from(message["found"], message["num_steps"]).advance(0)
            else:
                self._show(message)

    def since(self) -> str:
        """Return from where on a training that ends at once would have to be repeated."""
        return f"step {self.saved:,}" if self.saved else "the start"

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
