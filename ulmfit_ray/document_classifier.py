"""Raw text -> labels and probabilities in one process, without Ray, by one classifier or the mean of several.

>>> classifier = DocumentClassifier.load("models/forward", "models/backward")
>>> found = classifier.predict(["a fine film", "two hours I want back"])
>>> found.labels
['pos', 'neg']
>>> found.probabilities.shape
(2, 2)
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ulmfit_ray.document_encoder import DocumentEncoder, Text, chosen_device, text_blocks
from ulmfit_ray.encoding.classifier import DocumentScorer
from ulmfit_ray.storage.model_directory import ModelDirectory, common_head
from ulmfit_ray.storage.prediction_dataset import PredictionScheme


@dataclass(frozen=True, slots=True)
class Predictions:
    """What was predicted of N documents."""

    labels: list[Any]
    """Of each document its label; of several labels a list of them, maybe empty; of a regression the number."""
    probabilities: np.ndarray
    """float32 (N, C), in the order of `DocumentClassifier.labels`; of a regression (N, 0)."""


class DocumentClassifier:
    """One or several classifiers of the same labels, each with its own tokenizer, vocabulary and direction.

    Several predict by the mean of their probabilities. These equal those of the `classify` job: bit for bit on a CPU,
    within 1e-6 on a GPU.

    Raises:
        ValueError: a model is no classifier, or they differ in objective or labels.
    """

    def __init__(self, directories: Sequence[ModelDirectory], device: torch.device) -> None:
        head = common_head(directories)
        self._encoders = [DocumentEncoder(directory, device) for directory in directories]
        self._scorers = [DocumentScorer(encoder.model) for encoder in self._encoders]
        thresholds: tuple[float, ...] = ()
        if head.objective == "multi-label":
            thresholds = tuple(_mean([encoder.model.thresholds.cpu().numpy() for encoder in self._encoders]).tolist())
        self.scheme = PredictionScheme(objective=head.objective, labels=head.labels, thresholds=thresholds)

    @classmethod
    def load(cls, uri: str, *more: str, device: str | None = None) -> "DocumentClassifier":
        """Load the classifiers in these directories onto `device` (default: cuda if there is one, else cpu).

        Raises:
            FileNotFoundError, IncompleteDatasetError, ValueError: one is not a finished model directory.
        """
        return cls([ModelDirectory(place) for place in (uri, *more)], chosen_device(device))

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the labels, in the order of the probabilities; none of a regression."""
        return self.scheme.labels

    def predict(self, texts: str | Iterable[Text]) -> Predictions:
        """Return what is predicted of raw texts; one text is taken as a list of one.

        Texts that come from an iterator are read in blocks, so that only their predictions are held in memory.
        """
        blocks = [self._score([[] for _ in self._encoders])]
        for block in text_blocks([texts] if isinstance(texts, str) else texts, "classify"):
            blocks.append(self._score([encoder.numericalize(block) for encoder in self._encoders]))
        numbers = np.concatenate(blocks)
        is_regression = self.scheme.objective == "regression"
        probabilities = np.empty((len(numbers), 0), np.float32) if is_regression else numbers
        return Predictions(self.scheme.predictions(numbers).to_pylist(), probabilities)

    def score_tokens(self, *documents: Sequence[np.ndarray]) -> np.ndarray:
        """Return float32 probabilities (N, C), or the float64 numbers (N, 1) of a regression.

        Documents are token ids in the order of the text: those of each model's own vocabulary, or one list of
        documents if all models have the same.
        """
        own = documents if len(documents) > 1 else documents * len(self._encoders)
        pairs = zip(self._encoders, own, strict=True)
        return self._score([[encoder.directed(ids) for ids in found] for encoder, found in pairs])

    def _score(self, documents: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
        """Return the models' mean numbers; each has its own ids of the same documents."""
        found = zip(self._scorers, documents, strict=True)
        return _mean([scorer.score(own).probabilities for scorer, own in found])


def _mean(values: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean of equal arrays, in their type, added up one by one in float64."""
    total = np.zeros(values[0].shape)
    for value in values:
        total += value
    return (total / len(values)).astype(values[0].dtype)
