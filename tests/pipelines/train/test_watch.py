"""What the driver shows of a training."""

from pathlib import Path
from typing import Any, ClassVar

import pytest

from ulmfit_ray.pipelines.train.mailbox import Message
from ulmfit_ray.pipelines.train.watch import _Watched, heard_by, messages_until
from ulmfit_ray.reporting.tensorboard import EventFiles
from ulmfit_ray.storage.folder import Folder


def steps(step: int, num_steps: int = 10, epoch: int = 1, seconds: float = 1.0) -> dict[str, Any]:
    """The message of a row of training steps."""
    row = {"step": step, "epoch": epoch, "loss": 1.5, "tokens": 5 * seconds, "learning_rate": 4e-3, "seconds": seconds}
    return {"row": row, "num_steps": num_steps, "is_epoch_end": False}


def epoch_end(step: int, num_steps: int, epoch: int) -> dict[str, Any]:
    row = {"step": step, "epoch": epoch, "loss": 2.0, "perplexity": 7.389, "accuracy": 0.5, "seconds": 3.0}
    return {"row": row, "num_steps": num_steps, "is_epoch_end": True}


def test_a_training_that_goes_on_shows_at_once_where_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    with _Watched("pretrain", 7) as watched:
        watched.show([{"log": [steps(3)["row"], steps(7)["row"]], "num_steps": 10}])
        assert capsys.readouterr().out == "pretrain: 7 of 10 steps\n"
        watched.show([steps(9)])
    assert capsys.readouterr().out.startswith("pretrain: 9 of 10 steps, 5 tokens, loss 1.500, rate 0.004")


def test_an_epoch_that_was_interrupted_is_told_whole(capsys: pytest.CaptureFixture[str]) -> None:
    with _Watched("pretrain", 7) as watched:
        watched.show([{"log": [steps(3)["row"], steps(7)["row"]], "num_steps": 20}])
        capsys.readouterr()
        watched.show([steps(10, 20), epoch_end(10, 20, 1)])
        line = capsys.readouterr().out.splitlines()[-1]
    assert line == (
        "epoch 1 of 2: training loss 1.500, validation loss 2.000, perplexity 7.4, accuracy 50.0%, 5 tokens/s, 6 s"
    )


def test_how_long_it_will_take_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    with _Watched("pretrain", 0) as watched:
        watched.show([{"log": [], "num_steps": 600}])
        watched.show([steps(step, 600, seconds=10.0) for step in (1, 20, 40, 60)])
    said = [line for line in capsys.readouterr().out.splitlines() if "about" in line]
    assert said == ["pretrain: about 5 min for 600 steps at 5 tokens/s"]


def test_workers_that_begin_again_take_the_log_back_to_their_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = EventFiles(Folder(str(tmp_path)))
    with _Watched("pretrain", 0, events) as watched:
        watched.show([{"log": [], "num_steps": 20}, steps(1, 20), steps(5, 20)])
        watched.show([{"log": [steps(1)["row"]], "num_steps": 20}, steps(5, 20), steps(10, 20), epoch_end(10, 20, 1)])
    assert "5 tokens/s, 6 s" in capsys.readouterr().out.splitlines()[-2]
    assert sum(file.stat().st_size > 0 for file in (tmp_path / "tensorboard").iterdir()) == 1


def test_after_a_failure_the_steps_are_counted_from_where_the_workers_start_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with _Watched("pretrain", 0) as watched:
        watched.show([steps(11, 40)])
        watched.show([{"failed": "worker 1: OSError: gone", "step": 8}])
        shown = capsys.readouterr()
        assert shown.err == "worker 1: OSError: gone\n    All workers start again from step 8.\n"
        assert shown.out.splitlines()[-1].startswith("pretrain: 11 of 40 steps")
        watched.show([{"log": [steps(8, 40)["row"]], "num_steps": 40}])
        assert capsys.readouterr().out == "pretrain: 8 of 40 steps\n"
        watched.show([steps(12, 40)])
        watched.show([{"failed": "worker 0: OSError: gone", "step": 0}])
    shown = capsys.readouterr()
    assert "All workers start again from the beginning." in shown.err
    assert shown.out.startswith("pretrain: 12 of 40 steps")


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
