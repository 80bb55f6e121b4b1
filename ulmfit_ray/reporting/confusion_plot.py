"""The picture of a confusion matrix: which classes are taken for which.

Drawn on matplotlib's Figure itself: pyplot would keep every figure and look for a screen. It is imported where it is
used, because the import takes half a second.
"""

import io
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_COUNTED = 20
"""With more classes the counts would be too small to read, and colours alone say it."""
MOST_NAMED = 200
"""With more classes only some are named: every second, every third."""
MOST_SEPARATED = 60
"""Between more classes lines would hide the cells."""
LONGEST_NAME = 28
LARGEST = 18.0
"""Inches of the matrix; at 120 dots an inch, as the other pictures."""


def confusion_matrix_png(counts: np.ndarray, labels: Sequence[str]) -> bytes:
    """Return a PNG of documents by true class (rows) and predicted class (columns), (C, C), in the labels' order.

    A cell's colour is its part of its row: a rare class is as visible as a frequent one.
    """
    file = io.BytesIO()
    # tight: the names stand outside of the figure, and however long they are, nothing is cut off.
    _draw(counts, labels).savefig(file, format="png", bbox_inches="tight")
    return file.getvalue()


def _draw(counts: np.ndarray, labels: Sequence[str]) -> "Figure":
    # Where HOME cannot be written, it would tell whoever trains where it keeps its list of fonts.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    num_classes = len(labels)
    totals = counts.sum(axis=1)
    parts = counts / np.maximum(totals, 1)[:, None]
    cell = max(0.62, 2.5 / num_classes) if num_classes <= MOST_COUNTED else 0.3
    cell = min(cell, LARGEST / num_classes)
    side = cell * num_classes
    width = side + 0.3
    figure = Figure(figsize=(width, side), dpi=120)
    axes, beside = figure.add_axes((0, 0, side / width, 1)), figure.add_axes((1 - 0.15 / width, 0, 0.15 / width, 1))
    # A root: five errors in a hundred are to be seen, and are nearly white on an even scale.
    image = axes.imshow(parts, cmap="Blues", norm=PowerNorm(0.5, 0, 1), aspect="auto", interpolation="nearest")
    bar = figure.colorbar(image, cax=beside, format=PercentFormatter(1), ticks=[0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.7, 1])
    bar.outline.set_visible(False)
    bar.set_label("part of the true class")
    _name_classes(axes, [_shortened(label) for label in labels], totals, 72 * cell)
    if num_classes <= MOST_SEPARATED:
        _separate_cells(axes, num_classes)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    if num_classes <= MOST_COUNTED:
        _write_counts(axes, counts, parts)
    return figure


def _name_classes(axes: "Axes", names: Sequence[str], totals: np.ndarray, cell: float) -> None:
    """Write the classes' names beside cells of `cell` points, on the left with their documents."""
    every = -(-len(names) // MOST_NAMED)
    size = min(9.0, 0.8 * every * cell)
    rows = [f"{name} ({total:,})" for name, total in zip(names, totals.tolist(), strict=True)]
    # A letter is about as wide as .6 of its size. Dollars in a name are no formula.
    is_wide = max(map(len, names)) * 0.6 * size > 0.9 * cell
    places = range(0, len(names), every)
    axes.set_yticks(places, rows[::every], fontsize=size, parse_math=False)
    axes.set_xticks(places, names[::every], fontsize=size, parse_math=False, rotation=90 if is_wide else 0)
    axes.set_ylabel("true class (documents)")
    axes.set_xlabel("predicted class")


def _separate_cells(axes: "Axes", num_classes: int) -> None:
    borders = np.arange(num_classes + 1) - 0.5
    axes.set_xticks(borders, minor=True)
    axes.set_yticks(borders, minor=True)
    axes.grid(which="minor", color="#dddddd", linewidth=0.6)


def _write_counts(axes: "Axes", counts: np.ndarray, parts: np.ndarray) -> None:
    """Write each cell's documents into it, in white where it is dark; those of no document stay empty."""
    for row, column in np.argwhere(counts > 0).tolist():
        color = "white" if parts[row, column] > 0.35 else "black"
        axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", fontsize=8, color=color)


def _shortened(label: str) -> str:
    """Return a label on one line; of one that would take the matrix's room, the middle is left out."""
    line = " ".join(label.split())
    half = (LONGEST_NAME - 3) // 2
    return line if len(line) <= LONGEST_NAME else f"{line[:half].rstrip()}...{line[-half:].lstrip()}"
