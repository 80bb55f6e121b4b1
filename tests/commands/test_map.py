"""A map of real abstracts, from embeddings to table, picture and page; and what is refused."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import Command
from map_pages import data_of

from ulmfit_ray.cli import main
from ulmfit_ray.commands import map as command
from ulmfit_ray.commands.map import MapConfig
from ulmfit_ray.commands.map_files import PAGE, PICTURE, TABLE
from ulmfit_ray.config import ConfigError
from ulmfit_ray.storage.embedding_dataset import EmbeddingDataset
from ulmfit_ray.storage.folder import Folder, sha256_file
from ulmfit_ray.storage.manifest import Manifest, read_manifest
from ulmfit_ray.text.rules import SPECIAL_TOKENS
from ulmfit_ray.text.stop_words import stop_words


def mapped(embeddings: str, output: Path, **options: Any) -> Manifest:
    manifest = command.run(MapConfig(embeddings=embeddings, output=str(output), **{"clusters": 4} | options))
    assert manifest is not None
    return manifest


def table_of(output: Path) -> pa.Table:
    return pq.read_table(output / TABLE)


def rewritten(embeddings: str, place: Path, change: Any) -> str:
    """Return a copy of the embeddings whose shards have gone through `change`; the manifest is as it was."""
    copy = Path(shutil.copytree(embeddings, place))
    for path in sorted((copy / "shards").iterdir()):
        pq.write_table(change(pq.read_table(path)), path)
    return str(copy)


def with_rows(embeddings: str, place: Path, tables: list[pa.Table]) -> str:
    """Return an embedding dataset of other shards, with the manifest of `embeddings`."""
    copy = Path(shutil.copytree(embeddings, place))
    rows = pq.read_table(copy / "shards.parquet").to_pylist()
    manifest = json.loads((copy / "manifest.json").read_text())
    kept = []
    for row in rows:
        (copy / row["file"]).unlink()
    for row, table in zip(rows, tables, strict=False):
        pq.write_table(table, copy / row["file"])
        kept.append(row | {"num_documents": len(table), "sha256": sha256_file(copy / row["file"])})
    pq.write_table(pa.Table.from_pylist(kept, pq.read_schema(copy / "shards.parquet")), copy / "shards.parquet")
    totals = {"num_documents": sum(map(len, tables)), "num_shards": len(kept)}
    (copy / "manifest.json").write_text(json.dumps(manifest | totals))
    return str(copy)


@pytest.fixture(scope="session")
def finished(embeddings: str, tokens: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A map of 200 abstracts in four clusters."""
    output = tmp_path_factory.mktemp("map") / "map"
    mapped(embeddings, output, tokens=tokens)
    return output


def test_the_table_has_each_document_with_its_place_cluster_and_kept_columns(finished: Path, embeddings: str) -> None:
    table, shards = table_of(finished), pa.concat_tables(EmbeddingDataset(embeddings).tables())
    assert table.schema.names == ["doc_id", "x", "y", "cluster", "num_tokens", "title"]
    assert table.select(["doc_id", "num_tokens", "title"]).equals(shards.select(["doc_id", "num_tokens", "title"]))
    assert np.isfinite(table["x"].to_numpy()).all()
    clusters = read_manifest(Folder(str(finished))).figures["clusters"]
    found = table["cluster"].value_counts().to_pylist()
    assert {row["values"]: row["counts"] for row in found} == clusters
    assert list(clusters.values()) == sorted(clusters.values(), reverse=True)


def test_neighbours_on_the_map_are_neighbours_in_space(finished: Path) -> None:
    figures = read_manifest(Folder(str(finished))).figures
    assert (figures["num_documents"], figures["num_sampled"]) == (200, 200)
    assert figures["neighbours_kept"] > figures["neighbours_kept_by_principal_components"] + 0.1


def test_clusters_are_named_by_words_that_say_something(finished: Path) -> None:
    for name in read_manifest(Folder(str(finished))).figures["clusters"]:
        words = name.split(", ")
        assert 1 <= len(words) <= 4
        assert all(word[0].isalpha() and len(word) > 1 for word in words)
        assert not {*words} & {*SPECIAL_TOKENS, *stop_words("en")}


def test_the_page_and_the_picture_show_the_same_documents(finished: Path) -> None:
    data = data_of((finished / PAGE).read_text())
    columns = {column["name"]: column["values"] for column in data["columns"]}
    assert list(columns) == ["title", "doc_id", "num_tokens"]
    assert columns["doc_id"] == table_of(finished)["doc_id"].to_pylist()
    assert [one["name"] for one in data["colorings"]] == ["cluster"]
    assert (finished / PICTURE).read_bytes().startswith(b"\x89PNG")


