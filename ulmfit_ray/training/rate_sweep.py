"""The search for a learning rate: one that rises at every step, the loss that each gives, and the rate they suggest.

As fastai's `lr_find` with its suggestion Valley (fastai 2.8.12, callback/schedule.py), after Smith (2015).
"""

from dataclasses import dataclass, field

SMOOTHING = 0.98
"""Part of the smoothed loss that comes from the steps before."""
DIVERGED = 4.0
"""A smoothed loss of so many times its best ends the sweep."""
LAST_LEFT_OUT = 5
"""The last steps diverge: they say nothing of the rate."""
ADAM_BETA1 = 0.9


def exponential(step: int, *, num_steps: int, first: float, last: float) -> float:
    """Return the learning rate at `step`: `first` at 0, then more by an equal factor each time, `last` at `num_steps`.

    >>> [round(exponential(step, num_steps=4, first=1.0, last=16.0)) for step in range(4)]
    [1, 2, 4, 8]
    """
    return first * (last / first) ** (step / num_steps)


@dataclass(slots=True)
class RateSweep:
    """The rates tried so far, the loss of the step that each was used in, and the losses smoothed."""

    rates: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    smoothed: list[float] = field(default_factory=list)

    def add(self, rate: float, loss: float) -> None:
        """Add a step. The smoothed loss is an exponential mean, corrected for its start at 0."""
        count = len(self.losses)
        before = self.smoothed[-1] * (1 - SMOOTHING**count) if count else 0.0
        self.rates.append(rate)
        self.losses.append(loss)
        self.smoothed.append((SMOOTHING * before + (1 - SMOOTHING) * loss) / (1 - SMOOTHING ** (count + 1)))

    @property
    def has_diverged(self) -> bool:
        """Tell whether the smoothed loss is so far over its best that higher rates need not be tried."""
        return self.smoothed[-1] > DIVERGED * min(self.smoothed)

    def suggested_rate(self, num_steps: int) -> float:
        """Return the rate that Valley suggests, of a sweep that was planned for `num_steps`.

        The first tenth and the last five steps are left out.

        Raises:
            ValueError: nothing is left.
        """
        kept = slice(num_steps // 10, len(self.rates) - LAST_LEFT_OUT)
        if not self.rates[kept]:
            raise ValueError(
                f"the loss diverged after {len(self.rates)} of {num_steps} steps, too early for a suggestion:"
                " lower --first-rate"
            )
        return self.rates[kept][valley(self.smoothed[kept])]


def valley(losses: list[float]) -> int:
    """Return the place in the middle of the losses' longest fall: of their longest falling subsequence.

    Its length taken as its extent back from its end, the place is half of it, rounded as fastai does.
    """
    lengths: list[int] = []
    for place, loss in enumerate(losses):
        lengths.append(1 + max((lengths[j] for j in range(place) if losses[j] > loss), default=0))
    longest = max(lengths)
    if longest == 1:
        return 0
    # fastai's `max_start` can be -1, which it takes as the last place if the fall has only two.
    return max(0, lengths.index(longest) - longest + longest // 3 + longest // 6)
