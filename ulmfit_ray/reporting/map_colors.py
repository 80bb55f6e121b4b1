"""What the points of a map are coloured by: groups with a name each, or numbers on a scale. Shared by PNG and page.

N documents.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

COLORS = (
    *("#0072b2", "#e69f00", "#009e73", "#56b4e9", "#6d3d00", "#79246d", "#8679ff", "#e75518", "#3d31b6", "#9e4949"),
    *("#49ce79", "#b63192", "#8686b6", "#3d61e7", "#3d920c", "#f35579", "#006d79", "#9e0049", "#ff79db", "#613192"),
)
"""Of groups. Each was chosen as far from those before it as can be, for red-blind and green-blind eyes as well: to
them, too, any two differ by .06 in OKLab, the first eight by .11. All can be seen on white and on nearly black."""
GREY = "#a0a4a8"
"""Of what has no value, and of the rare values together."""
OTHER, MISSING = "(other)", "(none)"
SCALE_NAME = "viridis"
SCALE_ENDS = (0.12, 0.92)
"""The part of the scale that is seen on white and on nearly black."""
BEYOND = (1, 99)
"""Percentiles of the numbers at which a scale begins and ends."""
LEVELS = 255
"""Steps of the scale on a page; the next number is for what has no value."""
CELLS = 24
"""The map is looked at as so many by so many cells to find where a group is densest."""


@dataclass(frozen=True, slots=True)
class Groups:
    """Documents in groups."""

    name: str
    labels: tuple[str, ...]
    numbers: np.ndarray
    """The group of each document (N,); len(labels) for those without a value."""

    def at(self, rows: np.ndarray) -> "Groups":
        """Return the same groups of some documents."""
        return Groups(self.name, self.labels, self.numbers[rows])

    @property
    def names(self) -> tuple[str, ...]:
        """Return the labels, and behind them what stands for no value."""
        return (*self.labels, MISSING)

    @property
    def colors(self) -> list[str]:
        """Return the color of each of `names`."""
        own = [GREY if label == OTHER else color for label, color in zip(self.labels, COLORS, strict=False)]
        return [*own, GREY]

    @property
    def sizes(self) -> np.ndarray:
        """Return how many documents each of `names` has."""
        return np.bincount(self.numbers, minlength=len(self.names))


@dataclass(frozen=True, slots=True)
class Scale:
    """Documents with a number each."""

    name: str
    values: np.ndarray
    """Float64 (N,), not finite where there is none."""

    def at(self, rows: np.ndarray) -> "Scale":
        """Return the same scale for some documents."""
        return Scale(self.name, self.values[rows])

    @property
    def ends(self) -> tuple[float, float]:
        """Return where the scale begins and ends (0 and 1 where there is no number).

        A hundredth of the documents may lie beyond each end: a single number would else leave all others one color.
        """
        finite = self.values[np.isfinite(self.values)]
        if not len(finite):
            return 0.0, 1.0
        low, high = BEYOND
        return float(np.percentile(finite, low, method="lower")), float(np.percentile(finite, high, method="higher"))

    @property
    def is_beyond(self) -> tuple[bool, bool]:
        """Return whether there are numbers below the scale, and above it."""
        low, high = self.ends
        return bool((self.values < low).any()), bool((self.values > high).any())

    def levels(self) -> np.ndarray:
        """Return the step of the scale of each document (N,), uint8; LEVELS for those without a number."""
        low, high = self.ends
        has_number = np.isfinite(self.values)
        part = (np.clip(np.where(has_number, self.values, low), low, high) - low) / (high - low or 1.0)
        steps = np.where(has_number, np.round(part * (LEVELS - 1)), LEVELS)
        return steps.astype(np.uint8)


def coloring_of(name: str, column: pa.ChunkedArray) -> Groups | Scale:
    """Return what a kept column says of each document.

    Numbers make a scale, and so does a text column (of a csv) of more than 20 values that are all numbers. Anything
    else makes groups, the most frequent first; of more than 20 values the 19 most frequent, and the others together.
    """
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return Scale(name, _as_floats(column))
    texts = pa.chunked_array([pa.array([shown(value) for value in column.to_pylist()], pa.string())])
    counts = sorted(
        ((row["counts"], row["values"]) for row in pc.value_counts(texts).to_pylist() if row["values"] is not None),
        key=lambda pair: (-pair[0], pair[1]),
    )
    if len(counts) > len(COLORS):
        try:
            return Scale(name, _as_floats(pc.cast(texts, pa.float64())))
        except pa.ArrowInvalid:
            # Words, then.
            counts = counts[: len(COLORS) - 1]
    labels = tuple(value for _, value in counts)
    found = pc.index_in(texts, value_set=pa.array(labels, pa.string())).to_numpy().astype(np.float64)
    is_missing = texts.is_null().to_numpy()
    if not np.isnan(found[~is_missing]).any():
        return Groups(name, labels, np.where(is_missing, len(labels), found).astype(np.uint8))
    numbers = np.where(np.isnan(found), len(labels), found)
    return Groups(name, (*labels, OTHER), np.where(is_missing, len(labels) + 1, numbers).astype(np.uint8))


def _as_floats(column: pa.ChunkedArray) -> np.ndarray:
    values: np.ndarray = pc.cast(column, pa.float64()).to_numpy()
    return values


def shown(value: object) -> str | None:
    """Return a kept value as text: lists with commas, None as None."""
    if value is None:
        return None
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def scale_colors() -> list[str]:
    """Return the colours of the steps of a scale, from the least number to the largest."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(color) for color in colormaps[SCALE_NAME](np.linspace(*SCALE_ENDS, LEVELS))]


def densest_places(positions: np.ndarray, groups: Groups) -> list[tuple[float, float] | None]:
    """Return for each group where its name belongs on a map (N, 2): in its densest part; None for an empty group.

    Not at its mean, which may lie between two parts of a group.
    """
    low, size = positions.min(axis=0), np.ptp(positions, axis=0).max() or 1.0
    cells = np.minimum((positions - low) / size * CELLS, CELLS - 1).astype(np.int64)
    places: list[tuple[float, float] | None] = []
    for number in range(len(groups.labels)):
        own = groups.numbers == number
        if not own.any():
            places.append(None)
            continue
        counts = np.zeros((CELLS + 2, CELLS + 2))
        np.add.at(counts, (cells[own, 0] + 1, cells[own, 1] + 1), 1)
        shifts = [(right, up) for right in (-1, 0, 1) for up in (-1, 0, 1)]
        around = np.sum([np.roll(counts, shift, (0, 1)) for shift in shifts], axis=0)
        best = np.unravel_index(np.argmax(around[1:-1, 1:-1]), (CELLS, CELLS))
        is_near = (np.abs(cells[own] - np.array(best)) <= 1).all(axis=1)
        x, y = positions[own][is_near].mean(axis=0).tolist()
        places.append((x, y))
    return places
