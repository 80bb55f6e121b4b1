"""`ulmfit-ray submit` and `ray job submit` on a real head that demands tokens, as a person elsewhere types them."""

import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import requests

from ulmfit_ray.storage.folder import sha256_file

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 120
TOKEN = "0123456789abcdef" * 4
SECRET = "a-secret-of-this-machine"
MARK = "ULMFIT_RAY_TEST_SUBMIT"
RAY = str(Path(sys.executable).with_name("ray"))


def free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@dataclass(frozen=True)
class Head:
    """A head that demands a token: where its job server is, and the environment of a person who has the token."""

    address: str
    environment: dict[str, str]

    def start(self, folder: Path, *arguments: str, **options: object) -> subprocess.Popen[str]:
        """Start `ulmfit-ray submit ...` in a folder that is no checkout."""
        command = [sys.executable, "-m", "ulmfit_ray.cli", "submit", *arguments, "--ray.address", self.address]
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} | options
        return subprocess.Popen(command, cwd=folder, env=self.environment, text=True, **streams)  # type: ignore[call-overload]

    def run(self, folder: Path, *arguments: str) -> tuple[int, str]:
        """Run `ulmfit-ray submit ...` to its end and return its exit status and what it said."""
        process = self.start(folder, *arguments)
        text, _ = process.communicate(timeout=LIMIT_SECONDS)
        return process.returncode, text


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """One head for all tests here; everything of it carries a mark, and is ended by it."""
    folder = tmp_path_factory.mktemp("head")
    (folder / "token").write_text(TOKEN)
    port, dashboard, client, agent = free_ports(4)
    bare = {name: value for name, value in os.environ.items() if name not in ("RAY_AUTH_TOKEN", "PYTHONPATH")}
    with_token = bare | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / "token")}
    # `python` in a job is the one of the head's PATH.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [RAY, "start", "--head", "--block", "--num-cpus=2"]
    command += [f"--port={port}", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}"]
    command += [f"--dashboard-agent-listen-port={agent}", "--dashboard-host=127.0.0.1"]
    command += ["--object-store-memory=300000000", "--disable-usage-stats"]
    log = folder / "head.log"
    mark = uuid.uuid4().hex
    with log.open("w") as output:
        environment = with_token | {"PATH": path, MARK: mark}
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + LIMIT_SECONDS
        while "Ray runtime started" not in log.read_text():
            assert process.poll() is None, f"the head did not start:\n{log.read_text()}"
            assert time.monotonic() < deadline, f"the head did not start:\n{log.read_text()}"
            time.sleep(0.1)
        # The person's own checkout is this one, wherever an installed package may lie.
        person = with_token | {"PYTHONPATH": str(ROOT), "AWS_SECRET_ACCESS_KEY": SECRET}
        yield Head(f"http://127.0.0.1:{dashboard}", person)
    finally:
        kill_marked(mark)
        process.wait()


