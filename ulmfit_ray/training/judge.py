"""What the validation figures decide: which weights are kept, when averaging begins, and when training ends early."""

from torch import Tensor, nn

from ulmfit_ray.training.config import TrainingConfig


class Judge:
    """The validation figures of every epoch so far, and the best epoch's weights where they are to be kept."""

    def __init__(self, config: TrainingConfig) -> None:
        self._config = config
        self.losses: list[float] = []
        self.scores: list[float] = []
        """The figure that epochs are judged by, turned so that the highest is the best."""
        self.best: dict[str, Tensor] = {}
        """The model's state of the best epoch; empty unless `keep_best`."""

    def add(self, figures: dict[str, float], model: nn.Module) -> None:
        """Take in an epoch's figures, and the weights that they are of.

        Raises:
            ValueError: there is no loss, but the config needs one.
        """
        if "loss" not in figures:
            if self._config.needs_validation:
                raise ValueError("keep-best, patience and nt-asgd need validation documents: give --valid-fraction")
            return
        judge_by = self._config.judge_by
        if judge_by not in figures:
            raise ValueError(
                f"--training.judge-by {judge_by}: the validation has no such figure ({', '.join(figures)})"
            )
        self.losses.append(figures["loss"])
        self.scores.append(-figures["loss"] if judge_by == "loss" else figures[judge_by])
        # Of equals the last, which has learned longer.
        if self._config.keep_best and self.scores[-1] == max(self.scores):
            self.best = {name: value.detach().clone() for name, value in model.state_dict().items()}

    def is_over(self, first_epoch: int) -> bool:
        """Tell whether for `patience` epochs none was better than the best, counted from the epoch `first_epoch` on.

        That is the first of the last stage: to end earlier would leave groups untrained, and each stage begins with a
        warm-up, after which a worse epoch says nothing.
        """
        if not self.scores:
            return False
        best = self.scores.index(max(self.scores))
        return 0 < self._config.patience <= len(self.scores) - 1 - max(best, first_epoch - 1)

    @property
    def wants_average(self) -> bool:
        """Tell whether nt-asgd is to average (Merity et al. 2017, algorithm 1): once yes, for ever yes."""
        interval = self._config.non_monotone_interval
        return self._config.optimizer == "nt-asgd" and any(
            number > interval and loss > min(self.losses[: number - interval])
            for number, loss in enumerate(self.losses)
        )
