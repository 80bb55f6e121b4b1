"""Neighbours of real abstracts by real actors, against all cosines; and after a break."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from ulmfit_ray.cli import main
from ulmfit_ray.commands import verify
from ulmfit_ray.commands.verify import VerifyConfig
from ulmfit_ray.config import ConfigError
from ulmfit_ray.pipelines.encode import embed
from ulmfit_ray.pipelines.encode.config import EmbedConfig
from ulmfit_ray.pipelines.neighbours import job as neighbours
from ulmfit_ray.pipelines.neighbours.config import NeighboursConfig
from ulmfit_ray.pipelines.options import Actors
from ulmfit_ray.retrieval.search import normalize_rows
from ulmfit_ray.storage.embedding_dataset import EmbeddingDataset, vectors_of
from ulmfit_ray.storage.neighbour_dataset import NeighbourDataset

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]
LINKS = 30
"""Pairs of documents that are to be near-duplicates."""


@pytest.fixture(scope="module")
def embeddings(retriever: str, tokens: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    output = str(tmp_path_factory.mktemp("embeddings") / "embeddings")
    embed.run(EmbedConfig(model=(retriever,), input=(tokens,), output=output))
    return output


@pytest.fixture(scope="module")
def threshold(embeddings: str) -> float:
    _, cosines = cosines_of(embeddings)
    return float(np.sort(cosines[np.triu_indices(len(cosines), 1)])[-LINKS - 1 : -LINKS + 1].mean())


@pytest.fixture(scope="module")
def found(embeddings: str, threshold: float, tmp_path_factory: pytest.TempPathFactory) -> str:
    output = str(tmp_path_factory.mktemp("neighbours") / "neighbours")
    config = NeighboursConfig(embeddings=embeddings, output=output, k=7, threshold=threshold, actors=Actors(min=2))
    neighbours.run(config)
    return output


def cosines_of(embeddings: str) -> tuple[list[str], np.ndarray]:
    tables = list(EmbeddingDataset(embeddings).tables())
    units = normalize_rows(np.concatenate([vectors_of(table) for table in tables]))
    cosines = units @ units.T
    np.fill_diagonal(cosines, -np.inf)
    return [doc_id for table in tables for doc_id in table["doc_id"].to_pylist()], cosines


def test_neighbours_are_the_nearest_of_all_others_with_their_ids_and_cosines(embeddings: str, found: str) -> None:
    ids, cosines = cosines_of(embeddings)
    rows = [row for table in NeighbourDataset(found).tables() for row in table.to_pylist()]
    assert [row["doc_id"] for row in rows] == ids
    assert set(rows[0]) == {"doc_id", "title", "neighbours", "rows", "cosines"}
    for number, row in enumerate(rows):
        assert row["cosines"] == pytest.approx(np.sort(cosines[number])[::-1][:7], abs=1e-5)
        assert row["cosines"] == pytest.approx(cosines[number][row["rows"]], abs=1e-5)
        assert row["neighbours"] == [ids[other] for other in row["rows"]]
        assert len(set(row["rows"])) == 7


def test_groups_are_the_documents_that_large_cosines_link(embeddings: str, found: str, threshold: float) -> None:
    ids, cosines = cosines_of(embeddings)
    table = pq.read_table(Path(found) / "groups.parquet").to_pandas()
    near = [set(np.flatnonzero(row >= threshold)) for row in cosines]
    rest, groups = {row for row, others in enumerate(near) if others}, []
    while rest:
        group, front = set(), {min(rest)}
        while front:
            group |= front
            front = set().union(*(near[row] for row in front)) - group
        groups.append(sorted(group))
        rest -= group
    assert table.groupby("group")["row"].apply(list).tolist() == groups
    assert table["doc_id"].tolist() == [ids[row] for row in table["row"]]
    assert 1 < len(groups) < 100
    figures = NeighbourDataset(found).manifest.figures
    assert figures["num_documents_in_groups"] == len(table)
    assert figures["num_groups"] == len(groups)


def test_what_is_missing_after_a_break_is_made_again_with_the_same_bytes(
    embeddings: str, found: str, threshold: float, tmp_path: Path
) -> None:
    output = tmp_path / "neighbours"
    shutil.copytree(found, output)
    before = {path.name: path.read_bytes() for path in (output / "shards").iterdir()}
    assert len(before) == 4
    for name in ("manifest.json", "shards.parquet", "groups.parquet"):
        (output / name).unlink()
    for number in (1, 3):
        (output / f"done/part-{number:07d}.json").unlink()
        (output / f"shards/part-{number:07d}.parquet").unlink()
    (output / "done/part-0000002.json").unlink()
    neighbours.run(NeighboursConfig(embeddings=embeddings, output=str(output), k=7, threshold=threshold))
    assert {path.name: path.read_bytes() for path in (output / "shards").iterdir()} == before
    assert (output / "groups.parquet").read_bytes() == (Path(found) / "groups.parquet").read_bytes()
    verify.run(VerifyConfig(input=str(output)))


def test_other_embeddings_are_refused_and_a_damaged_shard_is_found(
    embeddings: str,
    found: str,
    threshold: float,
    retriever: str,
    tokens: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = str(tmp_path / "embeddings")
    embed.run(EmbedConfig(model=(retriever,), input=(tokens,), output=other, pooling="max"))
    with pytest.raises(ConfigError, match="belongs to another config"):
        neighbours.run(NeighboursConfig(embeddings=other, output=found, k=7, threshold=threshold))
    shutil.copytree(found, tmp_path / "damaged")
    shard = tmp_path / "damaged/shards/part-0000001.parquet"
    shard.write_bytes(shard.read_bytes()[:-9])
    assert main(["verify", str(tmp_path / "damaged")]) == 1
    assert "part-0000001.parquet has changed" in capsys.readouterr().err


def test_a_vector_that_is_not_finite_is_named(embeddings: str, tmp_path: Path) -> None:
    broken = tmp_path / "embeddings"
    shutil.copytree(embeddings, broken)
    shard = broken / "shards/part-0000002.parquet"
    table = pq.read_table(shard)
    numbers = table["embedding"].combine_chunks().flatten().to_numpy(zero_copy_only=False).copy()
    numbers[5 * table["embedding"].type.list_size] = np.inf
    column = table["embedding"].combine_chunks().from_arrays(numbers, table["embedding"].type.list_size)
    pq.write_table(table.set_column(table.schema.get_field_index("embedding"), "embedding", column), shard)
    with pytest.raises(RuntimeError, match=f"document {table['doc_id'][5].as_py()!r} in shards/part-0000002"):
        neighbours.run(NeighboursConfig(embeddings=str(broken), output=str(tmp_path / "out"), k=3))


@pytest.mark.parametrize(
    ("options", "told"),
    [(["-k", "0"], "-k must be at least 1"), (["--threshold", "1.5"], "over 0 and at most 1")],
)
def test_a_wrong_option_is_named(
    embeddings: str, options: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["neighbours", "--embeddings", embeddings, "--output", str(tmp_path / "out"), *options]) == 2
    assert told in capsys.readouterr().err
