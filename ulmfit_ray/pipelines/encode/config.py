"""Options of `embed` and `classify`. Loads no Ray and no torch, so that --help is quick."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ulmfit_ray.config import ConfigError, operational
from ulmfit_ray.encoding.projection import Method
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

    model: tuple[str, ...]
    """Model directory: a language model, a retriever or a classifier. The vectors of several are joined in this order;
    on raw text each has its own tokenizer and vocabulary, and `num_tokens` are the first one's."""
    pooling: Literal["last", "mean", "idf-mean", "max", "concat"] | None = None
    """How a document's outputs become one vector (default: mean for a language model, idf-mean for a retriever, concat
    for a classifier)."""
    pool_last: int | None = None
    """Pool the outputs of a document's last tokens only, so many; all tokens are read."""
    layer: int | Literal["pooled", "head"] = "pooled"
    """Whose outputs are pooled: the last LSTM layer's (pooled), or another's, counted from 1. Of a classifier also
    head: the inputs of its head's last block, not pooled."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Number format of the matrix products; bfloat16 is faster on GPUs and on CPUs with instructions for it."""
    project: str | None = None
    """Make documents easier to tell apart: center (take the mean away), pca:256 (the main axes, 256 or another number
    of them) or whiten:256 (these, made equally long); learned from a sample of the vectors."""
    normalize: bool = False
    """Scale every vector to length 1, after --project."""
    dtype: Literal["float32", "float16", "int8"] = "float32"
    """Number format in which the vectors are stored; int8 has a scale for each vector in a column of its own."""
    keep_tokens: bool = False
    """Store each document's token ids beside its vector."""

    def __post_init__(self) -> None:
        EncodingRun.__post_init__(self)
        check_models(self.model, "its vector would stand there twice")
        if self.pool_last is not None and self.pool_last < 1:
            raise ConfigError(f"--pool-last must be at least 1, not {self.pool_last}")
        if self.layer == "head":
            precision = None if self.precision == "float32" else self.precision
            given = (("--pooling", self.pooling), ("--pool-last", self.pool_last), ("--precision", precision))
            for option, value in given:
                if value is not None:
                    raise ConfigError(
                        f"--layer head reads documents as the head was trained to: leave out {option} {value}"
                    )
        self.method()

    def method(self) -> Method | None:
        """Return what --project asks for."""
        try:
            return None if self.project is None else Method.parse(self.project)
        except ValueError as error:
            raise ConfigError(f"--project: {error}") from error


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifyConfig(EncodingRun):
    """Predict the label, the labels or the number of every document of a token dataset, or of raw text."""

    model: tuple[str, ...]
    """Model directories of classifiers with the same labels; several predict by the mean of their probabilities. On raw
    text each has its own tokenizer and vocabulary, and `num_tokens` are the first one's."""

    def __post_init__(self) -> None:
        EncodingRun.__post_init__(self)
        check_models(self.model, "its probabilities would count double")


def check_models(uris: Sequence[str], why: str) -> None:
    """Raise ConfigError unless --model names at least one directory, and none twice."""
    if not uris:
        raise ConfigError("--model needs at least one model directory")
    if len(set(uris)) < len(uris):
        raise ConfigError(f"--model names a directory twice: {why}")
