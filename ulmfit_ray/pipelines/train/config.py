"""Options of the training verbs. Loads no Ray and no torch, so that --help is quick."""

from dataclasses import dataclass, field
from typing import Literal

from ulmfit_ray.config import ConfigError, operational
from ulmfit_ray.model.architecture import ArchitectureOptions, ClassifierDropouts, DropoutOptions
from ulmfit_ray.pipelines.options import RayRun, Scaling
from ulmfit_ray.streams.spans import SpanOptions
from ulmfit_ray.training.config import (
    ClassifierTraining,
    FinetuneTraining,
    LanguageModelTraining,
    Precision,
    RetrieverTraining,
    TrainingConfig,
)

LEAST_STEPS = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainRun(RayRun):
    """Options of every verb that trains."""

    tensorboard: bool = operational(False)
    """Write event files for TensorBoard while the training goes on: tensorboard --logdir OUTPUT/tensorboard."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidatedRun(TrainRun):
    """What the verbs share that train on some documents of a token dataset and are judged by others."""

    tokens: str
    """Token dataset to train on."""
    output: str = operational()
    """Directory or URI of the model to be made."""
    valid: str | None = None
    """Token dataset to validate on, with the same vocabulary (default: held-out documents of --tokens)."""
    valid_fraction: float = 0.1
    """Fraction of the documents held out for validation by a hash of id and seed (0: none); unused with --valid."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
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
class LanguageModelRun(ValidatedRun):
    """What the verbs that train a language model share."""

    training: LanguageModelTraining = field(default_factory=LanguageModelTraining)


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
    """Train a retriever on the corpus's own text: titles, and spans of a document, find their document. No labels."""

    model: str | None = None
    """Model directory of the language model to start from, whose vocabulary the tokens have (only for the context
    block)."""
    tokens: str
    """Token dataset to train on."""
    output: str = operational()
    """Directory or URI of the retriever."""
    pairs: str = "title:text"
    """QUERY:DOCUMENT, the names of two text columns; the first is used as a query for the second. DOCUMENT alone:
    every query is a span of the document."""
    pairs_file: str | None = None
    """Pairs of your own beside these: a file with {"query": ..., "document": ...} in each line, plain or compressed,
    which every worker holds in memory. A document of the corpus stands there as its DOCUMENT column does."""
    spans: SpanOptions = field(default_factory=SpanOptions)
    blocks: tuple[Literal["words", "context"], ...] = ("words",)
    """Parts of a vector: words (word vectors of its own), context (the language model's outputs), or both."""
    word_dim: int = 512
    """Width of the word vectors of the words block."""
    num_grams: int = 50_000
    """Vectors that runs of 3 to 5 letters share by hash; they are part of the vectors of the words that have them, and
    stand for words outside the vocabulary (0: none)."""
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
        if "context" in self.blocks and self.model is None:
            raise ConfigError("--blocks context needs a language model: give --model, or --blocks words alone")
        if self.pairs.count(":") > 1 or not all(self.pairs.split(":")):
            raise ConfigError(f"--pairs {self.pairs!r}: name two text columns, as in title:text, or one, as in text")
        if self.word_dim < 1 or self.document_tokens < 1 or self.seed < 0 or self.num_grams < 0:
            raise ConfigError("--word-dim and --document-tokens must be at least 1, --num-grams and --seed at least 0")
        self.scaling.check(self.training.global_batch_size)


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadOptions:
    """The layers on top of the pooled outputs: norm, dropout, linear, with a ReLU between two of them."""

    hidden_sizes: tuple[int, ...] = (50,)
    """Widths of the linear layers but the last, which has a number for each label."""
    dropouts: tuple[float, ...] = (0.2, 0.1)
    """Dropout probability in front of each linear layer."""
    norm: Literal["batch", "layer", "none"] = "batch"
    """What normalizes the inputs of each linear layer; batch: over the global batch, as fastai does."""

    def __post_init__(self) -> None:
        if any(size < 1 for size in self.hidden_sizes):
            raise ConfigError("--head.hidden-sizes must be at least 1")
        if len(self.dropouts) != len(self.hidden_sizes) + 1 or not all(0 <= p < 1 for p in self.dropouts):
            raise ConfigError(
                f"--head.dropouts takes {len(self.hidden_sizes) + 1} probabilities, one for each of --head.hidden-sizes"
                " and one for the last layer"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainClassifierConfig(ValidatedRun):
    """Train a classifier on a language model: ULMFiT's third stage.

    --tokens and --valid are labelled: they kept the column of the labels.
    """

    model: str
    """Model directory of the language model to start from."""
    label: str = "label"
    """Column of the labels; a document with a null there is left out."""
    objective: Literal["auto", "single-label", "multi-label", "regression"] = "auto"
    """What is learned; auto: several labels where the column holds lists or --label-separator is given, a number
    where it holds floating-point numbers, else one label."""
    labels: tuple[str, ...] = ()
    """The labels in the order of the outputs (default: all of the training documents, by number or code point)."""
    label_separator: str = ""
    """What stands between the labels of a document where a column of text holds several."""
    labelled_documents: int = 0
    """Learn from so many labelled documents only (0: all), equally many of each label; 100 are among the 200."""
    from_scratch: bool = False
    """Begin with random weights in the shape of the language model: what the language model is worth."""
    architecture: ClassifierDropouts = field(default_factory=ClassifierDropouts)
    head: HeadOptions = field(default_factory=HeadOptions)
    training: ClassifierTraining = field(default_factory=ClassifierTraining)

    def __post_init__(self) -> None:
        ValidatedRun.__post_init__(self)
        if self.labelled_documents < 0:
            raise ConfigError("--labelled-documents must not be negative")
