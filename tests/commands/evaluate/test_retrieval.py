"""Vectors and their blocks beside TF-IDF and BM25 on judgments made of the abstracts' own titles."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ulmfit_ray.cli import main
from ulmfit_ray.commands.evaluate import retrieval
from ulmfit_ray.commands.evaluate.retrieval import EvaluateRetrievalConfig
from ulmfit_ray.config import ConfigError


def test_evaluation_scores_every_block_beside_tfidf_and_bm25(
    embeddings: str, retriever: str, tokens: str, abstracts: list[dict[str, str]], tmp_path: Path
) -> None:
    queries, qrels = tmp_path / "queries.jsonl", tmp_path / "qrels.tsv"
    queries.write_text("".join(json.dumps({"_id": row["_id"], "text": row["title"]}) + "\n" for row in abstracts))
    lines = [f"{row['_id']}\t{row['_id']}\t1\n" for row in abstracts[:50]]
    qrels.write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    result = retrieval.run(
        EvaluateRetrievalConfig(
            embeddings=embeddings,
            model=retriever,
            tokens=tokens,
            queries=str(queries),
            qrels=str(qrels),
            output=str(tmp_path / "figures.json"),
        )
    )
    assert list(result) == ["vectors", "context", "words", "tfidf", "bm25", "bm25 + vectors"]
    assert result["bm25"]["ndcg@10"]["mean"] > 0.95
    assert result["vectors"]["mrr@10"]["mean"] > 0.8
    assert json.loads((tmp_path / "figures.json").read_text()) == {"num_queries": 50, "systems": result}


def test_judgments_of_other_queries_are_refused(embeddings: str, retriever: str, tokens: str, tmp_path: Path) -> None:
    (tmp_path / "queries.jsonl").write_text('{"_id": "1", "text": "x"}\n')
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n2\t3\t1\n")
    config = EvaluateRetrievalConfig(
        embeddings=embeddings,
        model=retriever,
        tokens=tokens,
        queries=str(tmp_path / "queries.jsonl"),
        qrels=str(tmp_path / "qrels.tsv"),
    )
    with pytest.raises(ConfigError, match=r"no query of .*queries\.jsonl is judged in .*qrels\.tsv"):
        retrieval.run(config)


@pytest.fixture
def judge(embeddings: str, retriever: str, tokens: str, tmp_path: Path) -> Callable[..., int]:
    """Return a function that evaluates queries [(id, text)] and judgments [(query, document)] from the command line."""

    def run(queries: list[tuple[str, str]], qrels: list[tuple[str, str]], *options: str) -> int:
        lines = [json.dumps({"_id": query_id, "text": text}) for query_id, text in queries]
        (tmp_path / "queries.jsonl").write_text("\n".join(lines))
        (tmp_path / "qrels.tsv").write_text("".join(f"{query_id}\t{doc_id}\t1\n" for query_id, doc_id in qrels))
        data = [f"--embeddings={embeddings}", f"--model={retriever}", f"--tokens={tokens}"]
        judged = [f"--queries={tmp_path}/queries.jsonl", f"--qrels={tmp_path}/qrels.tsv"]
        return main(["evaluate", "retrieval", *data, *judged, *options])

    return run


def test_judgments_of_other_documents_are_refused_with_an_id_of_each_side(
    judge: Callable[..., int], abstracts: list[dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert judge([("1", "fat")], [("1", "corpus.jsonl#17"), ("1", "corpus.jsonl#90")]) == 2
    told = capsys.readouterr().err
    assert "(such as 'corpus.jsonl#17')" in told
    assert f"(such as '{abstracts[0]['_id']}')" in told
    assert "--id-column" in told
    assert len(told.splitlines()) == 2


def test_judged_documents_that_are_missing_are_counted_in_one_line(
    judge: Callable[..., int], abstracts: list[dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    known = abstracts[3]["_id"]
    assert (
        judge([("1", "fat"), ("2", "x")], [("1", known), ("1", "gone"), ("2", "gone"), ("2", "lost"), ("9", "z")]) == 0
    )
    assert "2 of 3 judged documents are not in the corpus: no system can find them" in capsys.readouterr().out
    assert judge([("1", "fat")], [("1", known)]) == 0
    assert "not in the corpus" not in capsys.readouterr().out


def test_queries_of_one_id_are_refused_with_the_id(
    judge: Callable[..., int], abstracts: list[dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert judge([("1", "fat"), ("1", "insulin")], [("1", abstracts[0]["_id"])]) == 2
    assert "query id '1' stands in line 1 too" in capsys.readouterr().err


def test_queries_without_a_known_word_are_counted_in_one_line(
    judge: Callable[..., int], abstracts: list[dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    judged = [(query_id, abstracts[0]["_id"]) for query_id in "123"]
    assert judge([("1", "fat"), ("2", ""), ("3", "Qwertzuiop")], judged) == 0
    assert "2 of 3 queries have no word that the model knows" in capsys.readouterr().out
    assert judge([("1", "fat")], judged) == 0
    assert "no word that the model knows" not in capsys.readouterr().out


def test_figures_of_an_earlier_run_are_replaced_only_when_asked(
    judge: Callable[..., int], abstracts: list[dict[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "figures.json"
    figures.write_text("mine")
    collection = [("1", "fat")], [("1", abstracts[0]["_id"])]
    assert judge(*collection, f"--output={figures}") == 2
    captured = capsys.readouterr()
    assert f"--output {figures} is there already" in captured.err
    assert (captured.out, figures.read_text()) == ("", "mine")
    assert judge(*collection, f"--output={figures}", "--overwrite") == 0
    assert json.loads(figures.read_text())["num_queries"] == 1
