"""Fine-tuning on Ray: vocabulary by word, what is said of it, and what it gains."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ulmfit_ray.commands import verify
from ulmfit_ray.commands.verify import VerifyConfig
from ulmfit_ray.config import ConfigError
from ulmfit_ray.model.architecture import DropoutOptions
from ulmfit_ray.model.files import load_model, load_tensors
from ulmfit_ray.pipelines.options import Scaling
from ulmfit_ray.pipelines.tokenize import job as tokenize
from ulmfit_ray.pipelines.tokenize.config import TokenizeConfig
from ulmfit_ray.pipelines.train import finetune
from ulmfit_ray.pipelines.train.config import FinetuneConfig
from ulmfit_ray.storage.model_directory import ModelDirectory
from ulmfit_ray.text.vocab import Vocab
from ulmfit_ray.training.config import FinetuneTraining

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


@pytest.fixture(scope="module")
def other_tokens(ray_session: None, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """One file of the abstracts, without titles: a vocabulary of its own."""
    output = str(tmp_path_factory.mktemp("other") / "tokens")
    tokenize.run(
        TokenizeConfig(
            input=(str(corpus / "1.jsonl"),), output=output, text_columns=("text",), id_column="_id", min_freq=1
        )
    )
    return output


@pytest.fixture
def config(language_model: str, other_tokens: str, tmp_path: Path) -> FinetuneConfig:
    return FinetuneConfig(
        model=language_model,
        tokens=other_tokens,
        output=str(tmp_path / "tuned"),
        training=FinetuneTraining(num_epochs=2, global_batch_size=8, bptt=20, report_every_steps=1),
        scaling=Scaling(num_cpus=1),
        precision="float32",
    )


def test_words_of_both_vocabularies_start_with_their_vectors_and_dropouts_can_be_changed(
    config: FinetuneConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    # A rate at which nothing moves: what is written is what training began with.
    still = FinetuneTraining(num_epochs=2, global_batch_size=8, bptt=20, learning_rate=1e-30, weight_decay=0.0)
    dropouts = DropoutOptions(output_dropout=0.4, dropout_scale=0.5)
    finetune.run(replace(config, training=still, architecture=dropouts))
    base, tuned = ModelDirectory(config.model), ModelDirectory(config.output)
    old, new = Vocab.from_json(base.vocab), Vocab.from_json(tuned.vocab)
    with base.weights() as path:
        rows = load_model(base.description, path, torch.device("cpu")).backbone.embedding.weight
    found = load_tensors(Path(config.output, "model.safetensors"))["backbone.embedding.weight"]
    known = base.description.architecture.vocab_size
    places = [old.stoi.get(word, known) for word in new.itos]
    for row, place in zip(found, places, strict=False):
        torch.testing.assert_close(row, rows[place] if place < known else rows[:known].mean(0))
    is_found = np.array(places) < known
    share = new.counts[is_found].sum() / new.counts.sum()
    assert tuned.manifest.figures["tokens_found"] == pytest.approx(share)
    said = f"{is_found.sum():,} of {len(new):,} words, {share:.2%} of the tokens, have their vectors from the model"
    assert said in capsys.readouterr().out
    assert 0.5 < share < 1
    verify.run(VerifyConfig(input=config.output))
    shape = tuned.description.architecture
    assert shape.scaled_dropouts().output_dropout == pytest.approx(0.2)
    assert (shape.embedding_dim, shape.hidden_size, shape.vocab_size) == (32, 48, len(new))


def test_a_fine_tuned_model_is_better_than_one_with_new_word_vectors_and_its_rates_begin_anew_with_all_groups(
    config: FinetuneConfig, tmp_path: Path
) -> None:
    tuned = finetune.run(config)
    reset = finetune.run(replace(config, output=str(tmp_path / "reset"), reset_embeddings=True))
    assert tuned.figures["perplexity"] < reset.figures["perplexity"]
    assert reset.figures["tokens_found"] == 0
    assert tuned.figures["base"] == ModelDirectory(config.model).fingerprint
    rows = [json.loads(line) for line in Path(config.output, "training_log.jsonl").read_text().splitlines()]
    rates = {row["step"]: row["learning_rate"] for row in rows if "learning_rate" in row}
    half = max(rates) // 2
    assert rates[1] == rates[half + 1] == pytest.approx(config.training.learning_rate / 32)
    assert max(rates.values()) == pytest.approx(config.training.learning_rate)


def test_a_retriever_is_no_language_model_to_fine_tune(config: FinetuneConfig, retriever: str) -> None:
    with pytest.raises(ConfigError, match="is a retriever; fine-tuning starts from a language model"):
        finetune.run(replace(config, model=retriever))
    assert not Path(config.output).exists()
