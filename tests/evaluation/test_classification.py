"""Figures of classifiers against scikit-learn's, against plain loops, and against tables worked out by hand."""

import json
import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from ulmfit_ray.evaluation.classification import (
    best_thresholds,
    by_length,
    calibration_error,
    confusion,
    figures_of_classes,
    figures_of_numbers,
    figures_of_several,
    majority_accuracy,
    per_class,
    per_label,
    ranking_precision,
)

LABELS = ["a", "b", "c", "d", "e"]


def random_classes(seed: int, dtype: type = np.float64) -> tuple[np.ndarray, np.ndarray]:
    """Return targets (300,) of five classes, of which the last is neither true nor predicted, and probabilities."""
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, 4, 300)
    scores = generator.normal(size=(300, 5)) + 1.5 * np.eye(5)[targets]
    scores[:, 4] -= 20
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return targets, probabilities.astype(dtype)


def random_labels(seed: int, levels: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """Return targets (200, 5) and probabilities of few different values; the last label is neither true nor likely."""
    generator = np.random.default_rng(seed)
    targets = (generator.random((200, 5)) < (0.5, 0.3, 0.1, 0.02, 0)).astype(np.int64)
    probabilities = np.clip(generator.normal(0.35 + 0.3 * targets, 0.2), 0.01, 0.99)
    probabilities[:, 4] = 0.01
    return targets, np.round(probabilities * levels) / levels


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_figures_of_one_label_are_scikit_learns(dtype: type) -> None:
    targets, probabilities = random_classes(0, dtype)
    predicted = probabilities.argmax(axis=1)
    figures = figures_of_classes(targets, probabilities)
    accuracy = metrics.accuracy_score(targets, predicted)
    assert figures == pytest.approx(
        {
            "num_documents": 300,
            "accuracy": accuracy,
            "error": 1 - accuracy,
            "standard_error": math.sqrt(accuracy * (1 - accuracy) / 300),
            "macro_f1": metrics.f1_score(targets, predicted, average="macro"),
            "micro_f1": metrics.f1_score(targets, predicted, average="micro"),
            "log_loss": -np.log(probabilities[np.arange(300), targets].astype(np.float64)).mean(),
            "calibration_error": calibration_error(targets, probabilities),
        },
        rel=1e-6,
    )
    np.testing.assert_array_equal(
        confusion(targets, predicted, 5), metrics.confusion_matrix(targets, predicted, labels=range(5))
    )


def test_the_log_loss_is_scikit_learns() -> None:
    targets, probabilities = random_classes(3)
    expected = metrics.log_loss(targets, probabilities, labels=range(5))
    assert figures_of_classes(targets, probabilities)["log_loss"] == pytest.approx(expected)


def test_rows_of_classes_are_scikit_learns() -> None:
    targets, probabilities = random_classes(1)
    predicted = probabilities.argmax(axis=1)
    expected = metrics.precision_recall_fscore_support(targets, predicted, labels=range(5), zero_division=0)
    for row, label, precision, recall, f1, count in zip(
        per_class(targets, probabilities, LABELS), LABELS, *expected, strict=True
    ):
        assert row == pytest.approx(
            {"label": label, "count": count, "precision": precision, "recall": recall, "f1": f1}
        )


def test_a_table_of_four_documents_worked_out_by_hand() -> None:
    targets = np.array([0, 0, 1, 2])
    # The second has two equals, of which the first counts; the last one's class has no probability at all.
    probabilities = np.array([[0.5, 0.25, 0.25], [0.25, 0.375, 0.375], [0.25, 0.5, 0.25], [0.25, 0.75, 0.0]])
    figures = figures_of_classes(targets, probabilities)
    assert figures["accuracy"] == figures["error"] == 0.5
    assert figures["standard_error"] == 0.25
    # F1: 2/3, 2 right of 3 predicted and 1 true: 1/2, 0.
    assert figures["macro_f1"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    losses = [math.log(2), math.log(4), math.log(2), -math.log(np.finfo(np.float32).tiny)]
    assert figures["log_loss"] == pytest.approx(sum(losses) / 4)
    # Bins of .375, of .5 (two) and of .75: differences .375, 2 x .5, .75.
    assert figures["calibration_error"] == pytest.approx((0.375 + 1.0 + 0.75) / 4)
    assert confusion(targets, probabilities.argmax(axis=1), 3).tolist() == [[1, 1, 0], [0, 1, 0], [0, 1, 0]]
    assert per_class(targets, probabilities, ["x", "y", "z"])[2] == {
        "label": "z",
        "count": 1,
        "precision": 0.0,
        "recall": 0.0,
        "f1": 0.0,
    }


def test_the_calibration_error_is_that_of_a_loop_over_fifteen_bins() -> None:
    targets, probabilities = random_classes(2)
    sure, is_right = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    expected = 0.0
    for number in range(15):
        inside = (sure > number / 15) & (sure <= (number + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(is_right[inside].mean() - sure[inside].mean())
    assert calibration_error(targets, probabilities) == pytest.approx(expected)


def test_a_classifier_that_is_always_sure_and_right_has_no_error_of_any_kind() -> None:
    figures = figures_of_classes(np.array([0, 1, 1]), np.array([[1, 0], [0, 1], [0, 1.0]]))
    names = ("error", "standard_error", "log_loss", "calibration_error")
    assert [figures[name] for name in names] == [0, 0, 0, 0]
    assert figures["macro_f1"] == figures["micro_f1"] == 1


def test_the_majority_class_is_that_of_training() -> None:
    assert majority_accuracy(np.array([2, 0, 2, 0, 2]), np.array([0, 0, 0, 2])) == 0.25
    assert majority_accuracy(np.array([1, 0]), np.array([0, 1, 1])) == 1 / 3


def test_a_document_as_long_as_a_border_is_below_it() -> None:
    num_tokens = np.array([3, 72, 73, 200, 1000, 1001, 5000])
    is_right = np.array([True, False, True, True, True, False, False])
    assert by_length(num_tokens, is_right) == [
        {"from": 0, "to": 72, "documents": 2, "accuracy": 0.5},
        {"from": 73, "to": 200, "documents": 2, "accuracy": 1.0},
        {"from": 401, "to": 1000, "documents": 1, "accuracy": 1.0},
        {"from": 1001, "to": None, "documents": 2, "accuracy": 0.0},
    ]


def test_figures_of_several_labels_are_scikit_learns() -> None:
    targets, probabilities = random_labels(0)
    thresholds = np.array([0.5, 0.4, 0.62, 0.7, 0.5])
    predicted = (probabilities >= thresholds).astype(int)
    expected = {
        "num_documents": 200,
        "micro_f1": metrics.f1_score(targets, predicted, average="micro"),
        # nan: a label that is neither true nor predicted is left out of the mean.
        "macro_f1": metrics.f1_score(targets, predicted, average="macro", zero_division=np.nan),
        "exact_match": metrics.accuracy_score(targets, predicted),
        "label_ranking_average_precision": metrics.label_ranking_average_precision_score(targets, probabilities),
        "log_loss": np.mean(
            [metrics.log_loss(targets[:, label], probabilities[:, label], labels=[0, 1]) for label in range(5)]
        ),
    }
    assert figures_of_several(targets, probabilities, thresholds) == pytest.approx(expected)
    rows = per_label(targets, probabilities, thresholds, LABELS)
    of_each = metrics.precision_recall_fscore_support(targets, predicted, zero_division=0)
    for name, column in zip(("precision", "recall", "f1", "count"), of_each, strict=True):
        np.testing.assert_allclose([row[name] for row in rows], column)
    assert [row["label"] for row in rows] == LABELS


@pytest.mark.parametrize("levels", [1, 2, 5, 1000])
def test_the_ranking_precision_has_scikit_learns_ties(levels: int) -> None:
    targets, probabilities = random_labels(3, levels)
    # Documents with no label and with all of them.
    targets[0], targets[1] = 0, 1
    expected = metrics.label_ranking_average_precision_score(targets, probabilities)
    assert ranking_precision(targets, probabilities) == pytest.approx(expected)


def test_the_ranking_precision_of_two_documents_worked_out_by_hand() -> None:
    targets = np.array([[1, 0, 1], [0, 0, 1]])
    # First: ranks 1 (1 of 1 true) and 3 (2 of 3). Second: the true one is last of two equals.
    assert ranking_precision(targets, np.array([[0.9, 0.5, 0.1], [0.2, 0.4, 0.4]])) == ((1 + 2 / 3) / 2 + 1 / 2) / 2


@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_has_a_higher_f1_than_the_best_one(seed: int) -> None:
    targets, probabilities = random_labels(seed)
    found = best_thresholds(targets, probabilities)
    for label in range(4):
        levels = np.unique(np.append(0, probabilities[:, label]))
        candidates = (levels[:-1] + levels[1:]) / 2
        f1 = [metrics.f1_score(targets[:, label], probabilities[:, label] >= candidate) for candidate in candidates]
        assert metrics.f1_score(targets[:, label], probabilities[:, label] >= found[label]) == max(f1)
        equals = candidates[np.array(f1) == max(f1)]
        assert abs(found[label] - 0.5) == np.abs(equals - 0.5).min()


def test_thresholds_of_a_table_worked_out_by_hand() -> None:
    probabilities = np.array([[0.9, 0.9, 0.1, 0.6, 0.0], [0.7, 0.7, 0.2, 0.6, 0.6], [0.2, 0.2, 0.3, 0.6, 0.0]])
    targets = np.array([[1, 1, 0, 1, 1], [1, 0, 0, 0, 0], [0, 0, 0, 1, 1]])
    # Between .7 and .2; between .9 and .7; no document; all are equal; the two that are true have probability 0.
    np.testing.assert_allclose(best_thresholds(targets, probabilities), [0.45, 0.8, 0.5, 0.3, 0.0])


def test_of_equally_good_thresholds_the_one_nearest_to_a_half_is_taken() -> None:
    # One of one right and two of four: F1 2/3 at .85 and at .35.
    probabilities, targets = np.array([[0.9], [0.8], [0.6], [0.4], [0.3]]), np.array([[1], [0], [0], [1], [0]])
    np.testing.assert_allclose(best_thresholds(targets, probabilities), [0.35])


def test_figures_of_numbers_are_scikit_learns_and_scipys() -> None:
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 11, 200).astype(np.float64)
    predicted = np.round(targets + generator.normal(0, 3, 200))
    expected = {
        "num_documents": 200,
        "rmse": metrics.root_mean_squared_error(targets, predicted),
        "mae": metrics.mean_absolute_error(targets, predicted),
        "rmse_of_mean": targets.std(),
        "r2": metrics.r2_score(targets, predicted),
        "spearman": stats.spearmanr(targets, predicted).statistic,
    }
    assert figures_of_numbers(targets, predicted) == pytest.approx(expected)


def test_figures_that_equal_numbers_do_not_define_are_left_out() -> None:
    different, equal = np.array([1.0, 2.0]), np.array([0.1, 0.1])
    assert figures_of_numbers(different, equal).keys() == {"num_documents", "rmse", "mae", "rmse_of_mean", "r2"}
    assert figures_of_numbers(equal, different).keys() == {"num_documents", "rmse", "mae", "rmse_of_mean"}


def test_of_no_documents_only_their_number_is_known() -> None:
    none = {"num_documents": 0}
    assert figures_of_classes(np.zeros(0, np.int64), np.zeros((0, 3))) == none
    assert figures_of_several(np.zeros((0, 3)), np.zeros((0, 3)), np.full(3, 0.5)) == none
    assert figures_of_numbers(np.zeros(0), np.zeros(0)) == none


def test_all_figures_can_be_written_as_json() -> None:
    targets, probabilities = random_classes(0, np.float32)
    several, of_several = random_labels(0)
    thresholds = best_thresholds(several, of_several)
    json.dumps(
        [
            figures_of_classes(targets, probabilities),
            per_class(targets, probabilities, LABELS),
            by_length(np.arange(300), targets > 0),
            figures_of_several(several, of_several, thresholds),
            per_label(several, of_several, thresholds, LABELS),
            figures_of_numbers(targets, probabilities[:, 0]),
            majority_accuracy(targets, targets),
        ],
        allow_nan=False,
    )
