"""Ray nodes on this machine, and jobs that run on them as a person's would: in a process of their own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ulmfit_ray.storage.folder import sha256_file

LIMIT_SECONDS = 400
ROOT = Path(__file__).parents[2]
STORE_BYTES = 100 << 20
QUICK_TO_MISS = {
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 300,
    "health_check_failure_threshold": 3,
}
"""A node that is gone is missed after a second, not after fifteen; one that is slow to answer has ten seconds."""


@dataclass
class Job:
    """A command that runs on a cluster."""

    process: subprocess.Popen[str]
    output: Path
    log: Path

    def said(self) -> str:
        """Return what was printed so far."""
        return self.log.read_text()

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for something to happen while the job runs."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while not condition():
            assert self.process.poll() is None, f"the job ended first:\n{self.said()}"
            assert time.monotonic() < deadline, f"nothing happened:\n{self.said()}"
            time.sleep(0.05)

    def receipts(self, where: str = "done") -> int:
        """Return how many shards are done."""
        return len(list((self.output / where).glob("part-*.json")))

    def step(self) -> int:
        """Return the step of the newest checkpoint."""
        checkpoints = self.output.glob("checkpoints/step-*/checkpoint.json")
        return max((int(path.parent.name.removeprefix("step-")) for path in checkpoints), default=0)

    def finish(self, status: int = 0) -> str:
        """Wait for the end, expect this status, and return what was printed."""
        try:
            found = self.process.wait(LIMIT_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"the job does not end:\n{self.said()}") from error
        assert found == status, self.said()
        return self.said()


class Nodes:
    """A cluster whose head has no CPUs: all work is done on nodes that may be killed."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "object_store_memory": STORE_BYTES, "_system_config": QUICK_TO_MISS},
        )
        self.address: str = self._cluster.address

    def add(self, num_cpus: int = 1) -> Any:
        """Start one more node."""
        return self._cluster.add_node(num_cpus=num_cpus, object_store_memory=STORE_BYTES)

    def kill(self, node: Any) -> None:
        """Kill -9 everything of a node: its raylet, which would not miss its workers any more, then these."""
        workers = [pid for pid, _ in workers_of(node)]
        self._cluster.remove_node(node, allow_graceful=False)
        for pid in workers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill_all(self) -> None:
        """Kill all nodes but the head."""
        for node in list(self._cluster.worker_nodes):
            self.kill(node)

    def signal_head(self, number: int) -> None:
        """Send a signal to all processes of the head: control store, raylet, dashboard, and so on."""
        for infos in self._cluster.head_node.all_processes.values():
            for info in infos:
                if info.process.poll() is None:
                    info.process.send_signal(number)

    def shutdown(self) -> None:
        """End all nodes."""
        self.kill_all()
        self._cluster.shutdown()


def workers_of(node: Any) -> Iterator[tuple[int, str]]:
    """Yield process and title of each of a node's workers: a title such as ray::MapWorker(...) says what it does."""
    (raylet,) = node.all_processes["raylet"]
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        with suppress(OSError):
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            title = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if parent == raylet.process.pid and title.startswith("ray::"):
                yield int(process.name), title


def is_at_work(node: Any, title: str) -> bool:
    """Tell whether a node has a worker with such a title."""
    return any(title in found for _, found in workers_of(node))


HASTY = """
import sys
from ulmfit_ray.storage import lease
lease.BEAT_SECONDS, lease.PATIENCE_SECONDS = 0.5, 4.0
from ulmfit_ray.cli import main
sys.exit(main())
"""
"""The command, but it takes over from a driver that is silent for four seconds."""


def start_job(place: Path, name: str, arguments: Sequence[str], address: str, *, hasty: bool = False) -> Job:
    """Run `ulmfit-ray VERB ... --output PLACE/NAME` on the cluster of that address."""
    variables = os.environ | {"OMP_NUM_THREADS": "1", "RAY_ADDRESS": address}
    output, log = place / name, place / f"{name}.{time.monotonic_ns()}.log"
    program = ["-c", HASTY] if hasty else ["-m", "ulmfit_ray.cli"]
    command = [sys.executable, *program, *arguments, "--output", str(output)]
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=file, stderr=subprocess.STDOUT, text=True)
    return Job(process, output, log)


def hashes(output: Path, *patterns: str) -> dict[str, str]:
    """Return the SHA-256 of files below an output."""
    return {
        str(path.relative_to(output)): sha256_file(path)
        for pattern in patterns
        for path in sorted(output.glob(pattern))
        if path.is_file()
    }
