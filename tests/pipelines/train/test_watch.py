"""What the driver shows of a training."""

import pytest

from ulmfit_ray.pipelines.train.watch import _Watched


def test_a_training_that_goes_on_shows_at_once_where_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    with _Watched("pretrain", 7) as watched:
        watched.show([{"found": 7, "num_steps": 10}])
        assert capsys.readouterr().out == "pretrain: 7 of 10 steps\n"
        watched.show([{"row": {"step": 9, "loss": 1.5, "tokens": 5}, "num_steps": 10, "is_epoch_end": False}])
    assert capsys.readouterr().out.startswith("pretrain: 9 of 10 steps, 5 tokens, loss 1.500")
