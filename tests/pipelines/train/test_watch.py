"""What the driver shows of a training."""

import pytest

from ulmfit_ray.pipelines.train.watch import _Watched


def test_a_training_that_goes_on_shows_at_once_where_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    with _Watched("pretrain", 7) as watched:
        watched.show([{"found": 7, "num_steps": 10}])
        assert capsys.readouterr().out == "pretrain: 7 of 10 steps\n"
        watched.show([{"row": {"step": 9, "loss": 1.5, "tokens": 5}, "num_steps": 10, "is_epoch_end": False}])
    assert capsys.readouterr().out.startswith("pretrain: 9 of 10 steps, 5 tokens, loss 1.500")


def test_after_a_failure_the_steps_are_counted_from_where_the_workers_start_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    row = {"loss": 1.5, "tokens": 5}
    with _Watched("pretrain", 0) as watched:
        watched.show([{"row": row | {"step": 11}, "num_steps": 40, "is_epoch_end": False}])
        watched.show([{"failed": "worker 1: OSError: gone", "step": 8}])
        shown = capsys.readouterr()
        assert shown.err == "worker 1: OSError: gone\n    All workers start again from step 8.\n"
        assert shown.out.splitlines()[-1].startswith("pretrain: 11 of 40 steps")
        watched.show([{"found": 8, "num_steps": 40}])
        assert capsys.readouterr().out == "pretrain: 8 of 40 steps\n"
        watched.show([{"row": row | {"step": 12}, "num_steps": 40, "is_epoch_end": False}])
        watched.show([{"failed": "worker 0: OSError: gone", "step": 0}])
    shown = capsys.readouterr()
    assert "All workers start again from the beginning." in shown.err
    assert shown.out.startswith("pretrain: 12 of 40 steps")
