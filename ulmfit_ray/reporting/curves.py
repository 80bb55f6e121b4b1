"""Pictures of a training: loss and learning rate by step; the loss of a sweep of learning rates by rate.

Drawn on matplotlib's Figure itself: pyplot would keep every figure and look for a screen. It is imported where it is
used, because the import takes half a second and workers load modules that import this one.
"""

import io
import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ulmfit_ray.reporting.training_log import Row, is_training

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#1f77b4", "#d9601a", "#666666"
FIRST_PART = 0.05
"""The losses of this part of the steps may lie above the picture: some are so large that they would flatten others."""
POINTS = 60
"""The line through more rows than these is their running mean, over so many parts of the training."""


def training_curves(log: Sequence[Row]) -> bytes:
    """Return a PNG of a training's log: its losses above, its learning rates below, over the same steps."""
    return _png(_draw_training(log))


def _draw_training(log: Sequence[Row]) -> "Figure":
    training = [row for row in log if is_training(row)]
    validation = [row for row in log if not is_training(row) and "loss" in row]
    figure = _figure(height=5.2)
    losses, rates = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    steps = [row["step"] for row in training]
    _draw_losses(losses, steps, [row["loss"] for row in training])
    if validation:
        _draw_validation(losses, validation)
    late = [row["loss"] for row in training if row["step"] > FIRST_PART * steps[-1]]
    _fit(losses, late + [row["loss"] for row in validation])
    losses.set_ylabel("loss (nats)")
    if any("perplexity" in row for row in validation):
        losses.set_ylabel("loss (nats per token)")
        _add_perplexities(losses)
    losses.legend(frameon=False, loc="upper right")
    rates.plot(steps, [row["learning_rate"] for row in training], color=GREY)
    rates.set_ylim(bottom=0)
    rates.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
    rates.set_ylabel("learning rate")
    rates.set_xlabel("step")
    rates.set_xlim(0, 1.02 * steps[-1])
    figure.align_ylabels()
    return figure


def _draw_losses(axes: "Axes", steps: Sequence[float], values: Sequence[float]) -> None:
    """Draw the training losses, and if there are many their running mean over them."""
    is_crowded = len(values) > POINTS
    axes.plot(steps, values, color=BLUE, alpha=0.3 if is_crowded else 1, label=None if is_crowded else "training")
    if is_crowded:
        axes.plot(steps, _running_mean(values, len(values) // POINTS), color=BLUE, label="training (running mean)")


def _draw_validation(axes: "Axes", rows: Sequence[Row]) -> None:
    """Draw the validation's loss at each epoch's end."""
    label = "validation"
    if "perplexity" in rows[-1]:
        label = f"validation: at the end {rows[-1]['loss']:.2f}, perplexity {rows[-1]['perplexity']:,.0f}"
    axes.plot([row["step"] for row in rows], [row["loss"] for row in rows], color=ORANGE, marker="o", label=label)


def _add_perplexities(axes: "Axes") -> None:
    """Say on the right which perplexities the losses are."""
    from matplotlib.ticker import LogLocator

    right = axes.secondary_yaxis("right", functions=(np.exp, _log))
    right.set_ylabel("perplexity")
    bottom, top = axes.get_ylim()
    if top - bottom > math.log(5):
        # At equal distances the large ones would stand one on the other.
        right.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))


def rate_curve(rates: Sequence[float], losses: Sequence[float], smoothed: Sequence[float], suggested: float) -> bytes:
    """Return a PNG of a sweep of learning rates: the loss at each rate, and the suggested rate."""
    return _png(_draw_rates(rates, losses, smoothed, suggested))


def _draw_rates(
    rates: Sequence[float], losses: Sequence[float], smoothed: Sequence[float], suggested: float
) -> "Figure":
    figure = _figure(height=3.8)
    axes = figure.subplots()
    axes.plot(rates, losses, color=BLUE, alpha=0.3, label="loss of the step")
    axes.plot(rates, smoothed, color=BLUE, label="smoothed")
    axes.axvline(suggested, color=ORANGE, linestyle="--", label=f"suggested: {suggested:.2g}")
    axes.set_xscale("log")
    # At the end the loss is several times as large as at the start: how far up it goes does not matter.
    lowest = min(*losses, *smoothed)
    _fit(axes, [lowest, smoothed[0] + (smoothed[0] - lowest) / 2])
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss (nats per token)")
    axes.legend(frameon=False, loc="lower left")
    return figure


def _figure(height: float) -> "Figure":
    # Where HOME cannot be written, it would tell whoever trains where it keeps its list of fonts.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from matplotlib.figure import Figure

    return Figure(figsize=(8, height), dpi=120, layout="constrained")


def _fit(axes: "Axes", values: Sequence[float]) -> None:
    """Let the picture end a little beyond the least and the largest of some values."""
    margin = 0.05 * (max(values) - min(values)) or 0.1
    axes.set_ylim(min(values) - margin, max(values) + margin)


def _running_mean(values: Sequence[float], size: int) -> np.ndarray:
    """Return the mean of the `size` values on each side of a value and its own, of fewer at the ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    starts, stops = np.maximum(places - size, 0), np.minimum(places + size + 1, len(values))
    return (sums[stops] - sums[starts]) / (stops - starts)


def _log(perplexities: Any) -> np.ndarray:
    # matplotlib also asks for places outside of the picture.
    return np.log(np.maximum(perplexities, 1e-300))


def _png(figure: "Figure") -> bytes:
    for axes in figure.axes:
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
