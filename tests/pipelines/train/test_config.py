"""Options of the training verbs, checked before anything is loaded."""

from pathlib import Path
from typing import Any

import pytest

from ulmfit_ray.config import ConfigError, parse_config
from ulmfit_ray.model.architecture import ArchitectureOptions
from ulmfit_ray.pipelines.train.config import FindLearningRateConfig, PretrainConfig


def test_a_sweep_of_rates_takes_the_very_file_that_pretrain_takes(tmp_path: Path) -> None:
    file = tmp_path / "pretrain.toml"
    file.write_text('tokens = "t"\nvalid_fraction = 0.05\n[training]\nlearning_rate = 0.01\nbptt = 50\n')
    pretrain = parse_config(PretrainConfig, [str(file), "--output", "lm"], "pretrain")
    sweep = parse_config(FindLearningRateConfig, [str(file), "--output", "lr"], "lr-find")
    assert sweep.training == pretrain.training
    assert (sweep.output, sweep.num_steps) == ("lr", 100)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"first_rate": 0.0}, "--first-rate must be over 0"),
        ({"first_rate": 1.0, "last_rate": 1.0}, "--last-rate over --first-rate"),
        ({"num_steps": 19}, "--num-steps must be at least 20"),
        ({"seed": -1}, "--seed must not be negative"),
        ({"model": "lm", "architecture": ArchitectureOptions(num_layers=2)}, "the architecture is that of the model"),
    ],
)
def test_a_sweep_that_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FindLearningRateConfig(tokens="t", output="lr", **options)
