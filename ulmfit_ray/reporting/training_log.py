"""What the rows of training_log.jsonl say, read together: an epoch in one line, how fast a training is, how long it is.

A row with a learning rate is the mean of the steps since the row before; one without is a validation, at an epoch's
end. `seconds` is what it took, so that the speed is known from the log alone, however often the run was interrupted.
"""

import math
from collections.abc import Iterable, Sequence

from ulmfit_ray.reporting.progress import duration

Row = dict[str, float]
NOT_FIGURES = ("step", "epoch", "tokens", "documents", "seconds", "learning_rate")
STEPS_JUDGED, SECONDS_JUDGED = 20, 10
"""A forecast waits for so many steps and seconds: the first ones are no measure of the others."""


def is_training(row: Row) -> bool:
    """Tell whether a row is of training steps, and not of a validation."""
    return "learning_rate" in row


def figures(row: Row) -> Row:
    """Return what was measured of the model in a row: its loss, and what else the task has."""
    return {name: value for name, value in row.items() if name not in NOT_FIGURES}


def mean_figures(rows: Sequence[Row]) -> Row:
    """Return the figures of training rows, weighted by documents, or by tokens where none are named; {} of no rows."""
    weights = [row.get("documents", row["tokens"]) for row in rows]
    names = figures(rows[0]) if rows else ()
    return {
        name: math.fsum(row[name] * weight for row, weight in zip(rows, weights, strict=True)) / sum(weights)
        for name in names
    }


def kept_row(rows: Sequence[Row], *, keep_best: bool, judge_by: str = "loss") -> Row | None:
    """Return the validation row of the epoch whose weights a training has kept; None if nothing was validated."""
    judged = [row for row in rows if not is_training(row) and "loss" in row]
    if not judged or not keep_best:
        return judged[-1] if judged else None
    sign = -1 if judge_by == "loss" else 1
    # Of equals the last, as the judge keeps it.
    return max(reversed(judged), key=lambda row: sign * row[judge_by])


def tokens_per_second(rows: Iterable[Row]) -> float:
    """Return the speed of training rows, 0 if it is not known: an earlier version wrote no seconds."""
    timed = [row for row in rows if "seconds" in row]
    seconds = sum(row["seconds"] for row in timed)
    return sum(row["tokens"] for row in timed) / seconds if seconds else 0.0


def epoch_line(rows: Sequence[Row]) -> str:
    """Return an epoch in one line, of all its rows; the tokens per second are those of training alone."""
    training = [row for row in rows if is_training(row)]
    parts = [f"training {_shown(name, value)}" for name, value in mean_figures(training).items()]
    for row in rows:
        if not is_training(row):
            parts += [_shown(name, value).replace("loss", "validation loss") for name, value in figures(row).items()]
    parts.append(f"{tokens_per_second(training):,.0f} tokens/s")
    return ", ".join([*parts, duration(sum(row.get("seconds", 0) for row in rows))])


def _shown(name: str, value: float) -> str:
    if name.startswith("accuracy"):
        return f"{name} {value:.1%}"
    return f"{name} {value:,.1f}" if name == "perplexity" else f"{name} {value:.3f}"


def forecast(rows: Sequence[Row], num_steps: int, done: int = 0) -> str:
    """Return how long a training of `num_steps` will take, by what it did so far; "" while that is too little.

    `rows` are those since this run began, `done` the steps of earlier runs. The first row is left out: its steps also
    fill caches and pools.
    """
    training = [row for row in rows if is_training(row)]
    steps = training[-1]["step"] - training[0]["step"] if training else 0
    seconds = sum(row["seconds"] for row in training[1:])
    if steps < STEPS_JUDGED or seconds < SECONDS_JUDGED:
        return ""
    rest = num_steps - done
    what = f"the remaining {rest:,} of {num_steps:,} steps" if done else f"{num_steps:,} steps"
    return f"about {duration(seconds / steps * rest)} for {what} at {tokens_per_second(training[1:]):,.0f} tokens/s"
