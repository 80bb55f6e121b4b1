"""How training is configured: what every task shares, and what each adds. Loads no torch, so that --help is quick."""

import math
from dataclasses import dataclass, field, replace
from typing import Literal

Precision = Literal["auto", "float32", "bfloat16", "float16"]
Schedule = Literal["one-cycle", "linear", "slanted-triangular", "constant"]
Optimizer = Literal["adamw", "adam", "nt-asgd"]
JudgeBy = Literal["loss", "accuracy", "f1"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """How weights change; the global batch is the same for any number of workers."""

    num_epochs: int = 1
    """Passes over the training documents."""
    global_batch_size: int = 64
    """Rows of a batch, over all workers."""
    learning_rate: float = 4e-3
    """Highest learning rate of the schedule."""
    schedule: Schedule = "one-cycle"
    """Learning-rate schedule. one-cycle: fastai's; linear: rises during the first 10 % of steps, then falls to 0;
    slanted-triangular: ULMFiT's, from 1/32 up during the first 10 % of steps, and down again; constant."""
    discriminative_decay: float = 1.0
    """The rate of each layer group is that of the group above it divided by this (ULMFiT: 2.6; 1: all alike)."""
    unfreeze: tuple[int, ...] = (0,)
    """Layer groups that are trained in each stage, counted from the last one; 0: all. 1 2 3 0 is ULMFiT's gradual
    unfreezing of a classifier with three LSTM layers. Each stage runs through the schedule anew."""
    stage_epochs: tuple[int, ...] = ()
    """Epochs of each stage but the last, which has those that are left (default: 1 each)."""
    stage_rates: tuple[float, ...] = ()
    """Highest learning rate of each stage, or one of all (default: learning_rate)."""
    chain_thaw: bool = False
    """In place of unfreeze: the last group, then each group alone from the first one on, then all."""
    optimizer: Optimizer = "adamw"
    """adamw; adam (weight decay is added to the gradient); nt-asgd: plain gradient descent that averages the weights
    once the validation loss has stopped falling (Merity et al. 2017; with schedule constant)."""
    non_monotone_interval: int = 5
    """nt-asgd averages when the validation loss is over the best one of all epochs but the last so many."""
    weight_decay: float = 0.01
    """Weight decay, on matrices only."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient; a larger gradient is scaled down to it."""
    adam_beta2: float = 0.99
    """Adam's second beta; the first follows the schedule."""
    adam_eps: float = 1e-8
    """Adam's epsilon. fastai's 1e-5 is for fine-tuning: a small model trained from scratch with it learns nothing."""
    keep_best: bool = False
    """Keep the weights of the epoch that is best on the validation documents instead of the last ones."""
    patience: int = 0
    """End the training after so many epochs of the last stage that are no better on the validation documents than the
    best one (0: never)."""
    judge_by: JudgeBy = "loss"
    """Figure by which keep-best and patience judge an epoch: the lowest loss, the highest accuracy or (of a classifier)
    macro F1."""
    validate_every_epochs: int = field(default=1, metadata={"operational": True})
    """Epochs between two readings of the validation documents, which are read after the last epoch, too. Where
    there are many of them and few to learn from, they would take most of the time."""
    checkpoint_every_steps: int = field(default=1000, metadata={"operational": True})
    """Steps between checkpoints; an epoch's end writes one too if a quarter as many steps passed since the last."""
    checkpoint_every_minutes: float = field(default=10.0, metadata={"operational": True})
    """Minutes between checkpoints, where so many steps take longer; an epoch's end counts a quarter of them, too."""
    report_every_steps: int = field(default=20, metadata={"operational": True})
    """Steps between two rows of the training log."""

    def __post_init__(self) -> None:
        self._check({"num_epochs": 1, "global_batch_size": 1})

    def _check(self, least: dict[str, int]) -> None:
        """Raise ValueError if a number is too small; `least` are those of the counts that differ between tasks."""
        ones = ("checkpoint_every_steps", "report_every_steps", "validate_every_epochs", "non_monotone_interval")
        for name, number in (least | dict.fromkeys(ones, 1) | {"patience": 0}).items():
            if getattr(self, name) < number:
                raise ValueError(f"training.{name} must be at least {number}, not {getattr(self, name)}")
        for name in ("learning_rate", "gradient_clip", "discriminative_decay", "checkpoint_every_minutes"):
            if not getattr(self, name) > 0:
                raise ValueError(f"training.{name} must be over 0, not {getattr(self, name)}")
        for name, lowest in (("unfreeze", 0), ("stage_epochs", 1)):
            if any(number < lowest for number in getattr(self, name)):
                raise ValueError(f"training.{name} must be at least {lowest} in each stage")
        if not self.unfreeze or (self.chain_thaw and self.unfreeze not in ((0,), type(self)().unfreeze)):
            raise ValueError("training.unfreeze names the groups of each stage; with chain_thaw it must be left out")
        if self.validate_every_epochs > 1 and self.needs_validation:
            raise ValueError("training.validate_every_epochs must be 1 with keep-best, patience and nt-asgd")
        if not all(rate > 0 for rate in self.stage_rates):
            raise ValueError("training.stage_rates must be over 0 in each stage")

    def num_stages(self, num_groups: int) -> int:
        """Return the number of stages in the training of a model with so many layer groups."""
        return num_groups + 1 if self.chain_thaw else len(self.unfreeze)

    @property
    def needs_validation(self) -> bool:
        """Tell whether something depends on the loss on validation documents."""
        return self.keep_best or self.patience > 0 or self.optimizer == "nt-asgd"


SMALL_TOKENS = 10_000_000
"""A corpus with fewer tokens wants small steps: with 4,608 tokens a step it has too few of them to learn anything."""
SMALL_BATCH, SMALL_BPTT = 20, 50
LARGE_BATCH, LARGE_BPTT = 64, 72
STEPS_AIMED_AT, MOST_EPOCHS = 1_200, 8
"""So many steps taught the sample's model what it knows; after eight epochs a small model knows its text by heart."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LanguageModelTraining(TrainingConfig):
    """How a language model is trained."""

    num_epochs: int = 0
    """Passes over the training documents (0: as many as make 1,200 steps, 8 at most)."""
    global_batch_size: int = 0
    """Rows of a batch, over all workers (0: 64, or 20 for a corpus of under 10 million tokens)."""
    bptt: int = 0
    """Tokens of each row in one step; gradients go back through at most this many tokens (0: 72, or 50 for a small
    corpus)."""
    vary_bptt: bool = False
    """Draw the tokens of each step from a normal distribution around bptt, or around half of it in one step of twenty,
    as AWD-LSTM does; the step's rate is scaled by tokens / bptt."""
    accumulation_steps: int = field(default=1, metadata={"operational": True})
    """Parts into which each worker's rows are cut, one after the other: less memory, the same step."""
    sampled_softmax: int = 0
    """Words that are drawn in each step, and that a next word is compared with instead of all (0: all). For
    vocabularies over 200,000, with 8,000 or so; validation is over all words."""
    activation_reg: float = 2.0
    """Activation regularization (AR, alpha): factor of the mean square of the last layer's outputs after dropout."""
    temporal_activation_reg: float = 1.0
    """Temporal AR (TAR, beta): factor of the mean square of these outputs' change, before dropout, between tokens."""

    def __post_init__(self) -> None:
        self._check(
            dict.fromkeys(("num_epochs", "global_batch_size", "bptt"), 0)
            | {"accumulation_steps": 1, "sampled_softmax": 0}
        )

    def chosen_for(self, num_tokens: int) -> "LanguageModelTraining":
        """Return the config with what is 0 chosen for a corpus of so many tokens."""
        is_small = num_tokens < SMALL_TOKENS
        batch = self.global_batch_size or (SMALL_BATCH if is_small else LARGE_BATCH)
        bptt = self.bptt or (SMALL_BPTT if is_small else LARGE_BPTT)
        epochs = self.num_epochs or min(MOST_EPOCHS, max(1, round(STEPS_AIMED_AT * batch * bptt / max(1, num_tokens))))
        return replace(self, num_epochs=epochs, global_batch_size=batch, bptt=bptt)


@dataclass(frozen=True, kw_only=True, slots=True)
class FinetuneTraining(LanguageModelTraining):
    """How a language model is trained on other text than it knows: ULMFiT, sections 3.2 and 3.3."""

    schedule: Schedule = "slanted-triangular"
    """Learning-rate schedule. one-cycle: fastai's; linear: rises during the first 10 % of steps, then falls to 0;
    slanted-triangular: ULMFiT's, from 1/32 up during the first 10 % of steps, and down again; constant."""
    discriminative_decay: float = 2.6
    """The rate of each layer group is that of the group above it divided by this (ULMFiT: 2.6; 1: all alike)."""
    unfreeze: tuple[int, ...] = (1, 0)
    """Layer groups that are trained in each stage, counted from the last one; 0: all. Each stage runs through the
    schedule anew."""

    def chosen_for(self, num_tokens: int) -> "FinetuneTraining":
        """Return the config with what is 0 chosen for a corpus of so many tokens."""
        chosen = LanguageModelTraining.chosen_for(self, num_tokens)
        assert isinstance(chosen, FinetuneTraining)
        before = self.stage_epochs[: len(self.unfreeze) - 1] or (1,) * (len(self.unfreeze) - 1)
        return chosen if self.num_epochs else replace(chosen, num_epochs=max(sum(before) + 1, chosen.num_epochs))


@dataclass(frozen=True, kw_only=True, slots=True)
class RetrieverTraining(TrainingConfig):
    """How a retriever is trained; the defaults are what worked on 5,183 abstracts."""

    num_epochs: int = 16
    """Passes over the pairs."""
    global_batch_size: int = 512
    """Pairs of a batch, over all workers; each query is compared with the documents of all pairs of its batch."""
    learning_rate: float = 1e-2
    """Highest learning rate of the schedule."""
    schedule: Schedule = "linear"
    """Learning-rate schedule. one-cycle: fastai's; linear: rises during the first 10 % of steps, then falls to 0."""
    temperature: float = 0.1
    """The dot products are divided by this before the softmax."""
    dropout: float = 0.1
    """Dropout probability between the LSTM layers of the language model; its other dropouts are off."""

    def __post_init__(self) -> None:
        TrainingConfig.__post_init__(self)
        if self.temperature <= 0:
            raise ValueError(f"training.temperature must be over 0, not {self.temperature}")


CLASSIFIER_STEPS, LEAST_LAST_EPOCHS = 300, 2
GRADUALLY, GRADUAL_RATES = (1, 2, 3, 0), (1.0, 0.5, 0.25, 0.05)
"""fastai's stages, and their rates as multiples of the first one's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifierTraining(TrainingConfig):
    """How a classifier is trained; the defaults are fastai's for a good language model (fastbook, chapter 10)."""

    num_epochs: int = 5
    """Passes over the labelled documents, over all stages (0: as many as make 300 steps, each stage its share, 2 in the
    last at least: few labels want many)."""
    learning_rate: float = 2e-2
    """Highest learning rate of the schedule; where unfreeze is 1 2 3 0 that of the first stage, as the others have 1/2,
    1/4 and 1/20 of it. See stage_rates."""
    discriminative_decay: float = 2.6
    """The rate of each layer group is that of the group above it divided by this (ULMFiT: 2.6; 1: all alike). Over a
    language model of little text use 1."""
    unfreeze: tuple[int, ...] = GRADUALLY
    """Layer groups that are trained in each stage, counted from the last one, the head; 0: all. Each stage runs through
    the schedule anew."""
    bptt: int = 72
    """Tokens of a document that are computed at once: memory and time alone, unless truncate_at_windows is on."""
    gradient_tokens: int = 0
    """The gradient goes through the last so many tokens of a document, in whole windows of bptt (0: through all);
    earlier tokens are pooled, too."""
    truncate_at_windows: bool = False
    """Let no gradient go from a window of bptt tokens to the one before, as fastai and the paper do."""
    tokens_in_memory: int = field(default=32_768, metadata={"operational": True})
    """Tokens whose inner values a worker keeps for the backward pass; those of other tokens are computed again."""
    activation_reg: float = 2.0
    """Activation regularization (AR, alpha): factor of the mean square of the last layer's outputs."""
    temporal_activation_reg: float = 1.0
    """Temporal AR (TAR, beta): factor of the mean square of these outputs' change from token to token."""
    class_weights: tuple[str, ...] = ("none",)
    """Weights of documents in the loss, by label: none; balanced (those of each label weigh as much in all as those of
    another; of several labels, as those without it); or a number for each label, in the order of labels."""
    label_smoothing: float = 0.0
    """Part of a document's own label that is shared out over all labels in the loss."""

    def __post_init__(self) -> None:
        least = {"num_epochs": 0, "global_batch_size": 1, "bptt": 1, "gradient_tokens": 0, "tokens_in_memory": 0}
        self._check(least)
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"training.label_smoothing must lie in [0, 1), not {self.label_smoothing}")
        if self.class_weights not in (("none",), ("balanced",)):
            try:
                numbers = [float(word) for word in self.class_weights]
            except ValueError:
                numbers = []
            if not numbers or not all(0 < number < math.inf for number in numbers):
                raise ValueError("training.class_weights must be none, balanced, or a number over 0 for each label")

    def chosen_for(self, num_documents: int, num_groups: int) -> "ClassifierTraining":
        """Return the config with what was left open: the epochs for so many labelled documents, and the rates."""
        rates, stage_epochs, num_epochs = self.stage_rates, self.stage_epochs, self.num_epochs
        if not rates and self.unfreeze == GRADUALLY and not self.chain_thaw:
            rates = tuple(self.learning_rate * multiple for multiple in GRADUAL_RATES)
        if not num_epochs:
            num_stages, steps = self.num_stages(num_groups), -(-num_documents // self.global_batch_size)
            stage_epochs = stage_epochs or (math.ceil(CLASSIFIER_STEPS / num_stages / steps),) * (num_stages - 1)
            before = sum(stage_epochs[: num_stages - 1])
            last = stage_epochs[num_stages - 1 :] or (
                max(LEAST_LAST_EPOCHS, math.ceil(CLASSIFIER_STEPS / steps) - before),
            )
            num_epochs = before + sum(last)
        return replace(self, num_epochs=num_epochs, stage_epochs=stage_epochs, stage_rates=rates)
