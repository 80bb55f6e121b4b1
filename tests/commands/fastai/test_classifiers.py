"""A classifier of fastai, from its two files to logits, and back to files."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile import Hostile
from torch import Tensor

from ulmfit_ray.cli import main
from ulmfit_ray.encoding.encoder import TokenEncoder
from ulmfit_ray.model.classifier import Classifier, Scorer
from ulmfit_ray.model.description import ClassifierHead, Reading
from ulmfit_ray.model.files import load_model, save_tensors
from ulmfit_ray.storage.model_directory import ModelDirectory

GOLDEN = Path(__file__).parents[2] / "golden"
WORDS: list[str] = pickle.loads((GOLDEN / "fastai_model.pkl").read_bytes())
STATE: dict[str, Tensor] = torch.load(GOLDEN / "fastai_classifier.pth", weights_only=True)
EXPECTED = json.loads((GOLDEN / "fastai_classifier.json").read_text())


def imported(output: Path, *options: str, weights: str = "fastai_classifier.pth") -> int:
    files = ["--weights", str(GOLDEN / weights), "--itos", str(GOLDEN / "fastai_model.pkl")]
    return main(["import-fastai", *files, "--output", str(output), *options])


def loaded(directory: ModelDirectory) -> Classifier:
    with directory.weights() as weights:
        model = load_model(directory.description, weights, torch.device("cpu"))
    assert isinstance(model, Classifier)
    return model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden classifier, imported as a person does it."""
    output = tmp_path_factory.mktemp("imported") / "classifier"
    assert imported(output, "--labels", "neg", "so-so", "pos") == 0
    return output


def test_an_imported_classifier_is_a_model_directory_that_says_what_it_is(model: Path) -> None:
    directory = ModelDirectory(str(model))
    assert directory.vocab["tokens"] == WORDS[:50]
    assert directory.description.kind == "classifier"
    assert (directory.description.pooling, directory.description.dimension) == ("concat", 48)
    assert directory.description.head == ClassifierHead(
        objective="single-label", labels=("neg", "so-so", "pos"), hidden_sizes=(10,), norm="batch", has_bias=False
    )
    assert directory.manifest.figures == {
        "num_words": 50,
        "num_parameters": 64 * 16 + 96 * 42 + 64 * 42 + 2 * 48 + 48 * 10 + 2 * 10 + 10 * 3,
        "words_with_mean_row": 0,
        "fake_words": 6,
        "objective": "single-label",
        "num_outputs": 3,
    }
    assert main(["verify", str(model)]) == 0
    assert main(["inspect", str(model)]) == 0


def test_the_imported_classifiers_probabilities_are_those_of_fastai(model: Path) -> None:
    classifier = loaded(ModelDirectory(str(model)))
    lengths = [1, 72, 500, 1440]
    vectors = TokenEncoder(classifier, Reading(pooling="concat")).encode(
        [np.array(EXPECTED["ids"][:n]) for n in lengths]
    )
    expected = torch.tensor([EXPECTED["alone"][str(length)] for length in lengths]).softmax(1)
    np.testing.assert_allclose(Scorer(classifier)(vectors).probabilities, expected.numpy(), atol=1e-6)


def test_the_card_says_where_whole_documents_differ_from_fastais_batches(model: Path) -> None:
    card = (model / "README.md").read_text()
    assert "Objective: single-label. Labels: `neg`, `so-so`, `pos`." in card
    assert "hidden layers: 10; linear layers without biases" in card
    assert "for longer documents: here the whole document is pooled" in card
    assert "for documents in a batch: here they are the same in any company" in card
    assert "DocumentClassifier.load" in card
    assert "y_range" not in card


def test_labels_are_numbers_where_none_are_given(tmp_path: Path) -> None:
    assert imported(tmp_path / "model", "--objective", "multi-label") == 0
    head = ModelDirectory(str(tmp_path / "model")).description.head
    assert head == ClassifierHead(objective="multi-label", labels=("0", "1", "2"), hidden_sizes=(10,))


def test_a_classifier_with_one_output_comes_in_as_a_regression_and_goes_out_again(tmp_path: Path) -> None:
    state = STATE | {"1.layers.1.2.weight": STATE["1.layers.1.2.weight"][:1]}
    torch.save({"model": state, "opt": {"state": []}}, tmp_path / "one.pth")
    assert imported(tmp_path / "model", "--objective", "regression", weights=str(tmp_path / "one.pth")) == 0
    directory = ModelDirectory(str(tmp_path / "model"))
    assert directory.description.head == ClassifierHead(objective="regression", hidden_sizes=(10,))
    assert "y_range" in (tmp_path / "model/README.md").read_text()
    out = tmp_path / "exported"
    assert main(["export-fastai", "--model", str(tmp_path / "model"), "--output", str(out)]) == 0
    found = torch.load(out / "model.pth", weights_only=True)
    assert all(torch.equal(found[name], value) for name, value in state.items())
    assert json.loads((out / "labels.json").read_text()) == []


