"""Retrievers of words alone, and of pairs that people have."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ulmfit_ray.config import ConfigError
from ulmfit_ray.document_encoder import DocumentEncoder
from ulmfit_ray.pipelines.options import Scaling
from ulmfit_ray.pipelines.train import retriever as train_retriever
from ulmfit_ray.pipelines.train.config import TrainRetrieverConfig
from ulmfit_ray.storage.model_directory import ModelDirectory
from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.training.config import RetrieverTraining

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


@pytest.fixture
def config(tokens: str, tmp_path: Path) -> TrainRetrieverConfig:
    return TrainRetrieverConfig(
        tokens=tokens,
        output=str(tmp_path / "retriever"),
        blocks=("words",),
        word_dim=16,
        num_grams=1000,
        training=RetrieverTraining(num_epochs=4, global_batch_size=50, report_every_steps=1),
        scaling=Scaling(num_cpus=1),
    )


@pytest.fixture(scope="module")
def plain() -> dict[str, TrainRetrieverConfig]:
    """The config of a finished training without more options, once a test has asked for it."""
    return {}


def trained(config: TrainRetrieverConfig, plain: dict[str, TrainRetrieverConfig]) -> TrainRetrieverConfig:
    """Return the config of a training that all tests share, finished."""
    if not plain:
        plain["config"] = replace(config, output=f"{config.output}-plain", pairs_file=None)
        assert train_retriever.run(plain["config"]) is not None
    return plain["config"]


def learned(output: str) -> float:
    """Return by how much the accuracy of the last epoch is over that of the first.

    Random vectors of words find much already: texts that share words are near each other.
    """
    rows = [json.loads(line) for line in (Path(output) / "training_log.jsonl").read_text().splitlines()]
    accuracies = [row["accuracy_words"] for row in rows if "loss" in row]
    epoch = len(accuracies) // 4
    return float(np.mean(accuracies[-epoch:]) - np.mean(accuracies[:epoch]))


def test_a_words_block_needs_no_language_model(
    config: TrainRetrieverConfig, plain: dict[str, TrainRetrieverConfig], abstracts: list[dict[str, str]]
) -> None:
    config = trained(config, plain)
    assert learned(config.output) > 0.2
    assert "base" not in ModelDirectory(config.output).manifest.figures
    directory, tokens = ModelDirectory(config.output), TokenDataset(config.tokens)
    assert directory.description.architecture is None
    assert (directory.description.saturated, directory.description.num_grams) == (True, 1000)
    assert directory.manifest.vocab == tokens.manifest.vocab
    assert directory.tokenizer == tokens.folder.read_json("tokenizer.json")
    encoder = DocumentEncoder.load(config.output, device="cpu")
    assert encoder.encode([row["text"] for row in abstracts[:3]]).shape == (3, 16)


def test_a_context_block_needs_one(config: TrainRetrieverConfig) -> None:
    with pytest.raises(ConfigError, match="--blocks context needs a language model: give --model"):
        replace(config, blocks=("words", "context"))


def test_spans_alone_need_no_query_field(config: TrainRetrieverConfig) -> None:
    manifest = train_retriever.run(replace(config, pairs="text"))
    assert manifest is not None
    assert learned(config.output) > 0.2


def test_pairs_of_a_file_are_learned_too_and_other_ones_are_not_taken_for_them(
    config: TrainRetrieverConfig,
    plain: dict[str, TrainRetrieverConfig],
    abstracts: list[dict[str, str]],
    tmp_path: Path,
) -> None:
    """The pairs say that each title means the next text, as nothing in the corpus does."""
    titles = [row["title"] for row in abstracts[:40]]
    texts = [row["text"] for row in abstracts[1:41]]
    lines = [json.dumps({"query": title, "document": text}) + "\n" for title, text in zip(titles, texts, strict=True)]
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(lines * 5))
    config = replace(config, pairs_file=str(pairs))
    train_retriever.run(config)
    cosines, num_pairs = [], []
    for own in (trained(config, plain), config):
        num_pairs.append(ModelDirectory(own.output).manifest.figures["num_pairs"])
        encoder = DocumentEncoder.load(own.output, device="cpu")
        cosines.append(float(np.mean(np.sum(encoder.encode(titles) * encoder.encode(texts), axis=1))))
    assert num_pairs[1] == num_pairs[0] + 200
    assert cosines[1] > cosines[0] + 0.2
    pairs.write_text(json.dumps({"query": "one", "document": "three"}))
    with pytest.raises(ConfigError, match="pairs"):
        train_retriever.run(config)
