"""Stages of a training: which layer groups are trained in which epochs, a pure function of the epoch.

At the first step of a stage the optimizer's state is empty, as after fastai's `freeze_to`, and the schedule
begins anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ulmfit_ray.training.config import TrainingConfig


@dataclass(frozen=True, slots=True)
class Stage:
    """Epochs in which the same layer groups are trained, with a cycle of the schedule of their own."""

    first_epoch: int
    num_epochs: int
    groups: range
    """Numbers of the groups that are trained; 0 is the one nearest to the input."""
    learning_rate: float
    """Highest rate of the last of all groups."""


def stages_of(config: TrainingConfig, num_groups: int) -> list[Stage]:
    """Return the stages of a training of a model with so many layer groups.

    Gradual unfreezing is of ULMFiT (Howard and Ruder 2018, section 3.3), chain-thaw of Felbo et al. (2017).

    Raises:
        ValueError: the model has fewer groups, the epochs do not fill the stages, or there are not as many rates.
    """
    if config.chain_thaw:
        top = num_groups - 1
        groups = [range(top, num_groups), *(range(number, number + 1) for number in range(top)), range(num_groups)]
    else:
        groups = [_from_the_top(count, num_groups) for count in config.unfreeze]
    epochs = _epochs(config, len(groups))
    rates = config.stage_rates or (config.learning_rate,)
    if len(rates) == 1:
        rates *= len(groups)
    if len(rates) != len(groups):
        raise ValueError(f"--training.stage-rates has {len(rates)} rates for {len(groups)} stages")
    firsts = [sum(epochs[:number]) for number in range(len(groups))]
    return [Stage(*stage) for stage in zip(firsts, epochs, groups, rates, strict=True)]


def _from_the_top(count: int, num_groups: int) -> range:
    if count > num_groups:
        raise ValueError(f"--training.unfreeze {count}: the model has {num_groups} layer groups (0: all)")
    return range(num_groups - (count or num_groups), num_groups)


def _epochs(config: TrainingConfig, num_stages: int) -> Sequence[int]:
    """Return the epochs of each stage."""
    given = config.stage_epochs or (1,) * (num_stages - 1)
    if len(given) not in (num_stages - 1, num_stages):
        raise ValueError(
            f"--training.stage-epochs has {len(given)} numbers for {num_stages} stages: give one for each but the last,"
            " which has the epochs that are left"
        )
    before = sum(given[: num_stages - 1])
    last = config.num_epochs - before
    if last < 1:
        raise ValueError(
            f"--training.num-epochs {config.num_epochs} is too few for {num_stages} stages: those before the last take"
            f" {before} (--training.unfreeze 0 trains all groups from the start)"
        )
    if len(given) == num_stages and given[-1] != last:
        raise ValueError(
            f"--training.stage-epochs add up to {sum(given)}, but --training.num-epochs is {before + last}"
        )
    return [*given[: num_stages - 1], last]
