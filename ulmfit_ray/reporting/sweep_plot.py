"""The picture of a sweep: the figure that is compared against what was varied.

Drawn on matplotlib's Figure itself: pyplot would keep every figure and look for a screen. It is imported where it is
used, because the import takes half a second.
"""

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ulmfit_ray.reporting.sweep_table import SweepRow, SweepTable, shown_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#1f77b4", "#d9601a", "#2a9d5c", "#8a5bb5", "#c23b6b", "#7a6a3f", "#3fa7b8", "#666666")
"""One for each line; where there would be more lines the settings are ranked instead."""
LOG_RATIO = 8
"""An axis is logarithmic when its largest value is so many times the smallest."""
MOST_TICKS = 8
LEGEND_COLUMNS = 2
MOST_RANKED = 40


class _Point(NamedTuple):
    """A setting in the picture."""

    x: float
    y: float
    line: tuple[str, ...]
    """Its values of the fields that do not run along the x axis."""
    row: SweepRow


def sweep_plot(table: SweepTable) -> bytes | None:
    """Return a PNG, or None if no setting has the figure.

    The field with the most values runs along the x axis, and each combination of the others is a line. Where these
    would be too many, the settings are ranked. Settings that were not trained to their end are hollow.
    """
    rows = [row for row in table.rows if _is_number(table.figure_of(row))]
    if not rows:
        return None
    kinds = {name: {_text(row.values[name]) for row in rows} for name in table.fields}
    along = max(table.fields, key=lambda name: len(kinds[name]))
    others = [name for name in table.fields if name != along and len(kinds[name]) > 1]
    places, is_number = _places([row.values[along] for row in rows])
    points = [
        _Point(places[_text(row.values[along])], row.figures[table.figure], _texts(row, others), row) for row in rows
    ]
    lines = list(dict.fromkeys(point.line for point in points))
    if len(lines) > len(COLORS):
        return _ranking(table, points)
    figure = _figure(3.8 + 0.4 * bool(others) + 0.2 * math.ceil(len(lines) / LEGEND_COLUMNS))
    axes = figure.subplots()
    for color, line in zip(COLORS, lines, strict=False):
        _draw_line(axes, sorted(point for point in points if point.line == line), color, ", ".join(line))
    _mark_best(axes, table, points)
    _label_x(axes, along, places, is_number=is_number)
    axes.set_ylabel(table.figure)
    if _is_wide([point.y for point in points]):
        axes.set_yscale("log")
    axes.set_title(_remarks(table), loc="left", fontsize=9, color="#666666")
    if others:
        # Below the picture: beside it a legend of long settings would leave no room for the axes.
        title = ", ".join(map(_short, others))
        figure.legend(title=title, frameon=False, loc="outside lower left", ncols=LEGEND_COLUMNS, alignment="left")
    return _png(figure)


def _draw_line(axes: "Axes", points: Sequence[_Point], color: str, label: str) -> None:
    axes.plot([point.x for point in points], [point.y for point in points], color=color, label=label, zorder=2)
    for point in points:
        _draw_point(axes, point.x, point, color)


def _draw_point(axes: "Axes", x: float, point: _Point, color: str, y: float | None = None) -> None:
    """Draw a setting, hollow if it was not trained to its end."""
    fill = color if point.row.record.state == "finished" else "white"
    axes.plot([x], [point.y if y is None else y], "o", color=color, markerfacecolor=fill, zorder=3)


def _mark_best(axes: "Axes", table: SweepTable, points: Sequence[_Point]) -> None:
    """Draw a ring around the best setting, and its figure beside it."""
    for point in points:
        if point.row is table.best:
            axes.plot([point.x], [point.y], "o", color="black", markerfacecolor="none", markersize=13, zorder=4)
            above = 10 if table.is_high_good else -18
            text = f"best: {shown_figure(table.figure, point.y)}"
            axes.annotate(text, (point.x, point.y), (0, above), textcoords="offset points", ha="center")
            # Room for the text.
            axes.margins(y=0.15)


def _places(values: Sequence[Any]) -> tuple[dict[str, float], bool]:
    """Return where each value stands on the x axis, and whether these are the values themselves."""
    if all(map(_is_number, values)):
        return {_text(value): float(value) for value in values}, True
    return {text: float(number) for number, text in enumerate(dict.fromkeys(map(_text, values)))}, False


def _label_x(axes: "Axes", name: str, places: dict[str, float], *, is_number: bool) -> None:
    axes.set_xlabel(name)
    if is_number and _is_wide(list(places.values())):
        axes.set_xscale("log")
    if not is_number:
        axes.margins(x=0.15)
    if len(places) <= MOST_TICKS or not is_number:
        axes.set_xticks(list(places.values()), list(places))
        axes.minorticks_off()


def _ranking(table: SweepTable, points: Sequence[_Point]) -> bytes:
    """Return a PNG of the best settings, one below the other."""
    ranked = sorted(points, key=lambda point: -point.y if table.is_high_good else point.y)[:MOST_RANKED]
    figure = _figure(1.2 + 0.26 * len(ranked))
    axes = figure.subplots()
    for place, point in enumerate(ranked):
        _draw_point(axes, point.y, point, COLORS[0], y=place)
    axes.set_yticks(range(len(ranked)), [_setting_text(table, point.row) for point in ranked], fontsize=8)
    axes.set_ylim(len(ranked) - 0.5, -0.5)
    axes.set_xlabel(table.figure + (f" (the best {MOST_RANKED} of {len(points)})" if len(points) > MOST_RANKED else ""))
    axes.set_title(_remarks(table), loc="left", fontsize=9, color="#666666")
    if _is_wide([point.y for point in ranked]):
        axes.set_xscale("log")
    return _png(figure)


def _remarks(table: SweepTable) -> str:
    """Return what the points do not say by themselves."""
    states = [row.record.state for row in table.rows]
    parts = ["hollow: stopped early"] if "stopped early" in states else []
    missing = sum(not _is_number(table.figure_of(row)) for row in table.rows)
    return "; ".join([*parts, f"{missing} of {len(states)} settings have no {table.figure}"] if missing else parts)


def _setting_text(table: SweepTable, row: SweepRow) -> str:
    """Return a setting in short: the last parts of its fields' names, as they are all in the table."""
    return ", ".join(f"{_short(name)} {_text(row.values[name])}" for name in table.fields)


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _texts(row: SweepRow, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(_text(row.values[name]) for name in names)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_wide(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) >= LOG_RATIO * min(values)


def _figure(height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(8, height), dpi=120, layout="constrained")


def _png(figure: "Figure") -> bytes:
    for axes in figure.axes:
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
