"""A head without CPUs and groups of nodes that start at zero, with Ray's fake autoscaler."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from cluster_inputs import Start
from gates import Gates

from ulmfit_ray.corpus.units import MIN_UNIT_BYTES

pytestmark = pytest.mark.cluster
MARK = "ULMFIT_RAY_TEST_AUTOSCALER"
LISTS = ("cluster_synced_files", "rsync_exclude", "rsync_filter", "initialization_commands", "setup_commands")
LISTS += ("head_setup_commands", "worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands")
CONFIG = {name: [] for name in LISTS} | {
    "cluster_name": "fake",
    "max_workers": 4,
    "idle_timeout_minutes": 5,
    "upscaling_speed": 2,
    "provider": {
        "type": "fake_multinode",
        "head_node_id": "f" * 51 + "0" * 5,
        # All nodes have this machine's address.
        "use_node_id_as_ip": True,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
    },
    "auth": {},
    "docker": {},
    "file_mounts": {},
    "file_mounts_sync_continuously": False,
    "head_node_type": "ray.head.default",
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "cpu": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2},
        "gpu": {"resources": {"CPU": 1, "GPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 1},
    },
}
"""What a full file for `ray up` becomes after Ray has filled in its defaults, which a head does not do itself."""


@pytest.fixture
def autoscaler(gates: Gates, tmp_path: Path) -> Iterator[SimpleNamespace]:
    """A head that starts nodes when they are asked for; everything of it carries a mark, and is ended by it."""
    config = tmp_path / "autoscaler.json"
    config.write_text(json.dumps(CONFIG))
    mark = uuid.uuid4().hex
    environment = os.environ | {MARK: mark, "RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    # How long a node may be silent; half a minute otherwise.
    environment["AUTOSCALER_HEARTBEAT_TIMEOUT_S"] = "5"
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus=0"]
    # The fake provider connects its nodes to this port, whatever the head has.
    command += ["--port=6379", "--object-store-memory=300000000", f"--autoscaling-config={config}"]
    log = tmp_path / "head.log"
    with log.open("w") as output:
        head = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield SimpleNamespace(address=_address(log, head), mark=mark)
    finally:
        _kill_marked(mark)
        head.wait()


def _address(log: Path, head: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and head.poll() is None:
        found = re.search(r"--address='([^']+)'", log.read_text())
        if found:
            return found[1]
        time.sleep(0.2)
    raise AssertionError(f"the head did not start:\n{log.read_text()}")


def _marked(mark: str) -> Iterator[int]:
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            with suppress(OSError):
                if f"{MARK}={mark}".encode() in (process / "environ").read_bytes():
                    yield int(process.name)


def _kill_marked(mark: str) -> None:
    for process in _marked(mark):
        with suppress(OSError):
            os.kill(process, signal.SIGKILL)


def _training_node_without_gpu(mark: str) -> tuple[int, int]:
    """Return a worker of a training and the raylet of its node.

    The fake provider takes a node that is lost for one that is still to come, and there is but one with a GPU.
    """
    for worker in _marked(mark):
        if b"RayTrainWorker" in Path(f"/proc/{worker}/cmdline").read_bytes():
            raylet = int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1])
            if b",GPU," not in Path(f"/proc/{raylet}/cmdline").read_bytes():
                return worker, raylet
    raise AssertionError("no worker of the training is on a node without a GPU")


def test_jobs_bring_the_nodes_they_need_and_outlive_the_loss_of_one(
    autoscaler: SimpleNamespace, gates: Gates, start: Start, tmp_path: Path
) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number in range(4):
        # Blanks fill each file to the size of a unit: smaller ones would share it.
        line = json.dumps({"text": f"some words, number {number}"}) + "\n"
        (corpus / f"{number}.jsonl").write_text(line.ljust(MIN_UNIT_BYTES - 1) + "\n")
    tokens = start(autoscaler, "tokens", "tokenize", "--input", str(corpus), "--min-freq", "1")
    assert "waiting: a tokenizer needs 1 CPUs and 0 GPUs; there are 0 and 0" in tokens.finish()
    small = ["--architecture.embedding-dim", "8", "--architecture.hidden-size", "8", "--architecture.num-layers", "1"]
    small += ["--training.global-batch-size", "2", "--training.bptt", "4", "--valid-fraction", "0"]
    gate = gates.close("*/lm/checkpoints/*/checkpoint.json")
    lm = start(autoscaler, "lm", "pretrain", "--tokens", str(tokens.output), *small, "--scaling.num-workers", "2")
    lm.wait_until(lambda: bool(gates.held(gate)))
    for process in reversed(_training_node_without_gpu(autoscaler.mark)):
        os.kill(process, signal.SIGKILL)
    gates.open(gate)
    assert "its process is gone" in lm.finish()
    embed = ["embed", "--model", str(lm.output), "--input", str(tokens.output), "--actors.num-gpus", "1"]
    embeddings = start(autoscaler, "embeddings", *embed)
    # The node with a GPU may be up already: the autoscaler is free to bring it for a CPU.
    embeddings.finish()
    assert len(list((embeddings.output / "shards").iterdir())) == 4
