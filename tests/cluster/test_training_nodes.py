"""Training while nodes die and come: it ends with the weights of an undisturbed run, in one command.

All training verbs run through the same functions (`train/job.py`, `train/workers.py`) and differ by the task alone.
`pretrain`, whose task has most to carry on (stream, hidden state), is tested here; classifiers whose workers are
killed in every stage, in tests/pipelines/train/test_classifier.py.
"""

import json
from pathlib import Path

import pytest
import torch
from cluster_inputs import Start, small
from gates import Gates
from ray_nodes import Job, Nodes, hashes, is_at_work, start_job

from ulmfit_ray.model.files import load_tensors

pytestmark = pytest.mark.cluster
TWO = ["--scaling.num-workers", "2", "--scaling.num-cpus", "1"]
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def undisturbed(cluster: Nodes, tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model that two workers trained, each on a node, and nobody disturbed."""
    both = [cluster.add(1), cluster.add(1)]
    job = start_job(tmp_path_factory.mktemp("whole"), "lm", pretrain(tokens), cluster.address)
    job.finish()
    for node in both:
        cluster.kill(node)
    return job.output


def pretrain(tokens: Path) -> list[str]:
    return ["pretrain", "--tokens", str(tokens), *small(), *TWO]


def test_a_language_model_loses_each_of_its_nodes_and_has_the_same_weights(
    nodes: Nodes, start: Start, tokens: Path, undisturbed: Path
) -> None:
    workers = [nodes.add(1), nodes.add(1)]
    job = start(nodes, "killed", *pretrain(tokens))
    for worker in workers:
        before = job.step()
        job.wait_until(lambda least=before + 20: job.step() >= least)
        nodes.kill(worker)
        nodes.add(1)
    said = job.finish()
    assert said.count("All workers start again from step") == 2
    assert hashes(job.output, WEIGHTS) == hashes(undisturbed, WEIGHTS)


def world_size(job: Job) -> int:
    """Return how many workers made the newest checkpoint; 0 if there is none."""
    try:
        facts = (job.output / f"checkpoints/step-{job.step():07d}/checkpoint.json").read_text()
    except FileNotFoundError:
        return 0
    return int(json.loads(facts)["world_size"])


@pytest.mark.long
def test_with_min_workers_a_training_goes_on_with_fewer_and_takes_a_node_that_comes(
    nodes: Nodes, gates: Gates, start: Start, tokens: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ray looks every 20 seconds which nodes there are, and waits a minute for one that has gone meanwhile. (A training
    # that was killed keeps its claim to nodes for three minutes: tests that kill drivers come after this one.)
    monkeypatch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "3")
    stays, goes = nodes.add(1), nodes.add(1)
    job = start(nodes, "killed", *pretrain(tokens), "--scaling.min-workers", "1", "--scaling.resize-seconds", "3")
    job.wait_until(lambda: job.step() >= 20 and world_size(job) == 2)
    nodes.kill(goes)
    job.wait_until(lambda: world_size(job) == 1)
    gate = gates.close("*/killed/checkpoints/*/checkpoint.json")
    comes = nodes.add(1)
    job.wait_until(lambda: all(is_at_work(node, "RayTrainWorker") for node in (stays, comes)))
    gates.open(gate)
    job.wait_until(lambda: world_size(job) == 2)
    job.finish()
    found, expected = (load_tensors(output / WEIGHTS) for output in (job.output, undisturbed))
    # One worker adds up the gradient of all rows in another order than two.
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-3)


@pytest.mark.long
def test_a_sweep_loses_each_of_its_nodes_and_makes_the_models_of_its_verb(
    nodes: Nodes, gates: Gates, start: Start, tokens: Path, undisturbed: Path
) -> None:
    sweep = ["sweep", *pretrain(tokens), "--scaling.num-workers", "1", "--grid", "seed=0,1"]
    workers = [nodes.add(1), nodes.add(1)]
    early = gates.close("*/killed/seed=*/checkpoints/step-0000020/checkpoint.json")
    job = start(nodes, "killed", *sweep)
    job.wait_until(lambda: all(gates.held(early, worker) for worker in workers))
    nodes.add(1)
    nodes.kill(workers[0])
    gates.open(early)
    late = gates.close("*/killed/seed=*/checkpoints/step-0000050/checkpoint.json")
    job.wait_until(lambda: len(gates.held(late)) == 2)
    nodes.add(1)
    nodes.kill(workers[1])
    gates.open(late)
    job.finish()
    alone = start(nodes, "alone", *pretrain(tokens), "--scaling.num-workers", "1", "--seed", "1")
    alone.finish()
    assert hashes(job.output / "seed=1", WEIGHTS) == hashes(alone.output, WEIGHTS)
    assert (job.output / "seed=0" / WEIGHTS).exists()