def test_what_is_exported_are_the_files_that_were_imported(model: Path, tmp_path: Path) -> None:
    assert main(["export-fastai", "--model", str(model), "--output", str(tmp_path)]) == 0
    found = torch.load(tmp_path / "model.pth", weights_only=True)
    assert list(found) == list(STATE)
    assert all(torch.equal(found[name], value) for name, value in STATE.items())
    encoder = torch.load(tmp_path / "encoder.pth", weights_only=True)
    assert list(encoder) == [name.removeprefix("0.module.") for name in STATE if name.startswith("0.")]
    assert pickle.loads((tmp_path / "vocab.pkl").read_bytes()) == WORDS
    assert json.loads((tmp_path / "labels.json").read_text()) == ["neg", "so-so", "pos"]


def test_thresholds_that_fastai_has_no_place_for_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert imported(tmp_path / "model", "--objective", "multi-label") == 0
    export = ["export-fastai", "--model", str(tmp_path / "model"), "--output", str(tmp_path / "out"), "--overwrite"]
    assert main(export) == 0
    assert "not exported" not in capsys.readouterr().out
    classifier = loaded(ModelDirectory(str(tmp_path / "model")))
    classifier.thresholds[1] = 0.3
    save_tensors(classifier.state_dict(), tmp_path / "model/model.safetensors")
    assert main(export) == 0
    assert "not exported: fastai has one for all labels, 0.5" in capsys.readouterr().out


def test_a_head_with_biases_comes_in_and_is_told_that_it_cannot_go_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # fastai 1: the same in one row.
    rows = {"0.0": "0", "0.2": "2", "1.0": "4", "1.2": "6"}
    own = [name for name in STATE if name.startswith("1.layers")]
    head = {f"1.layers.{rows[name[9:12]]}.{name[13:]}": STATE[name] for name in own}
    biases = {"1.layers.2.bias": torch.ones(10), "1.layers.6.bias": torch.ones(3)}
    encoder = {name: value for name, value in STATE.items() if name.startswith("0.")}
    torch.save(encoder | head | biases, tmp_path / "v1.pth")
    assert imported(tmp_path / "model", weights=str(tmp_path / "v1.pth")) == 0
    description = ModelDirectory(str(tmp_path / "model")).description
    assert description.head == ClassifierHead(
        objective="single-label", labels=("0", "1", "2"), hidden_sizes=(10,), has_bias=True
    )
    assert "linear layers with biases" in (tmp_path / "model/README.md").read_text()
    command = ["export-fastai", "--model", str(tmp_path / "model"), "--output", str(tmp_path / "out")]
    assert main(command) == 2
    assert "the linear layers of its head have biases, and those of fastai 2 have none" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--labels", "neg", "pos"], "--labels has 2 names, and the classifier has 3 outputs"),
        (["--labels", "neg", "pos", "neg"], "--labels has 'neg' twice: each output needs a name of its own"),
        (["--objective", "regression"], "--objective regression needs one output, and the classifier has 3"),
    ],
)
def test_options_that_do_not_fit_the_head_are_told_in_a_line_and_leave_nothing(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert imported(tmp_path / "model", *options) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            [],
            "single-label needs two outputs or more, and the classifier has 1: use --objective regression",
        ),
        (["--objective", "regression", "--labels", "stars"], "--labels names classes, and --objective regression"),
    ],
)
def test_one_output_is_a_number_only_if_that_is_said(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = {"1.layers.1.2.weight": STATE["1.layers.1.2.weight"][:1]}
    torch.save(STATE | one, tmp_path / "one.pth")
    assert imported(tmp_path / "model", *options, weights=str(tmp_path / "one.pth")) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--labels", "neg", "pos"], ["--objective", "multi-label"]])
def test_options_of_a_classifier_are_refused_for_a_language_model(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert imported(tmp_path / "model", *options, weights="fastai_model.pth") == 2
    said = capsys.readouterr().err
    assert f"{options[0]} is for a classifier, and --weights" in said
    assert "fastai_model.pth is none: leave it out" in said


def test_a_hostile_file_is_refused_and_nothing_of_it_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(STATE | {"1.layers.0.0.bias": Hostile(tmp_path / "ran")}, tmp_path / "hostile.pth")
    assert imported(tmp_path / "model", weights=str(tmp_path / "hostile.pth")) == 2
    assert "it cannot be read as weights" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()
