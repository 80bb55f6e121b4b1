"""A shard that cannot be read is named, in every command that reads it, with the command that finds all damage."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ulmfit_ray.cli import main
from ulmfit_ray.commands.shards import DamagedError, shard_tables
from ulmfit_ray.storage.embedding_dataset import EmbeddingDataset
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
