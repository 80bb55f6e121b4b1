"""fastai's models: their weights under our names, and back. Facts: fastai 2.8, 1.0.61 and 0.7 as they save.

A file holds the state dict of a language model, of its encoder alone (`save_encoder`), or of a classifier; of a learner
saved with its optimizer only the model counts. Version 2 ends its vocabularies with 1 to 8 words "xxfake", which no
text holds: here they are rows of padding. Only tensors are read from a file, no pickled code runs.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import torch
from torch import Tensor

from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.awd_lstm import AWDLSTM, LanguageModel
from ulmfit_ray.model.classifier import POOLING, Classifier
from ulmfit_ray.model.description import ClassifierHead, pooled_width
from ulmfit_ray.model.fastai_head import FastaiHead, fastai_head_state, read_head

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
ASKED_FOR = re.compile(r"unsupported (?:global: )?GLOBAL (\S+)", re.IGNORECASE)
"""torch's words for a class or function in a file that it does not load."""
CLASSIFIER_DROPOUTS = {
    "embedding_dropout": 0.05,
    "input_dropout": 0.4,
    "hidden_dropout": 0.3,
    "output_dropout": 0.4,
    "weight_dropout": 0.5,
    "dropout_scale": 0.5,
}
"""fastai's `awd_lstm_clas_config`, and `drop_mult` of `text_classifier_learner`."""


OPTIMIZER_NAMES = (
    "fastcore.foundation.L",
    "numpy.dtype",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray.scalar",
)
"""What fastai 2 pickles of an optimizer: its settings, in a list of its own, some of them numbers of numpy."""


