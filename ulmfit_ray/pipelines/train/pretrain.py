"""Token dataset -> language model."""

from ulmfit_ray.model.awd_lstm import LanguageModel
from ulmfit_ray.pipelines.train.config import PretrainConfig
from ulmfit_ray.pipelines.train.language_model import Start, chosen_for_tokens, run_language_model
from ulmfit_ray.storage.manifest import Manifest


def run(config: PretrainConfig) -> Manifest | None:
    """Train, or go on training, and write the model directory; return its manifest (None after --dry-run)."""
    config = chosen_for_tokens(config)
    return run_language_model("pretrain", config, start_of(config))


def start_of(config: PretrainConfig) -> Start:
    """Return a new model of the config's shape: its weights are random."""
    return Start(config.architecture.chosen(), config.direction, LanguageModel)
