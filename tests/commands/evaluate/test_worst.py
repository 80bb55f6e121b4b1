"""The documents with the highest loss: which they are, and what is shown of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from classifiers import SENTIMENT

from ulmfit_ray.commands.evaluate import classifier as command
from ulmfit_ray.commands.evaluate.classifier import EvaluateClassifierConfig
from ulmfit_ray.document_classifier import DocumentClassifier
from ulmfit_ray.storage.token_dataset import TokenDataset


def labelled(tokens: str, column: str) -> list[dict[str, Any]]:
    rows = [row for table in TokenDataset(tokens).tables() for row in table.to_pylist()]
    return [row for row in rows if row[column] is not None]


def scores(model: str, rows: list[dict[str, Any]]) -> np.ndarray:
    documents = [np.array(row["tokens"], np.uint16) for row in rows]
    return DocumentClassifier.load(model, device="cpu").score_tokens(documents)


def worst(model: str, tokens: str, count: int) -> tuple[list[dict[str, Any]], dict[str, float]]:
    result = command.run(EvaluateClassifierConfig(model=(model,), tokens=tokens, worst=count))
    found: list[dict[str, Any]] = result["worst"]
    return found, result["systems"]["model"]


def test_all_documents_of_one_label_come_by_falling_loss_with_the_labels_probability(
    make_classifier: Any, test_tokens: str
) -> None:
    model, rows = make_classifier("label"), labelled(test_tokens, "label")
    found, figures = worst(model, test_tokens, 100)
    probabilities = {row["doc_id"]: own for row, own in zip(rows, scores(model, rows), strict=True)}
    labels = {row["doc_id"]: row["label"] for row in rows}
    assert sorted(row["doc_id"] for row in found) == sorted(labels)
    for row in found:
        own = probabilities[row["doc_id"]]
        assert row["label"] == labels[row["doc_id"]]
        assert row["prediction"] == SENTIMENT.labels[own.argmax()]
        assert row["probability"] == own[SENTIMENT.labels.index(row["label"])]
        assert row["loss"] == pytest.approx(-np.log(row["probability"]))
    losses = [row["loss"] for row in found]
    assert losses == sorted(losses, reverse=True)
    assert np.mean(losses) == pytest.approx(figures["log_loss"])
    assert worst(model, test_tokens, 3)[0] == found[:3]


def test_the_loss_of_several_labels_is_a_mean_over_them_and_that_of_a_number_a_square(
    make_classifier: Any, test_tokens: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found, figures = worst(make_classifier("topics"), test_tokens, 100)
    assert np.mean([row["loss"] for row in found]) == pytest.approx(figures["log_loss"])
    topics = {row["doc_id"]: row["topics"] for row in labelled(test_tokens, "topics")}
    assert {row["doc_id"]: sorted(row["label"]) for row in found} == {name: sorted(own) for name, own in topics.items()}
    assert all(isinstance(row["prediction"], list) and "probability" not in row for row in found)
    assert "label none, predicted " in capsys.readouterr().out

    found, figures = worst(make_classifier("rating"), test_tokens, 100)
    assert np.mean([row["loss"] for row in found]) ** 0.5 == pytest.approx(figures["rmse"])
    assert all(row["loss"] == (row["label"] - row["prediction"]) ** 2 for row in found)


def test_the_text_is_put_together_from_the_first_tokens(
    make_classifier: Any, test_tokens: str, abstracts: list[dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    found, _ = worst(make_classifier("label"), test_tokens, 5)
    texts = {row["_id"]: f"{row['title']} {row['text']}" for row in abstracts}
    shown = capsys.readouterr().out
    for row in found:
        words = row["text"].split()
        assert words.pop() == "..."
        assert 20 < len(words) <= 40
        # What a tokenizer cuts apart is not always put together again.
        common = set(words) & set(texts[row["doc_id"]].split()[:50])
        assert len(common) > 0.7 * len(set(words))
        assert f"\n    {row['text']}\n" in shown
        assert f"{row['doc_id']}: label {row['label']} ({row['probability']:.4f}), predicted neutral" in shown


def test_a_text_column_that_was_kept_is_shown_as_it_was(
    make_classifier: Any, write_tokens: Any, test_tables: list[pa.Table], tmp_path: Path
) -> None:
    titles = [f"Title  {number},\nand more" for number in range(3)]
    titles[1] = "x" * 500
    table = test_tables[0].append_column("title", pa.array(titles, pa.string()))
    found, _ = worst(make_classifier("label"), write_tokens(tmp_path, [table]), 3)
    texts = {row["doc_id"]: row["text"] for row in found}
    expected = ["Title 0, and more", f"{'x' * 240} ...", "Title 2, and more"]
    assert texts == dict(zip(table["doc_id"].to_pylist(), expected, strict=True))
