"""Options of `embed`. Loads no Ray and no torch, so that --help is quick."""

from dataclasses import dataclass
from typing import Literal

from ulmfit_ray.config import operational
from ulmfit_ray.pipelines.options import Actors, RayRun


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbedConfig(RayRun):
    """Encode every document of a token dataset into one vector."""

    model: str
    """Model directory: a language model or a retriever."""
    input: str
    """Token dataset with the model's vocabulary."""
    output: str = operational()
    """Directory or URI of the embedding dataset."""
    pooling: Literal["last", "mean", "idf-mean", "max", "concat"] | None = None
    """How a document's outputs become one vector (default: mean for a language model, idf-mean for a retriever)."""
    dtype: Literal["float32", "float16"] = "float32"
    """Number format in which the vectors are stored."""
    normalize: bool = False
    """Scale every vector to length 1."""
    actors: Actors = operational(default_factory=Actors)
