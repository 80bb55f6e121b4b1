"""Several Ray nodes on this machine, and jobs that run on them as a person's would: in a process of their own."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

os.environ.pop("RAY_ADDRESS", None)
os.environ["RAY_AUTH_MODE"] = "disabled"

LIMIT_SECONDS = 400
ROOT = Path(__file__).parents[2]


@dataclass
class Job:
    """A command that runs on a cluster."""

    process: subprocess.Popen[str]
    output: Path

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for something to happen while the job runs."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while not condition():
            assert self.process.poll() is None, f"the job ended first:\n{self.process.communicate()[0]}"
            assert time.monotonic() < deadline, "nothing happened"
            time.sleep(0.05)

    def receipts(self, where: str = "done") -> int:
        """Return how many shards are done."""
        return len(list((self.output / where).glob("part-*.json")))

    def finish(self) -> str:
        """Wait for the end, expect success, and return what was printed."""
        text, _ = self.process.communicate(timeout=LIMIT_SECONDS)
        assert self.process.returncode == 0, text
        return text


class Nodes:
    """A cluster whose head, with the driver, is never killed."""

    def __init__(self, head_cpus: int) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": head_cpus,
                "object_store_memory": 300 << 20,
                # A node that is gone is missed after three seconds, not after fifteen.
                "_system_config": {"health_check_period_ms": 1000, "health_check_failure_threshold": 3},
            },
        )
        self.address: str = self._cluster.address

    def add(self, num_cpus: int) -> Any:
        """Start one more node."""
        return self._cluster.add_node(num_cpus=num_cpus, object_store_memory=300 << 20)

    def kill(self, node: Any) -> None:
        """Kill -9 everything of a node."""
        self._cluster.remove_node(node, allow_graceful=False)

    def shutdown(self) -> None:
        """End all nodes."""
        self._cluster.shutdown()


@pytest.fixture
def start_nodes() -> Iterator[Callable[[int], Nodes]]:
    """Return a function that starts a cluster's head with some cores."""
    started: list[Nodes] = []

    def start(head_cpus: int) -> Nodes:
        started.append(Nodes(head_cpus))
        return started[-1]

    yield start
    for nodes in started:
        nodes.shutdown()


@pytest.fixture
def start_job(tmp_path: Path) -> Iterator[Callable[..., Job]]:
    """Return a function that runs `ulmfit-ray VERB ... --output NAME`, on a cluster if one is given."""
    started: list[Job] = []

    def start(name: str, *arguments: str, nodes: Nodes | None = None) -> Job:
        environment = os.environ | {"OMP_NUM_THREADS": "1"} | ({"RAY_ADDRESS": nodes.address} if nodes else {})
        output = tmp_path / name
        command = [sys.executable, "-m", "ulmfit_ray.cli", *arguments, "--output", str(output)]
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        started.append(Job(process, output))
        return started[-1]

    yield start
    for job in started:
        job.process.kill()
        job.process.wait()
