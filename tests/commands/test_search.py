"""Queries against the vectors of real abstracts: what is found, shown, written and refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ulmfit_ray.cli import main
from ulmfit_ray.commands import search
from ulmfit_ray.commands.evaluate.retrieval_systems import Systems
from ulmfit_ray.commands.search import SearchConfig
from ulmfit_ray.config import ConfigError
from ulmfit_ray.joint_encoder import JointEncoder
from ulmfit_ray.retrieval.bm25 import BM25Options
from ulmfit_ray.storage.embedding_dataset import EmbeddingDataset
from ulmfit_ray.storage.token_dataset import TokenDataset


def test_a_title_finds_its_own_article(embeddings: str, retriever: str, abstracts: list[dict[str, str]]) -> None:
    titles = tuple(row["title"] for row in abstracts[::20])
    rows = search.run(SearchConfig(embeddings=embeddings, model=(retriever,), query=titles, k=1))
    own = [row["_id"] for row in abstracts[::20]]
    assert sum(row["doc_id"] == doc_id for row, doc_id in zip(rows, own, strict=True)) >= 8
    assert rows[0]["title"] in titles


def test_brackets_in_titles_and_queries_are_shown_as_they_are(
    embeddings: str, retriever: str, capsys: pytest.CaptureFixture[str]
) -> None:
    search.run(
        SearchConfig(embeddings=embeddings, model=(retriever,), query=("binding of [/i] [carbonyl-11C]WAY",), k=1)
    )
    assert "binding of [/i] [carbonyl-11C]WAY" in capsys.readouterr().out


def test_more_hits_than_documents_are_all_documents(embeddings: str, retriever: str) -> None:
    rows = search.run(SearchConfig(embeddings=embeddings, model=(retriever,), query=("",), k=1000))
    assert len({row["doc_id"] for row in rows}) == 200


def test_hits_are_written_to_a_file_when_asked(embeddings: str, retriever: str, tmp_path: Path) -> None:
    (tmp_path / "queries.txt").write_text("brown fat in mice\ninsulin\n")
    config = SearchConfig(
        embeddings=embeddings,
        model=(retriever,),
        queries=str(tmp_path / "queries.txt"),
        k=3,
        output=str(tmp_path / "hits.jsonl"),
    )
    search.run(config)
    hits = [json.loads(line) for line in (tmp_path / "hits.jsonl").read_text().splitlines()]
    assert [(hit["query_id"], hit["rank"]) for hit in hits] == [(q, r) for q in ("1", "2") for r in (1, 2, 3)]
    assert hits[0]["score"] >= hits[1]["score"] >= hits[2]["score"]


def test_a_search_with_another_model_than_the_documents_is_refused(embeddings: str, language_model: str) -> None:
    with pytest.raises(ValueError, match="fingerprints differ"):
        search.run(SearchConfig(embeddings=embeddings, model=(language_model,), query=("x",)))


@pytest.fixture
def found_by(embeddings: str, retriever: str) -> list[str]:
    """The start of a search's command line."""
    return ["search", f"--embeddings={embeddings}", f"--model={retriever}"]


