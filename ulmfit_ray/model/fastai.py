"""fastai's language models: their weights under our names, and back. Facts: fastai 2.8, 1.0.61 and 0.7 as they save.

A file holds the state dict of a whole language model, or of its encoder alone (`save_encoder`); of a learner saved
with its optimizer only the model counts. Version 2 ends its vocabularies with 1 to 8 words "xxfake", which no text
holds: here they are rows of padding. Only tensors are read from a file, no pickled code runs.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import torch
from torch import Tensor

from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.awd_lstm import LanguageModel

FAKE = "xxfake"
OLD_NAMES = {
    "_unk_": "xxunk",
    "_pad_": "xxpad",
    "xbos": "xxbos",
    "xfld": "xxfld",
    "t_up": "xxup",
    "tk_rep": "xxrep",
    "tk_wrep": "xxwrep",
}
"""What fastai 0.7 called the special tokens."""
RECURRENT = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
LAYER = re.compile(r"rnns\.(\d+)\.")


@dataclass(frozen=True, slots=True)
class FastaiWeights:
    """A language model as fastai saved it: V rows of its vocabulary, E numbers for each."""

    embedding: Tensor
    """(V, E)"""
    bias: Tensor | None
    """(V,), of the decoder; None in fastai 0.7 and in an encoder alone."""
    layers: list[dict[str, Tensor]]
    """The weights of each LSTM layer by torch's names."""


def read_weights(file: BinaryIO) -> FastaiWeights:
    """Read the file of a language model or of its encoder.

    Raises:
        ValueError: it holds something else, or code to run.
    """
    try:
        with warnings.catch_warnings():
            # Of a file that is not torch's it is not sure, and then it fails.
            warnings.simplefilter("ignore")
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch raises whatever the file makes it raise, with pages of advice behind the first line.
        raise ValueError(f"it cannot be read as weights: {str(error).splitlines()[0]}") from error
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError("it holds no state dict: save the model with learn.save(name, with_opt=False)")
    return _weights_of(content)


def _weights_of(content: Mapping[str, Tensor]) -> FastaiWeights:
    # An encoder by itself has no number in front of its names.
    front = "0." if "0.encoder.weight" in content else ""
    if f"{front}encoder.weight" not in content:
        raise ValueError(f"it holds no language model of fastai: there is no {front}encoder.weight in it")
    count = 1 + max((int(found[1]) for name in content if (found := LAYER.match(name, len(front)))), default=-1)
    if not count:
        raise ValueError(f"it holds no AWD_LSTM: there is no {front}rnns.0 in it")
    layers = [{name: _of_layer(content, f"{front}rnns.{n}", name) for name in RECURRENT} for n in range(count)]
    bias = content.get("1.decoder.bias")
    return FastaiWeights(content[f"{front}encoder.weight"].float(), None if bias is None else bias.float(), layers)


def _of_layer(content: Mapping[str, Tensor], layer: str, name: str) -> Tensor:
    """Return one tensor of a layer.

    Of the recurrent weights the raw ones count: what fastai 1 saves under torch's name is a copy with dropout in it.
    """
    places = [f"{layer}.{name}_raw", f"{layer}.module.{name}_raw", f"{layer}.module.{name}", f"{layer}.{name}"]
    for place in places:
        if place in content:
            return content[place].float()
    raise ValueError(f"it holds no AWD_LSTM: there is no {places[0]} in it")


def architecture_of(weights: FastaiWeights, vocab_size: int) -> Architecture:
    """Return the shape of the model, with fastai's dropouts: a file of weights does not say which it was trained with.

    Raises:
        ValueError: it is not one that we have.
    """
    width = weights.embedding.shape[1]
    hidden = weights.layers[0]["weight_hh_l0"].shape[1] if len(weights.layers) > 1 else width
    layers = len(weights.layers)
    architecture = Architecture(vocab_size=vocab_size, embedding_dim=width, hidden_size=hidden, num_layers=layers)
    for number, (inputs, outputs) in enumerate(architecture.layer_sizes()):
        layer = weights.layers[number]
        found = tuple(layer["weight_ih_l0"].shape), tuple(layer["weight_hh_l0"].shape)
        if found != ((4 * outputs, inputs), (4 * outputs, outputs)):
            raise ValueError(
                f"its layer {number} has weights of the shapes {found[0]} and {found[1]}:"
                " bidirectional and quasi-recurrent models are not known here"
            )
    return architecture


