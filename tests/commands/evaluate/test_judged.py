"""Which documents models are judged by and the baseline learns from, and what is refused."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from classifiers import SENTIMENT, TOPICS

from ulmfit_ray.cli import main
from ulmfit_ray.commands.evaluate import classifier as command
from ulmfit_ray.commands.evaluate.classifier import EvaluateClassifierConfig
from ulmfit_ray.commands.evaluate.judged import judged_models, training_documents
from ulmfit_ray.commands.shards import DamagedError
from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.streams.examples import Examples
from ulmfit_ray.streams.selection import is_held_out

BASELINE = "TF-IDF, words and pairs"


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a function that runs the command, which must refuse, and gives what it says."""

    def run(*arguments: str) -> str:
        capsys.readouterr()
        assert main(["evaluate", "classifier", *arguments]) == 2
        said = capsys.readouterr().err
        assert len(said.splitlines()) <= 2
        return said

    return run


def names_of(examples: Examples) -> list[str]:
    return [name for part in examples.doc_ids() for name in part.to_pylist()]


def learned_from(model: str, tokens: str, *more: Any) -> list[str]:
    """Return the ids of the documents that the baseline learns from."""
    return names_of(training_documents(judged_models([model], tokens), *(more or (None, None, None))))


def test_the_baseline_learns_from_what_the_model_learned_from_without_held_out_documents(
    make_classifier: Any, train_tokens: str, test_tokens: str
) -> None:
    table = pa.concat_tables(TokenDataset(train_tokens).tables())
    labelled = table.filter(table["label"].is_valid())
    kept = labelled.filter(pa.array(~is_held_out(labelled["doc_id"], 0.3, 5)))["doc_id"].to_pylist()
    every = labelled["doc_id"].to_pylist()
    assert learned_from(make_classifier("label", valid_fraction=0.3, seed=5), test_tokens) == kept
    assert 80 < len(kept) < 120
    # Where other documents were there to validate on, none was held out.
    assert learned_from(make_classifier("label", valid="gone", valid_fraction=0.3), test_tokens) == every
    few = learned_from(make_classifier("label", labelled_documents=30), test_tokens)
    labels = dict(zip(every, labelled["label"].to_pylist(), strict=True))
    assert sorted(np.unique([labels[name] for name in few], return_counts=True)[1].tolist()) == [10, 10, 10]


def test_the_baseline_learns_from_named_documents_by_the_column_that_is_judged(
    make_classifier: Any, test_tokens: str, write_tokens: Any, labelled_tables: list[pa.Table], tmp_path: Path
) -> None:
    other = write_tokens(tmp_path / "other", [labelled_tables[0].rename_columns({"label": "mood"})])
    found = learned_from(make_classifier("label"), test_tokens, "mood", None, other)
    assert len(found) == 47
    assert set(found) < set(labelled_tables[0]["doc_id"].to_pylist())


def test_a_column_of_another_name_is_judged_by_while_the_baseline_learns_from_the_models(
    make_classifier: Any, test_tokens: str, test_tables: list[pa.Table], write_tokens: Any, tmp_path: Path
) -> None:
    renamed = write_tokens(tmp_path, [table.rename_columns({"label": "mood"}) for table in test_tables])
    config = EvaluateClassifierConfig(model=(make_classifier("label"),), tokens=renamed, label="mood")
    assert command.run(config) == command.run(replace(config, tokens=test_tokens, label=None))


def test_labels_in_one_text_are_cut_as_in_training(
    make_classifier: Any, test_tables: list[pa.Table], write_tokens: Any, tmp_path: Path, test_tokens: str
) -> None:
    joined = []
    for table in test_tables:
        texts = [None if own is None else " | ".join(own) for own in table["topics"].to_pylist()]
        place = table.schema.get_field_index("topics")
        joined.append(table.set_column(place, "topics", pa.array(texts, pa.string())))
    tokens = write_tokens(tmp_path / "joined", joined)
    model = make_classifier("topics")
    config = EvaluateClassifierConfig(model=(model,), tokens=tokens, label_separator="|", train_tokens=tokens)
    lists = replace(config, tokens=test_tokens, train_tokens=test_tokens, label_separator=None)
    assert command.run(config) == command.run(lists)


