"""What the validation figures decide: the weights that are kept, and an early end."""

import pytest
import torch
from torch import nn

from ulmfit_ray.training.config import TrainingConfig
from ulmfit_ray.training.judge import Judge

FIGURES = [(0.7, 0.60), (0.5, 0.80), (0.6, 0.90), (0.6, 0.90), (0.9, 0.70)]
"""Loss and accuracy of five epochs."""


def kept_epoch(judge_by: str, patience: int = 0) -> tuple[float, int]:
    """Return the weight that is kept (the epoch's number), and after which epoch the training ended."""
    model = nn.Linear(1, 1, bias=False)
    judge = Judge(TrainingConfig(keep_best=True, patience=patience, judge_by=judge_by))
    for epoch, (loss, accuracy) in enumerate(FIGURES):
        with torch.no_grad():
            model.weight.fill_(epoch)
        judge.add({"loss": loss, "accuracy": accuracy}, model)
        if judge.is_over(0):
            break
    return float(judge.best["weight"]), epoch


@pytest.mark.parametrize(
    ("judge_by", "patience", "expected"),
    [
        ("loss", 0, (1, 4)),
        # Of two epochs with the highest accuracy the later one has learned longer.
        ("accuracy", 0, (3, 4)),
        ("loss", 2, (1, 3)),
        # The second of two equals is no better than the first.
        ("accuracy", 2, (3, 4)),
    ],
)
def test_the_best_epoch_is_kept_and_patience_counts_those_that_are_no_better(judge_by, patience, expected):
    assert kept_epoch(judge_by, patience) == expected


def test_patience_counts_from_the_last_stage_on():
    judge = Judge(TrainingConfig(patience=2))
    over = []
    for loss in (0.5, 0.6, 0.7, 0.6, 0.55, 0.4, 0.45, 0.45):
        judge.add({"loss": loss}, nn.Linear(1, 1))
        over.append(judge.is_over(first_epoch=3))
    # The first epoch is the best of the first five: the second of the last stage ends it, and so does the last one.
    assert over == [False, False, False, False, True, False, False, True]


def test_a_figure_that_the_validation_does_not_have_is_named():
    judge = Judge(TrainingConfig(keep_best=True, judge_by="f1"))
    with pytest.raises(ValueError, match=r"judge-by f1: the validation has no such figure \(loss, accuracy\)"):
        judge.add({"loss": 1.0, "accuracy": 0.5}, nn.Linear(1, 1))