def our_words(itos: Sequence[str], special: Sequence[str]) -> list[str]:
    """Return the words that a model of fastai has, the special tokens first and under their names of today."""
    words = [OLD_NAMES.get(word, word) for word in itos if word != FAKE]
    return [*special, *(word for word in dict.fromkeys(words) if word not in special)]


def language_model(
    weights: FastaiWeights, itos: Sequence[str], words: Sequence[str], shape: Architecture
) -> LanguageModel:
    """Return our model of those words; a word that fastai's vocabulary lacks has the mean row and the mean bias.

    Raises:
        ValueError: `itos` has not as many words as the weights have rows.
    """
    num_rows = len(weights.embedding)
    if len(itos) != num_rows:
        raise ValueError(f"the vocabulary has {len(itos):,} words and the weights have {num_rows:,} rows")
    rows: dict[str, int] = {}
    for row, word in enumerate(itos):
        rows.setdefault(OLD_NAMES.get(word, word), row)
    bias = torch.zeros(num_rows) if weights.bias is None else weights.bias
    missing = num_rows
    chosen = torch.tensor([rows.get(word, missing) for word in words])
    # Rows of padding keep what fastai's "xxfake" had, as far as there is room.
    fakes = torch.tensor([row for row, word in enumerate(itos) if word == FAKE][: shape.num_rows - len(words)])
    model = LanguageModel(shape)
    state = {
        f"backbone.layers.{n}.{name}": value for n, layer in enumerate(weights.layers) for name, value in layer.items()
    }
    state["backbone.embedding.weight"] = _rearranged(weights.embedding, chosen, fakes, shape.num_rows)
    state["decoder_bias"] = _rearranged(bias, chosen, fakes, shape.num_rows)
    model.load_state_dict(state)
    return model


def _rearranged(values: Tensor, chosen: Tensor, fakes: Tensor, num_rows: int) -> Tensor:
    """Return rows of `values` in another order; row len(values) is the mean of all, what is not filled is 0."""
    with_mean = torch.cat([values, values.mean(0, keepdim=True)])
    found = values.new_zeros(num_rows, *values.shape[1:])
    found[: len(chosen)] = with_mean[chosen]
    found[len(chosen) : len(chosen) + len(fakes)] = values[fakes.long()]
    return found


def _num_fakes(num_words: int) -> int:
    """Return how many words "xxfake" fastai 2 puts behind so many words: 1 to 8, to a multiple of 8."""
    return 8 - num_words % 8


def fastai_words(words: Sequence[str]) -> list[str]:
    """Return a vocabulary as fastai 2 would have made it, with its words "xxfake" behind."""
    return [*words, *[FAKE] * _num_fakes(len(words))]


def fastai_state(model: LanguageModel) -> dict[str, Tensor]:
    """Return a language model's weights under the names, and with the rows, of fastai 2."""
    size = model.architecture.vocab_size
    num_rows = size + _num_fakes(size)
    state: dict[str, Any] = {}
    embedding = _cut_or_padded(model.backbone.embedding.weight.detach(), num_rows)
    state["0.encoder.weight"] = state["0.encoder_dp.emb.weight"] = embedding
    for number, layer in enumerate(model.backbone.layers):
        tensors = dict(layer.named_parameters())
        state[f"0.rnns.{number}.weight_hh_l0_raw"] = tensors["weight_hh_l0"].detach()
        for name in ("weight_ih_l0", "bias_ih_l0", "bias_hh_l0"):
            state[f"0.rnns.{number}.module.{name}"] = tensors[name].detach()
    state["1.decoder.weight"] = embedding
    state["1.decoder.bias"] = _cut_or_padded(model.decoder_bias.detach(), num_rows)
    return state


def _cut_or_padded(values: Tensor, num_rows: int) -> Tensor:
    found = values.new_zeros(num_rows, *values.shape[1:])
    found[: len(values)] = values[:num_rows]
    return found
