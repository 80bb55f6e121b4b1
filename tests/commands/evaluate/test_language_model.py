"""A language model's figures, against nn.LSTM over whole columns."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F

from ulmfit_ray.cli import main
from ulmfit_ray.commands.evaluate import language_model as command
from ulmfit_ray.commands.evaluate import per_document
from ulmfit_ray.commands.evaluate.language_model import EvaluateLanguageModelConfig
from ulmfit_ray.commands.shards import DamagedError
from ulmfit_ray.encoding.document_losses import document_losses
from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.awd_lstm import LanguageModel
from ulmfit_ray.model.files import load_tensors
from ulmfit_ray.storage.token_dataset import TokenDataset, flat_tokens
from ulmfit_ray.text.vocab import Vocab

KNOWN = 2000


def all_tokens(tokens: str) -> np.ndarray:
    ids = np.concatenate([flat_tokens(table["tokens"])[0] for table in TokenDataset(tokens).tables()]).astype(np.int64)
    return np.where(ids < KNOWN, ids, 0)


def reference(model: str, tokens: str, columns: int) -> tuple[float, float]:
    """Return loss and accuracy in float64, each column read in one piece from a state of zeros."""
    ids = all_tokens(tokens)
    length = (len(ids) - 1) // columns
    return plain_figures(model, np.stack([ids[n * length : (n + 1) * length + 1] for n in range(columns)]))


@torch.no_grad()
def plain_figures(model: str, ids: np.ndarray) -> tuple[float, float]:
    """Return loss and accuracy of rows of ids (B, T + 1) in float64, each read in one piece from a state of zeros."""
    weights = {name: value.double() for name, value in load_tensors(Path(model, "model.safetensors")).items()}
    rows = torch.tensor(ids)
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
    assert figures["unknown_rate"] == pytest.approx(seen[0] / seen.sum())
    # It has learned nothing: its weights are random.
    assert figures["perplexity"] > figures["word_frequency_perplexity"]


def test_bits_per_byte_are_those_of_the_abstracts_without_the_words_that_the_model_does_not_know(
    language_model: str, tokens: str, abstracts: list[dict[str, str]]
) -> None:
    figures = command.run(EvaluateLanguageModelConfig(model=language_model, tokens=tokens))
    # The abstracts have no markup: cleaning takes runs of spaces away. Each of their two fields has an end.
    fields = [" ".join(row[name].split()) for row in abstracts for name in ("title", "text")]
    num_bytes = sum(len(field.encode()) + 1 for field in fields)
    dataset = TokenDataset(tokens)
    itos = dataset.folder.read_json("vocab.json")["tokens"]
    ids = np.concatenate([flat_tokens(table["tokens"])[0] for table in dataset.tables()])
    unknown = sum(len(itos[token_id].encode()) for token_id in ids.tolist() if token_id >= KNOWN)
    bits = figures["loss"] / math.log(2) * len(ids)
    assert figures["bits_per_byte"] == pytest.approx(bits / (num_bytes - unknown))
    assert unknown > 0


def test_tokens_of_an_earlier_version_have_no_bits_per_byte_and_that_is_said(
    language_model: str, tokens: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tokens, tmp_path / "tokens")
    path = tmp_path / "tokens/manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["num_text_bytes"], manifest["num_unknown_bytes"]
    path.write_text(json.dumps(manifest))
    figures = command.run(EvaluateLanguageModelConfig(model=language_model, tokens=str(tmp_path / "tokens")))
    assert "bits_per_byte" not in figures
    assert "bits per byte are not known" in capsys.readouterr().out


@pytest.mark.parametrize("backward", [False, True])
def test_each_document_has_the_loss_it_has_alone_from_xxbos_on(
    backward: bool, language_model: str, backward_language_model: str, tokens: str, tmp_path: Path
) -> None:
    output, model = tmp_path / "documents.parquet", backward_language_model if backward else language_model
    command.run(EvaluateLanguageModelConfig(model=model, tokens=tokens, per_document=str(output)))
    found = pq.read_table(output)
    stored = [row for table in TokenDataset(tokens).tables() for row in table.to_pylist()]
    assert found["doc_id"].to_pylist() == [row["doc_id"] for row in stored]
    losses = []
    for row in stored:
        first, *rest = (token_id if token_id < KNOWN else 0 for token_id in row["tokens"])
        assert first == 2
        losses.append(plain_figures(model, np.array([[first, *(rest[::-1] if backward else rest)]]))[0])
    np.testing.assert_allclose(found["loss"].to_numpy(), losses, rtol=1e-5)
    np.testing.assert_allclose(found["perplexity"].to_numpy(), np.exp(losses), rtol=1e-4)
    assert found["num_tokens"].to_pylist() == [len(row["tokens"]) - 1 for row in stored]


def test_documents_without_a_word_have_no_loss_and_those_without_xxbos_begin_with_their_first_word(
    make_token_dataset: Callable[..., TokenDataset], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = LanguageModel(Architecture(vocab_size=20, embedding_dim=4, hidden_size=6, num_layers=2)).eval()
    dataset = make_token_dataset([[], [("a", [[]]), ("b", [[5, 6, 7]])], [("c", [[8]])]])
    output = tmp_path / "documents.parquet"
    per_document.write_per_document(model, dataset, str(output), backward=True)
    rows = pq.read_table(output).to_pylist()
    assert [(row["doc_id"], row["num_tokens"]) for row in rows] == [("a", 0), ("b", 3), ("c", 1)]
    assert rows[0] == {"doc_id": "a", "num_tokens": 0, "loss": None, "perplexity": None}
    assert rows[1]["loss"] == pytest.approx(document_losses(model, [np.array([2, 7, 6, 5])])[0] / 3)
    assert per_document._as_read(np.array([5, 6, 3]), True).tolist() == [3, 6, 5]
    assert per_document._as_read(np.array([5, 6, 3]), False).tolist() == [5, 6, 3]


def test_a_file_of_documents_is_whole_or_not_there(
    make_token_dataset: Callable[..., TokenDataset], tmp_path: Path
) -> None:
    model = LanguageModel(Architecture(vocab_size=20, embedding_dim=4, hidden_size=6, num_layers=2))
    dataset = make_token_dataset([[("a", [[5, 6]])], [("b", [[7]])]])
    Path(dataset.folder.path("shards/part-0000001.arrow")).unlink()
    with pytest.raises(DamagedError, match=r"part-0000001\.arrow .* is missing"):
        per_document.write_per_document(model, dataset, str(tmp_path / "documents.parquet"), backward=False)
    assert not (tmp_path / "documents.parquet").exists()


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
    assert "--output" in capsys.readouterr().err
    (tmp_path / "documents.parquet").write_text("mine")
    assert main([*given, "--per-document", str(tmp_path / "documents.parquet")]) == 2
    said = capsys.readouterr().err
    assert f"--per-document {tmp_path}/documents.parquet is there already" in said
    assert (tmp_path / "documents.parquet").read_text() == "mine"
    assert main([*given, "--per-document", "documents.csv"]) == 2
    assert "--per-document documents.csv must end in .parquet" in capsys.readouterr().err.replace("\n", " ")
