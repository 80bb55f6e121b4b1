"""Vectors and their blocks beside TF-IDF and BM25 on judgments made of the abstracts' own titles."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
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
            model=(retriever,),
            tokens=tokens,
            queries=str(queries),
            qrels=str(qrels),
            output=str(tmp_path / "figures.json"),
        )
    )
    systems = ["vectors", "context", "words", "tfidf", "bm25", "tfidf + vectors", "bm25 + vectors"]
    assert list(result["systems"]) == systems
    assert result["systems"]["bm25"]["ndcg@10"]["mean"] > 0.95
    assert result["systems"]["vectors"]["mrr@10"]["mean"] > 0.8
    assert result["num_queries"] == 50
    assert json.loads((tmp_path / "figures.json").read_text()) == result


def test_judgments_of_other_queries_are_refused(embeddings: str, retriever: str, tokens: str, tmp_path: Path) -> None:
    (tmp_path / "queries.jsonl").write_text('{"_id": "1", "text": "x"}\n')
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n2\t3\t1\n")
    config = EvaluateRetrievalConfig(
        embeddings=embeddings,
        model=(retriever,),
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


def test_queries_are_judged_apart_by_whether_training_had_a_pair_of_their_document(
    judge: Callable[..., int], abstracts: list[dict[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = [row["_id"] for row in abstracts[:3]]
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps({"query": "q", "document": "d", "doc_id": own}) + "\n" for own in ids[:2]))
    collection = [(row["_id"], row["title"]) for row in abstracts[:3]], [(own, own) for own in ids]
    figures = tmp_path / "figures.json"
    asked = (f"--output={figures}", "--overwrite", f"--pairs-file={pairs}")
    assert judge(*collection, *asked) == 0
    result = json.loads(figures.read_text())
    assert [result[part]["num_queries"] for part in ("in", "not in")] == [2, 1]
    for name, row in result["systems"].items():
        means = [result[part]["systems"][name]["ndcg@10"]["mean"] for part in ("in", "not in")]
        assert row["ndcg@10"]["mean"] == pytest.approx((2 * means[0] + means[1]) / 3)
    assert "2 queries whose document is in --pairs-file" in capsys.readouterr().out
    pairs.write_text(json.dumps({"query": "q", "document": "d", "doc_id": "elsewhere"}))
    assert judge(*collection, *asked) == 2
    assert "no doc_id of" in (told := capsys.readouterr().err)
    assert f"(such as 'elsewhere') is in the corpus (such as '{abstracts[0]['_id']}')" in told
    pairs.write_text(json.dumps({"query": "q", "document": "d"}))
    assert judge(*collection, *asked) == 2
    assert "1 of 1 pairs have no doc_id" in capsys.readouterr().err


@pytest.fixture
def titles(abstracts: list[dict[str, str]]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return the titles of 70 abstracts, more than are scored at once, and the judgment that each finds its own."""
    some = abstracts[::2][:70]
    return [(row["_id"], row["title"]) for row in some], [(row["_id"], row["_id"]) for row in some]


