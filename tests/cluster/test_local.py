"""cluster/local.sh: a cluster that only its token opens, and that ends without a trace."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 120
NODES = """
import ray
from ulmfit_ray.pipelines.options import RayOptions
from ulmfit_ray.pipelines.runtime import ray_session

with ray_session(RayOptions()):
    print("nodes", sum(node["Alive"] for node in ray.nodes()))
"""
PORTS = 6
LOOPBACK = re.compile("(0{16}FFFF0{4})?.{6}7F")
"""127.x.x.x as /proc/net writes it, the last byte first, maybe as an address of IPv6."""


class Local:
    """The script, with a folder and ports of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_ports()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        own = {"ULMFIT_RAY_LOCAL": str(folder), "ULMFIT_RAY_LOCAL_PORT": str(self.port), "PATH": path}
        self.environment = kept | own | {"ULMFIT_RAY_LOCAL_STORE": "100000000", "PYTHONPATH": str(ROOT)}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the script."""
        command = [str(ROOT / "cluster/local.sh"), *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)

    def nodes_seen(self, **variables: str) -> subprocess.Popen[str]:
        """Begin to count the nodes, as a job does in a terminal that has these variables."""
        command, environment = [sys.executable, "-c", NODES], self.environment | variables
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def processes(self) -> list[str]:
        """Return the processes of the cluster: all know the place of its token."""
        mark = f"RAY_AUTH_TOKEN_PATH={self.folder}/token".encode()
        found = []
        for process in Path("/proc").iterdir():
            try:
                if process.name.isdigit() and mark in (process / "environ").read_bytes():
                    found.append(process.name)
            except OSError:
                continue
        return found


def _free_ports() -> int:
    """Return the first of some ports in a row that nobody listens on."""
    for first in range(27000, 32000, 50):
        sockets = [socket.socket() for _ in range(PORTS)]
        try:
            for number, one in enumerate(sockets):
                one.bind(("0.0.0.0", first + number))
        except OSError:
            continue
        finally:
            for one in sockets:
                one.close()
        return first
    raise AssertionError("no ports are free")


@pytest.fixture
def local() -> Iterator[Local]:
    # Ray puts sockets below it, whose paths must be short: pytest's own folder is too deep.
    folder = Path(tempfile.mkdtemp(prefix="ul-", dir="/tmp"))
    script = Local(folder)
    yield script
    script.run("down")
    shutil.rmtree(folder)


def listening(port: int) -> set[str]:
    """Return the addresses, in hexadecimal, at which a port is listened on."""
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()]
    places = [line[1].split(":") for line in lines if line[3] == "0A"]
    return {address for address, number in places if int(number, 16) == port}


def answer(url: str, token: str | None) -> int:
    """Return the status with which the job server answers."""
    request = urllib.request.Request(f"{url}/api/jobs/", headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=LIMIT_SECONDS) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


def test_it_comes_up_opens_to_its_token_alone_and_goes_down_without_a_trace(local: Local) -> None:
    up = local.run("up", "2")
    assert up.returncode == 0, up.stderr
    variables = dict(re.findall(r"(RAY_\w+)='?([^ '\n]+)'?", up.stdout))
    token = Path(variables["RAY_AUTH_TOKEN_PATH"])
    assert token.stat().st_mode & 0o077 == 0

    wrong = local.folder / "wrong"
    wrong.write_text("0" * 64)
    # Ray tries for a while: meanwhile, all else.
    stranger = local.nodes_seen(**variables | {"RAY_AUTH_TOKEN_PATH": str(wrong)})
    job = local.nodes_seen(**variables)
    assert job.communicate(timeout=LIMIT_SECONDS)[0] == "nodes 3\n"
    url = variables["RAY_API_SERVER_ADDRESS"]
    assert [answer(url, None), answer(url, wrong.read_text()), answer(url, token.read_text())] == [401, 403, 200]
    for port in (local.port + 1, local.port + 2):
        assert listening(port)
        assert all(LOOPBACK.fullmatch(address) for address in listening(port)), listening(port)

    again = local.run("up", "1")
    assert (again.returncode, again.stdout) == (1, "")
    assert "up already (3 nodes)" in again.stderr
    assert local.run("status").stdout == up.stdout
    assert stranger.communicate(timeout=LIMIT_SECONDS)[0] == ""
    assert stranger.returncode != 0

    with subprocess.Popen(["sleep", "1000"]) as other:
        # A pid that was given again: the process that began later is not the one that was written down.
        with (local.folder / "nodes").open("a") as nodes:
            nodes.write(f"{other.pid} 1 worker-3\n")
        down = local.run("down")
        assert (down.returncode, other.poll()) == (0, None)
        assert "ended 3 nodes" in down.stderr
        other.kill()
    deadline = time.monotonic() + LIMIT_SECONDS
    while local.processes():
        assert time.monotonic() < deadline, local.processes()
        time.sleep(0.1)
    assert local.run("status").returncode == 1
