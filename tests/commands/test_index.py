"""An index of the vectors of real abstracts, and searches with it."""

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from command_line import Command

from ulmfit_ray.cli import main
from ulmfit_ray.commands import index as index_command
from ulmfit_ray.commands import search
from ulmfit_ray.commands.index import IndexConfig
from ulmfit_ray.commands.search import SearchConfig
from ulmfit_ray.config import ConfigError
from ulmfit_ray.retrieval.faiss_index import VectorIndex
from ulmfit_ray.storage.embedding_dataset import EmbeddingDataset, embedding_table
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.manifest import IncompleteDatasetError
from ulmfit_ray.storage.parquet_dataset import write_parquet
from ulmfit_ray.storage.search_index import SearchIndex

Rows = Sequence[dict[str, object]]


@pytest.fixture(scope="session")
def index(embeddings: str, tokens: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An index of the abstracts' vectors and words."""
    output = str(tmp_path_factory.mktemp("index") / "index")
    index_command.run(IndexConfig(embeddings=embeddings, tokens=tokens, output=output, kind="hnsw"))
    return output


@pytest.fixture
def titles(abstracts: list[dict[str, str]]) -> tuple[str, ...]:
    return tuple(row["title"] for row in abstracts[::10])


def ids(rows: Rows) -> list[object]:
    return [row["doc_id"] for row in rows]


def test_the_manifest_says_what_the_index_was_made_of_and_how_good_it_is(index: str, embeddings: str) -> None:
    opened, dataset = SearchIndex(index), EmbeddingDataset(embeddings)
    assert opened.job.inputs["embeddings"] == dataset.fingerprint
    assert (opened.manifest.model, opened.manifest.pooling) == (dataset.manifest.model, "idf-mean")
    figures = opened.manifest.figures
    assert (figures["kind"], figures["num_documents"], figures["has_words"]) == ("hnsw", 200, True)
    assert figures["recall_at_10"] >= 0.95
    assert figures["num_bytes"] == sum(opened.folder.size(name) for name in opened.manifest.files)
    assert {"index.faiss", "moments.npy", "bm25/data.csc.index.npy"} <= set(opened.manifest.files)


def test_a_search_with_an_index_finds_what_one_without_finds(
    index: str, embeddings: str, retriever: str, titles: tuple[str, ...]
) -> None:
    config = {"embeddings": embeddings, "model": (retriever,), "query": titles, "json": True}
    exact, found = search.run(SearchConfig(**config)), search.run(SearchConfig(**config, index=index))
    assert sum(one == other for one, other in zip(ids(exact), ids(found), strict=True)) >= 0.95 * len(exact)
    assert list(exact[0]) == list(found[0])
    assert found[0]["score"] == pytest.approx(exact[0]["score"], abs=1e-5)


def test_a_hybrid_search_with_an_index_finds_nearly_what_one_without_finds(
    index: str, embeddings: str, retriever: str, tokens: str, titles: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of 200 documents, a thousand candidates would be all.
    monkeypatch.setattr("ulmfit_ray.commands.indexed.CANDIDATES", 30)
    config = {"embeddings": embeddings, "model": (retriever,), "query": titles, "json": True, "hybrid": True}
    exact = search.run(SearchConfig(**config, tokens=tokens))
    found = search.run(SearchConfig(**config, index=index))
    assert sum(one == other for one, other in zip(ids(exact), ids(found), strict=True)) >= 0.95 * len(exact)
    scores = [[row["score"] for row in rows[:5]] for rows in (exact, found)]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-3)


def test_only_shards_that_hold_hits_are_read(
    index: str, embeddings: str, retriever: str, abstracts: list[dict[str, str]], tmp_path: Path
) -> None:
    few = Path(shutil.copytree(embeddings, tmp_path / "few"))
    for number in (0, 2, 3):
        (few / f"shards/part-000000{number}.parquet").unlink()
    # The abstracts of the second shard are every fourth.
    title = abstracts[101]["title"]
    (row,) = search.run(
        SearchConfig(embeddings=str(few), model=(retriever,), query=(title,), index=index, k=1, json=True)
    )
    assert row["title"] == title


def test_an_index_of_other_embeddings_is_refused_with_both_names(
    index: str, embeddings: str, retriever: str, tmp_path: Path, command: Command
) -> None:
    other = Path(shutil.copytree(embeddings, tmp_path / "other"))
    shards = pq.read_table(other / "shards.parquet")
    hashes = ["0" * 64] * shards.num_rows
    pq.write_table(
        shards.set_column(shards.schema.get_field_index("sha256"), "sha256", [hashes]), other / "shards.parquet"
    )
    outcome = command("search", f"--embeddings={other}", f"--model={retriever}", "--query=x", f"--index={index}")
    assert outcome.status == 2
    assert str(other) in outcome.err
    assert f"but of {embeddings}" in outcome.err


def test_an_index_without_words_is_refused_for_a_hybrid_search(
    embeddings: str, retriever: str, tmp_path: Path, command: Command
) -> None:
    assert command("index", f"--embeddings={embeddings}", "--output=bare").status == 0
    search_with = ["search", f"--embeddings={embeddings}", f"--model={retriever}", "--query=fat", "--index=bare"]
    assert command(*search_with).status == 0
    outcome = command(*search_with, "--hybrid")
    assert outcome.status == 2
    assert f"index {tmp_path}/bare has no words for --hybrid" in outcome.err


def test_a_second_run_has_nothing_to_do_and_another_config_is_refused(
    index: str, embeddings: str, tokens: str, command: Command
) -> None:
    again = ["index", f"--embeddings={embeddings}", f"--tokens={tokens}", f"--output={index}", "--kind=hnsw"]
    outcome = command(*again)
    assert (outcome.status, outcome.err) == (0, "")
    assert "complete, nothing to do" in outcome.out
    outcome = command(*again, "--recall", "0.5")
    assert outcome.status == 2
    assert "recall: 0.95 -> 0.5" in outcome.err


def test_an_interrupted_run_leaves_nothing_that_looks_whole_and_the_next_one_finishes(
    embeddings: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "index"
    config = IndexConfig(embeddings=embeddings, output=str(output))
    save = VectorIndex.save

    def interrupted(self: VectorIndex, place: Path) -> None:
        save(self, place)
        raise KeyboardInterrupt

    monkeypatch.setattr(VectorIndex, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        index_command.run(config)
    assert sorted(path.name for path in output.iterdir()) == ["config.json", "launches.json", "report.html"]
    with pytest.raises(IncompleteDatasetError, match="its index job has not finished"):
        SearchIndex(str(output))
    monkeypatch.undo()
    assert index_command.run(config) is not None
    assert SearchIndex(str(output)).manifest.figures["kind"] == "flat"


def test_a_dry_run_says_what_would_be_made_and_makes_nothing(embeddings: str, command: Command) -> None:
    outcome = command("index", f"--embeddings={embeddings}", "--output=out", "--dry-run")
    assert outcome.status == 0
    assert "plan: flat index of 200 vectors of " in outcome.out
    assert not Path("out").exists()


@pytest.fixture
def changed(embeddings: str, tmp_path: Path) -> Callable[[Callable[[np.ndarray], None]], str]:
    """Return a function that copies the embeddings with the third shard's vectors changed in place."""

    def change(edit: Callable[[np.ndarray], None]) -> str:
        copy = Path(shutil.copytree(embeddings, tmp_path / "changed"))
        path = copy / "shards/part-0000002.parquet"
        table = pq.read_table(path)
        vectors = np.array(table["embedding"].to_pylist(), np.float32)
        edit(vectors)
        rest = table.drop_columns(["num_tokens", "embedding"])
        write_parquet(
            embedding_table(rest, table["num_tokens"].to_numpy(), vectors, num_unknown=np.zeros(len(vectors))), path
        )
        return str(copy)

    return change


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_vector_that_is_not_finite_is_refused_with_its_document(
    changed: Callable[[Callable[[np.ndarray], None]], str],
    embeddings: str,
    retriever: str,
    number: float,
    command: Command,
) -> None:
    def spoil(vectors: np.ndarray) -> None:
        vectors[7, 3] = number

    damaged = changed(spoil)
    doc_id = list(EmbeddingDataset(embeddings).tables())[2]["doc_id"][7]
    for arguments in (
        ["index", f"--embeddings={damaged}", "--output=out"],
        ["search", f"--embeddings={damaged}", f"--model={retriever}", "--query=fat"],
    ):
        outcome = command(*arguments)
        assert outcome.status == 2
        assert f"the vector of document '{doc_id}' in shards/part-0000002.parquet of {damaged}" in outcome.err
    assert not Path("out/manifest.json").exists()


def test_zero_vectors_and_equal_vectors_are_indexed(
    changed: Callable[[Callable[[np.ndarray], None]], str], tmp_path: Path
) -> None:
    def edit(vectors: np.ndarray) -> None:
        vectors[:20] = 0
        vectors[20:40] = vectors[20]

    config = IndexConfig(embeddings=changed(edit), output=str(tmp_path / "index"), kind="hnsw")
    manifest = index_command.run(config)
    assert manifest is not None
    assert manifest.figures["recall_at_10"] >= 0.95


def test_a_recall_that_no_effort_reaches_is_said(
    embeddings: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ulmfit_ray.retrieval.recall.TIE", -1.0)
    index_command.run(IndexConfig(embeddings=embeddings, output=str(tmp_path / "index")))
    assert "warning: recall@10 is 0.000 at the largest effort, less than --recall 0.95" in capsys.readouterr().err


def test_tokens_of_other_documents_or_words_are_refused(
    embeddings: str, tokens: str, tmp_path: Path, command: Command
) -> None:
    other = Path(shutil.copytree(tokens, tmp_path / "tokens"))
    first, second = other / "shards/part-0000000.arrow", other / "shards/part-0000001.arrow"
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    arguments = ["index", f"--embeddings={embeddings}", f"--tokens={other}", "--output=out"]
    outcome = command(*arguments)
    assert outcome.status == 2
    assert "their documents differ" in outcome.err
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps(manifest | {"vocab": "0" * 64}))
    outcome = command(*arguments)
    assert outcome.status == 2
    assert "has another vocabulary than the model" in outcome.err
    assert not Path("out/config.json").exists()


def test_too_few_documents_for_a_quantization_are_refused(embeddings: str, command: Command) -> None:
    outcome = command("index", f"--embeddings={embeddings}", "--output=out", "--kind=ivf-pq")
    assert outcome.status == 2
    assert "--kind ivf-pq learns from at least 10,000 documents" in outcome.err
    assert not Path("out").exists()


def test_without_faiss_a_line_says_so_before_any_work(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    for arguments in (
        ["index", "--embeddings=e", "--output=out"],
        ["search", "--embeddings=e", "--model=m", "--query=x", "--index=i"],
    ):
        outcome = command(*arguments)
        assert outcome.status == 2
        assert outcome.err == "error: an index needs FAISS: pip install 'ulmfit-ray[search]'\n"
    assert not Path("out").exists()


@pytest.mark.parametrize("options", [{"recall": 0.0}, {"recall": 1.5}, {"sample": 0}])
def test_impossible_options_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"--{next(iter(options))} must be"):
        IndexConfig(embeddings="e", output="o", **options)


def test_an_index_in_a_bucket_finds_the_same(
    index: str, embeddings: str, tokens: str, retriever: str, titles: tuple[str, ...], bucket: str
) -> None:
    output = f"{bucket}/index"
    index_command.run(IndexConfig(embeddings=embeddings, tokens=tokens, output=output, kind="hnsw"))
    assert Folder(output).exists("bm25/indptr.csc.index.npy")
    config = {"embeddings": embeddings, "model": (retriever,), "query": titles, "json": True, "hybrid": True}
    assert search.run(SearchConfig(**config, index=output)) == search.run(SearchConfig(**config, index=index))


def test_verify_and_inspect_know_an_index(index: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", index]) == 0
    assert main(["inspect", index]) == 0
    assert "recall_at_10" in capsys.readouterr().out
    damaged = Path(shutil.copytree(index, tmp_path / "damaged"))
    (damaged / "moments.npy").write_bytes(b"")
    assert main(["verify", str(damaged)]) == 1
    assert "moments.npy has changed" in capsys.readouterr().err
