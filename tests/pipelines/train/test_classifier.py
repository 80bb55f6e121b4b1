"""train-classifier on abstracts whose label is a word that they have: from the config to the model directory."""

import json
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from faults import fault

from ulmfit_ray.commands import verify
from ulmfit_ray.commands.verify import VerifyConfig
from ulmfit_ray.config import ConfigError
from ulmfit_ray.document_classifier import DocumentClassifier
from ulmfit_ray.document_encoder import DocumentEncoder
from ulmfit_ray.model.architecture import ClassifierDropouts
from ulmfit_ray.model.files import load_tensors
from ulmfit_ray.pipelines.options import Scaling
from ulmfit_ray.pipelines.tokenize import job as tokenize
from ulmfit_ray.pipelines.tokenize.config import TokenizeConfig
from ulmfit_ray.pipelines.train import classifier
from ulmfit_ray.pipelines.train.config import TrainClassifierConfig
from ulmfit_ray.storage.model_directory import ModelDirectory
from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.streams.labelled_parts import labelled_parts
from ulmfit_ray.training.config import ClassifierTraining

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]
WORDS = ("cells", "patients", "protein")
COLUMNS = ("label", "topics", "score", "rare")


@pytest.fixture(scope="module")
def rows(abstracts: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Abstracts with columns to learn: one label, a list of labels, a number; one in ten has none."""
    found = []
    for number, abstract in enumerate(abstracts):
        text = abstract["text"].lower()
        topics = [word for word in WORDS if word in text]
        own: dict[str, Any] = {"label": "cells" if "cells" in topics else "other", "topics": topics}
        own |= {"score": 10.0 + 5 * len(topics), "rare": "once" if number == 3 else "often"}
        if number % 10 == 9:
            own = dict.fromkeys(own)
        found.append({"_id": abstract["_id"], "text": abstract["text"]} | own)
    return found


@pytest.fixture(scope="module")
def labelled(rows: list[dict[str, Any]], language_model: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The abstracts as a token dataset of the language model's vocabulary that kept the labels."""
    folder = tmp_path_factory.mktemp("labelled")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tokenize.run(
        TokenizeConfig(
            input=(str(folder / "rows.jsonl"),),
            output=str(folder / "tokens"),
            text_columns=("text",),
            id_column="_id",
            keep_columns=COLUMNS,
            vocab=language_model,
        )
    )
    return str(folder / "tokens")


@pytest.fixture
def config(language_model: str, labelled: str, tmp_path: Path) -> TrainClassifierConfig:
    """Four stages of an epoch each and a last one of three, with dropout, in float32."""
    return TrainClassifierConfig(
        model=language_model,
        tokens=labelled,
        output=str(tmp_path / "classifier"),
        valid_fraction=0.2,
        architecture=ClassifierDropouts(dropout_scale=0.2),
        training=ClassifierTraining(
            num_epochs=6,
            stage_rates=(2e-2, 2e-2, 2e-2, 2e-2),
            discriminative_decay=1.0,
            global_batch_size=16,
            bptt=40,
        ),
        scaling=Scaling(num_cpus=1),
        precision="float32",
    )


def weights(config: TrainClassifierConfig) -> dict[str, torch.Tensor]:
    return load_tensors(Path(config.output, "model.safetensors"))


def training_log(config: TrainClassifierConfig) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(config.output, "training_log.jsonl").read_text().splitlines()]


