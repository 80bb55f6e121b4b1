"""Options of the training verbs. Loads no Ray and no torch, so that --help is quick."""

from dataclasses import dataclass, field
from typing import Literal

from ulmfit_ray.config import ConfigError, operational
from ulmfit_ray.model.architecture import ArchitectureOptions, DropoutOptions
from ulmfit_ray.pipelines.options import RayRun, Scaling
from ulmfit_ray.training.config import FinetuneTraining, LanguageModelTraining, Precision, RetrieverTraining

LEAST_STEPS = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainRun(RayRun):
    """Options of every verb that trains."""

    tensorboard: bool = operational(False)
    """Write event files for TensorBoard while the training goes on: tensorboard --logdir OUTPUT/tensorboard."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LanguageModelRun(TrainRun):
    """What the verbs that train a language model share."""

    tokens: str
    """Token dataset to train on."""
    output: str = operational()
    """Directory or URI of the model to be made."""
    valid: str | None = None
    """Token dataset to validate on, with the same vocabulary (default: held-out documents of --tokens)."""
    valid_fraction: float = 0.1
    """Fraction of the documents held out for validation by a hash of id and seed (0: none); unused with --valid."""
    training: LanguageModelTraining = field(default_factory=LanguageModelTraining)
    scaling: Scaling = operational(default_factory=Scaling)
    precision: Precision = "auto"
    """Number format of the training; auto: bfloat16 if the hardware has it, else float16 on a GPU, else float32."""
    seed: int = 0
    """Seed of the initial weights, the order of documents, dropout, and the choice of held-out documents."""

    def __post_init__(self) -> None:
        if not 0 <= self.valid_fraction < 1:
            raise ConfigError("--valid-fraction must lie in [0, 1)")
        if self.training.needs_validation and not self.valid_fraction and self.valid is None:
            raise ConfigError(
                "--training.keep-best, --training.patience and nt-asgd need validation documents: give --valid, or a"
                " --valid-fraction over 0"
            )
        if self.seed < 0:
            raise ConfigError("--seed must not be negative")
        self.scaling.check(self.training.global_batch_size)


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainConfig(LanguageModelRun):
    """Train an AWD-LSTM language model from scratch on a token dataset."""

    direction: Literal["forward", "backward"] = "forward"
    """Reading direction; backward: each document is read from its end."""
    architecture: ArchitectureOptions = field(default_factory=ArchitectureOptions)


@dataclass(frozen=True, kw_only=True, slots=True)
class FinetuneConfig(LanguageModelRun):
    """Train a language model on other text, with another vocabulary: words that both have keep their vectors."""

    model: str
    """Model directory of the language model to start from."""
    architecture: DropoutOptions = field(default_factory=DropoutOptions)
    training: FinetuneTraining = field(default_factory=FinetuneTraining)
    reset_embeddings: bool = False
    """Keep the LSTM layers alone, and begin with random word vectors: for a related language."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FindLearningRateConfig(PretrainConfig):
    """Suggest a learning rate for a language model, by the losses of a few steps at rates from tiny to huge.

    Takes pretrain's options, or its TOML file, because the rate that suits depends on nearly all of them. Those of the
    schedule, of stages, validation, checkpoints and reports have no effect. One worker makes the steps, whatever
    --scaling.num-workers says: the losses are those of any number.
    """

    output: str = operational()
    """Directory or URI of the curve: lr_find.csv and lr_find.png."""
    model: str | None = None
    """Model directory of the language model to start from, as finetune does (default: a new one, of --architecture)."""
    first_rate: float = 1e-7
    """Learning rate of the first step."""
    last_rate: float = 10.0
    """Learning rate that the last step comes up to, unless the loss diverges before."""
    num_steps: int = 100
    """Steps; the rate rises by the same factor at each."""

    def __post_init__(self) -> None:
        PretrainConfig.__post_init__(self)
        if not 0 < self.first_rate < self.last_rate:
            raise ConfigError("--first-rate must be over 0, and --last-rate over --first-rate")
        if self.num_steps < LEAST_STEPS:
            raise ConfigError(f"--num-steps must be at least {LEAST_STEPS}: fewer say nothing")
        if self.model and self.architecture != ArchitectureOptions():
            raise ConfigError("--architecture: with --model the architecture is that of the model")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainRetrieverConfig(TrainRun):
    """Train a retriever on pairs of the corpus's own text columns, such as title and text."""

    model: str
    """Model directory of the language model to start from."""
    tokens: str
    """Token dataset to train on, with several text columns and the model's vocabulary."""
    output: str = operational()
    """Directory or URI of the retriever."""
    pairs: str = "title:text"
    """QUERY:DOCUMENT, the names of two text columns; the first is used as a query for the second."""
    blocks: tuple[Literal["words", "context"], ...] = ("words", "context")
    """Parts of a vector: words (word vectors of its own), context (the language model's outputs), or both."""
    word_dim: int = 256
    """Width of the word vectors of the words block."""
    document_tokens: int = 100
    """Length in tokens of the random span that stands for a document in training; `embed` uses whole documents."""
    training: RetrieverTraining = field(default_factory=RetrieverTraining)
    scaling: Scaling = operational(default_factory=Scaling)
    precision: Precision = "auto"
    """Number format of the training; auto: bfloat16 if the hardware has it, else float16 on a GPU, else float32."""
    seed: int = 0
    """Seed of the initial weights, the order of pairs, spans and dropout."""

    def __post_init__(self) -> None:
        if not self.blocks or len(set(self.blocks)) < len(self.blocks):
            raise ConfigError("--blocks must name words, context, or both")
        if self.pairs.count(":") != 1:
            raise ConfigError(f"--pairs {self.pairs}: name two text columns, as in title:text")
        if self.word_dim < 1 or self.document_tokens < 1 or self.seed < 0:
            raise ConfigError("--word-dim and --document-tokens must be at least 1, --seed at least 0")
        self.scaling.check(self.training.global_batch_size)
