"""What a model is, without the model: the "model" part of config.json. Loads no torch."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from ulmfit_ray.model.architecture import Architecture

Objective = Literal["single-label", "multi-label", "regression"]
"""What a classifier says of a document: one of its labels, any number of them, or a number."""


def pooled_width(pooling: str, width: int) -> int:
    """Return the width of a vector pooled from outputs of width `width`: 3 `width` for concat ([last, max, mean])."""
    return 3 * width if pooling == "concat" else width


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """How documents are read by a model, and how what it says of their tokens becomes vectors."""

    pooling: str
    """last, mean, idf-mean, max, or concat ([last, max, mean])."""
    last_tokens: int | None = None
    """Pooled are the outputs of so many of a document's last tokens (None: of all); all are read."""
    layer: int | None = None
    """The LSTM layer whose outputs are pooled, from 1 (None: the last one)."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Number format of the matrix products."""


@dataclass(frozen=True, slots=True)
class Block:
    """The part [start:stop] of a vector; each block can be used for search by itself."""

    name: str
    start: int
    stop: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifierHead:
    """What a classifier has on top of its AWD-LSTM: blocks of norm, dropout, linear, ReLU, as fastai's."""

    objective: Objective
    labels: tuple[str, ...] = ()
    """Names of the outputs, in their order; none for a regression, which has one output."""
    hidden_sizes: tuple[int, ...] = (50,)
    """Widths of the linear layers but the last."""
    norm: Literal["batch", "layer", "none"] = "batch"
    """What normalizes the inputs of each linear layer."""
    has_bias: bool = False
    """Whether the linear layers have biases; the norm behind or before them makes up for it."""

    @property
    def num_outputs(self) -> int:
        """Return how many numbers the last layer gives for a document."""
        return len(self.labels) or 1

    def sizes(self, pooled: int) -> list[int]:
        """Return the widths of all layers, from that of the pooled vector on."""
        return [pooled, *self.hidden_sizes, self.num_outputs]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelDescription:
    """What is needed to build a model, to feed it, and to read its vectors."""

    kind: str
    """Its name in model.kinds: lm, retriever, classifier."""
    direction: str
    """forward, or backward: each document is read from its end."""
    pooling: str
    """How a document's outputs become one vector, unless another way is asked for."""
    dimension: int
    """Width of that vector."""
    architecture: Architecture | None
    """Of the AWD-LSTM; None for a retriever of words alone."""
    precision: str
    """Number format of its training: float32 or bfloat16."""
    blocks: tuple[Block, ...] = ()
    """Of a retriever: where its blocks lie in the vector."""
    word_dim: int = 0
    """Of a retriever: width of its own word vectors; 0: it has none."""
    num_words: int = 0
    """Of a retriever: words that have a weight of their own."""
    saturated: bool = False
    """Of a retriever: whether a word that stands n times in a text counts 1 + ln n times, and not n times."""
    num_grams: int = 0
    """Of a retriever: vectors of runs of letters, for words outside the vocabulary."""
    head: ClassifierHead | None = None
    """Of a classifier."""
    format_version: int = 1

    def vector_blocks(self, pooling: str) -> tuple[Block, ...]:
        """Return where the blocks lie when the context block is made with another pooling, which may widen it."""
        blocks, start = [], 0
        for block in self.blocks:
            width = block.stop - block.start
            if block.name == "context":
                width = pooled_width(pooling, width)
            blocks.append(Block(block.name, start, start + width))
            start += width
        return tuple(blocks)

    def to_json(self) -> dict[str, Any]:
        """Return the content of config.json's "model"."""
        content = asdict(self)
        if self.architecture is not None:
            content |= {"vocab_size": self.architecture.vocab_size, "num_rows": self.architecture.num_rows}
        return content

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "ModelDescription":
        """Rebuild a description."""
        own = {name: value for name, value in content.items() if name in cls.__dataclass_fields__}
        if own["architecture"] is not None:
            own["architecture"] = Architecture(**own["architecture"])
        own["blocks"] = tuple(Block(**block) for block in own["blocks"])
        if own.get("head") is not None:
            lists = {name: tuple(value) for name, value in own["head"].items() if isinstance(value, list)}
            own["head"] = ClassifierHead(**own["head"] | lists)
        return cls(**own)