class _Ignored:
    """Stands for any of these when a file is read: nothing of them runs, nothing is kept."""

    def __init__(self, *given: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


@dataclass(frozen=True, slots=True)
class FastaiWeights:
    """A model as fastai saved it: V rows of its vocabulary, E numbers for each."""

    embedding: Tensor
    """(V, E)"""
    bias: Tensor | None
    """(V,), of the decoder; None in fastai 0.7, in an encoder alone, and in a classifier."""
    layers: list[dict[str, Tensor]]
    """The weights of each LSTM layer by torch's names."""
    head: FastaiHead | None = None
    """Of a classifier."""


def read_weights(file: BinaryIO) -> FastaiWeights:
    """Read the file of a language model, of its encoder, or of a classifier.

    Raises:
        ValueError: it holds something else, or code to run.
    """
    try:
        with warnings.catch_warnings():
            # Of a file that is not torch's it is not sure, and then it fails.
            warnings.simplefilter("ignore")
            with torch.serialization.safe_globals([(_Ignored, name) for name in OPTIMIZER_NAMES]):
                content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch raises whatever the file makes it raise, with pages of advice behind the first line.
        asked = ASKED_FOR.search(str(error))
        why = f"it asks for {asked[1]}, and weights need no code" if asked else str(error).splitlines()[0]
        raise ValueError(f"it cannot be read as weights: {why}") from error
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError("it holds no state dict: save the model with learn.save(name, with_opt=False)")
    return _weights_of(content)


def _weights_of(content: Mapping[str, Tensor]) -> FastaiWeights:
    # The encoder of a classifier lies in a module of its own; an encoder by itself has no number in front of its names.
    front = next((front for front in ("0.module.", "0.") if f"{front}encoder.weight" in content), "")
    if f"{front}encoder.weight" not in content:
        raise ValueError(f"it holds no model of fastai: there is no {front}encoder.weight in it")
    count = 1 + max((int(found[1]) for name in content if (found := LAYER.match(name, len(front)))), default=-1)
    if not count:
        raise ValueError(f"it holds no AWD_LSTM: there is no {front}rnns.0 in it")
    layers = [{name: _of_layer(content, f"{front}rnns.{n}", name) for name in RECURRENT} for n in range(count)]
    bias = content.get("1.decoder.bias")
    embedding = content[f"{front}encoder.weight"].float()
    head = read_head(content, pooled_width(POOLING, embedding.shape[1]))
    if front == "0.module." and head is None:
        raise ValueError("it holds the encoder of a classifier without a head: there is no 1.layers in it")
    return FastaiWeights(embedding, None if bias is None else bias.float(), layers, head)


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
    architecture = Architecture(
        vocab_size=vocab_size,
        embedding_dim=width,
        hidden_size=hidden,
        num_layers=layers,
        **({} if weights.head is None else CLASSIFIER_DROPOUTS),
    )
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
    model = LanguageModel(shape)
    rows = _Rows.of(weights, itos, words, shape)
    _fill(model.backbone, weights, rows)
    bias = torch.zeros(len(weights.embedding)) if weights.bias is None else weights.bias
    model.decoder_bias.data.copy_(rows.of_ours(bias))
    return model


def classifier(
    weights: FastaiWeights, itos: Sequence[str], words: Sequence[str], shape: Architecture, head: ClassifierHead
) -> Classifier:
    """Return our classifier of those words, its head described by `head`; words and errors: see `language_model`."""
    assert weights.head is not None
    model = Classifier(AWDLSTM(shape), head)
    _fill(model.backbone, weights, _Rows.of(weights, itos, words, shape))
    model.head.load_state_dict(weights.head.tensors)
    return model


@dataclass(frozen=True, slots=True)
class _Rows:
    """Which rows of fastai's vocabulary are ours."""

    chosen: Tensor
    """For each of our words its row, or the number of rows: the mean of all."""
    fakes: Tensor
    """Those of "xxfake", which rows of padding keep as far as there is room."""
    num_rows: int
    """Ours."""

    @classmethod
    def of(cls, weights: FastaiWeights, itos: Sequence[str], words: Sequence[str], shape: Architecture) -> "_Rows":
        missing = len(weights.embedding)
        if len(itos) != missing:
            raise ValueError(f"the vocabulary has {len(itos):,} words and the weights have {missing:,} rows")
        rows: dict[str, int] = {}
        for row, word in enumerate(itos):
            rows.setdefault(OLD_NAMES.get(word, word), row)
        chosen = [rows.get(word, missing) for word in words]
        fakes = [row for row, word in enumerate(itos) if word == FAKE][: shape.num_rows - len(words)]
        return cls(torch.tensor(chosen), torch.tensor(fakes).long(), shape.num_rows)

    def of_ours(self, values: Tensor) -> Tensor:
        """Return the rows of `values` in our order; what is not filled is 0."""
        with_mean = torch.cat([values, values.mean(0, keepdim=True)])
        found = values.new_zeros(self.num_rows, *values.shape[1:])
        end = len(self.chosen)
        found[:end] = with_mean[self.chosen]
        found[end : end + len(self.fakes)] = values[self.fakes]
        return found


def _fill(backbone: AWDLSTM, weights: FastaiWeights, rows: _Rows) -> None:
    layers = {f"layers.{n}.{name}": value for n, layer in enumerate(weights.layers) for name, value in layer.items()}
    backbone.load_state_dict(layers | {"embedding.weight": rows.of_ours(weights.embedding)})


def _num_fakes(num_words: int) -> int:
    """Return how many words "xxfake" fastai 2 puts behind so many words: 1 to 8, to a multiple of 8."""
    return 8 - num_words % 8


def fastai_words(words: Sequence[str]) -> list[str]:
    """Return a vocabulary as fastai 2 would have made it, with its words "xxfake" behind."""
    return [*words, *[FAKE] * _num_fakes(len(words))]


def fastai_state(model: LanguageModel | Classifier) -> dict[str, Tensor]:
    """Return a model's weights under the names, and with the rows, of fastai 2.

    Raises:
        ValueError: it is a classifier with a head that fastai 2 has not.
    """
    if isinstance(model, Classifier):
        head = fastai_head_state(model)
        return {f"0.module.{name}": value for name, value in fastai_encoder_state(model).items()} | head
    state = {f"0.{name}": value for name, value in fastai_encoder_state(model).items()}
    state["1.decoder.weight"] = state["0.encoder.weight"]
    state["1.decoder.bias"] = _cut_or_padded(model.decoder_bias.detach(), len(state["0.encoder.weight"]))
    return state


def fastai_encoder_state(model: LanguageModel | Classifier) -> dict[str, Tensor]:
    """Return what fastai 2 saves of its encoder alone."""
    backbone = model.backbone
    size = backbone.architecture.vocab_size
    embedding = _cut_or_padded(backbone.embedding.weight.detach(), size + _num_fakes(size))
    state = {"encoder.weight": embedding, "encoder_dp.emb.weight": embedding}
    for number, layer in enumerate(backbone.layers):
        tensors = dict(layer.named_parameters())
        state[f"rnns.{number}.weight_hh_l0_raw"] = tensors["weight_hh_l0"].detach()
        for name in ("weight_ih_l0", "bias_ih_l0", "bias_hh_l0"):
            state[f"rnns.{number}.module.{name}"] = tensors[name].detach()
    return state


def _cut_or_padded(values: Tensor, num_rows: int) -> Tensor:
    found = values.new_zeros(num_rows, *values.shape[1:])
    found[: len(values)] = values[:num_rows]
    return found
