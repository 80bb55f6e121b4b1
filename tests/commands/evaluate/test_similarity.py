"""Cosines of pairs of sentences beside people's scores."""

import json
from pathlib import Path

import numpy as np
import pytest

from ulmfit_ray.cli import main
from ulmfit_ray.document_encoder import DocumentEncoder
from ulmfit_ray.evaluation.similarity import spearman
from ulmfit_ray.retrieval.search import normalize_rows


@pytest.fixture
def pairs(abstracts: list[dict[str, str]], tmp_path: Path) -> Path:
    """Titles beside their own abstract's first words (score 5) and beside another's (1), as tsv."""
    rows = []
    for number, row in enumerate(abstracts[:40]):
        other = abstracts[(number + 7) % 40]
        rows += [(5, row["title"], row["text"][:150]), (1, row["title"], other["text"][:150])]
    path = tmp_path / "pairs.tsv"
    lines = ("\t".join(str(cell).replace("\t", " ").replace("\n", " ") for cell in row) + "\n" for row in rows)
    path.write_text("".join(lines))
    return path


def test_every_block_and_means_of_word_vectors_stand_beside_the_vectors(
    retriever: str, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = ["--no-header", "--text-columns", "1", "2", "--score-column", "0"]
    figures = tmp_path / "figures.json"
    command = ["evaluate", "similarity", f"--model={retriever}", f"--input={pairs}", *columns, f"--output={figures}"]
    assert main(command) == 0
    result = json.loads(figures.read_text())
    assert result["num_pairs"] == 80
    means = ["mean of word vectors", "idf-weighted mean of word vectors"]
    assert list(result["spearman"]) == ["vectors", "context", "words", *means]
    assert f"{result['spearman']['vectors']['mean']:.3f} ±" in capsys.readouterr().out
    encoder = DocumentEncoder.load(retriever, "cpu")
    rows = [line.split("\t") for line in pairs.read_text().splitlines()]
    scores, idf = np.array([float(row[0]) for row in rows]), encoder.vocab.idf()
    one_by_one = []
    for _, *texts in rows:
        first, second = (normalize_rows(encoder.encode([text]))[0] for text in texts)
        one_by_one.append(float(first @ second))
    assert result["spearman"]["vectors"]["mean"] == pytest.approx(spearman(scores, np.array(one_by_one)).mean, abs=1e-4)
    weighted = []
    for _, *texts in rows:
        sums = []
        for ids in encoder.numericalize(texts):
            total = sum(idf[word] * encoder.model.word_vectors[word].detach().numpy() for word in ids)
            sums.append(total / np.linalg.norm(total))
        weighted.append(float(sums[0] @ sums[1]))
    expected = spearman(scores, np.array(weighted)).mean
    assert result["spearman"][means[1]]["mean"] == pytest.approx(expected, abs=1e-4)


def test_a_column_that_is_missing_ends_with_two_and_its_name(
    retriever: str, pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "similarity", f"--model={retriever}", f"--input={pairs}"]) == 2
    assert "--input: column 'sentence1' does not exist" in capsys.readouterr().err
