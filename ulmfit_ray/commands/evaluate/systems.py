"""What is said of labelled documents: by classifiers, by predictions made before, and by what needs no network.

Beside classifiers there are always TF-IDF of words and pairs under a linear model, and what is said without a look at a
document. N documents with a label, C labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ulmfit_ray.commands.evaluate.labelled import LabelledShards, dense_targets
from ulmfit_ray.commands.shards import shard_tables
from ulmfit_ray.config import ConfigError
from ulmfit_ray.evaluation.word_pairs import WordPairs
from ulmfit_ray.reporting.progress import Bar
from ulmfit_ray.storage.model_directory import ModelDirectory
from ulmfit_ray.storage.prediction_dataset import PredictionDataset, PredictionScheme, numbers_of
from ulmfit_ray.streams.examples import Examples
from ulmfit_ray.streams.labels import Objective

MEAN = "mean of the models"
WORD_PAIRS = "TF-IDF, words and pairs"
BOTH = "mean of both"
BLIND: dict[Objective, str] = {
    "single-label": "majority class",
    "multi-label": "majority of each label",
    "regression": "mean of training",
}
"""What is said without a look at a document: how frequent each label is in training, or the mean of the numbers."""


@dataclass(frozen=True, slots=True)
class System:
    """What one system says of all documents."""

    name: str
    numbers: np.ndarray
    """Probabilities (N, C), or the numbers (N,) of a regression."""
    thresholds: np.ndarray
    """Of several labels: how probable each must be at least to be predicted, (C,); else (0,)."""


def mean_of(name: str, systems: Sequence[System]) -> System:
    """Return the mean of what systems say, in their most exact type; thresholds are averaged as well."""
    numbers = np.mean([system.numbers for system in systems], axis=0, dtype=np.float64)
    thresholds = np.mean([system.thresholds for system in systems], axis=0)
    return System(name, numbers.astype(np.result_type(*(system.numbers for system in systems))), thresholds)


def say_models(directories: Sequence[ModelDirectory], documents: LabelledShards) -> list[System]:
    """Let each classifier read the documents; return what each says, and of several their mean behind it.

    The mean is what `classify` predicts with all of them.
    """
    # torch comes with it, which --help can do without.
    from ulmfit_ray.document_classifier import DocumentClassifier, chosen_device

    device = chosen_device(None)
    classifiers = [DocumentClassifier([directory], device) for directory in directories]
    parts: list[list[np.ndarray]] = [[] for _ in classifiers]
    with Bar("scoring", len(documents.tokens.shards), "shards") as bar:
        for shard in documents:
            own = shard.documents()
            for part, classifier in zip(parts, classifiers, strict=True):
                part.append(classifier.score_tokens(own))
            bar.advance(1, documents=len(own), tokens=sum(map(len, own)))
    names = short_names([directory.folder.uri for directory in directories])
    systems = [
        _system(name, np.concatenate(part), classifier.scheme)
        for name, part, classifier in zip(names, parts, classifiers, strict=True)
    ]
    return systems if len(systems) == 1 else [*systems, mean_of(MEAN, systems)]


def say_predictions(predictions: PredictionDataset, documents: LabelledShards) -> list[System]:
    """Return what a prediction dataset says of the documents, as the only system.

    Raises:
        ConfigError: its documents are not those of the tokens.
    """
    uri, tokens = predictions.folder.uri, documents.tokens
    other = ConfigError(f"{uri} was not made from {tokens.folder.uri}: their documents differ")
    if [row.shard for row in predictions.shards] != [row.shard for row in tokens.shards]:
        raise other
    parts = []
    for table, shard in zip(shard_tables(predictions), documents, strict=True):
        if not table["doc_id"].equals(shard.table["doc_id"]):
            raise other
        parts.append(numbers_of(table)[shard.rows])
    return [_system(short_names([uri])[0], np.concatenate(parts), PredictionScheme.of_schema(table.schema))]


def say_baselines(train: Examples, documents: LabelledShards) -> list[System]:
    """Train the baselines on documents of their own; return what word pairs say of the others, and what is blind."""
    labels, objective = documents.labels, documents.objective
    targets = dense_targets(train.targets, len(labels))
    read = [train.tokens(number) for number in range(len(train))]
    baseline = WordPairs.fit(read, targets, objective=objective, num_labels=len(labels))
    say = baseline.numbers if objective == "regression" else baseline.probabilities
    found = [say(shard.documents()) for shard in documents if len(shard.rows)]
    thresholds = baseline.thresholds if objective == "multi-label" else np.empty(0)
    return [System(WORD_PAIRS, np.concatenate(found), thresholds), _blind(train, documents)]


def _blind(train: Examples, documents: LabelledShards) -> System:
    labels, values = documents.labels, train.targets.values
    if documents.objective == "regression":
        return System(BLIND["regression"], np.broadcast_to(values.mean(), len(documents)), np.empty(0))
    frequencies = np.bincount(values, minlength=len(labels)) / len(train)
    thresholds = np.full(len(labels) if documents.objective == "multi-label" else 0, 0.5)
    return System(BLIND[documents.objective], np.broadcast_to(frequencies, (len(documents), len(labels))), thresholds)


def _system(name: str, numbers: np.ndarray, scheme: PredictionScheme) -> System:
    if scheme.objective == "regression":
        numbers = numbers[:, 0]
    return System(name, numbers, np.array(scheme.thresholds))


def predicted(system: System, documents: LabelledShards) -> pa.Array:
    """Return what a system predicts of each document, as a prediction dataset has it."""
    scheme = PredictionScheme(
        objective=documents.objective, labels=documents.labels, thresholds=tuple(system.thresholds.tolist())
    )
    return scheme.predictions(system.numbers[:, None] if documents.objective == "regression" else system.numbers)


def short_names(uris: Sequence[str]) -> list[str]:
    """Return the last parts of different URIs, as few as tell them apart.

    >>> short_names(["m/forward", "m/backward"]), short_names(["/a/model", "/b/model"])
    (['forward', 'backward'], ['a/model', 'b/model'])
    """
    parts = [uri.rstrip("/").split("/") for uri in uris]
    for count in range(1, max(map(len, parts))):
        names = ["/".join(one[-count:]) for one in parts]
        if len(set(names)) == len(uris):
            return names
    return list(uris)
