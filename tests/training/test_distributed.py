import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from ulmfit_ray.model.files import load_tensors
from ulmfit_ray.training.distributed import (
    data_parallel,
    gather_dim,
    gather_rows,
    own_rows,
    rank,
    sum_over_workers,
    world_size,
)

# Importing torch in two more processes takes ten seconds on a busy machine.
pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).with_name("several_workers.py")
TASKS = [
    "language-model",
    "language-model-dropout",
    "retriever",
    "retriever-dropout",
    "classifier",
    "classifier-dropout",
]
WORKERS = [("two", name) for name in TASKS] + [("three", "classifier"), ("three", "classifier-dropout")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where several_workers.py has left its results: each process alone, two over gloo, and three."""
    path = tmp_path_factory.mktemp("several-workers")
    commands = [[sys.executable, str(SCRIPT), str(number), str(path)] for number in range(3)]
    workers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    try:
        errors = [worker.communicate(timeout=120)[1] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0, 0], "\n".join(errors)
    return path


@pytest.fixture(scope="module")
def results(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / f"results-{number}.json").read_text()) for number in range(3)]


@pytest.fixture(scope="module")
def alone(results) -> dict[str, list[dict[str, Any]]]:
    """Each task's figures with one worker."""
    return results[0]["one"] | results[1]["one"] | results[2]["one"]


def weights(path: Path) -> dict[str, Tensor]:
    return {name: value for name, value in load_tensors(path).items() if name.startswith("model.")}


def steps(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if not row["is_epoch_end"]]


@pytest.mark.parametrize(("workers", "name"), WORKERS)
def test_workers_that_share_the_batch_train_as_one_with_all_of_it(
    folder: Path, results, alone, workers: str, name: str
):
    one, several = alone[name], results[0][workers][name]
    assert len(steps(one)) == len(steps(several)) == 50
    assert [row["loss"] for row in steps(several)] == pytest.approx([row["loss"] for row in steps(one)], abs=1e-4)
    assert [row["tokens"] for row in steps(several)] == [row["tokens"] for row in steps(one)]
    # Of a classifier with the statistics of its batch norms.
    expected = weights(folder / f"{name}-one-end.safetensors")
    assert_close(weights(folder / f"{name}-{workers}-end.safetensors"), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", TASKS)
def test_the_runs_that_are_compared_do_train(folder: Path, alone, name: str):
    losses = [row["loss"] for row in steps(alone[name])]
    assert len(set(losses)) == 50
    start, end = (weights(folder / f"{name}-one-{kind}.safetensors") for kind in ("stop", "end"))
    moved = {key: float((end[key] - value).abs().max()) for key, value in start.items() if "weight" in key}
    assert min(moved.values()) > 1e-4, moved


@pytest.mark.parametrize("name", ["language-model", "classifier-dropout"])
def test_validation_over_two_workers_gives_the_figures_of_one(results, alone, name: str):
    one, two = ([row for row in runs[name] if row["is_epoch_end"]] for runs in (alone, results[0]["two"]))
    assert len(one) == len(two) == 2
    assert all(found == pytest.approx(expected, rel=1e-4) for found, expected in zip(two, one, strict=True))


@pytest.mark.parametrize("name", TASKS)
def test_both_workers_report_the_same_figures(results, name: str):
    first, second = (result["two"][name] for result in results[:2])
    assert first == second


@pytest.mark.parametrize("kind", ["one-then-two", "two-then-one"])
def test_a_checkpoint_is_accepted_by_another_number_of_workers(folder: Path, results, alone, kind: str):
    whole = [row["loss"] for row in steps(alone["language-model-dropout"])]
    rest = steps(results[0][kind])
    assert [row["step"] for row in rest] == list(range(31, 51))
    assert [row["loss"] for row in rest] == pytest.approx(whole[30:], abs=1e-4)
    expected = weights(folder / "language-model-dropout-one-end.safetensors")
    assert_close(weights(folder / f"{kind}-end.safetensors"), expected, rtol=1e-3, atol=1e-3)


def test_two_workers_stopped_at_any_step_end_with_the_same_bits_as_two_that_were_not(folder: Path):
    expected = load_tensors(folder / "language-model-dropout-two-end.safetensors")
    stopped = sorted(folder.glob("stopped-at-*-end.safetensors"))
    assert len(stopped) == 3
    for path in stopped:
        found = load_tensors(path)
        assert set(found) == set(expected)
        assert [name for name, value in expected.items() if not torch.equal(found[name], value)] == []


def test_a_checkpoint_of_two_workers_holds_the_hidden_state_of_all_columns(folder: Path):
    one, two = (load_tensors(folder / f"language-model-dropout-{kind}-stop.safetensors") for kind in ("one", "two"))
    carried = [name for name in one if name.startswith("carry.")]
    assert len(carried) == 4
    for name in carried:
        assert one[name].shape[1] == 7
        assert_close(two[name], one[name], rtol=1e-3, atol=1e-4)
    assert set(one) == set(two)


def test_gathered_rows_come_in_rank_order_and_pass_back_the_sum_of_all_ranks_gradients(results):
    first, second = (result["collectives"] for result in results[:2])
    assert first["gathered"] == second["gathered"] == [[1.0, 2.0], [2.0, 2.0]]
    assert first["gradient"] == [[3.0, 3.0]]
    assert second["gradient"] == [[30.0, 30.0]]


def test_collectives_over_two_workers_join_and_sum(results):
    first, second = (result["collectives"] for result in results[:2])
    assert first["joined"] == second["joined"] == [0, 5, 1, 5]
    assert first["sums"] == second["sums"] == [2.0, 10.0]
    assert (first["own"], second["own"]) == ([0, 3], [3, 7])


def test_a_batch_of_fewer_rows_than_workers_is_refused(results):
    expected = "global_batch_size (1) must be at least num_workers (2)"
    assert results[0]["collectives"]["refused"] == expected


def test_one_worker_needs_no_process_group():
    rows, model = torch.randn(3, 2, requires_grad=True), torch.nn.Linear(2, 2)
    assert (rank(), world_size(), own_rows(5)) == (0, 1, slice(0, 5))
    assert gather_rows(rows, 3) is rows
    assert gather_dim(rows, 1, 2) is rows
    assert data_parallel(model) is model
    assert sum_over_workers([1.5, 2.0], torch.device("cpu")) == [1.5, 2.0]
