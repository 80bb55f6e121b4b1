"""What a kept column says of documents: groups or numbers; and where the names of groups belong."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.colors import to_rgb

from ulmfit_ray.reporting.map_colors import (
    COLORS,
    GREY,
    LEVELS,
    MISSING,
    OTHER,
    Groups,
    Scale,
    coloring_of,
    densest_places,
    scale_colors,
)

RED_BLIND = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
GREEN_BLIND = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
"""Machado, Oliveira and Fernandes (2009), severity 1, of linear RGB."""


def groups_of(*values: object) -> Groups:
    found = coloring_of("c", pa.chunked_array([pa.array(values)]))
    assert isinstance(found, Groups)
    return found


def scale_of(*values: object) -> Scale:
    found = coloring_of("c", pa.chunked_array([pa.array(values)]))
    assert isinstance(found, Scale)
    return found


def linear(color: str) -> np.ndarray:
    channels = np.array(to_rgb(color))
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def oklab(rgb: np.ndarray) -> np.ndarray:
    to_cones = [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566]]
    cones = np.cbrt(np.array([*to_cones, [0.0883024619, 0.2817188376, 0.6299787005]]) @ np.clip(rgb, 0, 1))
    to_lab = [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099]]
    return np.array([*to_lab, [0.0259040371, 0.7827717662, -0.8086757660]]) @ cones


@pytest.mark.parametrize("eyes", [np.eye(3), RED_BLIND, GREEN_BLIND], ids=["usual", "red-blind", "green-blind"])
def test_any_two_colors_differ_for_all_eyes(eyes: list[list[float]]) -> None:
    seen = [oklab(np.array(eyes) @ linear(color)) for color in (*COLORS, GREY)]
    pairs = {pair: np.linalg.norm(seen[pair[0]] - seen[pair[1]]) for pair in itertools.combinations(range(21), 2)}
    assert min(pairs.values()) > 0.06
    assert min(distance for pair, distance in pairs.items() if max(pair) < 8) > 0.11


def test_the_most_frequent_value_is_the_first_group_and_a_null_is_none() -> None:
    found = groups_of("b", "a", None, "a")
    assert found.names == ("a", "b", MISSING)
    assert found.numbers.tolist() == [1, 0, 2, 0]
    assert found.sizes.tolist() == [2, 1, 1]
    assert found.colors == [*COLORS[:2], GREY]


def test_of_more_than_twenty_values_the_rare_ones_are_together_and_grey() -> None:
    found = groups_of(*[f"v{number:02}" for number in range(25)], "v24", None)
    assert found.labels == ("v24", *(f"v{number:02}" for number in range(18)), OTHER)
    assert found.sizes.tolist() == [2, *[1] * 18, 6, 1]
    assert found.colors[-2:] == [GREY, GREY]


def test_twenty_values_have_a_color_each() -> None:
    found = groups_of(*[f"v{number:02}" for number in range(20)])
    assert found.colors == [*COLORS, GREY]
    assert OTHER not in found.names


@pytest.mark.parametrize(
    ("values", "labels"), [([True, False, True], ("True", "False")), ([["a", "b"], ["a", "b"], []], ("a, b", ""))]
)
def test_truth_values_and_lists_are_groups(values: list[object], labels: tuple[str, ...]) -> None:
    assert groups_of(*values).labels == labels


def test_numbers_make_a_scale_and_so_do_many_texts_that_are_numbers() -> None:
    assert scale_of(3, None, 1).values[[0, 2]].tolist() == [3, 1]
    assert scale_of(*[str(year) for year in range(1990, 2015)]).ends == (1990, 2014)
    assert groups_of("1", "2", "1").labels == ("1", "2")


def test_a_single_large_number_does_not_leave_the_others_one_color() -> None:
    found = scale_of(*range(200), 10**6)
    assert found.ends == (2, 198)
    assert found.is_beyond == (True, True)
    assert found.levels()[[0, 2, 198, 200]].tolist() == [0, 0, LEVELS - 1, LEVELS - 1]


def test_what_has_no_number_is_outside_of_the_scale() -> None:
    found = Scale("c", np.array([1.0, np.nan, 2.0, np.inf]))
    assert found.levels().tolist() == [0, LEVELS, LEVELS - 1, LEVELS]
    assert Scale("c", np.array([np.nan])).ends == (0, 1)
    assert len(scale_colors()) == LEVELS


def test_a_name_belongs_where_its_group_is_densest_and_not_between_two_parts() -> None:
    random = np.random.default_rng(0)
    parts = [random.normal((0, 0), 0.1, (30, 2)), random.normal((10, 0), 0.1, (20, 2)), [[5.0, 9.0]]]
    groups = Groups("c", ("two parts", "one", "none"), np.repeat([0, 1], [50, 1]).astype(np.uint8))
    first, second, third = densest_places(np.concatenate(parts), groups)
    assert first == pytest.approx((0, 0), abs=0.2)
    assert second == pytest.approx((5, 9))
    assert third is None
