"""The shards of an embedding dataset open as they are in pandas, polars and DuckDB, in each number format."""

from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pandas
import polars
import pyarrow as pa
import pytest

from ulmfit_ray.storage.embedding_dataset import NumberFormat, embedding_table, vectors_of
from ulmfit_ray.storage.parquet_dataset import write_parquet

FORMATS = ("float32", "float16", "int8")
DIMENSION = 8
SHARD_SIZES = (20, 1, 35)
IDS = [f"document {number}" for number in range(sum(SHARD_SIZES))]
NUM_TOKENS = np.arange(len(IDS)) * 7 % 50
Found = tuple[list[str], np.ndarray, np.ndarray | None]
"""Ids, what the column of vectors has (N, D), and the scales (N,) if there is a column of them."""


def tables(dtype: NumberFormat) -> list[pa.Table]:
    """Return three shards."""
    vectors = np.random.default_rng(3).normal(size=(len(IDS), DIMENSION)).astype(np.float32)
    stops = np.cumsum(SHARD_SIZES)
    return [
        embedding_table(
            pa.table({"doc_id": IDS[start:stop], "title": [f"about {doc_id}" for doc_id in IDS[start:stop]]}),
            NUM_TOKENS[start:stop],
            vectors[start:stop],
            num_unknown=np.zeros(stop - start),
            dtype=dtype,
        )
        for start, stop in zip(stops - SHARD_SIZES, stops, strict=True)
    ]


def write_shards(folder: Path, dtype: NumberFormat) -> np.ndarray:
    """Write the shards and return their vectors as we read them, float32 (N, D)."""
    folder.mkdir()
    for number, table in enumerate(tables(dtype)):
        write_parquet(table, folder / f"part-{number:07d}.parquet")
    return np.concatenate([vectors_of(table) for table in tables(dtype)])


def by_pandas(folder: Path) -> Found:
    frame = pandas.read_parquet(folder)
    scales = frame["embedding_scale"].to_numpy() if "embedding_scale" in frame else None
    return frame["doc_id"].tolist(), np.stack(frame["embedding"]), scales


def by_polars(folder: Path) -> Found:
    frame = polars.read_parquet(f"{folder}/*.parquet")
    scales = frame["embedding_scale"].to_numpy() if "embedding_scale" in frame else None
    return frame["doc_id"].to_list(), frame["embedding"].to_numpy(), scales


def by_duckdb(folder: Path) -> Found:
    columns = duckdb.sql(f"select * from '{folder}/*.parquet'").fetchnumpy()
    return columns["doc_id"].tolist(), np.stack(columns["embedding"]), columns.get("embedding_scale")


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("read", [by_pandas, by_polars, by_duckdb])
def test_a_folder_of_shards_has_the_ids_in_order_and_our_vectors(
    tmp_path: Path, read: Callable[[Path], Found], dtype: NumberFormat
) -> None:
    expected = write_shards(tmp_path / "shards", dtype)
    ids, vectors, scales = read(tmp_path / "shards")
    assert ids == IDS
    assert (scales is not None) == (dtype == "int8")
    vectors = vectors.astype(np.float32) * (1 if scales is None else scales[:, None])
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, expected)


def test_the_number_format_is_that_of_the_shards_but_in_duckdb_which_has_no_float16(tmp_path: Path) -> None:
    types = {}
    for dtype in FORMATS:
        write_shards(tmp_path / dtype, dtype)
        types[dtype] = [read(tmp_path / dtype)[1].dtype.name for read in (by_pandas, by_polars, by_duckdb)]
    assert types == {"float32": ["float32"] * 3, "float16": ["float16", "float16", "float32"], "int8": ["int8"] * 3}


def test_duckdb_finds_the_long_documents_and_reads_kept_columns(tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", "float32")
    query = f"select doc_id, title from '{tmp_path}/shards/*.parquet' where num_tokens > 40 order by doc_id"
    expected = sorted(doc_id for doc_id, size in zip(IDS, NUM_TOKENS, strict=True) if size > 40)
    assert expected
    assert duckdb.sql(query).fetchall() == [(doc_id, f"about {doc_id}") for doc_id in expected]


@pytest.mark.parametrize("dtype", FORMATS)
def test_polars_finds_the_document_with_the_largest_product_with_a_vector(tmp_path: Path, dtype: NumberFormat) -> None:
    vectors = write_shards(tmp_path / "shards", dtype)
    query = vectors[17] + vectors[30]
    numbers = polars.col("embedding").cast(polars.Array(polars.Float32, DIMENSION))
    product = (numbers * polars.lit(query.tolist(), polars.Array(polars.Float32, DIMENSION))).arr.sum()
    scale = polars.col("embedding_scale") if dtype == "int8" else 1
    frame = polars.scan_parquet(f"{tmp_path}/shards/*.parquet").select("doc_id", product=product * scale)
    nearest = frame.top_k(3, by="product").collect()
    expected = np.argsort(-(vectors @ query))[:3]
    assert nearest["doc_id"].to_list() == [IDS[number] for number in expected]
    np.testing.assert_allclose(nearest["product"], (vectors @ query)[expected], rtol=1e-5)


@pytest.mark.parametrize("dtype", FORMATS)
def test_duckdb_finds_the_document_in_the_direction_of_a_vector(tmp_path: Path, dtype: NumberFormat) -> None:
    vectors = write_shards(tmp_path / "shards", dtype)
    # A scale has no part in a direction.
    cosine = f"array_cosine_similarity(embedding::float[{DIMENSION}], $query::float[{DIMENSION}])"
    query = f"select doc_id from '{tmp_path}/shards/*.parquet' order by {cosine} desc limit 1"
    found = duckdb.execute(query, {"query": vectors[30].tolist()})
    assert found.fetchall() == [(IDS[30],)]
