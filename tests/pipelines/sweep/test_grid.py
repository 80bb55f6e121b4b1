"""A grid's settings: their configs, their names, and what is refused; no Ray is started."""

from pathlib import Path
from typing import Any

import pytest

from ulmfit_ray.config import ConfigError, command_line, parse_config
from ulmfit_ray.pipelines.sweep.config import SweepPretrain, SweepTrainRetriever
from ulmfit_ray.pipelines.sweep.grid import Setting, setting_name, settings_of
from ulmfit_ray.pipelines.train.config import PretrainConfig


def sweep(*arguments: str, of: type[Any] = SweepPretrain) -> Any:
    required = ["--tokens", "/t", "--output", "/o"] + (["--model", "/m"] if of is SweepTrainRetriever else [])
    return parse_config(of, [*required, *arguments], "sweep")


def settings(*arguments: str, of: type[Any] = SweepPretrain) -> list[Setting]:
    return settings_of(sweep(*arguments, of=of))


def typed(*arguments: str) -> PretrainConfig:
    return parse_config(PretrainConfig, ["--tokens", "/t", *arguments], "pretrain")


def test_each_value_is_combined_with_each_the_last_field_changing_fastest() -> None:
    found = settings("--grid", "training.learning_rate=1e-3,4e-3", "--grid", "architecture.dropout_scale=0.5,1")
    assert [(s.config.training.learning_rate, s.config.architecture.dropout_scale) for s in found] == [
        *((1e-3, 0.5), (1e-3, 1.0)),
        *((4e-3, 0.5), (4e-3, 1.0)),
    ]


def test_a_settings_config_is_that_of_its_own_command() -> None:
    common = ["--training.bptt", "20", "--seed", "3", "--scaling.num-workers", "2", "--direction", "backward"]
    (setting,) = settings(*common, "--grid", "training.learning_rate=1e-3")
    name = "training.learning_rate=0.001"
    assert setting.config == typed(*common, "--output", f"/o/{name}", "--training.learning-rate", "1e-3")
    assert type(setting.config) is PretrainConfig


def test_a_value_of_the_grid_stands_before_a_typed_one() -> None:
    found = settings("--seed", "7", "--grid", "seed=1,2")
    assert [setting.config.seed for setting in found] == [1, 2]


def test_the_sweeps_own_looks_at_it_do_not_reach_the_settings() -> None:
    (setting,) = settings("--dry-run", "--overwrite", "--grid", "seed=1")
    assert (setting.config.dry_run, setting.config.overwrite) == (False, False)


@pytest.mark.parametrize("name", ["training.learning_rate", "training.learning-rate"])
def test_fields_may_have_dashes_or_underscores(name: str) -> None:
    assert [setting.name for setting in settings(f"--grid={name}=1e-3")] == ["training.learning_rate=0.001"]


def test_repeated_grids_add_up_however_they_are_typed() -> None:
    separate = sweep("--grid", "seed=1", "--training.bptt", "9", "--grid", "direction=backward")
    assert separate.grid == ("seed=1", "direction=backward")
    assert separate == sweep("--training.bptt", "9", "--grid", "seed=1", "direction=backward")


def test_a_sweep_can_stand_in_a_toml_file(tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text('tokens = "/t"\noutput = "/o"\ngrid = ["seed=1,2"]\n[sweep]\nmax_parallel = 3\n')
    config = parse_config(SweepPretrain, [str(path), "--grid", "training.bptt=5"], "sweep")
    assert (config.grid, config.sweep.max_parallel) == (("seed=1,2", "training.bptt=5"), 3)


def test_the_command_line_of_a_sweep_gives_it_again() -> None:
    config = sweep("--grid", "seed=1,2", "--grid", "training.bptt=5", "--sweep.early-stopping", "asha")
    line = command_line("sweep pretrain", config)
    assert line.startswith("ulmfit-ray sweep pretrain --tokens /t")
    assert parse_config(SweepPretrain, line.split()[3:], "sweep") == config


def test_lists_truth_values_and_none_are_typed_as_words() -> None:
    blocks = settings("--grid", "blocks=words,words context", of=SweepTrainRetriever)
    assert [(setting.name, setting.config.blocks) for setting in blocks] == [
        ("blocks=words", ("words",)),
        ("blocks=words+context", ("words", "context")),
    ]
    sizes = settings("--grid", "architecture.hidden_size=none,64")
    assert [setting.config.architecture.hidden_size for setting in sizes] == [None, 64]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ("training.learning_rat=1", "--grid training.learning_rat: there is no such field; did you mean training.l"),
        ("bptt=1", "there is no such field; did you mean training.bptt?"),
        ("qqqqqqq=1", "--grid qqqqqqq: there is no such field; see --help"),
        ("output=a,b", "--grid output: it does not change the result"),
        ("scaling.num_workers=1,2", "it does not change the result; the models would be the same"),
        ("grid=1", "there is no such field"),
        ("training.learning_rate=1e-3,0.001", "--grid has training.learning_rate=0.001 twice: leave one out"),
        ("seed=1,,2", "give the values behind a = and commas between them, seed=A,B,C"),
        ("seed=0,-1", "the setting --seed -1 is refused: --seed must not be negative"),
    ],
)
def test_a_mistake_in_a_grid_is_told_before_anything_runs(grid: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        settings("--grid", grid)
    assert message in str(error.value)


def test_a_value_of_another_type_ends_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        settings("--grid", "training.learning_rate=1e-3,fast")
    assert error.value.code == 2
    assert "learning-rate" in capsys.readouterr().err


def test_a_field_that_two_grids_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="--grid has seed twice: give all its values at once, seed=A,B,C"):
        settings("--grid", "seed=1", "--grid", "seed=2")


def test_a_name_is_the_same_in_whatever_order_the_fields_stand() -> None:
    values = {"seed": 1, "architecture.dropout_scale": 0.5}
    assert setting_name(values) == "architecture.dropout_scale=0.5,seed=1"
    assert setting_name(dict(reversed(values.items()))) == setting_name(values)


def test_names_are_folders_and_differ_where_values_do() -> None:
    values = ["/a/b", "/a:b", "a-b", "s3://bucket/tokens", "x" * 300, "x" * 301, None, True, 1e-5]
    names = [setting_name({"tokens": value}) for value in values]
    assert len(set(names)) == len(values)
    assert all(len(name) < 100 and not set("/:\\ ") & set(name) for name in names)
    assert len(setting_name({f"field_{number}": number for number in range(100)})) < 255
