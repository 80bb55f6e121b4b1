"""Predictions are what the probabilities say, and every file says by itself what its probabilities mean."""

import json
import time
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ulmfit_ray.storage.commit import commit_shard
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.job_record import JobRecord
from ulmfit_ray.storage.manifest import Manifest, write_dataset_manifest
from ulmfit_ray.storage.parquet_dataset import write_parquet
from ulmfit_ray.storage.prediction_dataset import PredictionDataset, PredictionScheme, numbers_of, prediction_table
from ulmfit_ray.storage.receipts import Receipt

ONE = PredictionScheme(objective="single-label", labels=("neg", "neutral", "pos"))
SEVERAL = PredictionScheme(objective="multi-label", labels=("b", "a", "c"), thresholds=(0.5, 0.25, 0.3))
NUMBER = PredictionScheme(objective="regression")
TABLES = [
    (ONE, [[0.2, 0.5, 0.3], [0.25, 0.25, 0.5], [0.4, 0.4, 0.2]], ["neutral", "pos", "neg"], pa.string()),
    (SEVERAL, [[0.5, 0.25, 0.0], [0.49, 0.2, 0.3], [0.9, 0.9, 0.31]], [["b", "a"], ["c"], ["b", "a", "c"]], None),
    (SEVERAL, [[0.1, 0.1, 0.1]], [[]], None),
    (NUMBER, [[0.1], [-3.0]], [0.1, -3.0], pa.float64()),
]
OBJECTIVES = pytest.mark.parametrize("scheme", [ONE, SEVERAL, NUMBER], ids=lambda scheme: scheme.objective)


def tokens_table(*doc_ids: str) -> pa.Table:
    size = len(doc_ids)
    return pa.table(
        {
            "doc_id": pa.array(doc_ids, pa.string()),
            "tokens": pa.array([[2, 3]] * size, pa.list_(pa.uint16())),
            "field_starts": pa.array([[1]] * size, pa.list_(pa.uint32())),
            "field_ends": pa.array([[2]] * size, pa.list_(pa.uint32())),
            "note": pa.array([f"about {doc_id}" for doc_id in doc_ids], pa.string()),
        }
    )


def random_numbers(scheme: PredictionScheme, size: int) -> np.ndarray:
    random = np.random.default_rng(size)
    if scheme.objective == "regression":
        return random.normal(size=(size, 1))
    return random.dirichlet(np.ones(3), size).astype(np.float32)


def shard(scheme: PredictionScheme, *doc_ids: str) -> pa.Table:
    return prediction_table(
        tokens_table(*doc_ids), np.full(len(doc_ids), 7), random_numbers(scheme, len(doc_ids)), scheme
    )


def write_dataset(folder: Folder, scheme: PredictionScheme, shards: list[pa.Table]) -> PredictionDataset:
    facts = {"objective": scheme.objective, "labels": list(scheme.labels)}
    folder.publish_json({"job": JobRecord("classify", "ulmfit-ray classify", facts, {}).to_json()}, "config.json")
    receipts = []
    for number, table in enumerate(shards):
        receipt = Receipt(plan="p", shard=f"part-{number:07d}", num_documents=len(table), num_tokens=9)
        files = {f"shards/{receipt.shard}.parquet": partial(write_parquet, table)}
        receipts.append(commit_shard(folder, receipt, files, began=time.monotonic()))
    manifest = Manifest(job="classify", vocab="v", tokenizer="t", plan="p", model="m", files={})
    write_dataset_manifest(folder, receipts, "parquet", manifest)
    return PredictionDataset(folder.uri)


@pytest.mark.parametrize(("scheme", "numbers", "predicted", "kind"), TABLES)
def test_predictions_are_what_the_numbers_say(
    scheme: PredictionScheme, numbers: list[list[float]], predicted: list[object], kind: pa.DataType | None
) -> None:
    found = scheme.predictions(np.array(numbers))
    assert found.to_pylist() == predicted
    assert found.type == (kind or pa.list_(pa.string()))


@pytest.mark.parametrize(
    ("scheme", "prediction", "probabilities"),
    [
        (ONE, pa.string(), pa.list_(pa.float32(), 3)),
        (SEVERAL, pa.list_(pa.string()), pa.list_(pa.float32(), 3)),
        (NUMBER, pa.float64(), None),
    ],
)
def test_a_shard_has_ids_counts_kept_columns_and_predictions_in_this_order(
    scheme: PredictionScheme, prediction: pa.DataType, probabilities: pa.DataType | None
) -> None:
    for table in (shard(scheme, "a", "b"), shard(scheme)):
        kinds = dict(zip(table.schema.names, table.schema.types, strict=True))
        own = {"prediction": prediction} | ({"probabilities": probabilities} if probabilities else {})
        assert list(kinds) == ["doc_id", "num_tokens", "note", *own]
        assert (kinds["num_tokens"], kinds | own) == (pa.int32(), kinds)


@OBJECTIVES
def test_every_file_says_by_itself_what_its_numbers_mean(folder: Folder, scheme: PredictionScheme) -> None:
    write_dataset(folder, scheme, [shard(scheme, "a", "b"), shard(scheme)])
    for name in folder.names("shards"):
        with folder.open(f"shards/{name}") as source:
            schema = pq.read_schema(source)
        assert PredictionScheme.of_schema(schema) == scheme
        assert schema.metadata[b"objective"].decode() == scheme.objective
        assert json.loads(schema.metadata[b"labels"]) == list(scheme.labels)
        assert schema.metadata[b"format_version"] == b"1"
        assert (b"thresholds" in schema.metadata) == (scheme.objective == "multi-label")


@OBJECTIVES
def test_numbers_come_back_from_disk_exactly_and_say_the_same(folder: Folder, scheme: PredictionScheme) -> None:
    dataset = write_dataset(folder, scheme, [shard(scheme, "a", "b", "c"), shard(scheme), shard(scheme, "d")])
    assert (dataset.labels, dataset.objective) == (scheme.labels, scheme.objective)
    for table, size in zip(dataset.tables(), (3, 0, 1), strict=True):
        numbers = random_numbers(scheme, size)
        assert numbers_of(table).dtype == numbers.dtype
        np.testing.assert_array_equal(numbers_of(table), numbers)
        assert table["prediction"].to_pylist() == scheme.predictions(numbers).to_pylist()


@pytest.mark.parametrize("scheme", [ONE, SEVERAL], ids=lambda scheme: scheme.objective)
def test_documents_are_counted_per_label_in_the_labels_order(folder: Folder, scheme: PredictionScheme) -> None:
    names = [f"{number}" for number in range(40)]
    dataset = write_dataset(folder, scheme, [shard(scheme, *names), shard(scheme), shard(scheme, "a")])
    rows = [row for table in dataset.tables() for row in table["prediction"].to_pylist()]
    flat = [label for row in rows for label in (row if isinstance(row, list) else [row])]
    assert list(dataset.documents_per_label().items()) == [(label, flat.count(label)) for label in scheme.labels]


def test_a_label_that_is_never_predicted_counts_none(folder: Folder) -> None:
    table = prediction_table(tokens_table("a"), np.array([2]), np.array([[0, 1, 0]], np.float32), ONE)
    assert write_dataset(folder, ONE, [table]).documents_per_label() == {"neg": 0, "neutral": 1, "pos": 0}


def test_another_jobs_output_is_no_prediction_dataset(folder: Folder) -> None:
    folder.publish_json({"format_version": 1, "job": "embed"}, "manifest.json")
    with pytest.raises(ValueError, match=r"is an output of `embed`; needed is one of `classify`"):
        PredictionDataset(folder.uri)
