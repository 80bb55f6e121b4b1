"""What is said of a bad result and of a planned training; no Ray is started."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ulmfit_ray.config import ConfigError
from ulmfit_ray.model.architecture import ArchitectureOptions
from ulmfit_ray.pipelines.train import language_model, pretrain, retriever
from ulmfit_ray.pipelines.train.config import PretrainConfig
from ulmfit_ray.training.config import LanguageModelTraining

FIGURES = {"perplexity": 603.0, "word_frequency_perplexity": 530.0, "num_steps": 57}


def test_a_model_no_better_than_word_frequencies_is_called_so_with_both_figures() -> None:
    warning = language_model._warning(FIGURES)
    assert "its perplexity is 603, that of word frequencies alone 530" in warning
    assert "57 steps are too few or too large: raise --training.num-epochs" in warning


@pytest.mark.parametrize("figures", [FIGURES | {"perplexity": 150.0}, {"num_steps": 57}])
def test_a_model_that_learned_or_was_not_validated_gets_no_warning(figures: dict[str, float]) -> None:
    assert language_model._warning(figures) == ""


def test_a_block_at_chance_is_named() -> None:
    figures = {"accuracy_context": 0.009, "accuracy_words": 0.4, "accuracy_joint": 0.4}
    warning = retriever._warning(figures, chance=1 / 128)
    assert warning.startswith("the context block has learned nothing")
    assert "0.9% of the cases, chance is 0.8%" in warning
    assert "words" not in warning.splitlines()[0]
    assert retriever._warning({"accuracy_words": 0.4}, chance=1 / 128) == ""


@pytest.fixture
def planned(make_token_dataset: Any, tmp_path: Path) -> PretrainConfig:
    dataset = make_token_dataset([[("a", [[5] * 99]), ("b", [[6] * 99])], [("c", [[7] * 99])]])
    dataset.folder.publish_json({"tokens": [f"w{number}" for number in range(100)]}, "vocab.json")
    dataset.folder.publish_json({}, "tokenizer.json")
    return PretrainConfig(
        tokens=dataset.folder.uri,
        output=str(tmp_path / "lm"),
        dry_run=True,
        valid_fraction=0.1,
        architecture=ArchitectureOptions(embedding_dim=4, hidden_size=6, num_layers=1),
        training=LanguageModelTraining(global_batch_size=2, bptt=10, num_epochs=3),
    )


def test_a_dry_run_says_parameters_steps_and_tokens(
    planned: PretrainConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pretrain.run(planned) is None
    # Embedding 128 x 4, bias 128, one layer of 4 gates: 16 x 4 + 16 x 4 + 32.
    assert "3 documents, 300 tokens; 800 parameters; 3 epochs of about 14 steps; 1 workers" in capsys.readouterr().out
    assert not Path(planned.output).exists()


@pytest.mark.parametrize("dry_run", [True, False])
def test_too_few_epochs_for_the_stages_are_refused_before_the_output_exists(
    planned: PretrainConfig, dry_run: bool
) -> None:
    training = LanguageModelTraining(num_epochs=1, unfreeze=(1, 0))
    with pytest.raises(ConfigError, match=r"num-epochs 1 is too few for 2 stages.*unfreeze 0 trains all"):
        pretrain.run(replace(planned, dry_run=dry_run, training=training))
    assert not Path(planned.output).exists()
