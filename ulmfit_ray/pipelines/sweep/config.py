"""Options of `sweep`: those of a training verb, a grid, and how its settings are run. Loads no Ray and no torch."""

from dataclasses import dataclass, make_dataclass
from typing import Annotated, Any, Literal

import tyro

from ulmfit_ray.config import ConfigError, operational
from ulmfit_ray.pipelines.train.config import (
    FinetuneConfig,
    PretrainConfig,
    TrainClassifierConfig,
    TrainRetrieverConfig,
)

GRID_HELP = (
    "FIELD=VALUE,VALUE,... : an option of this verb without its dashes, and the values to try. Several are combined,"
    " each value with each. A value that is a list has blanks in it, as in 'blocks=words,words context'."
)
OUTPUT_HELP = "Directory or URI of the sweep: a model directory for each setting, and sweep.parquet, .csv and .png."


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepOptions:
    """How the settings of a sweep are run, each in its own model directory below --output."""

    max_parallel: int | None = operational(None)
    """Largest number of settings that are trained at once (default: as many as there are cores and GPUs for). More
    than fit wait for their turn; on a cluster that grows they make it grow."""
    figure: str | None = operational(None)
    """Figure of the model's manifest by which settings are compared: an accuracy or F1 should be high, all others low
    (default: perplexity of a language model, accuracy_joint of a retriever, accuracy of a classifier)."""
    early_stopping: Literal["none", "asha"] = operational("none")
    """asha: at the end of some epochs only the best settings of those that came so far go on (Li et al. 2018); what
    was stopped is continued by the same command without this option. none: all are trained to their end."""
    min_epochs: int = operational(1)
    """With early stopping: epochs that each setting is trained at least."""
    reduction_factor: int = operational(3)
    """With early stopping: of so many settings one goes on, and is looked at again after so many times the epochs."""

    def __post_init__(self) -> None:
        for name, least in (("max_parallel", 1), ("min_epochs", 1), ("reduction_factor", 2)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"--sweep.{name.replace('_', '-')} must be at least {least}, not {value}")


def sweep_of(verb: str, config_class: type, figure: str) -> type[Any]:
    """Return the config class of the sweep of a training verb: the verb's own fields, `grid` and `sweep`."""
    return make_dataclass(
        f"Sweep{config_class.__name__}",
        [
            ("output", Annotated[str, tyro.conf.arg(help=OUTPUT_HELP)], operational()),
            ("grid", Annotated[tuple[str, ...], tyro.conf.arg(help=GRID_HELP)], operational()),
            ("sweep", SweepOptions, operational(default_factory=SweepOptions)),
        ],
        bases=(config_class,),
        namespace={
            "__doc__": f"Run `{verb}` with each setting of a grid, several at once, and compare the models.",
            "verb": verb,
            "verb_config": config_class,
            "figure": figure,
            "repeatable": ("grid",),
        },
        frozen=True,
        kw_only=True,
    )


SweepPretrain = sweep_of("pretrain", PretrainConfig, "perplexity")
SweepFinetune = sweep_of("finetune", FinetuneConfig, "perplexity")
SweepTrainRetriever = sweep_of("train-retriever", TrainRetrieverConfig, "accuracy_joint")
SweepTrainClassifier = sweep_of("train-classifier", TrainClassifierConfig, "accuracy")
