"""The picture of a map, for a paper: points, and the names of their groups, or a scale.

Drawn on matplotlib's Figure itself: pyplot would keep every figure and look for a screen. It is imported where it is
used, because the import takes half a second.
"""

import io
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ulmfit_ray.reporting.map_colors import GREY, SCALE_ENDS, SCALE_NAME, Groups, Scale, densest_places

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

SIDE = 7.0
"""Inches of the map's longer side."""
DOTS = 200
INK = 40_000
"""Square points of all marks together: few documents have large ones."""
LONGEST_LABEL = 40
RINGS = 40
"""How many rings of places around a group's densest part are tried until its name covers no other."""


def map_png(positions: np.ndarray, coloring: Groups | Scale, *, names_on_map: bool) -> bytes:
    """Return a PNG of documents at their places (N, 2); groups have their names on the map, or in a legend."""
    file = io.BytesIO()
    _draw(positions, coloring, names_on_map=names_on_map).savefig(
        file, format="png", bbox_inches="tight", pad_inches=0.1
    )
    return file.getvalue()


def _draw(positions: np.ndarray, coloring: Groups | Scale, *, names_on_map: bool) -> "Figure":
    # Where HOME cannot be written, it would tell whoever looks where it keeps its list of fonts.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(SIDE, SIDE), dpi=DOTS)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_aspect("equal")
    axes.set_axis_off()
    if isinstance(coloring, Scale):
        _draw_scale(figure, axes, positions, coloring)
    else:
        _draw_groups(axes, positions, coloring)
        if names_on_map:
            _write_names(figure, axes, positions, coloring)
        else:
            _add_legend(axes, coloring)
    return figure


def _size_of(num_documents: int) -> float:
    return float(np.clip(INK / max(1, num_documents), 0.6, 40))


def _scatter(axes: "Axes", positions: np.ndarray, color: Any, size: float) -> None:
    # No edges: they would fill what is between the marks.
    axes.scatter(positions[:, 0], positions[:, 1], s=size, c=color, linewidths=0, alpha=0.75)


def _draw_groups(axes: "Axes", positions: np.ndarray, groups: Groups) -> None:
    """Draw all points in one go, in an order of no meaning, so that no group lies on top of another."""
    palette = np.array(groups.colors)
    order = np.random.default_rng(0).permutation(len(positions))
    _scatter(axes, positions[order], palette[groups.numbers[order]], _size_of(len(order)))


def _draw_scale(figure: "Figure", axes: "Axes", positions: np.ndarray, scale: Scale) -> None:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    colors = ListedColormap(colormaps[SCALE_NAME](np.linspace(*SCALE_ENDS, 256)))
    mapped = ScalarMappable(Normalize(*scale.ends), colors)
    has_number = np.isfinite(scale.values)
    size = _size_of(len(positions))
    _scatter(axes, positions[~has_number], GREY, size)
    _scatter(axes, positions[has_number], mapped.to_rgba(scale.values[has_number]), size)
    extend = {(True, True): "both", (True, False): "min", (False, True): "max", (False, False): "neither"}
    bar = figure.colorbar(mapped, ax=axes, shrink=0.45, pad=0.02, aspect=25, extend=extend[scale.is_beyond])
    bar.outline.set_visible(False)
    bar.set_label(scale.name, parse_math=False)


def _add_legend(axes: "Axes", groups: Groups) -> None:
    from matplotlib.lines import Line2D

    rows = [row for row in zip(groups.names, groups.colors, groups.sizes.tolist(), strict=True) if row[2]]
    handles = [Line2D([], [], marker="o", linestyle="", markersize=6, color=color) for _, color, _ in rows]
    legend = axes.legend(
        handles,
        [f"{_on_one_line(name)} ({size:,})" for name, _, size in rows],
        title=groups.name,
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        frameon=False,
        fontsize=9,
        alignment="left",
    )
    for text in (*legend.get_texts(), legend.get_title()):
        text.set_parse_math(False)


def _write_names(figure: "Figure", axes: "Axes", positions: np.ndarray, groups: Groups) -> None:
    """Write the names of groups where these are densest, the largest first, each beside those that are there."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.patheffects import withStroke

    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    taken: list[Bbox] = []
    places = densest_places(positions, groups)
    for number in np.argsort(-groups.sizes[: len(groups.labels)], kind="stable").tolist():
        place = places[number]
        if place is None:
            continue
        text = axes.annotate(
            groups.labels[number].replace(", ", "\n"),
            place,
            (0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=7.5,
            fontweight="bold",
            linespacing=1.05,
            color="#111111",
            parse_math=False,
            path_effects=[withStroke(linewidth=2.5, foreground=(1, 1, 1, 0.85))],
        )
        taken.append(_moved_aside(text, taken, renderer))


def _moved_aside(text: "Text", taken: "list[Bbox]", renderer: Any) -> "Bbox":
    """Move a name to the nearest place where it covers no other, and return the box that it takes."""
    box = text.get_window_extent(renderer)
    for right, up in _offsets():
        moved = box.translated(right * DOTS / 72, up * DOTS / 72)
        if not any(moved.overlaps(other) for other in taken):
            text.set_position((right, up))
            return moved
    return box


def _offsets() -> Iterator[tuple[float, float]]:
    """Yield places around a point, in points of a 72nd inch, the nearest first."""
    yield 0.0, 0.0
    for ring in range(1, RINGS):
        for angle in np.linspace(0, 2 * np.pi, 16, endpoint=False) + np.pi / 2:
            yield 6 * ring * float(np.cos(angle)), 4 * ring * float(np.sin(angle))


def _on_one_line(label: str) -> str:
    line = " ".join(label.split())
    return line if len(line) <= LONGEST_LABEL else f"{line[: LONGEST_LABEL - 3].rstrip()}..."
