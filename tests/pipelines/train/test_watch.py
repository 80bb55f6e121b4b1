"""What the driver shows of a training."""

from typing import Any, ClassVar

import pytest

from ulmfit_ray.pipelines.train.mailbox import Message
from ulmfit_ray.pipelines.train.watch import _Watched, heard_by, messages_until


def test_a_training_that_goes_on_shows_at_once_where_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    with _Watched("pretrain", 7) as watched:
        watched.show([{"found": 7, "num_steps": 10}])
        assert capsys.readouterr().out == "pretrain: 7 of 10 steps\n"
        watched.show([{"row": {"step": 9, "loss": 1.5, "tokens": 5}, "num_steps": 10, "is_epoch_end": False}])
    assert capsys.readouterr().out.startswith("pretrain: 9 of 10 steps, 5 tokens, loss 1.500")


def test_a_listener_hears_each_poll_and_can_stop_the_workers() -> None:
    class Mailbox:
        polls: ClassVar[list[list[Message]]] = [[{"row": 1}], [], [{"row": 2}]]
        asked = 0

        def take(self) -> list[Message]:
            return self.polls.pop(0)

        def ask_to_stop(self) -> None:
            self.asked += 1

    heard: list[list[Message]] = []

    def listener(messages: list[Message]) -> bool:
        heard.append(messages)
        return len(heard) > 1

    ends = iter([False, False, True])
    mailbox: Any = Mailbox()
    with heard_by(listener):
        shown = list(messages_until(lambda seconds: next(ends), mailbox))
    assert shown == heard == [[{"row": 1}], [], [{"row": 2}]]
    assert mailbox.asked == 2
