"""Sizes and dropouts of an AWD-LSTM."""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

ROW_MULTIPLE = 64
DROPOUTS = ("embedding_dropout", "input_dropout", "hidden_dropout", "output_dropout", "weight_dropout")


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """An AWD-LSTM's shape; the defaults are fastai's `awd_lstm_lm_config` (Merity et al. 2017, ULMFiT)."""

    vocab_size: int = 0
    """Know the first N entries of the tokens' vocabulary, the rest is xxunk (0: all of them)."""
    embedding_dim: int = 400
    """Size of word vectors, and of the last layer's output."""
    hidden_size: int = 1152
    """Size of the other layers."""
    num_layers: int = 3
    """LSTM layers."""
    embedding_dropout: float = 0.02
    """Part of the words whose vector is dropped, everywhere in the batch."""
    input_dropout: float = 0.25
    """On the word vectors."""
    hidden_dropout: float = 0.15
    """Between layers."""
    output_dropout: float = 0.1
    """In front of the decoder."""
    weight_dropout: float = 0.2
    """On the recurrent weights."""
    dropout_scale: float = 1.0
    """Multiplies all five dropouts."""

    def __post_init__(self) -> None:
        if self.vocab_size < 0:
            raise ValueError(f"architecture.vocab_size must be at least 0, not {self.vocab_size}")
        for name in ("embedding_dim", "hidden_size", "num_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"architecture.{name} must be at least 1, not {getattr(self, name)}")
        for name in DROPOUTS:
            if not 0 <= getattr(self, name) * self.dropout_scale < 1:
                raise ValueError(f"architecture.{name} times dropout_scale must lie in [0, 1)")

    @property
    def num_rows(self) -> int:
        """Rows of the embedding: vocab_size rounded up; rows beyond the words are padding, masked in the softmax."""
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
