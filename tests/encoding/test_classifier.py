"""A document's scores are those of the plain computation, and the same in whatever company."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from classifiers import RATING, SENTIMENT, TOPICS, random_classifier
from torch import nn

from ulmfit_ray.encoding import classifier
from ulmfit_ray.encoding.classifier import DocumentScorer
from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.awd_lstm import WINDOW
from ulmfit_ray.model.classifier import Classifier
from ulmfit_ray.model.description import ClassifierHead

SHAPE = Architecture(vocab_size=100, embedding_dim=20, hidden_size=28, num_layers=3)
HEADS = pytest.mark.parametrize("head", [SENTIMENT, TOPICS, RATING], ids=lambda head: head.objective)
LONG = 5_000


@pytest.fixture(scope="module")
def documents() -> list[np.ndarray]:
    """Documents of 1 to 100 tokens, those at the borders of a window among them, and one of many windows."""
    random = np.random.default_rng(1)
    lengths = [1, WINDOW, WINDOW + 1, WINDOW - 1, LONG, 1, *random.integers(2, 101, 44).tolist()]
    return [random.integers(0, 120, length) for length in lengths]


@torch.no_grad()
def plain_outputs(model: Classifier, document: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return outputs (C,) and features (F,): one call over all tokens, concat pooling, the head as equations."""
    ids = torch.from_numpy(document)[None]
    outputs = model.backbone(ids, model.backbone.initial_hidden(1))[0][0]
    x = torch.cat([outputs[-1], outputs.amax(0), outputs.mean(0)]).double()
    *hidden, last = model.head.blocks
    for number, block in enumerate([*hidden, last]):
        if number:
            x = x.clamp(min=0)
        features, norm = x, block.norm
        if isinstance(norm, nn.BatchNorm1d):
            x = (x - norm.running_mean) / (norm.running_var + 1e-5).sqrt() * norm.weight + norm.bias
        else:
            x = (x - x.mean()) / (x.var(unbiased=False) + 1e-5).sqrt() * norm.weight + norm.bias
        x = block.linear.weight.double() @ x + (0 if block.linear.bias is None else block.linear.bias)
    return x.numpy(), features.numpy()


MEANINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "single-label": lambda outputs: np.exp(outputs) / np.exp(outputs).sum(),
    "multi-label": lambda outputs: 1 / (1 + np.exp(-outputs)),
    "regression": lambda outputs: 3.5 + 2 * outputs,
}


@HEADS
def test_scores_and_features_are_those_of_the_plain_computation(head: ClassifierHead, documents) -> None:
    model = random_classifier(head, SHAPE)
    scored = DocumentScorer(model).score(documents)
    plain = [plain_outputs(model, document) for document in documents]
    expected = np.stack([MEANINGS[head.objective](outputs) for outputs, _ in plain])
    assert scored.probabilities.shape == (len(documents), head.num_outputs)
    assert scored.probabilities.dtype == (np.float64 if head.objective == "regression" else np.float32)
    assert np.abs(scored.probabilities - expected).max() < 1e-5
    features = np.stack([row for _, row in plain])
    assert scored.features.dtype == np.float32
    assert np.abs(scored.features - features).max() < 1e-5 * np.abs(features).max()
    assert len(np.unique(scored.probabilities.round(4), axis=0)) > len(documents) - 3


@HEADS
def test_a_score_is_the_same_to_the_last_bit_in_whatever_company(
    head: ClassifierHead, documents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "BLOCK", 20)
    scorer = DocumentScorer(random_classifier(head, SHAPE))
    alone = np.concatenate([scorer.score([document]).probabilities for document in documents])
    order = np.random.default_rng(3).permutation(len(documents))
    assert np.array_equal(scorer.score(documents).probabilities, alone)
    assert np.array_equal(scorer.score(documents[::-1]).probabilities, alone[::-1])
    assert np.array_equal(scorer.score([documents[number] for number in order]).probabilities, alone[order])
    features = scorer.encode(documents)
    monkeypatch.setattr(classifier, "HEAD_ROWS", 7)
    assert np.array_equal(scorer.score(documents).probabilities, alone)
    assert np.array_equal(scorer.encode(documents), features)


@HEADS
def test_no_documents_have_no_scores(head: ClassifierHead) -> None:
    scorer = DocumentScorer(random_classifier(head, SHAPE))
    scored = scorer.score([])
    assert scored.probabilities.shape == (0, head.num_outputs)
    assert scored.features.shape == scorer.encode([]).shape == (0, scorer.dimension)


def test_the_dimension_is_the_width_of_what_goes_into_the_last_block(documents) -> None:
    widths = {(50,): 50, (9, 5): 5, (): 60}
    for hidden_sizes, width in widths.items():
        head = ClassifierHead(objective="single-label", labels=("a", "b"), hidden_sizes=hidden_sizes)
        scorer = DocumentScorer(random_classifier(head, SHAPE))
        assert scorer.dimension == scorer.encode(documents[:2]).shape[1] == width
