"""Figures of classifiers and of what stands beside them, against scikit-learn over the documents read one by one."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
from classifiers import SENTIMENT, TOPICS
from scipy import stats

from ulmfit_ray.commands.evaluate import classifier as command
from ulmfit_ray.commands.evaluate.classifier import EvaluateClassifierConfig
from ulmfit_ray.document_classifier import DocumentClassifier
from ulmfit_ray.evaluation.classification import calibration_error, majority_accuracy
from ulmfit_ray.evaluation.word_pairs import WordPairs
from ulmfit_ray.storage.token_dataset import TokenDataset

MakeClassifier = Any
MakePredictions = Any
SYSTEMS = ["forward", "backward", "mean of the models", "TF-IDF, words and pairs", "mean of both"]
DOCUMENTS = {"num_documents": 47, "unlabelled": 3, "baseline_documents": 141}


def rows_of(uri: str, column: str) -> list[dict[str, Any]]:
    """Return the documents that have a label, one by one."""
    rows = [row for table in TokenDataset(uri).tables() for row in table.to_pylist()]
    return [row for row in rows if row[column] is not None]


def ids_of(rows: list[dict[str, Any]]) -> list[np.ndarray]:
    return [np.array(row["tokens"], np.uint16) for row in rows]


def classes_of(rows: list[dict[str, Any]]) -> np.ndarray:
    return np.array([SENTIMENT.labels.index(row["label"]) for row in rows])


def topics_of(rows: list[dict[str, Any]]) -> np.ndarray:
    return np.array([[name in row["topics"] for name in TOPICS.labels] for row in rows]).astype(int)


def said(models: list[str], documents: list[np.ndarray], *beside: np.ndarray) -> dict[str, np.ndarray]:
    """Return what models say of documents, each alone and together, with word pairs and what is blind beside."""
    found = [DocumentClassifier.load(*own, device="cpu") for own in ([models[0]], [models[1]], models)]
    numbers = [classifier.score_tokens(documents) for classifier in found]
    pairs, *others = beside
    every = [*numbers, pairs, (numbers[-1].astype(float) + pairs) / 2, *others]
    names = [*SYSTEMS, "blind"]
    return dict(zip(names, every, strict=True))


def evaluated(models: list[str], tokens: str, **options: Any) -> dict[str, Any]:
    return command.run(EvaluateClassifierConfig(model=tuple(models), tokens=tokens, **options))


@pytest.fixture(scope="session")
def pair(make_classifier: MakeClassifier) -> Any:
    """Return a function that makes a classifier of each direction for a column."""

    def make(column: str) -> list[str]:
        forward = make_classifier(column, name="forward")
        return [forward, make_classifier(column, name="backward", direction="backward", weights=1)]

    return make


def test_figures_of_one_label_are_those_of_scikit_learn(
    pair: Any, train_tokens: str, test_tokens: str, tmp_path: Path
) -> None:
    models, test, train = pair("label"), rows_of(test_tokens, "label"), rows_of(train_tokens, "label")
    output = tmp_path / "figures.json"
    result = evaluated(models, test_tokens, output=str(output), worst=2)
    targets, learned = classes_of(test), classes_of(train)
    pairs = WordPairs.fit(ids_of(train), learned, objective="single-label", num_labels=3).probabilities(ids_of(test))
    frequent = np.tile(np.bincount(learned) / len(learned), (len(test), 1))
    expected = said(models, ids_of(test), pairs, frequent)
    expected["majority class"] = expected.pop("blind")
    assert list(result["systems"]) == list(expected)
    for name, probabilities in expected.items():
        figures, predicted = result["systems"][name], probabilities.argmax(1)
        accuracy = sklearn.metrics.accuracy_score(targets, predicted)
        assert figures["accuracy"] == pytest.approx(accuracy)
        assert figures["error"] == pytest.approx(1 - accuracy)
        assert figures["standard_error"] == pytest.approx((accuracy * (1 - accuracy) / len(test)) ** 0.5)
        assert figures["macro_f1"] == pytest.approx(sklearn.metrics.f1_score(targets, predicted, average="macro"))
        exact = probabilities / probabilities.sum(1, keepdims=True, dtype=float)
        assert figures["log_loss"] == pytest.approx(sklearn.metrics.log_loss(targets, exact))
        assert figures["calibration_error"] == pytest.approx(calibration_error(targets, probabilities))
    assert result["systems"]["majority class"]["accuracy"] == majority_accuracy(learned, targets)
    assert {name: result[name] for name in DOCUMENTS} == DOCUMENTS
    assert json.loads(output.read_text()) == result


def test_classes_and_lengths_have_those_of_the_mean_with_word_pairs_beside(
    pair: Any, train_tokens: str, test_tokens: str
) -> None:
    models, test, train = pair("label"), rows_of(test_tokens, "label"), rows_of(train_tokens, "label")
    result, targets = evaluated(models, test_tokens), classes_of(test)
    fitted = WordPairs.fit(ids_of(train), classes_of(train), objective="single-label", num_labels=3)
    expected = said(models, ids_of(test), fitted.probabilities(ids_of(test)), np.zeros(0))
    of_models, of_pairs = (expected[name].argmax(1) for name in ("mean of the models", "TF-IDF, words and pairs"))
    precision, recall, f1, count = sklearn.metrics.precision_recall_fscore_support(targets, of_models, zero_division=0)
    other = sklearn.metrics.f1_score(targets, of_pairs, average=None, zero_division=0)
    for place, row in enumerate(result["per_class"]):
        assert row["label"] == SENTIMENT.labels[place]
        numbers = [row[name] for name in ("count", "precision", "recall", "f1", "baseline_f1")]
        assert numbers == pytest.approx([each[place] for each in (count, precision, recall, f1, other)])
    assert sum(row["documents"] for row in result["by_length"]) == len(test)
    for row in result["by_length"]:
        own = [n for n, one in enumerate(test) if row["from"] <= len(one["tokens"]) <= (row["to"] or 10**9)]
        assert row["documents"] == len(own)
        assert row["accuracy"] == pytest.approx(np.mean(of_models[own] == targets[own]))
        assert row["baseline_accuracy"] == pytest.approx(np.mean(of_pairs[own] == targets[own]))


def test_figures_of_several_labels_are_those_of_scikit_learn_by_each_systems_thresholds(
    pair: Any, train_tokens: str, test_tokens: str
) -> None:
    models, test, train = pair("topics"), rows_of(test_tokens, "topics"), rows_of(train_tokens, "topics")
    result = evaluated(models, test_tokens)
    targets, learned = topics_of(test), topics_of(train)
    fitted = WordPairs.fit(ids_of(train), learned, objective="multi-label", num_labels=4)
    frequencies = np.tile(learned.mean(0), (len(test), 1))
    expected = said(models, ids_of(test), fitted.probabilities(ids_of(test)), frequencies)
    expected["majority of each label"] = expected.pop("blind")
    own = [np.array(DocumentClassifier.load(model, device="cpu").scheme.thresholds) for model in models]
    mean = (own[0] + own[1]) / 2
    thresholds = [*own, mean, fitted.thresholds, (mean + fitted.thresholds) / 2, np.full(4, 0.5)]
    assert list(result["systems"]) == list(expected)
    for (name, probabilities), limits in zip(expected.items(), thresholds, strict=True):
        figures, predicted = result["systems"][name], (probabilities >= limits).astype(int)
        assert figures["micro_f1"] == pytest.approx(
            sklearn.metrics.f1_score(targets, predicted, average="micro", zero_division=0)
        )
        assert figures["exact_match"] == pytest.approx(sklearn.metrics.accuracy_score(targets, predicted))
        ranking = sklearn.metrics.label_ranking_average_precision_score(targets, probabilities)
        assert figures["label_ranking_average_precision"] == pytest.approx(ranking)
    predicted = (expected["mean of the models"] >= mean).astype(int)
    f1 = sklearn.metrics.f1_score(targets, predicted, average=None, zero_division=0)
    assert [(row["label"], row["f1"]) for row in result["per_class"]] == [
        (name, pytest.approx(value)) for name, value in zip(TOPICS.labels, f1, strict=True)
    ]
    assert result["by_length"] == []


def test_figures_of_numbers_are_those_of_scikit_learn(pair: Any, train_tokens: str, test_tokens: str) -> None:
    models, test, train = pair("rating"), rows_of(test_tokens, "rating"), rows_of(train_tokens, "rating")
    result = evaluated(models, test_tokens)
    targets, learned = (np.array([row["rating"] for row in rows]) for rows in (test, train))
    fitted = WordPairs.fit(ids_of(train), learned, objective="regression", num_labels=0)
    mean = np.full((len(test), 1), learned.mean())
    expected = said(models, ids_of(test), fitted.numbers(ids_of(test))[:, None], mean)
    expected["mean of training"] = expected.pop("blind")
    assert list(result["systems"]) == list(expected)
    for name, numbers in expected.items():
        figures, predicted = result["systems"][name], numbers[:, 0]
        assert figures["rmse"] == pytest.approx(sklearn.metrics.root_mean_squared_error(targets, predicted))
        assert figures["mae"] == pytest.approx(sklearn.metrics.mean_absolute_error(targets, predicted))
        assert figures["r2"] == pytest.approx(sklearn.metrics.r2_score(targets, predicted))
        if np.ptp(predicted):
            assert figures["spearman"] == pytest.approx(stats.spearmanr(targets, predicted).statistic)
        else:
            assert "spearman" not in figures
    assert (result["per_class"], result["by_length"]) == ([], [])


@pytest.mark.parametrize("column", ["label", "topics", "rating"])
def test_predictions_have_the_figures_of_the_models_that_made_them(
    column: str, pair: Any, test_tokens: str, make_test_predictions: MakePredictions
) -> None:
    models = pair(column)
    of_models = evaluated(models, test_tokens)
    of_predictions = command.run(EvaluateClassifierConfig(predictions=make_test_predictions(*models), label=column))
    for name in models:
        del of_models["systems"][Path(name).name]
    of_models["systems"]["predictions"] = of_models["systems"].pop("mean of the models")
    assert of_predictions == of_models


def test_a_model_alone_has_no_mean_and_models_of_one_name_are_told_apart(
    make_classifier: MakeClassifier, test_tokens: str
) -> None:
    models = [make_classifier("label", weights=seed) for seed in range(2)]
    alone, both = evaluated(models[:1], test_tokens), evaluated(models, test_tokens)
    beside = ["TF-IDF, words and pairs", "mean of both", "majority class"]
    assert list(alone["systems"]) == ["model", *beside]
    names = ["/".join(Path(model).parts[-2:]) for model in models]
    assert list(both["systems"]) == [*names, "mean of the models", *beside]
    assert both["systems"][names[0]] == alone["systems"]["model"]


def test_what_is_taken_for_what_is_written_as_a_table_and_as_a_picture(
    make_classifier: MakeClassifier, test_tokens: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, test = make_classifier("label"), rows_of(test_tokens, "label")
    evaluated([model], test_tokens, confusion=str(tmp_path / "new/confusion"))
    predicted = DocumentClassifier.load(model, device="cpu").score_tokens(ids_of(test)).argmax(1)
    counts = sklearn.metrics.confusion_matrix(classes_of(test), predicted, labels=range(3))
    with open(tmp_path / "new/confusion.csv") as file:
        header, *rows = csv.reader(file)
    assert header == ["true class", *SENTIMENT.labels]
    assert [row[0] for row in rows] == list(SENTIMENT.labels)
    assert [[int(cell) for cell in row[1:]] for row in rows] == counts.tolist()
    assert (tmp_path / "new/confusion.png").read_bytes().startswith(b"\x89PNG")
    assert f"{tmp_path}/new/confusion.csv and {tmp_path}/new/confusion.png" in capsys.readouterr().out


def test_the_tables_show_every_system_label_and_length(
    pair: Any, test_tokens: str, capsys: pytest.CaptureFixture[str]
) -> None:
    result = evaluated(pair("label"), test_tokens)
    shown = capsys.readouterr().out
    assert "47 documents, 3 without a label left out" in shown
    for name, figures in result["systems"].items():
        line = next(line for line in shown.splitlines() if f" {name} " in line and "log loss" not in line)
        assert f" {figures['accuracy']:.4f} " in line
        assert f" {figures['log_loss']:.4f} " in line
    for row in result["per_class"]:
        assert any(f" {row['label']} " in line and f" {row['f1']:.4f} " in line for line in shown.splitlines())
    assert " 401 to 1,000 " in shown
    assert " over 1,000 " in shown
