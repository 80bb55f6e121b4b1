"""The picture of a map: what is written on it, and that no name covers another."""

import io
import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread
from matplotlib.text import Annotation

from ulmfit_ray.reporting.map_colors import Groups, Scale
from ulmfit_ray.reporting.map_plot import _draw, map_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def positions(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(size, 2)).astype(np.float32)


def groups(size: int, *labels: str) -> Groups:
    return Groups("kind", labels, (np.arange(size) % len(labels)).astype(np.uint8))


def names_on(figure: "Figure") -> list[Annotation]:
    return [text for text in figure.axes[0].texts if isinstance(text, Annotation)]


def legend_of(figure: "Figure") -> list[str]:
    legend = figure.axes[0].get_legend()
    assert legend is not None
    return [legend.get_title().get_text(), *(text.get_text() for text in legend.get_texts())]


def test_twenty_names_in_one_place_do_not_cover_each_other() -> None:
    figure = _draw(positions(400), groups(400, *[f"name{n}, of a, group" for n in range(20)]), names_on_map=True)
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [text.get_window_extent(renderer) for text in names_on(figure)]
    assert len(boxes) == 20
    assert not any(one.padded(-1).overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_groups_of_a_column_stand_in_a_legend_with_their_sizes() -> None:
    figure = _draw(positions(5), groups(5, "$a_b^c", "x" * 90), names_on_map=False)
    assert legend_of(figure) == ["kind", "$a_b^c (3)", f"{'x' * 37}... (2)"]
    assert names_on(figure) == []


def test_documents_without_a_value_are_in_the_legend_only_if_there_are_any() -> None:
    with_none = Groups("kind", ("a",), np.array([0, 1, 0], np.uint8))
    assert legend_of(_draw(positions(3), with_none, names_on_map=False)) == ["kind", "a (2)", "(none) (1)"]


def test_numbers_have_a_bar_that_says_of_what() -> None:
    _, bar = _draw(positions(4), Scale("$year$", np.array([1, 2, np.nan, 4])), names_on_map=False).axes
    assert bar.get_ylabel() == "$year$"


@pytest.mark.parametrize("size", [1, 2, 5000])
def test_any_number_of_documents_is_a_picture_with_ink(size: int) -> None:
    image = imread(io.BytesIO(map_png(positions(size), groups(size, "a", "b"), names_on_map=True)))
    assert image.shape[1] > 500
    assert len(np.unique(image.reshape(-1, 4), axis=0)) > 10


def test_the_same_map_is_the_same_bytes() -> None:
    arguments = positions(50), groups(50, "a", "b")
    assert map_png(*arguments, names_on_map=True) == map_png(*arguments, names_on_map=True)
