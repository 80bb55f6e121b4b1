"""A language model's weights moved to another vocabulary: words that both know keep their vectors and biases.

As fastai does it (`match_embeds`): a word that is new gets the mean of all vectors and biases.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ulmfit_ray.model.awd_lstm import LanguageModel


def rows_of(words: Sequence[str], known: Sequence[str], names: Mapping[str, str]) -> Tensor:
    """Return for each of `words` its place in `known`, or -1, (V,); `names` are other names of known words."""
    places = {names.get(word, word): place for place, word in enumerate(known)}
    return torch.tensor([places.get(names.get(word, word), -1) for word in words])


@torch.no_grad()
def transfer(source: LanguageModel, target: LanguageModel, rows: Tensor) -> None:
    """Give `target` the LSTM layers of `source`, and its word vectors and decoder biases.

    rows (V,) says which row of the source becomes each row of the target: -1 is the mean of all.
    """
    target.backbone.layers.load_state_dict(source.backbone.layers.state_dict())
    matrix, bias = source.decoder()
    size = len(rows)
    is_new = rows < 0
    for own, value in ((target.backbone.embedding.weight, matrix), (target.decoder_bias, bias)):
        own[:size] = value[rows.clamp(min=0)]
        own[:size][is_new] = value.mean(0)


@torch.no_grad()
def transfer_layers(source: LanguageModel, target: LanguageModel) -> None:
    """Give `target` the LSTM layers of `source` alone."""
    target.backbone.layers.load_state_dict(source.backbone.layers.state_dict())
