"""Figures of a classifier from its probabilities, for one label, several labels or a number of each document.

N documents, C labels. Where a definition is not everybody's, it is scikit-learn's. A figure that the documents do not
define is left out, never NaN: of no documents only their number is known.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ulmfit_ray.evaluation.similarity import ranks

LEAST = float(np.finfo(np.float32).tiny)
"""Probabilities below this count as this in a log loss: one document of probability 0 costs 87 nats, not infinity."""
CALIBRATION_BINS = 15
LENGTHS = (72, 200, 400, 1000)


def figures_of_classes(targets: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Return the figures of one label each, from class numbers (N,) and probabilities (N, C).

    The predicted class is the most probable, the first of equals. `standard_error` is that of accuracy and error,
    `log_loss` is in nats, and `macro_f1` the mean over the classes that occur or are predicted.
    """
    if len(targets) == 0:
        return {"num_documents": 0}
    predicted = probabilities.argmax(axis=1)
    right, guessed, actual = _counts(confusion(targets, predicted, probabilities.shape[1]))
    accuracy = float(np.mean(predicted == targets))
    return {
        "num_documents": len(targets),
        "accuracy": accuracy,
        "error": 1 - accuracy,
        "standard_error": math.sqrt(accuracy * (1 - accuracy) / len(targets)),
        "macro_f1": _macro_f1(right, guessed, actual),
        "micro_f1": accuracy,
        "log_loss": log_loss(targets, probabilities),
        "calibration_error": calibration_error(targets, probabilities),
    }