def test_the_same_command_gives_the_same_files(finished: Path, embeddings: str, tokens: str, tmp_path: Path) -> None:
    mapped(embeddings, tmp_path / "again", tokens=tokens)
    for name in (TABLE, PICTURE, PAGE):
        assert (tmp_path / "again" / name).read_bytes() == (finished / name).read_bytes(), name


def test_neither_the_order_of_documents_nor_their_shards_change_the_map(
    finished: Path, embeddings: str, tmp_path: Path
) -> None:
    every = pa.concat_tables(EmbeddingDataset(embeddings).tables())
    order = np.random.default_rng(0).permutation(len(every))
    shuffled = every.take(pa.array(order))
    other = with_rows(embeddings, tmp_path / "other", [shuffled.slice(0, 150), shuffled.slice(150)])
    mapped(other, tmp_path / "map")
    assert table_of(tmp_path / "map")["x"].to_numpy().tolist() == table_of(finished)["x"].to_numpy()[order].tolist()


def test_documents_outside_of_the_sample_are_placed_beside_their_neighbours(embeddings: str, tmp_path: Path) -> None:
    manifest = mapped(embeddings, tmp_path / "map", sample=150)
    assert (manifest.figures["num_documents"], manifest.figures["num_sampled"]) == (200, 150)
    every = pa.concat_tables(EmbeddingDataset(embeddings).tables())
    copies = every.set_column(0, "doc_id", pa.array([f"copy {name}" for name in every["doc_id"].to_pylist()]))
    both = with_rows(embeddings, tmp_path / "both", [every, copies])
    mapped(both, tmp_path / "both-map", sample=200)
    table = table_of(tmp_path / "both-map")
    places = np.stack([table["x"].to_numpy(), table["y"].to_numpy()], axis=1)
    apart = np.linalg.norm(places[:200] - places[200:], axis=1)
    assert np.median(apart) < 0.15 * np.ptp(places, axis=0).max()


def test_without_tokens_clusters_are_named_by_their_titles(embeddings: str, tmp_path: Path) -> None:
    manifest = mapped(embeddings, tmp_path / "map")
    titles = " ".join(table_of(tmp_path / "map")["title"].to_pylist()).lower()
    assert all(word in titles for name in manifest.figures["clusters"] for word in name.split(", "))


def test_a_column_colors_picture_and_page_and_a_title_names_documents(embeddings: str, tmp_path: Path) -> None:
    def kinds(table: pa.Table) -> pa.Table:
        values = [None if number % 7 == 0 else f"kind {number % 3}" for number in range(len(table))]
        return table.append_column("cluster", pa.array(values))

    other = rewritten(embeddings, tmp_path / "other", kinds)
    mapped(other, tmp_path / "map", color="cluster", title="num_tokens")
    data = data_of((tmp_path / "map" / PAGE).read_text())
    assert [one["name"] for one in data["colorings"]] == ["cluster", "cluster"]
    assert data["colorings"][0]["labels"][-1] == "(none)"
    assert [column["name"] for column in data["columns"]] == ["num_tokens", "doc_id", "title", "cluster"]
    assert table_of(tmp_path / "map").schema.names[3:] == ["cluster", "num_tokens", "title", "document_cluster"]


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_few_documents_have_a_map(embeddings: str, tmp_path: Path, size: int) -> None:
    first = next(EmbeddingDataset(embeddings).tables()).slice(0, size)
    manifest = mapped(with_rows(embeddings, tmp_path / "few", [first]), tmp_path / "map", clusters=12)
    assert sum(manifest.figures["clusters"].values()) == size
    assert len(table_of(tmp_path / "map")) == size


def test_a_finished_map_is_complete_and_another_config_is_refused(
    finished: Path, embeddings: str, tokens: str, command: Command
) -> None:
    arguments = ["map", "--embeddings", embeddings, "--tokens", tokens, "--output", str(finished), "--clusters"]
    before = (finished / TABLE).stat().st_mtime_ns
    outcome = command(*arguments, "4")
    assert (outcome.status, outcome.err) == (0, "")
    assert "complete, nothing to do" in outcome.out
    assert (finished / TABLE).stat().st_mtime_ns == before
    outcome = command(*arguments, "5")
    assert outcome.status == 2
    assert "clusters: 4 -> 5" in outcome.err


