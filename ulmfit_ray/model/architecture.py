"""Sizes and dropouts of an AWD-LSTM."""

import math
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any, Literal

ROW_MULTIPLE = 64
Preset = Literal["awd-lstm-400-1152-3", "awd-lstm-400-1150-3", "laptop"]
DROPOUTS = ("embedding_dropout", "input_dropout", "hidden_dropout", "output_dropout", "weight_dropout")


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """An AWD-LSTM's shape; what the fields mean is said in `ArchitectureOptions`. The defaults are fastai's."""

    vocab_size: int = 0
    embedding_dim: int = 400
    hidden_size: int = 1152
    num_layers: int = 3
    embedding_dropout: float = 0.02
    input_dropout: float = 0.25
    hidden_dropout: float = 0.15
    output_dropout: float = 0.1
    weight_dropout: float = 0.2
    dropout_scale: float = 1.0
    initial_range: float = 0.1

    def __post_init__(self) -> None:
        if self.vocab_size < 0:
            raise ValueError(f"architecture.vocab_size must be at least 0, not {self.vocab_size}")
        for name in ("embedding_dim", "hidden_size", "num_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"architecture.{name} must be at least 1, not {getattr(self, name)}")
        if not 0 < self.initial_range < math.inf:
            raise ValueError(f"architecture.initial_range must be greater than 0, not {self.initial_range}")
        for name in DROPOUTS:
            if not 0 <= getattr(self, name) * self.dropout_scale < 1:
                raise ValueError(f"architecture.{name} times dropout_scale must lie in [0, 1)")

    @property
    def num_rows(self) -> int:
        """Rows of the embedding: vocab_size rounded up to a multiple of 64; the softmax leaves the added rows out."""
        return -(-self.vocab_size // ROW_MULTIPLE) * ROW_MULTIPLE

    def layer_sizes(self) -> list[tuple[int, int]]:
        """Return (input size, output size) of each layer; the last one comes back to the embedding's size."""
        widths = [self.embedding_dim] + [self.hidden_size] * (self.num_layers - 1) + [self.embedding_dim]
        return list(pairwise(widths))

    def scaled_dropouts(self) -> "Architecture":
        """Return the same with every dropout multiplied by `dropout_scale`."""
        scaled: dict[str, Any] = {name: getattr(self, name) * self.dropout_scale for name in DROPOUTS}
        return replace(self, dropout_scale=1.0, **scaled)

    def without_dropout(self, **dropouts: float) -> "Architecture":
        """Return the same shape with all dropouts off, but for those given."""
        off: dict[str, Any] = dict.fromkeys(DROPOUTS, 0.0)
        return replace(self, dropout_scale=1.0, **(off | dropouts))


PRESETS: dict[Preset, Architecture] = {
    "awd-lstm-400-1152-3": Architecture(),
    "awd-lstm-400-1150-3": Architecture(
        hidden_size=1150,
        embedding_dropout=0.1,
        input_dropout=0.65,
        hidden_dropout=0.2,
        output_dropout=0.4,
        weight_dropout=0.5,
    ),
    "laptop": Architecture(
        embedding_dim=128,
        hidden_size=256,
        num_layers=2,
        embedding_dropout=0.0,
        input_dropout=0.1,
        hidden_dropout=0.1,
        output_dropout=0.1,
        weight_dropout=0.0,
    ),
}
"""fastai's `awd_lstm_lm_config`; the paper's on WikiText-2, a small text (Merity et al. 2017); one for two cores."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DropoutOptions:
    """The part of an AWD-LSTM's shape that can be changed in a trained model: what is given, else (None) its own."""

    vocab_size: int = 0
    """Number of words the model knows: the first ones of the token dataset's vocabulary, others are xxunk (0: all)."""
    embedding_dropout: float | None = None
    """Probability that a word's vector is set to 0, for all its occurrences in a batch."""
    input_dropout: float | None = None
    """Dropout probability of the word vectors in front of the first layer."""
    hidden_dropout: float | None = None
    """Dropout probability between two LSTM layers."""
    output_dropout: float | None = None
    """Dropout probability between the last layer and the decoder."""
    weight_dropout: float | None = None
    """Dropout probability of the recurrent weights (DropConnect)."""
    dropout_scale: float = 1.0
    """Factor by which all five dropouts are multiplied."""

    def changed(self, architecture: Architecture) -> Architecture:
        """Return an architecture with what is given.

        Raises:
            ValueError: there is no model of that shape.
        """
        given = {name: value for name, value in asdict(self).items() if name != "preset" and value is not None}
        return replace(architecture, **given)


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchitectureOptions(DropoutOptions):
    """The shape of a new AWD-LSTM: what is given, and else (None) the preset's."""

    preset: Preset = "awd-lstm-400-1152-3"
    """awd-lstm-400-1152-3: fastai's, for GPUs; awd-lstm-400-1150-3: the paper's, with its dropouts for a small text;
    laptop: 128-256-2, a million tokens of which take about two minutes on two cores."""
    embedding_dim: int | None = None
    """Width of the word vectors, and of the last layer's output."""
    hidden_size: int | None = None
    """Output width of every LSTM layer but the last."""
    num_layers: int | None = None
    """Number of LSTM layers."""
    initial_range: float | None = None
    """New word vectors are drawn from U(-x, x); 0.1 if not given, as in fastai. A small vocabulary learns from 1."""

    def __post_init__(self) -> None:
        self.chosen()

    def chosen(self) -> Architecture:
        """Return the shape.

        Raises:
            ValueError: there is no model of that shape.
        """
        return self.changed(PRESETS[self.preset])


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifierDropouts:
    """The dropouts of the AWD-LSTM below a classifier: fastai's `awd_lstm_clas_config`, halved as its learner does."""

    embedding_dropout: float = 0.05
    """Probability that a word's vector is set to 0, for all its occurrences in a batch."""
    input_dropout: float = 0.4
    """Dropout probability of the word vectors in front of the first layer."""
    hidden_dropout: float = 0.3
    """Dropout probability between two LSTM layers."""
    weight_dropout: float = 0.5
    """Dropout probability of the recurrent weights (DropConnect)."""
    dropout_scale: float = 0.5
    """Factor by which all four dropouts are multiplied."""

    def __post_init__(self) -> None:
        self.changed(Architecture())

    def changed(self, architecture: Architecture) -> Architecture:
        """Return an architecture with these dropouts; in front of the head are the head's own.

        Raises:
            ValueError: one is no probability.
        """
        return replace(architecture, output_dropout=0.0, **asdict(self))
