"""Options of `embed` and `classify`. Loads no Ray and no torch, so that --help is quick."""

from dataclasses import dataclass
from typing import Literal

from ulmfit_ray.config import ConfigError, operational
from ulmfit_ray.pipelines.options import Actors, RayRun


@dataclass(frozen=True, kw_only=True, slots=True)
class OverTokensRun(RayRun):
    """Options of a verb that makes a data set out of a token dataset, shard by shard."""

    input: str
    """Token dataset with the model's vocabulary."""
    output: str = operational()
    """Directory or URI of the data set that is made."""
    actors: Actors = operational(default_factory=Actors)


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbedConfig(OverTokensRun):
    """Encode every document of a token dataset into one vector."""

    model: str
    """Model directory: a language model, a retriever or a classifier."""
    pooling: Literal["last", "mean", "idf-mean", "max", "concat"] | None = None
    """How a document's outputs become one vector (default: mean for a language model, idf-mean for a retriever, concat
    for a classifier)."""
    layer: Literal["pooled", "head"] = "pooled"
    """What of a classifier becomes the vector: the pooled outputs, or the inputs of its head's last block."""
    dtype: Literal["float32", "float16"] = "float32"
    """Number format in which the vectors are stored."""
    normalize: bool = False
    """Scale every vector to length 1."""

    def __post_init__(self) -> None:
        if self.layer == "head" and self.pooling is not None:
            raise ConfigError(
                f"--layer head takes the pooling that the head was trained on: leave out --pooling {self.pooling}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifyConfig(OverTokensRun):
    """Predict the label, the labels or the number of every document of a token dataset."""

    model: tuple[str, ...]
    """Model directories of classifiers with the same labels; several predict by the mean of their probabilities."""

    def __post_init__(self) -> None:
        if not self.model:
            raise ConfigError("--model needs the directory of at least one classifier")