def test_overwrite_removes_what_was_there_and_a_dry_run_writes_nothing(
    embeddings: str, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "map"
    arguments = ["map", "--embeddings", embeddings, "--output", str(output)]
    outcome = command(*arguments, "--dry-run")
    assert (outcome.status, outcome.err) == (0, "")
    assert "plan: 200 documents, 200 of them in the sample" in outcome.out
    assert not output.exists()
    mapped(embeddings, output)
    assert command(*arguments, "--clusters", "3", "--overwrite").status == 0
    assert len(read_manifest(Folder(str(output))).figures["clusters"]) == 3
    assert main(["verify", str(output)]) == 0
    capsys.readouterr()
    assert main(["inspect", str(output)]) == 0
    assert next(iter(read_manifest(Folder(str(output))).figures["clusters"])) in capsys.readouterr().out


def test_tokens_of_other_documents_are_refused(embeddings: str, tokens: str, tmp_path: Path) -> None:
    first, *others = EmbeddingDataset(embeddings).tables()
    for name, tables in {"order": [*others, first], "fewer": others}.items():
        other = with_rows(embeddings, tmp_path / name, tables)
        with pytest.raises(ConfigError, match="their documents differ"):
            mapped(other, tmp_path / f"map-{name}", tokens=tokens)


def test_tokens_may_be_cut_into_other_shards_than_vectors(embeddings: str, tokens: str, tmp_path: Path) -> None:
    one = with_rows(embeddings, tmp_path / "one", [pa.concat_tables(EmbeddingDataset(embeddings).tables())])
    names = [
        mapped(dataset, tmp_path / f"map-{number}", tokens=tokens) for number, dataset in enumerate([embeddings, one])
    ]
    assert names[0].figures["clusters"] == names[1].figures["clusters"]


def test_a_vector_that_is_not_finite_is_named(embeddings: str, tmp_path: Path) -> None:
    def broken(table: pa.Table) -> pa.Table:
        vectors = np.array(table["embedding"].to_pylist(), np.float32)
        vectors[3, 5] = np.nan
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
        return table.set_column(table.schema.get_field_index("embedding"), "embedding", column)

    other = rewritten(embeddings, tmp_path / "other", broken)
    name = pq.read_table(Path(other) / "shards/part-0000000.parquet")["doc_id"][3].as_py()
    with pytest.raises(ValueError, match=f"the vector of document '{name}' in .* is not finite"):
        mapped(other, tmp_path / "map")


def test_what_cannot_be_drawn_is_refused_before_any_work(
    embeddings: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "map"
    with pytest.raises(ConfigError, match=r"--color label: .* columns there are num_tokens, title;"):
        mapped(embeddings, output, color="label")
    with pytest.raises(ConfigError, match="--title name: "):
        mapped(embeddings, output, title="name")
    with pytest.raises(ConfigError, match="has no documents"):
        mapped(with_rows(embeddings, tmp_path / "none", []), output)
    monkeypatch.setitem(sys.modules, "openTSNE", None)
    with pytest.raises(ValueError, match=r"ulmfit-ray\[map\]"):
        mapped(embeddings, output)
    assert not output.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clusters": 0}, "--clusters must lie between 1 and 20"),
        ({"clusters": 21}, "--clusters must lie between 1 and 20"),
        ({"sample": 99}, "--sample must be at least 100"),
        ({"perplexity": 0.5}, "--perplexity must be at least 1"),
        ({"perplexity": float("nan")}, "--perplexity must be at least 1"),
        ({"seed": -1}, "--seed must lie between 0 and 4294967295"),
    ],
)
def test_values_that_make_no_map_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MapConfig(embeddings="e", output="o", **options)


def test_a_map_of_a_bucket_in_a_bucket_is_that_of_a_local_disk(embeddings: str, tmp_path: Path, bucket: str) -> None:
    for path in Path(embeddings).rglob("*"):
        if path.is_file():
            Folder(f"{bucket}/embeddings").publish(path, str(path.relative_to(embeddings)))
    mapped(embeddings, tmp_path / "map")
    command.run(MapConfig(embeddings=f"{bucket}/embeddings", output=f"{bucket}/map", clusters=4))
    assert Folder(f"{bucket}/map").sha256(TABLE) == sha256_file(tmp_path / "map" / TABLE)
    assert main(["verify", f"{bucket}/map"]) == 0
