"""Vectors and their blocks beside TF-IDF and BM25 on judgments made of the abstracts' own titles."""

import json
from pathlib import Path

import pytest

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
