"""fastai's weights: read as fastai reads them, and written as fastai writes them."""

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile import Hostile
from torch import Tensor
from torch.testing import assert_close

from ulmfit_ray.model.awd_lstm import LanguageModel
from ulmfit_ray.model.fastai import (
    FAKE,
    architecture_of,
    fastai_state,
    fastai_words,
    language_model,
    our_words,
    read_weights,
)

GOLDEN = Path(__file__).parents[1] / "golden"
WORDS: list[str] = pickle.loads((GOLDEN / "fastai_model.pkl").read_bytes())
STATE: dict[str, Tensor] = torch.load(GOLDEN / "fastai_model.pth", weights_only=True)
EXPECTED = json.loads((GOLDEN / "fastai_model.json").read_text())
SPECIAL = WORDS[:9]


def file_of(content: Any) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(content, file)
    file.seek(0)
    return file


def model_of(content: Any, words: list[str] = WORDS) -> LanguageModel:
    weights = read_weights(file_of(content))
    ours = our_words(words, SPECIAL)
    return language_model(weights, words, ours, architecture_of(weights, len(ours))).eval()


@torch.no_grad()
def logits(model: LanguageModel, ids: list[list[int]]) -> Tensor:
    hidden = [(h.to(model.decoder_bias), c.to(model.decoder_bias)) for h, c in model.backbone.initial_hidden(len(ids))]
    parts = []
    for part in torch.tensor(ids).split([4, 3], 1):
        outputs, hidden = model.backbone(part, hidden)
        matrix, bias = model.decoder()
        parts.append(outputs @ matrix.t() + bias)
    return torch.cat(parts, 1)


@pytest.mark.parametrize(("kind", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_logits_are_those_of_fastai(kind: torch.dtype, tolerance: float) -> None:
    expected = torch.tensor(EXPECTED[str(kind).removeprefix("torch.")], dtype=kind)[
        :, :, : len(WORDS) - WORDS.count(FAKE)
    ]
    found = logits(model_of(STATE).to(kind), EXPECTED["ids"])
    assert float((found - expected).abs().max()) <= tolerance * float(expected.abs().max())


def test_what_is_exported_is_what_was_imported_with_the_names_in_fastais_order() -> None:
    exported = fastai_state(model_of(STATE))
    assert list(exported) == list(STATE)
    for name, expected in STATE.items():
        assert torch.equal(exported[name], expected), name
    assert fastai_words(our_words(WORDS, SPECIAL)) == WORDS


@pytest.mark.parametrize(("size", "fakes"), [(7, 1), (8, 8), (9, 7), (60_000, 8)])
def test_a_vocabulary_gets_as_many_fake_words_as_fastai_gives_it(size: int, fakes: int) -> None:
    assert fastai_words(["a"] * size).count(FAKE) == fakes


def test_where_there_is_no_room_for_fake_words_they_are_made_anew() -> None:
    words = [*SPECIAL, *(f"w{number}" for number in range(55)), *[FAKE] * 8]
    state = {name: value if "rnns" in name else value[:1].expand(72, *value.shape[1:]) for name, value in STATE.items()}
    model = model_of(state, words)
    assert (model.architecture.vocab_size, model.architecture.num_rows) == (64, 64)
    assert fastai_state(model)["1.decoder.bias"].shape == (72,)
    assert not fastai_state(model)["1.decoder.bias"][64:].any()


def as_version_1(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights under fastai 1's names, with its stale copy of the recurrent weights."""
    stale = {
        name.replace("weight_hh_l0_raw", "module.weight_hh_l0"): torch.zeros_like(value)
        for name, value in state.items()
        if name.endswith("_raw")
    }
    return state | stale


def as_version_07(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights under fastai 0.7's names; its decoder has no bias."""
    names = {"0.encoder_dp.emb.weight": "0.encoder_with_dropout.embed.weight", "1.decoder.bias": ""}
    moved = {
        names.get(name, name.replace(".weight_hh_l0_raw", ".module.weight_hh_l0_raw")): value
        for name, value in state.items()
    }
    del moved[""]
    return moved


SAVED: dict[str, Callable[[], Any]] = {
    "with its optimizer": lambda: {"model": STATE, "opt": {"hypers": [{"lr": 1e-3}], "state": [{"step": 3}]}},
    "version 1": lambda: as_version_1(STATE),
    "half precision": lambda: {name: value.double() for name, value in STATE.items()},
}


@pytest.mark.parametrize("how", SAVED)
def test_it_does_not_matter_how_the_same_weights_were_saved(how: str) -> None:
    assert torch.equal(logits(model_of(SAVED[how]()), EXPECTED["ids"]), logits(model_of(STATE), EXPECTED["ids"]))


def test_version_07_has_no_decoder_bias() -> None:
    state = STATE | {"1.decoder.bias": torch.zeros(len(WORDS))}
    assert torch.equal(
        logits(model_of(as_version_07(STATE)), EXPECTED["ids"]), logits(model_of(state), EXPECTED["ids"])
    )


def test_an_encoder_alone_has_no_decoder_bias() -> None:
    encoder = {name.removeprefix("0."): value for name, value in STATE.items() if name.startswith("0.")}
    weights = read_weights(file_of(encoder))
    assert weights.bias is None
    assert torch.equal(weights.embedding, STATE["0.encoder.weight"])


def test_words_of_version_07_get_the_names_of_today_and_those_it_lacks_the_mean_row() -> None:
    words = ["_unk_", "_pad_", "the", "t_up", "xbos", *(f"w{number}" for number in range(51))]
    model = model_of(STATE, words)
    ours = our_words(words, SPECIAL)
    assert ours[:9] == SPECIAL
    rows = model.backbone.embedding.weight
    for word, row in {"xxunk": 0, "xxpad": 1, "the": 2, "xxup": 3, "xxbos": 4, "w50": 55}.items():
        assert torch.equal(rows[ours.index(word)], STATE["0.encoder.weight"][row]), word
        assert model.decoder_bias[ours.index(word)] == STATE["1.decoder.bias"][row]
    for word in ("xxmaj", "xxeos", "xxfld", "xxrep", "xxwrep"):
        assert_close(rows[ours.index(word)], STATE["0.encoder.weight"].mean(0))
        assert_close(model.decoder_bias[ours.index(word)], STATE["1.decoder.bias"].mean())


def test_a_hostile_file_of_weights_is_refused_and_nothing_of_it_runs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="it cannot be read as weights"):
        read_weights(file_of(STATE | {"1.decoder.bias": Hostile(tmp_path / "ran")}))
    assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(Hostile(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


def without(name: str) -> dict[str, Tensor]:
    return {key: value for key, value in STATE.items() if name not in key}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "it holds no state dict"),
        ({"0.encoder.weight": "a word"}, "it holds no state dict"),
        (without("encoder."), "there is no encoder.weight in it"),
        (without("rnns"), "it holds no AWD_LSTM: there is no 0.rnns.0 in it"),
        (without("0.rnns.1.module.bias_hh_l0"), "there is no 0.rnns.1.bias_hh_l0"),
        (STATE | {"0.rnns.1.weight_hh_l0_raw": torch.zeros(160, 20)}, "its layer 1 has weights of the shapes"),
        (STATE | {"0.encoder.weight": torch.zeros(9, 12)}, "the vocabulary has 56 words and the weights have 9 rows"),
    ],
)
def test_files_that_are_no_language_model_are_refused_in_words(content: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model_of(content)


def test_a_file_that_is_not_of_torch_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="it cannot be read as weights"):
        read_weights(io.BytesIO(b"not a file of torch"))