def kill_marked(mark: str) -> None:
    """Kill what carries a mark in its environment: the head, and all that it started."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                if f"{MARK}={mark}".encode() in (process / "environ").read_bytes():
                    os.kill(int(process.name), signal.SIGKILL)
            except OSError:
                continue


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "words.txt"
    path.write_text("".join(f"some words of line {number}\n" for number in range(300)))
    return path


def tokenize(corpus: Path, output: Path) -> list[str]:
    return ["tokenize", "--input", str(corpus), "--format", "lines", "--min-freq", "1", "--output", str(output)]


def hashes(output: Path) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in [*sorted(output.glob("shards/*")), output / "vocab.json"]}


def test_a_submitted_job_makes_what_a_local_one_makes(head: Head, corpus: Path, tmp_path: Path) -> None:
    status, text = head.run(tmp_path, *tokenize(corpus, tmp_path / "submitted"))
    assert status == 0, text
    assert "sending the package ulmfit_ray" in text
    # Its progress and its summary are in its log, and so on this terminal; a secret of this machine nowhere.
    assert re.search(r"^1 tokenize: .*300 documents", text, re.MULTILINE)
    assert re.search(r"^\W+documents\W+300\W", text, re.MULTILINE)
    # Ray's own lines about what it does are not the job's.
    assert "INFO sdk.py" not in text
    assert "INFO dashboard_sdk.py" not in text
    assert SECRET not in text
    local = [sys.executable, "-m", "ulmfit_ray.cli", *tokenize(corpus, tmp_path / "local")]
    environment = {name: value for name, value in head.environment.items() if not name.startswith("RAY_")}
    subprocess.run(local, cwd=tmp_path, env=environment, check=True, stdout=subprocess.DEVNULL)
    assert hashes(tmp_path / "submitted") == hashes(tmp_path / "local")


def package(folder: Path, program: str) -> list[str]:
    """Return options that send a package in place of ours, whose every verb is a program."""
    place = folder / "ulmfit_ray"
    place.mkdir(parents=True)
    (place / "__init__.py").touch()
    (place / "cli.py").write_text(program)
    return ["--submit.working-dir", str(folder)]


def test_each_command_ends_with_the_exit_status_of_its_own_job(head: Head, corpus: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    failing = package(tmp_path / "failing", "import sys; sys.exit('it failed')")
    ray_submit = [RAY, "job", "submit", "--address", head.address, "--working-dir", ".", "--"]
    ray_submit += ["python", "jobs/embed_corpus.py", "--help"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    tokenless = Head(head.address, head.environment | {"RAY_AUTH_MODE": "disabled"})
    # All at once: each takes seconds to begin.
    running = [
        (head.start(tmp_path, *tokenize(tmp_path / "missing.txt", output)), 2, "matches no file"),
        (head.start(tmp_path, *tokenize(corpus, output), *failing), 1, "it failed"),
        (tokenless.start(tmp_path, *tokenize(corpus, output)), 2, "demands its token: put the file of its head's"),
        (subprocess.Popen(ray_submit, cwd=ROOT, env=head.environment, **streams), 0, "usage: ulmfit-ray embed"),
    ]
    for process, status, said in running:
        text, _ = process.communicate(timeout=LIMIT_SECONDS)
        assert process.returncode == status, text
        assert said in text


def interrupted(head: Head, folder: Path, arguments: list[str], begun: str, answer: str) -> tuple[int, str]:
    """Run a submission at a terminal, press Ctrl-C once it has said `begun`, answer, and return how it ended."""
    person, terminal = pty.openpty()
    process = head.start(folder, *arguments, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True)
    os.close(terminal)
    text, is_asked = "", False
    deadline = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < deadline:
        try:
            text += os.read(person, 1 << 16).decode()
        except OSError:
            # The last who had the terminal has closed it.
            break
        if begun in text and not is_asked:
            is_asked = True
            process.send_signal(signal.SIGINT)
        if "stop the job, leave it running" in text and answer:
            os.write(person, f"{answer}\n".encode())
            answer = ""
    os.close(person)
    return process.wait(timeout=LIMIT_SECONDS), text


WAITING = (
    "import signal, sys, time\n"
    "signal.signal(signal.SIGTERM, lambda *_: (print('wrote a checkpoint'), sys.exit(130)))\n"
    "print('the job has begun')\n"
    "while True: time.sleep(1)\n"
)
"""A job that says when it has begun, and when it is told to end."""


def test_ctrl_c_stops_the_job_or_leaves_it_as_the_person_says(head: Head, corpus: Path, tmp_path: Path) -> None:
    arguments = [*tokenize(corpus, tmp_path / "out"), *package(tmp_path / "waiting", WAITING)]
    with ThreadPoolExecutor(2) as pool:
        ask = partial(interrupted, head, tmp_path, arguments, "the job has begun")
        for said, state, (status, text) in zip(
            ("wrote a checkpoint", "goes on"), ("STOPPED", "RUNNING"), pool.map(ask, ("stop", "leave")), strict=True
        ):
            assert status == 130, text
            assert said in text
            job = re.search(r"job (tokenize-\w+) is submitted", text)
            assert job, text
            found = requests.get(
                f"{head.address}/api/jobs/{job[1]}", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=LIMIT_SECONDS
            )
            assert found.json()["status"] == state
