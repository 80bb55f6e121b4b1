"""How training is configured: what every task shares, and what each adds. Loads no torch, so that --help is quick."""

from dataclasses import dataclass, field, replace
from typing import Literal

Precision = Literal["auto", "float32", "bfloat16"]
Schedule = Literal["one-cycle", "linear"]


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
    """Learning-rate schedule. one-cycle: fastai's; linear: rises during the first 10 % of steps, then falls to 0."""
    weight_decay: float = 0.01
    """Weight decay of AdamW, on matrices only."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient; a larger gradient is scaled down to it."""
    adam_beta2: float = 0.99
    """AdamW's second beta; the first follows the schedule."""
    adam_eps: float = 1e-8
    """AdamW's epsilon. fastai's 1e-5 is for fine-tuning: a small model trained from scratch with it learns nothing."""
    checkpoint_every_steps: int = field(default=1000, metadata={"operational": True})
    """Steps between checkpoints; an epoch's end writes one too if a quarter as many steps passed since the last."""
    checkpoint_every_minutes: float = field(default=10.0, metadata={"operational": True})
    """Minutes between checkpoints, where so many steps take longer; an epoch's end counts a quarter of them, too."""
    report_every_steps: int = field(default=20, metadata={"operational": True})
    """Steps between two rows of the training log."""

    def __post_init__(self) -> None:
        self._check_counts(
            {"num_epochs": 1, "global_batch_size": 1, "checkpoint_every_steps": 1, "report_every_steps": 1}
        )

    def _check_counts(self, least: dict[str, int]) -> None:
        if not self.checkpoint_every_minutes > 0:
            raise ValueError(f"training.checkpoint_every_minutes must be over 0, not {self.checkpoint_every_minutes}")
        for name, number in least.items():
            if getattr(self, name) < number:
                raise ValueError(f"training.{name} must be at least {number}, not {getattr(self, name)}")


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
    activation_reg: float = 2.0
    """Activation regularization (AR, alpha): factor of the mean square of the last layer's outputs after dropout."""
    temporal_activation_reg: float = 1.0
    """Temporal AR (TAR, beta): factor of the mean square of these outputs' change, before dropout, between tokens."""

    def __post_init__(self) -> None:
        chosen = dict.fromkeys(("num_epochs", "global_batch_size", "bptt"), 0)
        self._check_counts(chosen | {"checkpoint_every_steps": 1, "report_every_steps": 1})

    def chosen_for(self, num_tokens: int) -> "LanguageModelTraining":
        """Return the config with what is 0 chosen for a corpus of so many tokens."""
        is_small = num_tokens < SMALL_TOKENS
        batch = self.global_batch_size or (SMALL_BATCH if is_small else LARGE_BATCH)
        bptt = self.bptt or (SMALL_BPTT if is_small else LARGE_BPTT)
        epochs = self.num_epochs or min(MOST_EPOCHS, max(1, round(STEPS_AIMED_AT * batch * bptt / max(1, num_tokens))))
        return replace(self, num_epochs=epochs, global_batch_size=batch, bptt=bptt)


@dataclass(frozen=True, kw_only=True, slots=True)
class RetrieverTraining(TrainingConfig):
    """How a retriever is trained; the defaults are what worked on 5,183 abstracts."""

    num_epochs: int = 8
    """Passes over the pairs."""
    global_batch_size: int = 128
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
