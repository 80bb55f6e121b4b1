"""fastai's classifiers: the same logits as fastai gives for a document alone, and none of its mistakes in batches."""

import io
import json
import pickle
import re
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from fastai_heads import STATE, encoder, many_blocks, one_layer, version_07, version_1, without_dropout
from hostile import Hostile
from torch import Tensor, nn
from torch.testing import assert_close

from ulmfit_ray.encoding.encoder import TokenEncoder
from ulmfit_ray.model.awd_lstm import AWDLSTM
from ulmfit_ray.model.classifier import Classifier, Scorer
from ulmfit_ray.model.description import ClassifierHead, Reading
from ulmfit_ray.model.fastai import (
    FAKE,
    FastaiWeights,
    architecture_of,
    classifier,
    fastai_encoder_state,
    fastai_state,
    our_words,
    read_weights,
)
from ulmfit_ray.model.fastai_head import FastaiHead

GOLDEN = Path(__file__).parents[1] / "golden"
WORDS: list[str] = pickle.loads((GOLDEN / "fastai_model.pkl").read_bytes())
EXPECTED = json.loads((GOLDEN / "fastai_classifier.json").read_text())
ALONE = {int(length): torch.tensor(logits).double() for length, logits in EXPECTED["alone"].items()}
MAX_LEN = 1440
"""Of fastai's classifiers: it pools longer documents over their end."""


def file_of(content: Any) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(content, file)
    file.seek(0)
    return file


def head_of(weights: FastaiWeights) -> FastaiHead:
    assert weights.head is not None
    return weights.head


def model_of(content: Any, objective: Any = "single-label") -> Classifier:
    weights = read_weights(file_of(content))
    found = head_of(weights)
    labels = () if objective == "regression" else tuple(map(str, range(found.sizes[-1])))
    head = ClassifierHead(
        objective=objective, labels=labels, hidden_sizes=found.sizes[1:-1], norm="batch", has_bias=found.has_bias
    )
    words = our_words(WORDS, WORDS[:9])
    return classifier(weights, WORDS, words, architecture_of(weights, len(words)), head).eval()


def document(length: int) -> np.ndarray:
    return np.array(EXPECTED["ids"][:length])


def pooled(model: Classifier, lengths: list[int]) -> np.ndarray:
    return TokenEncoder(model, Reading(pooling="concat")).encode([document(length) for length in lengths])


@torch.no_grad()
def logits(model: Classifier, vectors: np.ndarray) -> Tensor:
    """Return what the head makes of pooled vectors, in float64 as `Scorer` runs it."""
    head = Classifier(AWDLSTM(model.backbone.architecture), model.description).double().head.eval()
    head.load_state_dict(model.head.state_dict())
    outputs: Tensor = head(torch.from_numpy(vectors).double())
    return outputs


def largest_difference(found: Tensor, expected: Tensor) -> float:
    """Return it in units of the largest logit."""
    return float((found - expected).abs().max() / expected.abs().max())


