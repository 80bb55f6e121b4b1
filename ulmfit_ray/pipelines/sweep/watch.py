"""What a person sees of a sweep: one bar over the steps of all settings, and a line when one of them ends."""

from collections.abc import Callable
from contextlib import ExitStack

from ray import tune

from ulmfit_ray.pipelines.train.mailbox import Mailbox, Message
from ulmfit_ray.pipelines.train.watch import InThread, messages_until, stop_signals
from ulmfit_ray.reporting.progress import Bar

End = Callable[[Message], str]
"""Is given what is known of a setting that has ended; returns what to say of it."""


def watch(tuner: tune.Tuner, mailbox: Mailbox, stage: str, *, num_settings: int, on_end: End) -> None:
    """Run the trials to their end and show how far they are.

    Raises:
        KeyboardInterrupt: a second signal came; at the first one the trials write a checkpoint and end.
    """
    shown = _Shown(stage, num_settings, on_end)
    fit = InThread(tuner.fit)
    with shown, stop_signals(mailbox, lambda: "the newest checkpoints"):
        for messages in messages_until(fit.has_ended, mailbox):
            for message in messages:
                shown.show(message)
    if fit.error is not None:
        raise fit.error


class _Shown(ExitStack):
    """The bar, and how many settings have ended. Steps of settings that have not begun are guessed by the others."""

    def __init__(self, stage: str, num_settings: int, on_end: End) -> None:
        super().__init__()
        self._stage, self._num_settings, self._on_end = stage, num_settings, on_end
        self._bar: Bar | None = None
        self._steps: dict[str, tuple[int, int]] = {}
        """(done, left) of each setting in this run of the command."""
        self._num_ended = 0

    def show(self, message: Message) -> None:
        """Show one message of a trial, or of its end."""
        if "ended" in message:
            self._num_ended += 1
            print(f"{self._num_ended} of {self._num_settings}: {self._on_end(message)}", flush=True)
            self._advance(message["ended"], steps_left=self._left(message))
        else:
            self._advance(message["trial"], message["steps"], message["steps_left"], message["tokens"])

    def _left(self, message: Message) -> int:
        """Return how many steps remain of a setting that has ended: of one that failed or was given up nothing more."""
        is_stopped_by_person = message.get("is_over") and not message.get("problem")
        return self._steps.get(message["ended"], (0, 0))[1] if is_stopped_by_person else 0

    def _advance(self, name: str, steps: int = 0, steps_left: int = 0, tokens: float = 0) -> None:
        # A trial whose process was lost repeats some steps.
        new = max(0, steps)
        self._steps[name] = (self._steps.get(name, (0, 0))[0] + new, steps_left)
        total = round(sum(map(sum, self._steps.values())) * self._num_settings / len(self._steps))
        note = f"{self._num_ended} of {self._num_settings} settings ended"
        if self._bar is None:
            if not new:
                return
            # Its clock starts here: before, Ray found the workers.
            self._bar = self.enter_context(Bar(self._stage, total, "steps", done=new))
            new = 0
        self._bar.advance(new, note=note, total=total, tokens=tokens)
