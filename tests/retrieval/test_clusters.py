"""Clusters of vectors, and the words their names are made of."""

import math
import warnings

import numpy as np

from ulmfit_ray.retrieval.clusters import by_size, cluster_centers, cluster_names, nearest_center, typical_words
from ulmfit_ray.retrieval.search import normalize_rows


def test_groups_of_vectors_are_found_and_the_largest_is_the_first() -> None:
    random = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], [5, 30, 20])
    vectors = normalize_rows(np.eye(3)[truth] + 0.1 * random.normal(size=(55, 3))).astype(np.float32)
    numbers = by_size(nearest_center(vectors, cluster_centers(vectors, 3, seed=0)))
    assert numbers.tolist() == np.array([2, 0, 1])[truth].tolist()


def test_the_nearest_center_is_that_of_a_plain_loop() -> None:
    random = np.random.default_rng(0)
    vectors, centers = random.normal(size=(40, 4)), random.normal(size=(6, 4))
    expected = [int(np.argmin([np.linalg.norm(row - center) for center in centers])) for row in vectors]
    assert nearest_center(vectors, centers).tolist() == expected


def test_equal_vectors_are_one_cluster_without_a_warning() -> None:
    vectors = np.repeat(np.eye(2, dtype=np.float32), 4, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        numbers = by_size(nearest_center(vectors, cluster_centers(vectors, 5, seed=0)))
    assert sorted(np.bincount(numbers).tolist()) == [4, 4]


def test_clusters_are_counted_anew_without_the_empty_ones() -> None:
    assert by_size(np.array([7, 2, 2, 5, 2, 5])).tolist() == [2, 0, 0, 1, 0, 1]


def test_typical_words_are_frequent_in_their_cluster_and_rare_elsewhere() -> None:
    #            the  rare  half  own
    documents = np.array([[10, 1, 5, 6], [20, 0, 4, 0]])
    first, second = typical_words(documents, np.array([10, 20]))
    scores = {1: 0.1 * math.log(0.1 * 30), 2: 0.5 * math.log(0.5 * 30 / 9), 3: 0.6 * math.log(0.6 * 30 / 6)}
    assert first.tolist() == sorted(scores, key=lambda word: -scores[word])
    assert second.tolist() == []


def test_nothing_is_typical_of_a_cluster_that_has_all_documents() -> None:
    assert typical_words(np.array([[3, 2, 1]]), np.array([3]))[0].tolist() == []


def test_names_are_three_words_that_differ_in_more_than_their_endings() -> None:
    names = cluster_names([["tumor", "tumors", "cancer", "neurons", "neuronal", "mice"], ["mice", "rats"], []])
    assert names == ["tumor, cancer, neurons", "mice, rats", "cluster 3"]


def test_a_name_that_is_taken_gets_another_word() -> None:
    assert cluster_names([["a", "b", "c"], ["a", "b", "c", "d"], ["a", "b", "c"]]) == [
        "a, b, c",
        "a, b, c, d",
        "cluster 3",
    ]
