"""The prediction dataset: Parquet shards of what classifiers say of documents.

Columns: `doc_id`, `num_tokens`, the kept columns of the token dataset, `prediction` (string; of several labels
list<string>; of a regression double), and `probabilities: fixed_size_list<float32>[C]` (not of a regression). What the
probabilities stand for is in the metadata of every file, so that a reader of one needs no other.
"""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ulmfit_ray.model.description import Objective
from ulmfit_ray.storage.manifest import FORMAT_VERSION, ShardRow
from ulmfit_ray.storage.parquet_dataset import ParquetDataset, column_of_rows, document_columns, rows_of_column
from ulmfit_ray.storage.receipts import READING_THREADS

COLUMNS = ("prediction", "probabilities")


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictionScheme:
    """How numbers that classifiers give for a document are read."""

    objective: Objective
    labels: tuple[str, ...] = ()
    """Which labels the probabilities belong to, in their order; none of a regression."""
    thresholds: tuple[float, ...] = ()
    """Of several labels: how probable each must be at least to be predicted."""

    def predictions(self, numbers: np.ndarray) -> pa.Array:
        """Return the column `prediction` for probabilities (N, C), or for the numbers (N, 1) of a regression.

        One label: the most probable, the first of equals. Several: those that reach their thresholds.
        """
        if self.objective == "regression":
            return pa.array(numbers[:, 0], pa.float64())
        labels = pa.array(self.labels, pa.string())
        if self.objective == "single-label":
            return labels.take(pa.array(numbers.argmax(1)))
        is_predicted = numbers >= np.array(self.thresholds)  # (N, C)
        ends = is_predicted.sum(1).cumsum()
        offsets = pa.array(np.concatenate([[0], ends]), pa.int32())
        return pa.ListArray.from_arrays(offsets, labels.take(pa.array(is_predicted.nonzero()[1])))

    def metadata(self) -> dict[str, str]:
        """Return what the metadata of a shard's schema says."""
        own = {"objective": self.objective, "labels": json.dumps(self.labels), "format_version": str(FORMAT_VERSION)}
        return own | ({"thresholds": json.dumps(self.thresholds)} if self.thresholds else {})

    @classmethod
    def of_schema(cls, schema: pa.Schema) -> "PredictionScheme":
        """Return what `metadata` wrote."""
        own = schema.metadata
        labels, thresholds = (tuple(json.loads(own.get(name, b"[]"))) for name in (b"labels", b"thresholds"))
        return cls(objective=own[b"objective"].decode(), labels=labels, thresholds=thresholds)


def prediction_table(
    tokens: pa.Table, num_tokens: np.ndarray, numbers: np.ndarray, scheme: PredictionScheme
) -> pa.Table:
    """Return the rows of a prediction shard: a token shard's documents with what `numbers` say of them.

    These are float32 probabilities (N, C), or the float64 numbers (N, 1) of a regression.
    """
    columns = document_columns(tokens, num_tokens) | {"prediction": scheme.predictions(numbers)}
    if scheme.objective != "regression":
        columns["probabilities"] = column_of_rows(numbers)
    return pa.table(columns).replace_schema_metadata(scheme.metadata())


def numbers_of(table: pa.Table) -> np.ndarray:
    """Return the numbers that a shard's predictions were read from: see `prediction_table`."""
    if "probabilities" in table.schema.names:
        return rows_of_column(table["probabilities"])
    return table["prediction"].to_numpy()[:, None]


class PredictionDataset(ParquetDataset):
    """A finished prediction dataset, opened for reading."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri, "classify")

    @property
    def objective(self) -> Objective:
        """Return what is predicted of a document: one label, several, or a number."""
        objective: Objective = self.job.config["objective"]
        return objective

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the labels, in the order of the probabilities; none of a regression."""
        return tuple(self.job.config["labels"])

    @property
    def tokens_uri(self) -> str:
        """Return the token dataset that was classified.

        Raises:
            FileNotFoundError: it was raw text.
        """
        if "tokens" not in self.job.inputs:
            raise FileNotFoundError(f"{self.folder.uri} was made from raw text")
        given: str | list[str] = self.job.config["input"]
        return given if isinstance(given, str) else given[0]

    def documents_per_label(self) -> dict[str, int]:
        """Return of how many documents each label is predicted, in the labels' order; only predictions are read."""
        counts: Counter[str] = Counter()
        with ThreadPoolExecutor(READING_THREADS) as pool:
            for found in pool.map(self._documents_per_label, self.shards):
                counts.update(found)
        return {label: counts[label] for label in self.labels}

    def _documents_per_label(self, row: ShardRow) -> dict[str, int]:
        with self.folder.open(row.file) as source:
            predicted = pq.read_table(source, columns=["prediction"])["prediction"]
        if pa.types.is_list(predicted.type):
            predicted = pc.list_flatten(predicted)
        return {found["values"]: found["counts"] for found in pc.value_counts(predicted).to_pylist()}
