"""The driver or the head dies, or stands still for a while: the same command, given again, finishes the rest."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_inputs import FILES, Start, small
from gates import Gates
from ray_nodes import Nodes, hashes

from ulmfit_ray.cli import main

pytestmark = pytest.mark.cluster


@pytest.fixture
def own(gates: Gates) -> Iterator[Nodes]:
    """A cluster whose head may be lost."""
    found = Nodes()
    yield found
    found.shutdown()


def written(output: Path) -> dict[str, int]:
    """Return when each file below an output was written."""
    return {str(path.relative_to(output)): path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()}


def embed(tokens: Path, language_model: str) -> list[str]:
    # One actor each: two jobs are to have room beside each other.
    return ["embed", "--model", language_model, "--input", str(tokens), "--actors.max", "1"]


def test_a_driver_that_wakes_up_when_its_successor_has_finished_ends_and_damages_nothing(
    nodes: Nodes, gates: Gates, start: Start, tokens: Path, language_model: str
) -> None:
    nodes.add(2)
    gate = gates.close("*/lost/shards/part-*[3-9].parquet")
    stopped = start(nodes, "lost", *embed(tokens, language_model), hasty=True)
    stopped.wait_until(lambda: bool(gates.held(gate)))
    stopped.process.send_signal(signal.SIGSTOP)
    gates.open(gate)
    successor = start(nodes, "lost", *embed(tokens, language_model), hasty=True)
    assert "shards found done" in successor.finish()
    before = hashes(successor.output, "*", "shards/*")
    stopped.process.send_signal(signal.SIGCONT)
    assert "has gone: this job was silent for too long" in stopped.finish(status=1)
    assert hashes(successor.output, "*", "shards/*") == before
    assert main(["verify", str(successor.output)]) == 0
    assert len(hashes(successor.output, "shards/*")) == FILES


@pytest.mark.long
def test_the_workers_of_a_driver_that_stands_still_leave_the_checkpoints_to_its_successor(
    nodes: Nodes, gates: Gates, start: Start, tokens: Path
) -> None:
    nodes.add(2)
    train = ["pretrain", "--tokens", str(tokens), *small(), "--scaling.num-cpus", "1"]
    whole = start(nodes, "whole", *train)
    whole.finish()
    gate = gates.close("*/lost/checkpoints/step-0000030/checkpoint.json")
    stopped = start(nodes, "lost", *train, hasty=True)
    stopped.wait_until(lambda: bool(gates.held(gate)))
    stopped.process.send_signal(signal.SIGSTOP)
    successor = start(nodes, "lost", *train, hasty=True)
    successor.wait_until(lambda: len(gates.held(gate)) == 2)
    gates.open(gate)
    successor.finish()
    assert hashes(successor.output, "model.safetensors") == hashes(whole.output, "model.safetensors")
    before = written(successor.output)
    stopped.process.send_signal(signal.SIGCONT)
    stopped.finish(status=1)
    assert written(successor.output) == before
    assert not (successor.output / "checkpoints").exists()


def test_a_head_that_stands_still_is_waited_for_and_one_that_is_lost_ends_the_job_which_another_cluster_finishes(
    own: Nodes,
    nodes: Nodes,
    gates: Gates,
    start: Start,
    tokens: Path,
    language_model: str,
) -> None:
    own.add(1)
    early = gates.close("*/lost/shards/part-*[2-9].parquet")
    lost = start(own, "lost", *embed(tokens, language_model))
    lost.wait_until(lambda: bool(gates.held(early)))
    own.signal_head(signal.SIGSTOP)
    # Longer than a node may be silent.
    time.sleep(15)
    own.signal_head(signal.SIGCONT)
    late = gates.close("*/lost/shards/part-*[6-9].parquet")
    gates.open(early)
    lost.wait_until(lambda: bool(gates.held(late)))
    own.signal_head(signal.SIGKILL)
    assert lost.process.wait(120) != 0
    assert not (lost.output / "manifest.json").exists()
    gates.open(late)
    nodes.add(1)
    finished = start(nodes, "lost", *embed(tokens, language_model))
    finished.finish()
    assert main(["verify", str(finished.output)]) == 0
    assert len(hashes(finished.output, "shards/*")) == FILES