def test_that_documents_were_learned_from_is_said(
    make_classifier: Any, train_tokens: str, test_tokens: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make_classifier("label")
    command.run(EvaluateClassifierConfig(model=(model,), tokens=train_tokens))
    assert "note: among these documents are those of the training" in capsys.readouterr().out
    command.run(EvaluateClassifierConfig(model=(model,), tokens=test_tokens))
    said = capsys.readouterr().out
    assert "note:" not in said
    assert f"the baseline learns from 141 documents of {train_tokens}" in said


def test_predictions_whose_model_is_gone_need_a_column_and_training_documents(
    make_classifier: Any, make_test_predictions: Any, train_tokens: str, tmp_path: Path, refused: Callable[..., str]
) -> None:
    model = shutil.copytree(make_classifier("label"), tmp_path / "model")
    predictions = make_test_predictions(str(model))
    known = command.run(EvaluateClassifierConfig(predictions=predictions))
    model.rename(tmp_path / "elsewhere")
    assert "--label must name the column" in refused("--predictions", predictions)
    said = refused("--predictions", predictions, "--label", "label")
    assert "how the model was trained is not known: name documents that the baseline learns from with" in said
    config = EvaluateClassifierConfig(predictions=predictions, label="label", train_tokens=train_tokens)
    assert command.run(config) == known
    # Another model lies where the first one was.
    shutil.copytree(make_classifier("label", weights=3), model)
    assert "how the model was trained is not known" in refused("--predictions", predictions, "--label", "label")


def test_predictions_need_the_tokens_they_were_made_from(
    make_classifier: Any, make_test_predictions: Any, train_tokens: str, test_tokens: str, tmp_path: Path,
    refused: Callable[..., str],
) -> None:  # fmt: skip
    predictions = make_test_predictions(make_classifier("label"))
    said = refused("--predictions", predictions, "--tokens", train_tokens)
    assert f"{predictions} was not made from {train_tokens}: their documents differ" in said
    config = Path(predictions, "config.json")
    content = json.loads(config.read_text())
    content["job"]["input"] = [str(tmp_path / "gone")]
    config.write_text(json.dumps(content))
    said = refused("--predictions", predictions)
    assert f"the tokens behind {predictions} are not there ({tmp_path}/gone is not an output" in said
    assert "name them with --tokens" in said
    del content["job"]["inputs"]["tokens"]
    config.write_text(json.dumps(content))
    assert f"are not there ({predictions} was made from raw text)" in refused("--predictions", predictions)
    assert f"{tmp_path}/away is not an output" in refused("--predictions", predictions, "--tokens", f"{tmp_path}/away")
    found = command.run(EvaluateClassifierConfig(predictions=predictions, tokens=test_tokens))
    assert found["num_documents"] == 47


def test_models_that_cannot_be_judged_are_refused(
    make_classifier: Any, language_model: str, test_tokens: str, test_tables: list[pa.Table], write_tokens: Any,
    tmp_path: Path, refused: Callable[..., str],
) -> None:  # fmt: skip
    model = make_classifier("label")
    assert "is no classifier, but of kind lm" in refused("--model", language_model, "--tokens", test_tokens)
    other = make_classifier("label", head=replace(SENTIMENT, labels=("neg", "pos", "neutral")))
    assert "label 1 is 'neutral' in the first and 'pos'" in refused("--model", model, other, "--tokens", test_tokens)
    foreign = write_tokens(tmp_path / "foreign", test_tables, vocab="f" * 64)
    assert "does not fit model" in refused("--model", model, "--tokens", foreign)
    said = refused("--model", model, "--tokens", test_tokens, "--train-tokens", foreign)
    assert "name tokens of the same vocabulary with --train-tokens" in said


def test_labels_that_cannot_be_judged_by_are_refused(
    make_classifier: Any, test_tokens: str, test_tables: list[pa.Table], write_tokens: Any, tmp_path: Path,
    refused: Callable[..., str],
) -> None:  # fmt: skip
    model = make_classifier("label")
    said = refused("--model", model, "--tokens", test_tokens, "--label", "mood")
    assert f"{test_tokens} has no kept column 'mood' (it has label, topics, rating)" in said
    assert "tokenize again with --keep-columns mood" in said
    binary = make_classifier("label", head=replace(SENTIMENT, labels=("neg", "pos")))
    said = refused("--model", binary, "--tokens", test_tokens)
    assert "label 'neutral' of document " in said
    assert "is not one of the 2 labels: neg, pos" in said
    unlabelled = write_tokens(tmp_path / "unlabelled", [test_tables[1]])
    said = refused("--model", model, "--tokens", unlabelled)
    assert f"no document of {unlabelled} has a label in column 'label'" in said
    said = refused("--model", model, "--tokens", test_tokens, "--train-tokens", unlabelled)
    assert f"{unlabelled} has 0 labelled documents: the baseline needs two" in said
    empty = pa.array([[] if row == 1 else [2, 9] for row in range(3)], pa.list_(pa.uint16()))
    table = test_tables[0].set_column(test_tables[0].schema.get_field_index("tokens"), "tokens", empty)
    said = refused("--model", model, "--tokens", write_tokens(tmp_path / "empty", [table]))
    assert f"document {table['doc_id'][1].as_py()!r} of {tmp_path}/empty/tokens has a label, but no tokens" in said


def test_a_model_whose_training_is_not_known_needs_training_documents(
    make_classifier: Any, train_tokens: str, test_tokens: str, tmp_path: Path, refused: Callable[..., str]
) -> None:
    imported = ["--model", make_classifier("label", trained=False), "--tokens", test_tokens]
    assert "--label must name the column" in refused(*imported)
    assert "learns from with --train-tokens" in refused(*imported, "--label", "label")
    assert main(["evaluate", "classifier", *imported, "--label", "label", "--train-tokens", train_tokens]) == 0
    moved = make_classifier("label", tokens=str(tmp_path / "gone"))
    said = refused("--model", moved, "--tokens", test_tokens)
    assert "the documents of the model's training cannot be read" in said
    assert "learns from with --train-tokens" in said
    changed = make_classifier("label", tokens=test_tokens)
    said = refused("--model", changed, "--tokens", test_tokens)
    assert f"{test_tokens} has changed since the model was trained on it" in said


def test_a_damaged_shard_is_named(make_classifier: Any, test_tokens: str, tmp_path: Path) -> None:
    tokens = shutil.copytree(test_tokens, tmp_path / "tokens")
    (tokens / "shards/part-0000002.arrow").unlink()
    with pytest.raises(DamagedError, match=r"part-0000002\.arrow .* is missing"):
        command.run(EvaluateClassifierConfig(model=(make_classifier("label"),), tokens=str(tokens)))


def test_options_that_do_not_fit_are_refused_before_anything_is_read(
    refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "either --model and --tokens, or --predictions" in refused()
    assert "either --model and --tokens, or --predictions" in refused("--model", "m", "--predictions", "p")
    assert "--model needs --tokens" in refused("--model", "m")
    assert "--model names the same directory twice" in refused("--model", "m", "m", "--tokens", "t")
    assert "--worst must not be negative" in refused("--predictions", "p", "--worst", "-1")
    for name in ("figures.json", "confusion.png"):
        (tmp_path / name).write_text("mine")
    given = ["--predictions", "p"]
    assert "--output" in refused(*given, "--output", str(tmp_path / "figures.json"))
    said = refused(*given, "--confusion", str(tmp_path / "confusion"))
    assert f"--confusion {tmp_path}/confusion.png is there already" in said
    assert "p is not an output" in refused(*given, "--confusion", str(tmp_path / "confusion"), "--overwrite")
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert "pip install 'ulmfit-ray[evaluate]'" in refused(*given)


def test_a_confusion_matrix_of_several_labels_is_refused(
    make_classifier: Any, test_tokens: str, tmp_path: Path, refused: Callable[..., str]
) -> None:
    model = make_classifier("topics", head=TOPICS)
    said = refused("--model", model, "--tokens", test_tokens, "--confusion", str(tmp_path / "confusion"))
    assert "--confusion is for one label each, and what is measured is multi-label" in said