@torch.no_grad()
def outputs_of(state: dict[str, Tensor], ids: np.ndarray, front: str = "0.module.") -> Tensor:
    """Return an encoder's outputs (T, E) of one document, by torch's own LSTM from fastai's tensors."""
    outputs = state[f"{front}encoder.weight"][torch.from_numpy(ids)]
    for number in range(2):
        own = f"{front}rnns.{number}."
        names = {name: f"{own}module.{name}" for name in ("weight_ih_l0", "bias_ih_l0", "bias_hh_l0")}
        raw = next(name for name in state if name.startswith(own) and name.endswith("weight_hh_l0_raw"))
        layer = nn.LSTM(outputs.shape[1], len(state[raw]) // 4)
        layer.load_state_dict({"weight_hh_l0": state[raw]} | {name: state[key] for name, key in names.items()})
        outputs = layer(outputs)[0]
    return outputs


def concat(outputs: Tensor, last: int = -1) -> np.ndarray:
    """Return [last, max, mean] as one row."""
    return torch.cat([outputs[last], outputs.amax(0), outputs.mean(0)])[None].numpy()


@pytest.mark.parametrize("length", [length for length in ALONE if length <= MAX_LEN])
def test_logits_of_a_document_alone_are_those_of_fastai(length: int) -> None:
    model = model_of(STATE)
    vectors = pooled(model, [length])
    assert largest_difference(logits(model, vectors)[0], ALONE[length]) <= 1e-5
    assert_close(
        torch.from_numpy(Scorer(model)(vectors).probabilities[0]).double(), ALONE[length].softmax(0), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("lengths", [batch["lengths"] for batch in EXPECTED["batches"]], ids=str)
def test_logits_in_a_batch_are_those_of_each_document_alone(lengths: list[int]) -> None:
    model = model_of(STATE)
    alone = torch.cat([logits(model, pooled(model, [length])) for length in lengths])
    assert torch.equal(logits(model, pooled(model, lengths)).float(), alone.float())


WRONG: dict[tuple[int, ...], tuple[int, Callable[[Tensor], np.ndarray]]] = {
    # It begins in the last chunk, in which only two rows are counted, and the first two are run: its vector is zero.
    (200, 130, 60, 56): (56, lambda outputs: np.zeros((1, 48), np.float32)),
    # 12 pads in front lie within the last 72 columns: "last" is taken 12 tokens too early.
    (1500, 30): (30, lambda outputs: concat(outputs, last=-1 - 12)),
    # Chunks are left out by the length of the longest: 1,356 tokens are pooled beside it, 1,428 alone.
    (1900, 1500): (1500, lambda outputs: concat(outputs[-1356:])),
}
"""Lengths of a batch -> the document that fastai gets wrong there, and the vector it goes into the head with."""


@pytest.mark.parametrize("batch", EXPECTED["batches"], ids=lambda batch: str(batch["lengths"]))
def test_in_a_batch_fastai_gives_one_document_other_logits_than_alone(batch: dict[str, Any]) -> None:
    length, vector = WRONG[tuple(batch["lengths"])]
    found = dict(zip(batch["lengths"], torch.tensor(batch["logits"]).double(), strict=True))
    differing = [each for each in found if largest_difference(found[each], ALONE[each]) > 1e-5]
    assert differing == [length]
    wrong = vector(outputs_of(STATE, document(length)))
    assert largest_difference(logits(model_of(STATE), wrong)[0], found[length]) <= 1e-5


@pytest.mark.parametrize(("length", "pooled_tokens"), [(1500, 1428), (1900, 1396)])
def test_of_a_document_over_max_len_fastai_pools_the_end_and_we_the_whole(length: int, pooled_tokens: int) -> None:
    model, outputs = model_of(STATE), outputs_of(STATE, document(length))
    assert largest_difference(logits(model, concat(outputs[-pooled_tokens:]))[0], ALONE[length]) <= 1e-5
    assert_close(pooled(model, [length]), concat(outputs), atol=1e-6, rtol=0)
    assert largest_difference(logits(model, pooled(model, [length]))[0], ALONE[length]) > 1e-5


def test_what_is_exported_is_what_was_imported_with_the_names_in_fastais_order() -> None:
    exported = fastai_state(model_of(STATE))
    assert list(exported) == list(STATE)
    for name, expected in STATE.items():
        assert torch.equal(exported[name], expected), name
        assert exported[name].dtype == expected.dtype, name


def test_an_exported_encoder_has_the_names_of_one_that_fastai_saves_alone() -> None:
    front = "0.module."
    assert list(fastai_encoder_state(model_of(STATE))) == [
        name.removeprefix(front) for name in STATE if name.startswith(front)
    ]


def test_shape_and_dropouts_are_those_of_fastais_classifier() -> None:
    weights = read_weights(file_of(STATE))
    assert (head_of(weights).sizes, head_of(weights).has_bias) == ((48, 10, 3), False)
    shape = architecture_of(weights, 50)
    assert (shape.embedding_dim, shape.hidden_size, shape.num_layers) == (16, 24, 2)
    # text_classifier_learner: awd_lstm_clas_config, each times 0.5.
    scaled = shape.scaled_dropouts()
    assert (scaled.embedding_dropout, scaled.input_dropout, scaled.hidden_dropout) == (0.025, 0.2, 0.15)
    assert (scaled.output_dropout, scaled.weight_dropout) == (0.2, 0.25)


@pytest.mark.parametrize("made", [version_1, version_07, without_dropout, one_layer, many_blocks])
def test_heads_of_all_versions_are_read(made: Callable[[], tuple[nn.Module, dict[str, Tensor]]]) -> None:
    head, state = made()
    model = model_of(state)
    front = "0.module." if made is not version_07 else "0."
    vectors = np.concatenate([concat(outputs_of(state, document(length), front)) for length in (3, 80, 300)])
    with torch.no_grad():
        expected = head.double()(torch.from_numpy(vectors).double())
    assert largest_difference(logits(model, pooled(model, [3, 80, 300])), expected) <= 1e-5
    assert model.description.has_bias == (made not in (without_dropout, one_layer))


class L:
    """fastcore's list, in which fastai 2 keeps an optimizer's settings, as pickle sees it."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items


@pytest.fixture
def fastcore(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let L be pickled under its real name."""
    monkeypatch.setattr(L, "__module__", "fastcore.foundation")
    monkeypatch.setitem(sys.modules, "fastcore", ModuleType("fastcore"))
    monkeypatch.setitem(sys.modules, "fastcore.foundation", SimpleNamespace(L=L))  # type: ignore[arg-type]


@pytest.mark.usefixtures("fastcore")
def test_of_a_learner_saved_with_its_optimizer_only_the_model_is_read() -> None:
    optimizer = {"hypers": L([{"lr": np.float64(1e-3), "wd": 0.01}]), "state": [{"step": 3}]}
    file = file_of({"model": STATE, "opt": optimizer})
    assert b"fastcore.foundation\nL\n" in file.getvalue()
    assert b"multiarray\nscalar\n" in file.getvalue()
    found = head_of(read_weights(file)).tensors["blocks.0.linear.weight"]
    assert torch.equal(found, STATE["1.layers.0.2.weight"])


def test_weights_in_double_precision_are_the_same() -> None:
    double = {name: value.double() if value.is_floating_point() else value for name, value in STATE.items()}
    found, expected = model_of(double), model_of(STATE)
    assert torch.equal(logits(found, pooled(found, [80])), logits(expected, pooled(expected, [80])))


def test_a_regressions_mean_and_deviation_go_into_the_exported_weights() -> None:
    state = STATE | {"1.layers.1.2.weight": STATE["1.layers.1.2.weight"][:1]}
    model = model_of(state, "regression")
    model.target_mean.fill_(250)
    model.target_std.fill_(40)
    vectors = pooled(model, [3, 80, 300])
    expected = torch.from_numpy(Scorer(model)(vectors).probabilities)
    assert float(expected.std()) > 1
    # fastai knows no such numbers: the weights alone give them.
    again = model_of(fastai_state(model), "regression")
    assert_close(logits(again, vectors), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm": "layer"}, "its head has layer norm, and a head of fastai 2 has batch norm"),
        ({"norm": "none"}, "its head has no norm, and a head of fastai 2 has batch norm"),
        ({"has_bias": True}, "the linear layers of its head have biases, and those of fastai 2 have none"),
    ],
)
def test_heads_that_fastai_cannot_hold_are_not_exported(changes: dict[str, Any], message: str) -> None:
    head = ClassifierHead(**{"objective": "single-label", "labels": ("a", "b")} | changes)
    with pytest.raises(ValueError, match=message):
        fastai_state(Classifier(AWDLSTM(architecture_of(read_weights(file_of(STATE)), 50)), head))


def test_a_hostile_file_of_weights_is_refused_and_nothing_of_it_runs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^it cannot be read as weights: it asks for \w+\.system, and weights"):
        read_weights(file_of(STATE | {"1.layers.0.0.weight": Hostile(tmp_path / "ran")}))
    assert not (tmp_path / "ran").exists()


def test_a_class_that_is_not_known_is_named() -> None:
    with pytest.raises(ValueError, match=r"^it cannot be read as weights: it asks for pathlib\S*\.PurePosixPath,"):
        read_weights(file_of(STATE | {"1.layers.0.0.weight": PurePosixPath("a")}))


def without(name: str) -> dict[str, Tensor]:
    return {key: value for key, value in STATE.items() if name not in key}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (without("1.layers"), "it holds the encoder of a classifier without a head: there is no 1.layers in it"),
        (without("1.layers.1.2"), "1.layers.* are not batch norm and linear layer by turns"),
        (without("running_var"), "1.layers.* are not batch norm and linear layer by turns"),
        (STATE | {"1.layers.attention.weight": torch.zeros(2)}, "there is 1.layers.attention.weight in it"),
        (STATE | {"1.layers.1.2.bias": torch.zeros(3)}, "some of its linear layers have biases, some not"),
        (
            STATE | {"1.layers.0.2.weight": torch.zeros(10, 32)},
            "48 numbers come into its block 0, whose batch norm has shapes [(48,)] and whose linear layer [(10, 32)]",
        ),
        (STATE | {"1.layers.1.0.bias": torch.zeros(9)}, "whose batch norm has shapes [(9,), (10,)]"),
        (STATE | {"0.module.encoder.weight": torch.zeros(9, 16)}, "has 56 words and the weights have 9 rows"),
    ],
)
def test_heads_that_are_not_of_fastai_are_refused_in_words(content: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        model_of(content)


def test_a_language_model_and_an_encoder_alone_have_no_head() -> None:
    assert read_weights((GOLDEN / "fastai_model.pth").open("rb")).head is None
    alone = {name.removeprefix("0.module."): value for name, value in encoder().items()}
    assert read_weights(file_of(alone)).head is None


def test_the_golden_classifier_has_the_words_of_the_golden_language_model() -> None:
    assert len(STATE["0.module.encoder.weight"]) == len(WORDS)
    assert max(EXPECTED["ids"]) < WORDS.index(FAKE)
