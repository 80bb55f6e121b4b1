"""Options of `embed` and `classify`. Loads no Ray and no torch, so that --help is quick."""

from dataclasses import dataclass
from typing import Literal

from ulmfit_ray.config import ConfigError, operational
from ulmfit_ray.pipelines.options import Actors, CorpusRun


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodingRun(CorpusRun):
    """Options of a verb that makes a data set out of tokens or raw text, shard by shard."""

    input: tuple[str, ...]
    """A token dataset with the model's vocabulary; or raw text: files, folders, globs, URIs of a file system or
    http(s)://, compressed ones too, which each model's own tokenizer cuts."""
    mark_fields: Literal["auto", "yes", "no"] = "auto"
    """Of raw text: put `xxfld n` in front of each field (auto: if the model's tokenizer does)."""
    actors: Actors = operational(default_factory=Actors)

    def __post_init__(self) -> None:
        CorpusRun.__post_init__(self)
        if not self.input:
            raise ConfigError("--input needs a token dataset, or at least one file, folder, glob or URI of raw text")

    def about_text(self) -> list[str]:
        """Return the options given that say something of raw text, as a person writes them."""
        return CorpusRun.about_text(self) + (["--mark-fields"] if self.mark_fields != "auto" else [])


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbedConfig(EncodingRun):
    """Encode every document of a token dataset, or of raw text, into one vector."""

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
        EncodingRun.__post_init__(self)
        if self.layer == "head" and self.pooling is not None:
            raise ConfigError(
                f"--layer head takes the pooling that the head was trained on: leave out --pooling {self.pooling}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifyConfig(EncodingRun):
    """Predict the label, the labels or the number of every document of a token dataset, or of raw text."""

    model: tuple[str, ...]
    """Model directories of classifiers with the same labels; several predict by the mean of their probabilities. On raw
    text each has its own tokenizer and vocabulary, and `num_tokens` are the first one's."""

    def __post_init__(self) -> None:
        EncodingRun.__post_init__(self)
        if not self.model:
            raise ConfigError("--model needs the directory of at least one classifier")
        if len(set(self.model)) < len(self.model):
            raise ConfigError("--model names a classifier twice: its probabilities would count double")