def per_class(targets: np.ndarray, probabilities: np.ndarray, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row for each class: label, count, precision, recall, f1; 0 where there is nothing to divide by."""
    return _rows(labels, *_counts(confusion(targets, probabilities.argmax(axis=1), len(labels))))


def confusion(targets: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the documents of each true class (row) by predicted class (column), (C, C) int64."""
    pairs = np.bincount(targets.astype(np.int64) * num_classes + predicted, minlength=num_classes**2)
    return pairs.reshape(num_classes, num_classes)


def log_loss(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the mean of -ln of the right class's probability, from class numbers (N,) and probabilities (N, C)."""
    of_right = probabilities[np.arange(len(targets)), targets].astype(np.float64)
    return float(-np.log(np.maximum(of_right, LEAST)).mean())


def calibration_error(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the expected calibration error, between 0 and 1 (Guo et al. 2017, eq. 3).

    Documents are put into bins by the probability of the predicted class. It is the mean over documents of their bin's
    distance between accuracy and mean probability. An upper border belongs to its bin.
    """
    sure = probabilities.max(axis=1).astype(np.float64)
    is_right = probabilities.argmax(axis=1) == targets
    bins = np.clip(np.ceil(sure * CALIBRATION_BINS).astype(np.int64) - 1, 0, CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, weights=is_right - sure)
    return float(np.abs(gaps).sum() / len(targets))


def majority_accuracy(train_targets: np.ndarray, targets: np.ndarray) -> float:
    """Return the accuracy of naming for each document the class most frequent in training, the first of equals."""
    return float(np.sum(targets == np.bincount(train_targets).argmax()) / max(1, len(targets)))


def by_length(num_tokens: np.ndarray, is_right: np.ndarray, borders: Sequence[int] = LENGTHS) -> list[dict[str, Any]]:
    """Return the accuracy of documents of each length: from, to (both are in it; None: any), documents, accuracy.

    Lengths without a document are left out.
    """
    bins = np.searchsorted(borders, num_tokens)
    firsts, lasts = [0, *(border + 1 for border in borders)], [*borders, None]
    return [
        {
            "from": firsts[number],
            "to": lasts[number],
            "documents": int(np.sum(bins == number)),
            "accuracy": float(is_right[bins == number].mean()),
        }
        for number in np.unique(bins)
    ]


def figures_of_several(targets: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray) -> dict[str, float]:
    """Return the figures of any number of labels each, from 0/1 (N, C), probabilities (N, C) and thresholds (C,).

    A label is predicted from its threshold on. `log_loss` is the mean over documents and labels, in nats, `macro_f1`
    the mean over the labels that occur or are predicted, and `exact_match` the part of the documents with all labels
    right.
    """
    if len(targets) == 0:
        return {"num_documents": 0}
    predicted = probabilities >= thresholds
    right, guessed, actual = _counts_of_several(targets, predicted)
    return {
        "num_documents": len(targets),
        "micro_f1": float(_f1(right.sum(), guessed.sum(), actual.sum())),
        "macro_f1": _macro_f1(right, guessed, actual),
        "exact_match": float((predicted == (targets > 0)).all(axis=1).mean()),
        "label_ranking_average_precision": ranking_precision(targets, probabilities),
        "log_loss": binary_log_loss(targets, probabilities),
    }


def per_label(
    targets: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray, labels: Sequence[str]
) -> list[dict[str, Any]]:
    """Return a row for each of several labels, with what `per_class` says of a class."""
    return _rows(labels, *_counts_of_several(targets, probabilities >= thresholds))


def binary_log_loss(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the mean over documents and labels of -ln of what is true of them; both are (N, C)."""
    exact = probabilities.astype(np.float64)
    of_right = np.where(targets > 0, exact, 1 - exact)
    return float(-np.log(np.maximum(of_right, LEAST)).mean())


def ranking_precision(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the label ranking average precision; both arguments are (N, C).

    For each true label: the part of true ones among the labels at least as probable as it. The mean is taken over the
    true labels of a document, then over documents; one with no label or all of them counts 1.
    """
    is_true = targets > 0
    num_labels = is_true.shape[1]
    order = np.argsort(-probabilities, axis=1, kind="stable")
    ranked, is_true = np.take_along_axis(probabilities, order, 1), np.take_along_axis(is_true, order, 1)
    # The rank of a label is that of the last of its equals: found from the right, as the nearest end of a run.
    is_end = np.ones(ranked.shape, dtype=bool)
    is_end[:, :-1] = ranked[:, :-1] != ranked[:, 1:]
    ends = np.where(is_end, np.arange(num_labels), num_labels)
    ends = np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]
    precision = np.take_along_axis(is_true.cumsum(axis=1), ends, 1) / (ends + 1)
    num_true = is_true.sum(axis=1)
    means = (precision * is_true).sum(axis=1) / np.maximum(num_true, 1)
    return float(np.where((num_true == 0) | (num_true == num_labels), 1.0, means).mean())


def best_thresholds(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return each label's threshold with the highest F1 on these documents, (C,), from 0/1 and probabilities (N, C).

    Thresholds lie in the middle between neighbouring probabilities, the lowest between 0 and the least probability: it
    predicts the label for all documents. Of equals it is the one nearest .5, and .5 for a label that no document has.
    """
    columns = zip(targets.T > 0, probabilities.T.astype(np.float64), strict=True)
    return np.array([_best_threshold(is_true, of_label) for is_true, of_label in columns])


def _best_threshold(is_true: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the best threshold of one label, (N,) both: F1 of predicting the k most probable, for every k at once."""
    if not is_true.any():
        return 0.5
    order = np.argsort(-probabilities, kind="stable")
    ranked = np.append(probabilities[order], 0.0)
    f1 = _f1(is_true[order].cumsum(), np.arange(1, len(order) + 1), is_true.sum())
    # Between equals there is no threshold; below the last there is one even if it is 0.
    f1[:-1][ranked[:-2] == ranked[1:-1]] = -1
    middles = (ranked[:-1] + ranked[1:]) / 2
    best = middles[f1 == f1.max()]
    return float(best[np.abs(best - 0.5).argmin()])


def figures_of_numbers(targets: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Return the figures of predicted numbers, (N,) both: rmse and mae in the numbers' own unit, r2, spearman.

    `rmse_of_mean` is that of predicting the targets' own mean for each document. Without two different targets there
    is no r2, and without two different numbers on either side no spearman.
    """
    if len(targets) == 0:
        return {"num_documents": 0}
    targets, predicted = targets.astype(np.float64), predicted.astype(np.float64)
    rmse, rmse_of_mean = (float(np.sqrt(np.mean((targets - other) ** 2))) for other in (predicted, targets.mean()))
    figures = {
        "num_documents": len(targets),
        "rmse": rmse,
        "mae": float(np.abs(targets - predicted).mean()),
        "rmse_of_mean": rmse_of_mean,
    }
    if np.ptp(targets) > 0:
        figures["r2"] = 1 - (rmse / rmse_of_mean) ** 2
        if np.ptp(predicted) > 0:
            figures["spearman"] = float(np.corrcoef(ranks(targets), ranks(predicted))[0, 1])
    return figures


def _counts(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the documents of each class that are rightly predicted, predicted, and there at all; (C,) each."""
    return matrix.diagonal(), matrix.sum(axis=0), matrix.sum(axis=1)


def _counts_of_several(targets: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    is_true = targets > 0
    return (predicted & is_true).sum(axis=0), predicted.sum(axis=0), is_true.sum(axis=0)


def _rows(labels: Sequence[str], right: np.ndarray, guessed: np.ndarray, actual: np.ndarray) -> list[dict[str, Any]]:
    precision, recall = right / np.maximum(guessed, 1), right / np.maximum(actual, 1)
    columns = (actual, precision, recall, _f1(right, guessed, actual))
    names = ("label", "count", "precision", "recall", "f1")
    return [
        dict(zip(names, row, strict=True)) for row in zip(labels, *(each.tolist() for each in columns), strict=True)
    ]


def _f1(right: np.ndarray, guessed: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """Return the harmonic mean of precision and recall, 0 where nothing is predicted and nothing is there."""
    return 2 * right / np.maximum(guessed + actual, 1)


def _macro_f1(right: np.ndarray, guessed: np.ndarray, actual: np.ndarray) -> float:
    is_defined = guessed + actual > 0
    return float(_f1(right, guessed, actual)[is_defined].mean()) if is_defined.any() else 0.0
