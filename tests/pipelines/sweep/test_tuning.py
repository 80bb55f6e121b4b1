"""How a sweep shares out a cluster, and which settings early stopping lets go on; no Ray is started."""

from types import SimpleNamespace
from typing import Any

import pytest

from ulmfit_ray.config import ConfigError, parse_config
from ulmfit_ray.pipelines.options import Scaling
from ulmfit_ray.pipelines.sweep.config import SweepOptions, SweepPretrain
from ulmfit_ray.pipelines.sweep.grid import settings_of
from ulmfit_ray.pipelines.sweep.job import _check_early_stopping
from ulmfit_ray.pipelines.sweep.trial import _Epochs, given_up_file
from ulmfit_ray.pipelines.sweep.tuning import make_scheduler, share_out
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.trial_record import TrialRecord

LAPTOP, FOUR_NODES, GPU_NODES = [(2, 0)], [(4, 0)] * 4, [(16, 2), (16, 2), (8, 0)]


@pytest.mark.parametrize(
    ("scaling", "num_settings", "nodes", "most", "expected"),
    [
        (Scaling(), 4, LAPTOP, None, (2, 1)),
        (Scaling(num_cpus=1), 4, LAPTOP, None, (2, 1)),
        (Scaling(), 4, LAPTOP, 1, (1, 2)),
        (Scaling(), 1, LAPTOP, None, (1, 2)),
        (Scaling(num_workers=2), 4, LAPTOP, None, (1, 1)),
        (Scaling(num_workers=2), 4, LAPTOP, 2, (1, 1)),
        (Scaling(num_cpus=2), 4, LAPTOP, None, (1, 2)),
        # A worker is on one node: three settings cannot have 16 / 3 cores each.
        (Scaling(), 3, FOUR_NODES, None, (3, 4)),
        (Scaling(), 5, FOUR_NODES, None, (5, 2)),
        (Scaling(num_workers=4), 2, FOUR_NODES, None, (2, 2)),
        (Scaling(num_cpus=3), 9, FOUR_NODES, None, (4, 3)),
        (Scaling(use_gpu=True), 9, GPU_NODES, None, (4, 1)),
        (Scaling(use_gpu=True, num_workers=2, num_cpus=4), 9, GPU_NODES, None, (2, 4)),
    ],
)
def test_settings_come_first_and_share_the_cores_that_remain(
    scaling: Scaling, num_settings: int, nodes: list[tuple[int, int]], most: int | None, expected: tuple[int, int]
) -> None:
    assert share_out(scaling, num_settings, nodes, most) == expected


def given_up(scheduler: Any, folder: Folder, epochs: dict[str, tuple[int, float]]) -> list[str]:
    """Return the trials that are to end after an epoch and its figure each; Tune itself goes on with all."""
    for name, (epoch, figure) in epochs.items():
        trial = SimpleNamespace(trial_id=f"trial {name}", config={"setting": name})
        scheduler.on_trial_add(None, trial)
        assert scheduler.on_trial_result(None, trial, {"epoch": epoch, "figure": figure}) == "CONTINUE"
    return [name for name in epochs if folder.exists(given_up_file(name))]


def record(name: str, *figures: float) -> TrialRecord:
    return TrialRecord(
        name=name, values={}, state="finished", epochs=[[epoch, figure] for epoch, figure in enumerate(figures, 1)]
    )


def test_asha_stops_what_is_worse_than_the_best_third(folder: Folder) -> None:
    options = SweepOptions(early_stopping="asha", reduction_factor=3)
    scheduler = make_scheduler(options, folder, is_high_good=False, most_epochs=9, records={})
    seen = {"a": (1, 100.0), "b": (1, 300.0), "c": (1, 90.0), "d": (1, 120.0)}
    assert given_up(scheduler, folder, seen) == ["b", "d"]


def test_asha_knows_the_settings_of_earlier_runs(folder: Folder) -> None:
    records = {name: record(name, figure, figure) for name, figure in {"a": 100.0, "b": 90.0, "c": 80.0}.items()}
    options = SweepOptions(early_stopping="asha")
    scheduler = make_scheduler(options, folder, is_high_good=False, most_epochs=9, records=records)
    assert given_up(scheduler, folder, {"new": (1, 95.0), "better": (1, 70.0)}) == ["new"]


def test_a_high_accuracy_is_good(folder: Folder) -> None:
    options = SweepOptions(early_stopping="asha", min_epochs=2)
    scheduler = make_scheduler(options, folder, is_high_good=True, most_epochs=9, records={})
    seen = {"a": (2, 0.5), "b": (2, 0.4), "young": (1, 0.1), "c": (2, 0.6)}
    assert given_up(scheduler, folder, seen) == ["b"]


def test_without_early_stopping_all_go_on(folder: Folder) -> None:
    scheduler = make_scheduler(SweepOptions(), folder, is_high_good=False, most_epochs=9, records={})
    assert given_up(scheduler, folder, {"a": (1, 1.0), "b": (1, 1e9)}) == []


@pytest.mark.parametrize(("epochs", "least"), [("1", "1"), ("3", "3")])
def test_early_stopping_wants_an_epoch_after_the_first_comparison(epochs: str, least: str) -> None:
    options = ["--grid", "seed=1,2", "--training.num-epochs", epochs, "--sweep.min-epochs", least]
    config = parse_config(
        SweepPretrain, ["--tokens", "t", "--output", "o", *options, "--sweep.early-stopping", "asha"], ""
    )
    with pytest.raises(ConfigError, match=rf"end of epoch {least} .* and they have {epochs}: raise --training.num-ep"):
        _check_early_stopping(config, settings_of(config))


def test_the_figure_of_an_epoch_is_its_validations_or_else_the_newest_of_its_steps() -> None:
    epochs = _Epochs("accuracy")
    rows = [{"epoch": 1, "accuracy": 0.1}, {"epoch": 1, "loss": 2.0}, {"epoch": 2, "accuracy": 0.2}]
    assert [epochs.add(row, is_epoch_end=False) for row in rows[:1]] == [False]
    assert epochs.last() == {}
    assert epochs.add(rows[1], is_epoch_end=True)
    assert epochs.last() == {"epoch": 1, "figure": 0.1}
    assert epochs.add(rows[2], is_epoch_end=True)
    assert epochs.found == [[1, 0.1], [2, 0.2]]
    assert not _Epochs("perplexity").add({"epoch": 1}, is_epoch_end=True)
