"""Queries against the vectors of real abstracts: what is found, shown, written and refused."""

import json
from pathlib import Path

import pytest

from ulmfit_ray.commands import search
from ulmfit_ray.commands.search import SearchConfig


def test_a_title_finds_its_own_article(embeddings: str, retriever: str, abstracts: list[dict[str, str]]) -> None:
    titles = tuple(row["title"] for row in abstracts[::20])
    rows = search.run(SearchConfig(embeddings=embeddings, model=retriever, query=titles, k=1))
    own = [row["_id"] for row in abstracts[::20]]
    assert sum(row["doc_id"] == doc_id for row, doc_id in zip(rows, own, strict=True)) >= 8
    assert rows[0]["title"] in titles


def test_brackets_in_titles_and_queries_are_shown_as_they_are(
    embeddings: str, retriever: str, capsys: pytest.CaptureFixture[str]
) -> None:
    search.run(SearchConfig(embeddings=embeddings, model=retriever, query=("binding of [/i] [carbonyl-11C]WAY",), k=1))
    assert "binding of [/i] [carbonyl-11C]WAY" in capsys.readouterr().out


def test_more_hits_than_documents_are_all_documents(embeddings: str, retriever: str) -> None:
    rows = search.run(SearchConfig(embeddings=embeddings, model=retriever, query=("",), k=1000))
    assert len({row["doc_id"] for row in rows}) == 200


def test_hits_are_written_to_a_file_when_asked(embeddings: str, retriever: str, tmp_path: Path) -> None:
    (tmp_path / "queries.txt").write_text("brown fat in mice\ninsulin\n")
    config = SearchConfig(
        embeddings=embeddings,
        model=retriever,
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
        search.run(SearchConfig(embeddings=embeddings, model=language_model, query=("x",)))