def differing(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> list[str]:
    assert set(found) == set(expected)
    return [name for name, tensor in expected.items() if not torch.equal(found[name], tensor)]


def test_a_classifier_learns_its_labels_and_its_directory_says_what_it_is(
    config: TrainClassifierConfig, rows: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = classifier.run(config)
    figures = manifest.figures
    assert figures["accuracy"] > figures["majority_accuracy"]
    counts = Counter(row["label"] for row in rows)
    assert figures["num_unlabelled"] == counts[None]
    assert figures["num_train"] + figures["num_valid"] == counts["cells"] + counts["other"]
    assert sum(figures["label_counts"].values()) == figures["num_train"]
    directory = ModelDirectory(config.output)
    head = directory.description.head
    assert (directory.description.kind, head.labels, head.objective) == (
        "classifier",
        ("cells", "other"),
        "single-label",
    )
    card = Path(config.output, "README.md").read_text()
    assert f"| accuracy | {figures['accuracy']:.4f} | {figures['majority_accuracy']:.4f} |" in card
    assert f"| cells | {figures['label_counts']['cells']} |" in card
    verify.run(VerifyConfig(input=config.output))
    log = training_log(config)
    # What it has learned of the 200 documents that it has seen is more than the few held-out ones can show.
    assert log[-2]["accuracy"] > 0.65 > log[1]["accuracy"]
    # Every labelled document once an epoch.
    assert sum(row.get("documents", 0) for row in log) == 6 * figures["num_train"]
    found = DocumentClassifier.load(config.output).predict([rows[0]["text"], rows[1]["text"]])
    assert found.probabilities.shape == (2, 2)
    assert DocumentEncoder.load(config.output).encode(rows[0]["text"]).shape == (96,)
    capsys.readouterr()
    assert classifier.run(config) == manifest
    assert "complete, nothing to do" in capsys.readouterr().out


def test_several_labels_and_numbers_are_learned_too(config: TrainClassifierConfig, tmp_path: Path) -> None:
    several = classifier.run(replace(config, label="topics"))
    assert ModelDirectory(config.output).description.head.labels == WORDS
    assert several.figures["f1"] > 0.4
    thresholds = weights(config)["thresholds"]
    assert len(set(thresholds.tolist())) == 3
    longer = replace(config.training, num_epochs=12, stage_rates=(5e-3,) * 4)
    config = replace(config, label="score", output=str(tmp_path / "numbers"), training=longer)
    numbers = classifier.run(config)
    assert numbers.figures["rmse"] < 1.5 * numbers.figures["rmse_of_mean"]
    # In units of the variance, where the mean has 1; the few held-out documents show less than those it has seen.
    trained = [row for row in training_log(config) if "documents" in row]
    assert trained[-1]["loss"] < 0.6
    found = DocumentClassifier.load(str(tmp_path / "numbers")).predict(["cells of patients"])
    assert 5 < found.labels[0] < 30


def test_it_starts_with_the_language_models_layers_or_from_scratch_with_its_shape_alone(
    config: TrainClassifierConfig,
) -> None:
    directory, tokens = ModelDirectory(config.model), TokenDataset(config.tokens)
    parts = labelled_parts(tokens, None, classifier.label_options(config))
    base = {name: value for name, value in load_tensors(Path(config.model, "model.safetensors")).items() if "." in name}
    for from_scratch in (False, True):
        model = classifier.start_of(replace(config, from_scratch=from_scratch), directory, parts).state_dict()
        assert [torch.equal(model[name], value) for name, value in base.items()] == [not from_scratch] * len(base)


@pytest.mark.long
def test_workers_killed_in_every_stage_and_at_its_borders_change_no_bit(
    config: TrainClassifierConfig, tmp_path: Path
) -> None:
    config = replace(
        config,
        training=replace(config.training, checkpoint_every_steps=1, num_epochs=4),
        scaling=Scaling(num_workers=2, num_cpus=1),
    )
    whole = replace(config, output=str(tmp_path / "whole"))
    steps = classifier.run(whole).figures["num_steps"] // 4
    # In each of the four stages, the first and the last step of one among them.
    with ExitStack() as stack:
        counts = [
            stack.enter_context(fault("publish", f"step-{step:07d}/checkpoint.json", kill=True))
            for step in (1, steps, 2 * steps - 1, 2 * steps + 2, 4 * steps - 2)
        ]
        classifier.run(config)
        assert [happened() for happened in counts] == [1] * 5
    assert differing(weights(config), weights(whole)) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"label": "stars"}, r"no kept column 'stars' .*--keep-columns stars"),
        ({"label": "rare"}, r"label 'once' .* has 1 training documents"),
        ({"label": "score", "objective": "multi-label"}, r"holds double, but multi-label takes"),
        ({"labels": ("cells",)}, r"one label only|label 'other' of document"),
        ({"labels": ("cells", "cells", "other")}, r"names 'cells' twice"),
        ({"labelled_documents": 100_000}, r"documents have a label: 100,000 are too many"),
        ({"training": ClassifierTraining(judge_by="f1"), "label": "score"}, r"judge-by f1: regression has loss"),
        ({"training": ClassifierTraining(class_weights=("1", "2", "3"))}, r"class-weights has 3 numbers for the 2"),
        ({"training": ClassifierTraining(num_epochs=3)}, r"num-epochs 3 is too few for 4 stages"),
        ({"training": ClassifierTraining(global_batch_size=1)}, r"too few for a batch norm"),
    ],
)
def test_what_cannot_be_learned_is_refused_in_a_line_before_the_output_exists(
    config: TrainClassifierConfig, change: dict[str, Any], problem: str
) -> None:
    with pytest.raises((ConfigError, ValueError), match=problem):
        classifier.run(replace(config, **change))
    assert not Path(config.output).exists()


def test_validation_documents_with_a_label_unknown_in_training_are_refused(
    config: TrainClassifierConfig, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    own = [row | {"label": "new" if number == 5 else row["label"]} for number, row in enumerate(rows[:20])]
    (tmp_path / "valid.jsonl").write_text("".join(json.dumps(row) + "\n" for row in own))
    tokenize.run(
        TokenizeConfig(
            input=(str(tmp_path / "valid.jsonl"),),
            output=str(tmp_path / "valid"),
            text_columns=("text",),
            id_column="_id",
            keep_columns=("label",),
            vocab=config.model,
        )
    )
    with pytest.raises(
        ValueError, match=r"validation documents: label 'new' of document .* is not one of the 2 labels"
    ):
        classifier.run(replace(config, valid=str(tmp_path / "valid")))


def test_few_labels_are_balanced(config: TrainClassifierConfig) -> None:
    one_stage = replace(config.training, num_epochs=1, unfreeze=(0,), stage_rates=())
    manifest = classifier.run(replace(config, labelled_documents=21, training=one_stage))
    assert sorted(manifest.figures["label_counts"].values()) == [10, 11]
    assert manifest.figures["num_train"] == 21
    assert np.isfinite(manifest.figures["loss"])
