"""A language model's figures, against nn.LSTM over whole columns."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ulmfit_ray.cli import main
from ulmfit_ray.commands.evaluate import language_model as command
from ulmfit_ray.commands.evaluate.language_model import EvaluateLanguageModelConfig
from ulmfit_ray.model.files import load_tensors
from ulmfit_ray.storage.token_dataset import TokenDataset, flat_tokens
from ulmfit_ray.text.vocab import Vocab

KNOWN = 2000


def all_tokens(tokens: str) -> np.ndarray:
    ids = np.concatenate([flat_tokens(table["tokens"])[0] for table in TokenDataset(tokens).tables()]).astype(np.int64)
    return np.where(ids < KNOWN, ids, 0)


@torch.no_grad()
def reference(model: str, tokens: str, columns: int) -> tuple[float, float]:
    """Return loss and accuracy in float64, each column read in one piece from a state of zeros."""
    weights = {name: value.double() for name, value in load_tensors(Path(model, "model.safetensors")).items()}
    ids = all_tokens(tokens)
    length = (len(ids) - 1) // columns
    rows = torch.tensor(np.stack([ids[n * length : (n + 1) * length + 1] for n in range(columns)]))
    x = weights["backbone.embedding.weight"][rows[:, :-1]]
    for number in range(2):
        own = {n.rpartition(".")[2]: v for n, v in weights.items() if n.startswith(f"backbone.layers.{number}.")}
        layer = torch.nn.LSTM(x.shape[2], own["weight_hh_l0"].shape[1], batch_first=True).double()
        layer.load_state_dict(own)
        x = layer(x)[0]
    logits = x @ weights["backbone.embedding.weight"][:KNOWN].t() + weights["decoder_bias"][:KNOWN]
    targets = rows[:, 1:]
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    return float(loss), float((logits.argmax(2) == targets).double().mean())


@pytest.mark.parametrize(("columns", "bptt"), [(10, 72), (1, 500), (7, 33)])
def test_figures_are_those_of_whole_columns_whatever_is_read_at_once(
    columns: int, bptt: int, language_model: str, tokens: str, tmp_path: Path
) -> None:
    output = tmp_path / "figures.json"
    figures = command.run(
        EvaluateLanguageModelConfig(model=language_model, tokens=tokens, columns=columns, bptt=bptt, output=str(output))
    )
    loss, accuracy = reference(language_model, tokens, columns)
    assert figures["loss"] == pytest.approx(loss, rel=1e-5)
    assert figures["perplexity"] == pytest.approx(math.exp(loss), rel=1e-4)
    assert figures["accuracy"] == pytest.approx(accuracy, abs=2e-4)
    assert figures["tokens"] == (len(all_tokens(tokens)) - 1) // columns * columns
    assert json.loads(output.read_text()) == {"columns": columns, **figures}


def test_beside_it_stand_word_frequencies_of_the_text_that_the_vocabulary_was_counted_on(
    language_model: str, tokens: str
) -> None:
    figures = command.run(EvaluateLanguageModelConfig(model=language_model, tokens=tokens))
    vocab = Vocab.from_json(TokenDataset(tokens).folder.read_json("vocab.json"))
    seen = np.bincount(all_tokens(tokens), minlength=KNOWN)
    trained = np.array([vocab.num_tokens - vocab.counts[1:KNOWN].sum(), *vocab.counts[1:KNOWN]]) + 1
    expected = math.exp(-(seen * np.log(trained / trained.sum())).sum() / seen.sum())
    assert figures["word_frequency_perplexity"] == pytest.approx(expected)
    # It has learned nothing: its weights are random.
    assert figures["perplexity"] > figures["word_frequency_perplexity"]


def test_a_model_that_is_no_language_model_or_of_other_words_is_refused(
    language_model: str, retriever: str, tokens: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "lm", "--model", retriever, "--tokens", tokens]) == 2
    assert "is a retriever, and no language model" in capsys.readouterr().err
    assert main(["evaluate", "lm", "--model", language_model, "--tokens", tokens, "--columns", "0"]) == 2
    assert "--columns and --bptt must be at least 1" in capsys.readouterr().err
    assert main(["evaluate", "lm", "--model", language_model, "--tokens", tokens, "--columns", "1000000"]) == 2
    assert "are too few for a batch of 1000000 rows: lower --columns" in capsys.readouterr().err
    (tmp_path / "figures.json").write_text("mine")
    given = ["evaluate", "lm", "--model", language_model, "--tokens", tokens]
    assert main([*given, "--output", str(tmp_path / "figures.json")]) == 2
    assert "is there already" in capsys.readouterr().err
