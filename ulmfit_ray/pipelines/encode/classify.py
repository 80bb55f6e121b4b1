"""Token dataset, or raw text -> prediction dataset, by one classifier or the mean of several."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pyarrow as pa

from ulmfit_ray.config import ConfigError
from ulmfit_ray.document_classifier import DocumentClassifier
from ulmfit_ray.pipelines.encode.config import ClassifyConfig
from ulmfit_ray.pipelines.encode.job import run_encoding, token_input
from ulmfit_ray.pipelines.encode.verb import EncodingVerb
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.manifest import Manifest
from ulmfit_ray.storage.model_directory import ModelDirectory, common_head
from ulmfit_ray.storage.prediction_dataset import COLUMNS, PredictionDataset, prediction_table
from ulmfit_ray.storage.token_dataset import TokenDataset

SHOWN_LABELS = 10


def run(config: ClassifyConfig) -> Manifest | None:
    """Predict for the documents, or what is missing of them, and return the manifest (None after --dry-run)."""
    models = [ModelDirectory(uri) for uri in config.model]
    head = common_head(models)
    tokens = token_input(config, models)
    if tokens is not None:
        _refuse_own_columns(tokens)
    verb = EncodingVerb(
        name="classify",
        models=models,
        inputs={f"weights {number}": model.fingerprint for number, model in enumerate(models, 1)},
        load=partial(Classifying, config.model),
        facts={"objective": head.objective, "labels": list(head.labels)},
        rows=_documents_per_label,
    )
    return run_encoding(config, verb, tokens)


def _refuse_own_columns(tokens: TokenDataset) -> None:
    """Raise ConfigError if a kept column has a name of ours; versions without `classify` let a person keep it."""
    for name in set(COLUMNS) & set(tokens.job.config.get("keep_columns", ())):
        raise ConfigError(
            f"{tokens.folder.uri} has a kept column {name}, which is the name of one that is predicted:\n"
            "    rename it in the input and tokenize again"
        )


def _documents_per_label(folder: Folder, manifest: Manifest) -> dict[str, object]:
    """Return a row for each of the labels that are predicted most often."""
    counts = PredictionDataset(folder.uri).documents_per_label()
    often = sorted(counts, key=lambda label: -counts[label])[:SHOWN_LABELS]
    rows: dict[str, object] = {f"predicted {label}": number for label, number in counts.items() if label in often}
    if len(often) < len(counts):
        rows["predicted other labels"] = sum(number for label, number in counts.items() if label not in often)
    return rows


class Classifying:
    """A shard's documents -> what is predicted of them."""

    def __init__(self, models: Sequence[str]) -> None:
        self._classifier = DocumentClassifier.load(*models)

    def __call__(self, tokens: pa.Table, num_tokens: np.ndarray, documents: Sequence[Sequence[np.ndarray]]) -> pa.Table:
        """Return the rows of a prediction shard."""
        numbers = self._classifier.score_tokens(*documents)
        return prediction_table(tokens, num_tokens, numbers, self._classifier.scheme)