def test_queries_of_one_id_are_refused_with_the_id(
    found_by: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    queries = tmp_path / "queries.jsonl"
    queries.write_text('{"_id": "q7", "text": "insulin"}\n{"_id": "q7", "text": "brown fat"}\n')
    assert main([*found_by, f"--queries={queries}"]) == 2
    captured = capsys.readouterr()
    assert "line 2: query id 'q7' stands in line 1 too" in captured.err
    assert captured.out == ""


def test_equal_texts_of_queries_have_tables_of_their_own(
    found_by: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*found_by, "--query", "insulin", "insulin", "-k", "2"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines.count("insulin") == 2
    assert [line.split()[1] for line in lines if line.startswith("\u2502") and "0." in line] == ["1", "2", "1", "2"]


def test_a_file_without_queries_is_refused(embeddings: str, retriever: str, tmp_path: Path) -> None:
    (tmp_path / "queries.txt").write_text("\n\n")
    with pytest.raises(ConfigError, match=r"queries\.txt has no query"):
        search.run(SearchConfig(embeddings=embeddings, model=(retriever,), queries=str(tmp_path / "queries.txt")))


def test_a_file_that_is_there_is_refused_before_any_work_and_replaced_when_asked(
    found_by: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hits = tmp_path / "hits.jsonl"
    hits.write_text("mine")
    assert main(["search", "--embeddings=nowhere", "--model=nowhere", "--query=x", f"--output={hits}"]) == 2
    assert f"--output {hits} is there already" in capsys.readouterr().err
    assert hits.read_text() == "mine"
    assert main([*found_by, "--query", "insulin", "-k", "1", f"--output={hits}", "--overwrite"]) == 0
    assert json.loads(hits.read_text())["query"] == "insulin"


def test_a_query_without_a_known_word_is_named_and_searched_all_the_same(
    found_by: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*found_by, "--query", "insulin", "", "QWERTZUIOP asdfghjk", "-k", "1", "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        "warning: query 2 ('') has no word that the model knows: its hits mean nothing",
        "warning: query 3 ('QWERTZUIOP asdfghjk') has no word that the model knows: its hits mean nothing",
    ]
    assert [json.loads(line)["query_id"] for line in captured.out.splitlines()] == ["1", "2", "3"]


def test_json_prints_an_object_for_each_hit_and_nothing_else(
    embeddings: str, retriever: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = search.run(SearchConfig(embeddings=embeddings, model=(retriever,), query=("fat", "insulin"), k=2, json=True))
    captured = capsys.readouterr()
    assert [json.loads(line) for line in captured.out.splitlines()] == rows
    assert (len(rows), captured.err) == (4, "")
    assert list(rows[0]) == ["query_id", "query", "rank", "score", "doc_id", "title"]


def test_a_snippet_shortens_kept_texts_and_nothing_else(
    embeddings: str, retriever: str, abstracts: list[dict[str, str]]
) -> None:
    longest = max(abstracts, key=lambda row: len(row["title"]))
    word = longest["title"].split()[-2]
    query = f"{word}, the last word but one of a long title"
    rows = search.run(SearchConfig(embeddings=embeddings, model=(retriever,), query=(query,), k=200, snippet=30))
    (shown,) = (row["title"] for row in rows if row["doc_id"] == longest["_id"])
    assert word in shown
    assert max(len(row["title"].strip("…")) for row in rows) <= 30
    assert {row["query"] for row in rows} == {query}


def test_without_snippet_kept_texts_are_shown_whole(
    found_by: list[str], abstracts: list[dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    title = max((row["title"] for row in abstracts), key=len)
    assert main([*found_by, "--query", title, "-k", "200", "--json"]) == 0
    assert title in [json.loads(line)["title"] for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("k", [3, 1000])
def test_a_hybrid_search_ranks_by_the_scores_that_evaluation_calls_bm25_and_vectors(
    embeddings: str, retriever: str, tokens: str, abstracts: list[dict[str, str]], k: int
) -> None:
    texts = [row["title"] for row in abstracts[::50]]
    datasets = EmbeddingDataset(embeddings), TokenDataset(tokens)
    systems = Systems(*datasets, JointEncoder.of_embeddings(datasets[0], [retriever]), BM25Options())
    scores = systems.scores(texts)["bm25 + vectors"]
    doc_ids = [doc_id for table in datasets[0].tables() for doc_id in table["doc_id"].to_pylist()]
    config = SearchConfig(
        embeddings=embeddings, model=(retriever,), query=tuple(texts), k=k, hybrid=True, tokens=tokens, json=True
    )
    rows = search.run(config)
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    assert [row["doc_id"] for row in rows] == [doc_ids[number] for number in expected.flat]
    assert [row["score"] for row in rows] == np.take_along_axis(scores, expected, 1).ravel().tolist()


def test_a_hybrid_search_needs_the_tokens_of_the_same_documents(
    found_by: list[str], tokens: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Path(shutil.copytree(tokens, tmp_path / "other"))
    first, second = other / "shards/part-0000000.arrow", other / "shards/part-0000001.arrow"
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    assert main([*found_by, "--query", "x", "--hybrid", f"--tokens={other}"]) == 2
    assert "their documents differ" in capsys.readouterr().err
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps(manifest | {"vocab": "0" * 64}))
    assert main([*found_by, "--query", "x", "--hybrid", f"--tokens={other}"]) == 2
    assert "does not fit model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hybrid": True}, "--hybrid and --tokens DIR together"),
        ({"tokens": "t"}, "--hybrid and --tokens DIR together"),
        ({"index": "i", "hybrid": True, "tokens": "t"}, "an index has its own words"),
        ({"index": "i", "bm25": BM25Options(k1=1.2)}, "an index has its own words"),
        ({"snippet": 0}, "--snippet must be at least 1"),
        ({"json": True, "output": "hits.jsonl"}, "--output FILE or --json"),
    ],
)
def test_options_that_do_not_fit_each_other_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SearchConfig(embeddings="e", model=("m",), query=("x",), **options)


def test_a_kept_column_called_like_a_hits_own_is_shown_beside_it(
    embeddings: str, retriever: str, tmp_path: Path, abstracts: list[dict[str, str]]
) -> None:
    renamed = Path(shutil.copytree(embeddings, tmp_path / "renamed"))
    for path in (renamed / "shards").iterdir():
        table = pq.read_table(path)
        pq.write_table(table.rename_columns([{"title": "score"}.get(name, name) for name in table.schema.names]), path)
    title = abstracts[50]["title"]
    (row,) = search.run(SearchConfig(embeddings=str(renamed), model=(retriever,), query=(title,), k=1))
    assert isinstance(row["score"], float)
    assert row["document_score"] in [abstract["title"] for abstract in abstracts]


def test_dates_and_times_are_text_in_json(
    embeddings: str, retriever: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dated = Path(shutil.copytree(embeddings, tmp_path / "dated"))
    for path in (dated / "shards").iterdir():
        table = pq.read_table(path)
        column = table.schema.get_field_index("title")
        pq.write_table(table.set_column(column, "day", pa.array([1] * table.num_rows, pa.date32())), path)
    search.run(SearchConfig(embeddings=str(dated), model=(retriever,), query=("fat",), k=1, json=True))
    assert json.loads(capsys.readouterr().out)["day"] == "1970-01-02"
