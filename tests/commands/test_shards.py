"""A shard that cannot be read is named, in every command that reads it, with the command that finds all damage."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ulmfit_ray.cli import main
from ulmfit_ray.commands.shards import DamagedError, documents_at, same_documents, shard_tables, vector_blocks
from ulmfit_ray.storage.embedding_dataset import EmbeddingDataset, vectors_of
from ulmfit_ray.storage.token_dataset import TokenDataset


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def drop_a_row(path: Path) -> None:
    pq.write_table(pq.read_table(path).slice(1), path)


DAMAGES: list[tuple[Callable[[Path], None], str]] = [
    (Path.unlink, "is missing"),
    (truncate, "cannot be read"),
    (lambda path: path.write_bytes(b""), "cannot be read"),
]
IDS = ["deleted", "truncated", "emptied"]


@pytest.fixture
def vectors(embeddings: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(embeddings, tmp_path / "vectors"))


@pytest.fixture
def ids(tokens: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tokens, tmp_path / "ids"))


@pytest.fixture
def judged(abstracts: list[dict[str, str]], tmp_path: Path) -> list[str]:
    """Options of a judged collection of one query."""
    (tmp_path / "queries.jsonl").write_text('{"_id": "1", "text": "brown fat"}\n')
    (tmp_path / "qrels.tsv").write_text(f"1\t{abstracts[0]['_id']}\t1\n")
    return [f"--queries={tmp_path}/queries.jsonl", f"--qrels={tmp_path}/qrels.tsv"]


def test_sound_shards_come_in_order_and_whole(tokens: str, embeddings: str) -> None:
    for dataset in (TokenDataset(tokens), EmbeddingDataset(embeddings)):
        expected = [doc_id for table in dataset.tables() for doc_id in table["doc_id"].to_pylist()]
        assert [doc_id for table in shard_tables(dataset) for doc_id in table["doc_id"].to_pylist()] == expected


@pytest.mark.parametrize(("damage", "what"), DAMAGES, ids=IDS)
def test_a_damaged_shard_of_vectors_is_named_by_every_command_that_reads_it(
    vectors: Path,
    retriever: str,
    tokens: str,
    judged: list[str],
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path], None],
    what: str,
) -> None:
    damage(vectors / "shards/part-0000001.parquet")
    embeddings = [f"--embeddings={vectors}", f"--model={retriever}"]
    for command in (
        ["search", *embeddings, "--query", "brown fat"],
        ["index", f"--embeddings={vectors}", f"--output={vectors.parent}/index"],
        ["evaluate", "retrieval", *embeddings, f"--tokens={tokens}", *judged],
        ["inspect", str(vectors), "-n", "60"],
    ):
        assert main(command) == 1
        told = capsys.readouterr().err.splitlines()
        assert len(told) == 2
        assert told[0].startswith(f"error: shards/part-0000001.parquet of {vectors} {what}")
        assert f"`ulmfit-ray verify {vectors}`" in told[1]


@pytest.mark.parametrize(("damage", "what"), DAMAGES, ids=IDS)
def test_a_damaged_shard_of_tokens_is_named_by_every_command_that_reads_it(
    ids: Path,
    embeddings: str,
    retriever: str,
    judged: list[str],
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path], None],
    what: str,
) -> None:
    damage(ids / "shards/part-0000002.arrow")
    vectors = [f"--embeddings={embeddings}", f"--model={retriever}"]
    for command in (
        ["search", *vectors, "--query", "brown fat", "--hybrid", f"--tokens={ids}"],
        ["evaluate", "retrieval", *vectors, f"--tokens={ids}", *judged],
        ["inspect", str(ids), "-n", "120"],
    ):
        assert main(command) == 1
        told = capsys.readouterr().err
        assert f"shards/part-0000002.arrow of {ids} {what}" in told
        assert f"`ulmfit-ray verify {ids}`" in told


def test_a_shard_with_fewer_documents_than_were_written_is_damaged(vectors: Path) -> None:
    drop_a_row(vectors / "shards/part-0000003.parquet")
    with pytest.raises(DamagedError, match=r"part-0000003.parquet of .* has 49 documents, not 50"):
        list(shard_tables(EmbeddingDataset(str(vectors))))


def test_vectors_come_in_order_however_few_are_read_at_once(embeddings: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = EmbeddingDataset(embeddings)
    expected = np.concatenate([vectors_of(table) for table in dataset.tables()])
    monkeypatch.setattr("ulmfit_ray.storage.parquet_dataset.BLOCK_ROWS", 7)
    blocks = list(vector_blocks(dataset))
    assert max(map(len, blocks)) == 7
    np.testing.assert_array_equal(np.concatenate(blocks), expected)


def test_documents_are_read_by_their_numbers(embeddings: str) -> None:
    dataset = EmbeddingDataset(embeddings)
    rows = [row for table in dataset.tables() for row in table.drop_columns(["num_tokens", "embedding"]).to_pylist()]
    found = documents_at(dataset, [199, 3, 50, 3], without=("num_tokens", "embedding"))
    assert found == {number: rows[number] for number in (3, 50, 199)}


def test_the_same_documents_are_the_same_in_other_shards(tokens: str, vectors: Path) -> None:
    assert same_documents(TokenDataset(tokens), EmbeddingDataset(str(vectors)))
    shards = pq.read_table(vectors / "shards.parquet")
    paths = [vectors / file for file in shards["file"].to_pylist()]
    rows = pa.concat_tables(map(pq.read_table, paths))
    for path, first, size in zip(paths, (0, 10, 130, 130), (10, 120, 0, 70), strict=True):
        pq.write_table(rows.slice(first, size), path)
    place = shards.schema.get_field_index("num_documents")
    pq.write_table(shards.set_column(place, "num_documents", [[10, 120, 0, 70]]), vectors / "shards.parquet")
    assert same_documents(TokenDataset(tokens), EmbeddingDataset(str(vectors)))
    pq.write_table(rows.slice(131, 69), paths[3])
    pq.write_table(rows.slice(130, 1), paths[2])
    pq.write_table(shards.set_column(place, "num_documents", [[10, 120, 1, 69]]), vectors / "shards.parquet")
    assert same_documents(TokenDataset(tokens), EmbeddingDataset(str(vectors)))
    pq.write_table(rows.slice(131, 1), paths[2])
    assert not same_documents(TokenDataset(tokens), EmbeddingDataset(str(vectors)))
