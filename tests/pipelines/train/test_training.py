"""Pretraining and retriever training on Ray Train: workers, resuming, failures, and what they write."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from event_files import points

from ulmfit_ray.commands import verify
from ulmfit_ray.commands.verify import VerifyConfig
from ulmfit_ray.config import ConfigError
from ulmfit_ray.lifecycle import claim_output
from ulmfit_ray.model.architecture import ArchitectureOptions
from ulmfit_ray.model.description import Block
from ulmfit_ray.model.files import load_tensors, save_tensors
from ulmfit_ray.pipelines.options import Scaling
from ulmfit_ray.pipelines.train import language_model, pretrain
from ulmfit_ray.pipelines.train import retriever as train_retriever
from ulmfit_ray.pipelines.train.config import PretrainConfig, TrainRetrieverConfig
from ulmfit_ray.storage.checkpoints import Checkpoint, publish_checkpoint
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.manifest import IncompleteDatasetError
from ulmfit_ray.storage.model_directory import ModelDirectory
from ulmfit_ray.storage.scratch import scratch_directory
from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.training.config import LanguageModelTraining
from ulmfit_ray.training.loop import train

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


def losses(output: str) -> list[float]:
    rows = [json.loads(line) for line in Path(output, "training_log.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "learning_rate" in row]


@pytest.fixture
def config(
    tokens: str, tmp_path: Path, small_architecture: ArchitectureOptions, small_training: LanguageModelTraining
) -> PretrainConfig:
    return PretrainConfig(
        tokens=tokens,
        output=str(tmp_path / "lm"),
        architecture=replace(small_architecture, weight_dropout=0.2, hidden_dropout=0.1),
        training=replace(small_training, report_every_steps=1),
        scaling=Scaling(num_cpus=1),
        precision="float32",
    )


@pytest.fixture(scope="module")
def whole() -> dict[str, str]:
    """Where a training of `config` by one worker lies, once a test has asked for it."""
    return {}


def output_of(config: PretrainConfig, whole: dict[str, str]) -> str:
    """Return the output of an undisturbed training by one worker, which all tests share."""
    if not whole:
        own = replace(config, output=f"{config.output}-whole")
        pretrain.run(own)
        whole["output"] = own.output
    return whole["output"]


def test_a_model_directory_says_how_good_the_model_is_and_verifies(language_model: str) -> None:
    directory = ModelDirectory(language_model)
    assert directory.manifest.figures["perplexity"] < directory.manifest.figures["word_frequency_perplexity"]
    assert 0 < directory.manifest.figures["accuracy"] < 1
    left_out = directory.manifest.figures["tokens_left_out"]
    assert 0 < left_out <= 16
    assert (directory.manifest.figures["train_tokens"] - left_out) % 16 == 0
    names = sorted(path.name for path in Path(language_model).iterdir())
    small = ["config.json", "manifest.json", "tokenizer.json", "training_log.jsonl", "vocab.json"]
    for_people = ["README.md", "curves.png", "launches.json", "report.html"]
    assert names == sorted([*for_people, "model.safetensors", *small])
    card = Path(language_model, "README.md").read_text()
    assert "ulmfit-ray pretrain --tokens" in card
    assert "200 documents" in card
    assert "curves.png" in directory.manifest.files
    assert directory.description.architecture is not None
    assert directory.description.architecture.num_rows == 2048
    verify.run(VerifyConfig(input=language_model))


def test_two_workers_with_half_the_batch_give_the_losses_of_one(config: PretrainConfig, whole: dict[str, str]) -> None:
    two = replace(config, scaling=Scaling(num_workers=2, num_cpus=1))
    pretrain.run(two)
    one, both = losses(output_of(config, whole)), losses(two.output)
    assert len(one) >= 50
    np.testing.assert_allclose(one, both, atol=1e-4, rtol=0)


def test_a_run_goes_on_from_a_checkpoint_as_if_it_had_never_stopped(
    config: PretrainConfig, whole: dict[str, str]
) -> None:
    undisturbed = output_of(config, whole)
    claim_output("pretrain", config, inputs={"tokens": TokenDataset(config.tokens).fingerprint})
    make_task = partial(
        language_model.make_task,
        config=config,
        start=pretrain.start_of(config),
        architecture=config.architecture.chosen(),
    )
    task, facts = make_task(torch.device("cpu"), None)
    log = []
    for report in train(task, replace(config.training, checkpoint_every_steps=20)):
        log.append({"step": report.step, "epoch": 1} | report.metrics)
        if report.state is not None:
            break
    assert report.step == 20
    with scratch_directory() as scratch:
        save_tensors(report.state, scratch / "state.safetensors")
        (scratch / "log").write_text("".join(json.dumps(row) + "\n" for row in log))
        files = {"state.safetensors": scratch / "state.safetensors", "training_log.jsonl": scratch / "log"}
        publish_checkpoint(Folder(config.output), Checkpoint(step=20, is_last=False, world_size=1, facts=facts), files)
    with pytest.raises(IncompleteDatasetError, match="its newest checkpoint is of step 20"):
        ModelDirectory(config.output)
    pretrain.run(replace(config, tensorboard=True))
    np.testing.assert_allclose(losses(config.output), losses(undisturbed), atol=1e-5, rtol=0)
    shown = [value for tag, _, value in points(Folder(config.output)) if tag == "train/loss"]
    np.testing.assert_allclose(shown, losses(config.output), rtol=1e-6)
    ours, theirs = (load_tensors(Path(place, "model.safetensors")) for place in (config.output, undisturbed))
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, atol=1e-4, rtol=1e-4)


def test_mistakes_are_found_before_anything_starts(config: PretrainConfig, tokens: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the tokens' vocabulary has"):
        pretrain.run(replace(config, architecture=ArchitectureOptions(vocab_size=1_000_000)))
    with pytest.raises(ConfigError, match=r"--training.global-batch-size 16 has fewer rows than there are workers"):
        replace(config, scaling=Scaling(num_workers=17))
    with pytest.raises(FileNotFoundError, match="no manifest"):
        pretrain.run(replace(config, tokens=str(tmp_path)))
    assert not Path(config.output).exists()


def test_a_checkpoint_of_other_tokens_is_not_gone_on_from(config: PretrainConfig) -> None:
    claim_output("pretrain", config, inputs={"tokens": "of another day"})
    with pytest.raises(ConfigError, match=r"belongs to another config \(inputs.tokens: 'of another day' -> "):
        pretrain.run(config)


def test_sizes_that_cannot_be_are_refused_with_the_option_named() -> None:
    with pytest.raises(ConfigError, match=r"scaling.num-workers"):
        Scaling(num_workers=0)
    with pytest.raises(ValueError, match=r"training.bptt must be at least 0"):
        LanguageModelTraining(bptt=-1)
    with pytest.raises(ValueError, match=r"vocab_size must be at least 0"):
        ArchitectureOptions(vocab_size=-5)


def test_more_cores_than_there_are_is_one_clear_error(config: PretrainConfig) -> None:
    with pytest.raises(ConfigError, match="needs 64 CPUs"):
        pretrain.run(replace(config, scaling=Scaling(num_cpus=64)))


def test_a_gpu_where_there_is_none_is_one_clear_error(config: PretrainConfig) -> None:
    with pytest.raises(ConfigError, match=r"^training with 1 workers needs 1 CPUs and 1 GPUs; there are 2 and 0: ask"):
        pretrain.run(replace(config, scaling=Scaling(use_gpu=True)))


def test_a_retriever_names_its_blocks_and_verifies(retriever: str) -> None:
    directory = ModelDirectory(retriever)
    assert directory.description.kind == "retriever"
    assert directory.description.blocks == (Block("context", 0, 32), Block("words", 32, 64))
    assert directory.manifest.figures["accuracy_joint"] > 0.5
    verify.run(VerifyConfig(input=retriever))


def test_a_retriever_needs_fields_to_make_pairs_of(tokens: str, tmp_path: Path) -> None:
    make = partial(TrainRetrieverConfig, tokens=tokens, output=str(tmp_path / "retriever"))
    with pytest.raises(ValueError, match=r"no field 'abstract'.*its fields are title, text"):
        train_retriever.run(make(pairs="title:abstract"))
    for pairs in ("title:", ":text", "title:text:more", ""):
        with pytest.raises(ConfigError, match="name two text columns"):
            make(pairs=pairs)
    assert not (tmp_path / "retriever").exists()
