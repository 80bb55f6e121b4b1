"""The loss of each document, against nn.LSTM over that document alone."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ulmfit_ray.encoding import document_losses as losses_module
from ulmfit_ray.encoding import micro_batches
from ulmfit_ray.encoding.document_losses import document_losses
from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.awd_lstm import WINDOW, LanguageModel
from ulmfit_ray.model.softmax import word_losses

NUM_WORDS, KNOWN_WORDS = 120, 100


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    """A model with weights large enough for its losses to differ; it has dropouts, which must be off."""
    torch.manual_seed(0)
    model = LanguageModel(Architecture(vocab_size=KNOWN_WORDS, embedding_dim=20, hidden_size=28, num_layers=3))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    return model


@pytest.fixture(scope="module")
def documents() -> list[np.ndarray]:
    """Documents of 1 to 300 tokens, those at the borders of a window among them; ids from 100 on are unknown."""
    random = np.random.default_rng(1)
    lengths = [1, 2, WINDOW, WINDOW + 1, WINDOW + 2, 1, 2 * WINDOW + 1, 300, *random.integers(1, 101, 29).tolist()]
    return [random.integers(0, NUM_WORDS, length).astype(np.uint16) for length in lengths]


@torch.no_grad()
def plain_loss(model: LanguageModel, document: np.ndarray) -> float:
    """Return the summed loss of one document in float64, read in one piece from a state of zeros."""
    if len(document) == 1:
        return 0.0
    ids = torch.from_numpy(np.where(document < KNOWN_WORDS, document, 0).astype(np.int64))
    table = model.backbone.embedding.weight.double()
    x = table[ids[:-1]][None]
    for layer in model.backbone.layers:
        lstm = nn.LSTM(x.shape[2], layer.hidden_size, batch_first=True).double()
        lstm.load_state_dict(layer.state_dict())
        x, _ = lstm(x)
    logits = x[0] @ table[:KNOWN_WORDS].t() + model.decoder_bias[:KNOWN_WORDS].double()
    return float(F.cross_entropy(logits, ids[1:], reduction="sum"))


@pytest.mark.parametrize(("rows", "tokens"), [(128, 1 << 19), (1, 1 << 19), (5, 1 << 19), (128, 250)])
def test_a_documents_loss_is_that_of_the_document_alone_in_whatever_company(
    model: LanguageModel, documents: list[np.ndarray], rows: int, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(micro_batches, "MAX_PADDED_TOKENS", tokens)
    expected = [plain_loss(model, document) for document in documents]
    losses = document_losses(model, documents, max_rows=rows)
    assert losses == pytest.approx(expected, rel=1e-5)
    assert document_losses(model, documents[::-1], max_rows=rows) == pytest.approx(expected[::-1], rel=1e-5)
    assert losses[0] == losses[5] == 0.0


def test_documents_without_a_token_to_predict_and_no_documents_have_no_loss(model: LanguageModel) -> None:
    assert document_losses(model, [np.array([2]), np.array([2])]).tolist() == [0.0, 0.0]
    assert document_losses(model, []).shape == (0,)


def test_the_state_is_carried_through_a_long_document(model: LanguageModel) -> None:
    document = np.random.default_rng(2).integers(0, NUM_WORDS, 3_000)
    assert document_losses(model, [document])[0] == pytest.approx(plain_loss(model, document), rel=1e-5)


def test_however_long_a_document_is_a_window_of_it_is_scored_at_once(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[int] = []

    def counted(outputs: Tensor, *others: Tensor) -> Tensor:
        scored.append(len(outputs))
        return word_losses(outputs, *others)

    monkeypatch.setattr(losses_module, "word_losses", counted)
    document_losses(model, [np.full(3_000, 7), np.full(2_000, 8)])
    assert max(scored) == 2 * WINDOW
    assert sum(scored) == 2_999 + 1_999
