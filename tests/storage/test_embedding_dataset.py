"""Vectors are read as they were written, beside the columns of the documents they belong to."""

import time
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ulmfit_ray.model.description import Block
from ulmfit_ray.storage.commit import commit_shard
from ulmfit_ray.storage.embedding_dataset import EmbeddingDataset, embedding_table, vectors_of
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.job_record import JobRecord
from ulmfit_ray.storage.manifest import Manifest, write_dataset_manifest
from ulmfit_ray.storage.parquet_dataset import write_parquet
from ulmfit_ray.storage.receipts import Receipt


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


def vectors(size: int, dtype: type = np.float32) -> np.ndarray:
    return np.random.default_rng(size).normal(size=(size, 4)).astype(dtype)


def write_dataset(folder: Folder, shards: list[pa.Table], **facts: Any) -> EmbeddingDataset:
    job = JobRecord("embed", "ulmfit-ray embed", {"blocks": []} | facts, {})
    folder.publish_json({"job": job.to_json()}, "config.json")
    receipts = []
    for number, table in enumerate(shards):
        receipt = Receipt(plan="p", shard=f"part-{number:07d}", num_documents=len(table), num_tokens=9)
        files = {f"shards/{receipt.shard}.parquet": partial(write_parquet, table)}
        receipts.append(commit_shard(folder, receipt, files, began=time.monotonic()))
    manifest = Manifest(job="embed", vocab="v", tokenizer="t", plan="p", model="m", pooling="mean", files={})
    write_dataset_manifest(folder, receipts, "parquet", manifest)
    return EmbeddingDataset(folder.uri)


def test_a_shard_has_ids_counts_kept_columns_and_vectors_in_this_order() -> None:
    table = embedding_table(tokens_table("a", "b"), np.array([7, 8]), vectors(2))
    assert table.schema.names == ["doc_id", "num_tokens", "note", "embedding"]
    assert table.schema.field("num_tokens").type == pa.int32()
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 4)
    assert table["num_tokens"].to_pylist() == [7, 8]
    assert table["note"].to_pylist() == ["about a", "about b"]


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_vectors_come_back_from_disk_exactly(folder: Folder, dtype: type) -> None:
    given = [vectors(3, dtype), vectors(0, dtype), vectors(1, dtype)]
    ids = [("a", "b", "c"), (), ("d",)]
    shards = [
        embedding_table(tokens_table(*names), np.full(len(names), 5), part)
        for names, part in zip(ids, given, strict=True)
    ]
    tables = list(write_dataset(folder, shards).tables())
    assert [table["doc_id"].to_pylist() for table in tables] == [list(names) for names in ids]
    for table, part in zip(tables, given, strict=True):
        assert vectors_of(table).dtype == np.float32
        np.testing.assert_array_equal(vectors_of(table), part.astype(np.float32))


def test_a_shard_opens_in_plain_pyarrow(folder: Folder) -> None:
    write_dataset(folder, [embedding_table(tokens_table("a"), np.array([1]), vectors(1))])
    table = pq.read_table(f"{folder.uri}/shards/part-0000000.parquet")
    assert table["embedding"].to_pylist() == vectors(1).tolist()


def test_vectors_of_several_chunks_and_of_a_slice_are_those_rows() -> None:
    table = embedding_table(tokens_table("a", "b", "c"), np.array([1, 2, 3]), vectors(3))
    joined = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    np.testing.assert_array_equal(vectors_of(joined), vectors(3))
    np.testing.assert_array_equal(vectors_of(table.slice(1, 1)), vectors(3)[1:2])


def test_blocks_are_what_the_config_says_and_none_for_a_language_model(folder: Folder) -> None:
    shard = embedding_table(tokens_table("a"), np.array([1]), vectors(1))
    assert write_dataset(folder, [shard]).blocks == []
    blocks = [{"name": "context", "start": 0, "stop": 2}, {"name": "words", "start": 2, "stop": 4}]
    assert write_dataset(folder, [shard], blocks=blocks).blocks == [Block("context", 0, 2), Block("words", 2, 4)]


def test_pooling_is_what_the_manifest_says(folder: Folder) -> None:
    assert write_dataset(folder, []).pooling == "mean"


def test_queries_of_another_model_are_refused(folder: Folder) -> None:
    dataset = write_dataset(folder, [])
    dataset.check_model("m", "model")
    with pytest.raises(ValueError, match="was not made by model: their fingerprints differ"):
        dataset.check_model("another", "model")


def test_another_jobs_output_is_no_embedding_dataset(folder: Folder) -> None:
    folder.publish_json({"format_version": 1, "job": "tokenize"}, "manifest.json")
    with pytest.raises(ValueError, match="is an output of `tokenize`"):
        EmbeddingDataset(folder.uri)
