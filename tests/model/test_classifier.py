"""The classifier's head against one written down plainly, and its probabilities in any company."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from ulmfit_ray.encoding.encoder import TokenEncoder
from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.awd_lstm import AWDLSTM
from ulmfit_ray.model.classifier import Classifier, Head, Scorer, draw_head_masks
from ulmfit_ray.model.description import ClassifierHead, ModelDescription, Reading
from ulmfit_ray.model.files import load_model, save_tensors
from ulmfit_ray.model.kinds import describe

LABELS = ("neg", "neutral", "pos")


def classifier(architecture: Architecture, **head: object) -> Classifier:
    """Return one with random weights and statistics."""
    torch.manual_seed(0)
    options = {"objective": "single-label", "labels": LABELS, "hidden_sizes": (7,)} | head
    model = Classifier(AWDLSTM(architecture), ClassifierHead(**options))
    for name, buffer in model.head.named_buffers():
        if "running" in name:
            buffer.uniform_(0.2, 1.5)
    return model.eval()


def test_the_head_is_fastais_norm_dropout_linear_and_relu_but_for_the_last():
    torch.manual_seed(0)
    head = Head(ClassifierHead(objective="single-label", labels=LABELS, hidden_sizes=(7,)), 18).train()
    torch.manual_seed(0)
    layers = [
        nn.BatchNorm1d(18),
        nn.Linear(18, 7, bias=False),
        nn.ReLU(),
        nn.BatchNorm1d(7),
        nn.Linear(7, 3, bias=False),
    ]
    for norm in (layers[0], layers[3]):
        nn.init.constant_(norm.bias, 1e-3)
    rows = torch.randn(5, 18)
    assert_close(head(rows), nn.Sequential(*layers)(rows))
    masks = draw_head_masks([18, 7], [0.5, 0.2], num_rows=5, seed=4, device=torch.device("cpu"))
    first, second = layers[:3], layers[3:]
    expected = nn.Sequential(*second[:1])(nn.Sequential(*first[1:])(first[0](rows) * masks[0])) * masks[1]
    assert_close(head(rows, masks), second[1](expected))


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
@pytest.mark.parametrize("hidden_sizes", [(), (5,), (6, 4)])
def test_every_head_has_an_output_for_each_label(architecture: Architecture, norm: str, hidden_sizes: tuple[int, ...]):
    model = classifier(architecture, norm=norm, hidden_sizes=hidden_sizes, has_bias=norm == "none")
    scored = Scorer(model)(np.random.default_rng(0).normal(size=(4, 18)).astype(np.float32))
    assert scored.probabilities.shape == (4, 3)
    assert scored.features.shape == (4, [18, *hidden_sizes][-1])


def test_a_saved_classifier_gives_the_same_probabilities(tmp_path: Path, architecture: Architecture):
    model = classifier(architecture)
    model.thresholds.fill_(0.25)
    save_tensors(model.state_dict(), tmp_path / "model.safetensors")
    described = describe(model, direction="backward", pooling="concat", precision="float32")
    description = ModelDescription.from_json(json.loads(json.dumps(described.to_json())))
    assert description == described
    assert (description.kind, description.dimension, description.head.labels) == ("classifier", 18, LABELS)
    loaded = load_model(description, tmp_path / "model.safetensors", torch.device("cpu"))
    rows = np.random.default_rng(0).normal(size=(4, 18)).astype(np.float32)
    assert np.array_equal(Scorer(loaded)(rows).probabilities, Scorer(model)(rows).probabilities)
    assert loaded.thresholds.tolist() == [0.25] * 3


def test_probabilities_are_the_softmax_the_sigmoid_or_a_number_in_the_targets_units(architecture: Architecture):
    rows = torch.randn(6, 18, generator=torch.Generator().manual_seed(2))
    for objective in ("single-label", "multi-label", "regression"):
        labels = () if objective == "regression" else LABELS
        model = classifier(architecture, objective=objective, labels=labels)
        model.target_mean.fill_(10.0)
        model.target_std.fill_(2.0)
        outputs = model.head(rows)
        expected = {
            "single-label": outputs.softmax(1),
            "multi-label": outputs.sigmoid(),
            "regression": outputs * 2 + 10,
        }[objective]
        found = torch.from_numpy(Scorer(model)(rows.numpy()).probabilities).float()
        assert_close(found, expected.detach(), rtol=1e-5, atol=1e-6)


def test_probabilities_are_the_same_to_the_last_bit_in_any_company(architecture: Architecture):
    model = classifier(architecture, hidden_sizes=(50,))
    random = np.random.default_rng(3)
    documents = [random.integers(2, 50, length) for length in (1, 2, 31, 32, 33, 64, 100, 7, 200, 5)]
    scorer, encoder = Scorer(model), TokenEncoder(model, Reading(pooling="concat"))

    def probabilities(chosen: list[int]) -> np.ndarray:
        return scorer(encoder.encode([documents[number] for number in chosen])).probabilities

    together = probabilities(list(range(10)))
    assert np.array_equal(np.concatenate([probabilities([number]) for number in range(10)]), together)
    order = random.permutation(10)
    assert np.array_equal(probabilities(order.tolist()), together[order])
    assert np.array_equal(np.concatenate([probabilities([0, 1, 2]), probabilities(list(range(3, 10)))]), together)