def test_differences_are_paired_with_a_system_of_choice_and_named_when_they_may_be_chance(
    judge: Callable[..., int],
    titles: tuple[list[tuple[str, str]], list[tuple[str, str]]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = [f"--output={tmp_path}/figures.json", f"--per-query={tmp_path}/queries.parquet"]
    assert judge(*titles, *files, "--against=tfidf", "--metrics", "mrr@10", "precision@1") == 0
    result = json.loads((tmp_path / "figures.json").read_text())
    rows = pq.read_table(tmp_path / "queries.parquet").to_pandas()
    assert list(rows.columns) == ["system", "query_id", "query", "mrr@10", "precision@1"]
    values = rows.pivot_table(index="query_id", columns="system", values="mrr@10")
    assert len(values) == 70
    differences = result["against"]["tfidf"]
    assert sorted(differences) == sorted(set(result["systems"]) - {"tfidf"})
    for name, difference in differences.items():
        own = values[name] - values["tfidf"]
        assert difference["mean"] == pytest.approx(own.mean())
        assert difference["standard_error"] == pytest.approx(own.sem())
        assert result["systems"][name]["mrr@10"]["mean"] == pytest.approx(values[name].mean())
    told = capsys.readouterr().out
    lines = {line.split("\u2502")[1].strip(): line for line in told.splitlines() if line.count("\u2502") == 4}
    for name, difference in differences.items():
        is_noise = abs(difference["mean"]) <= 2 * difference["standard_error"]
        assert ("within the noise" in lines[name]) == is_noise
    assert 0 < sum("within the noise" in line for line in lines.values()) < len(differences)


def test_runs_have_the_layout_of_trec_and_give_the_same_figures(
    judge: Callable[..., int], titles: tuple[list[tuple[str, str]], list[tuple[str, str]]], tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    assert judge(*titles, f"--runs={runs}", f"--per-query={tmp_path}/queries.parquet") == 0
    names = ["vectors", "context", "words", "tfidf", "bm25", "tfidf+vectors", "bm25+vectors"]
    assert sorted(path.name for path in runs.iterdir()) == sorted(f"{name}.run" for name in names)
    rows = pq.read_table(tmp_path / "queries.parquet").to_pylist()
    own = {row["query_id"]: row["mrr@10"] for row in rows if row["system"] == "bm25 + vectors"}
    results: dict[str, list[tuple[float, str]]] = {}
    for line in (runs / "bm25+vectors.run").read_text().splitlines():
        query, mark, document, rank, score, tag = line.split(" ")
        assert (mark, tag) == ("Q0", "bm25+vectors")
        results.setdefault(query, []).append((float(score), document))
        assert int(rank) == len(results[query])
    assert set(results) == set(own)
    for query, found in results.items():
        assert len(found) == 200
        assert found == sorted(found, key=lambda result: -result[0])
        rank = 1 + [document for _, document in found].index(query)
        assert own[query] == pytest.approx(1 / rank if rank <= 10 else 0)
    assert judge(*titles, f"--runs={runs}") == 2
    assert judge(*titles, f"--runs={runs}", "--overwrite") == 0


def test_a_run_file_cannot_hold_an_id_with_a_space(
    judge: Callable[..., int], abstracts: list[dict[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judged = [("a b", abstracts[0]["_id"])]
    assert judge([("a b", "fat")], judged, f"--runs={tmp_path}/runs") == 2
    assert "id 'a b' cannot stand in a run file" in capsys.readouterr().err


def test_other_constants_for_bm25_have_a_row_beside_the_usual_one(
    judge: Callable[..., int], titles: tuple[list[tuple[str, str]], list[tuple[str, str]]], tmp_path: Path
) -> None:
    figures = tmp_path / "figures.json"
    files = [f"--output={figures}", f"--runs={tmp_path}/runs"]
    assert judge(*titles, *files, "--bm25.k1=0", "--bm25.b=0", "--bm25.stop-words") == 0
    result = json.loads(figures.read_text())
    assert result["tuned bm25"] == {"k1": 0.0, "b": 0.0, "stop_words": True}
    assert list(result["systems"])[3:] == [
        *("tfidf", "bm25", "tuned bm25"),
        *("tfidf + vectors", "bm25 + vectors", "tuned bm25 + vectors"),
    ]
    usual, tuned = ((tmp_path / "runs" / f"{name}.run").read_text() for name in ("bm25", "tuned-bm25"))
    assert usual != tuned.replace("tuned-bm25", "bm25")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--metrics", "ndcg@10", "bleu@4"], "no metric 'bleu@4'"),
        (["--against", "bm52"], "--against bm52 is none of the systems: vectors, context, words, tfidf, bm25"),
    ],
)
def test_a_wrong_option_is_named(
    judge: Callable[..., int],
    abstracts: list[dict[str, str]],
    options: list[str],
    told: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert judge([("1", "fat")], [("1", abstracts[0]["_id"])], *options) == 2
    assert told in capsys.readouterr().err
