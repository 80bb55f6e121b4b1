"""Vectors are read as they were written, beside the columns of the documents they belong to."""

import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ulmfit_ray.model.description import Block
from ulmfit_ray.storage import parquet_dataset
from ulmfit_ray.storage.commit import commit_shard
from ulmfit_ray.storage.embedding_dataset import EmbeddingDataset, embedding_table, finished_vectors, vectors_of
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
    table = embedding_table(tokens_table("a", "b"), np.array([7, 8]), vectors(2), num_unknown=np.array([0, 3]))
    assert table.schema.names == ["doc_id", "num_tokens", "num_unknown", "note", "embedding"]
    assert table.schema.field("num_tokens").type == pa.int32()
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 4)
    assert table["num_tokens"].to_pylist() == [7, 8]
    assert table["note"].to_pylist() == ["about a", "about b"]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_vectors_come_back_from_disk_exactly(folder: Folder, dtype: str) -> None:
    given = [vectors(3, dtype), vectors(0, dtype), vectors(1, dtype)]
    ids = [("a", "b", "c"), (), ("d",)]
    shards = [
        embedding_table(
            tokens_table(*names), np.full(len(names), 5), part, num_unknown=np.zeros(len(names)), dtype=dtype
        )
        for names, part in zip(ids, given, strict=True)
    ]
    tables = list(write_dataset(folder, shards).tables())
    assert [table["doc_id"].to_pylist() for table in tables] == [list(names) for names in ids]
    for table, part in zip(tables, given, strict=True):
        assert vectors_of(table).dtype == np.float32
        np.testing.assert_array_equal(vectors_of(table), part.astype(np.float32))


def test_int8_keeps_each_vector_to_half_a_step_of_its_own_scale() -> None:
    given = np.random.default_rng(1).normal(size=(50, 16)).astype(np.float32) * np.logspace(-3, 3, 50)[:, None].astype(
        "f"
    )
    given[7] = 0
    table = embedding_table(
        tokens_table(*map(str, range(50))), np.ones(50), given, num_unknown=np.zeros(50), dtype="int8"
    )
    assert table.schema.names[-2:] == ["embedding_scale", "embedding"]
    assert table.schema.field("embedding").type == pa.list_(pa.int8(), 16)
    steps = np.abs(given).max(1) / 127
    assert (np.abs(vectors_of(table) - given).max(1) <= steps * 0.5001).all()
    # A vector does not depend on those beside it.
    alone = embedding_table(tokens_table("a"), np.ones(1), given[3:4], num_unknown=np.zeros(1), dtype="int8")
    np.testing.assert_array_equal(vectors_of(alone)[0], vectors_of(table)[3])


def test_tokens_are_kept_beside_the_vector_if_asked() -> None:
    tokens = tokens_table("a", "b")
    columns = {"num_unknown": np.zeros(2), "keep_tokens": True}
    table = embedding_table(tokens, np.array([7, 8]), vectors(2), **columns)
    assert table.schema.names == ["doc_id", "num_tokens", "num_unknown", "note", "tokens", "embedding"]
    assert table["tokens"].equals(tokens["tokens"])


@pytest.mark.parametrize(("number", "what"), [(0.0, "is zero"), (np.nan, "not finite"), (np.inf, "not finite")])
def test_a_vector_that_says_nothing_is_an_error_that_names_its_document(number: float, what: str) -> None:
    broken = vectors(3) + 1
    broken[1] = number
    with pytest.raises(ValueError, match=f"the vector of document 'b' .*{what}"):
        finished_vectors(broken, ["a", "b", "c"], normalize=False)


def test_vectors_are_scaled_to_length_one_if_asked() -> None:
    given = vectors(3) + 1
    ids = ["a", "b", "c"]
    assert finished_vectors(given, ids, normalize=False) is given
    np.testing.assert_allclose(np.linalg.norm(finished_vectors(given, ids, normalize=True), axis=1), 1, rtol=1e-6)


def test_row_groups_are_bounded_and_only_ids_and_counts_have_statistics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_dataset, "GROUP_BYTES", 400)
    names = [f"d{number:03}" for number in range(100)]
    table = embedding_table(tokens_table(*names), np.ones(100), vectors(100), num_unknown=np.zeros(100))
    write_parquet(table, tmp_path / "shard.parquet")
    metadata = pq.ParquetFile(tmp_path / "shard.parquet").metadata
    sizes = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    assert len(sizes) > 10
    assert max(sizes) * table.nbytes / 100 <= 400
    columns = {metadata.schema.column(n).path: metadata.row_group(1).column(n) for n in range(metadata.num_columns)}
    assert columns["doc_id"].statistics.min == f"d{sizes[0]:03}"
    assert not columns["embedding.list.element"].is_stats_set
    assert pq.read_table(tmp_path / "shard.parquet").equals(table)


def test_models_must_be_the_ones_and_in_the_order_that_the_vectors_were_made_with(folder: Folder) -> None:
    dataset = write_dataset(folder, [])
    object.__setattr__(dataset.manifest, "model", "m+n")
    dataset.check_models(["m", "n"], ["a", "b"])
    for fingerprints, uris, what in (
        (["n", "m"], ["b", "a"], "by these models in another order than b a"),
        (["m"], ["a"], "was made by 2 models, not 1"),
        (["m", "o"], ["a", "c"], "was not made by c: their fingerprints differ"),
    ):
        with pytest.raises(ValueError, match=what):
            dataset.check_models(fingerprints, uris)


def test_a_shard_opens_in_plain_pyarrow(folder: Folder) -> None:
    write_dataset(folder, [embedding_table(tokens_table("a"), np.array([1]), vectors(1), num_unknown=np.zeros(1))])
    table = pq.read_table(f"{folder.uri}/shards/part-0000000.parquet")
    assert table["embedding"].to_pylist() == vectors(1).tolist()


def test_vectors_of_several_chunks_and_of_a_slice_are_those_rows() -> None:
    table = embedding_table(tokens_table("a", "b", "c"), np.array([1, 2, 3]), vectors(3), num_unknown=np.zeros(3))
    joined = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    np.testing.assert_array_equal(vectors_of(joined), vectors(3))
    np.testing.assert_array_equal(vectors_of(table.slice(1, 1)), vectors(3)[1:2])


def test_blocks_are_what_the_config_says_and_none_for_a_language_model(folder: Folder) -> None:
    shard = embedding_table(tokens_table("a"), np.array([1]), vectors(1), num_unknown=np.zeros(1))
    assert write_dataset(folder, [shard]).blocks == []
    blocks = [{"name": "context", "start": 0, "stop": 2}, {"name": "words", "start": 2, "stop": 4}]
    assert write_dataset(folder, [shard], blocks=blocks).blocks == [Block("context", 0, 2), Block("words", 2, 4)]


def test_pooling_is_what_the_manifest_says(folder: Folder) -> None:
    assert write_dataset(folder, []).pooling == "mean"


def test_queries_of_another_model_are_refused(folder: Folder) -> None:
    dataset = write_dataset(folder, [])
    dataset.check_models(["m"], ["model"])
    with pytest.raises(ValueError, match="was not made by model: their fingerprints differ"):
        dataset.check_models(["another"], ["model"])


def test_another_jobs_output_is_no_embedding_dataset(folder: Folder) -> None:
    folder.publish_json({"format_version": 1, "job": "tokenize"}, "manifest.json")
    with pytest.raises(ValueError, match="is an output of `tokenize`"):
        EmbeddingDataset(folder.uri)
