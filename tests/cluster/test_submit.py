"""`ulmfit-ray submit` and `ray job submit` on a real head that demands tokens, as a person elsewhere types them."""

import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ulmfit_ray.storage.folder import sha256_file

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 120
TOKEN = "0123456789abcdef" * 4
SECRET = "a-secret-of-this-machine"


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
    """One head for all tests here; it and all it started are ended as one group."""
    folder = tmp_path_factory.mktemp("head")
    (folder / "token").write_text(TOKEN)
    port, dashboard, client, agent = free_ports(4)
    bare = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "PYTHONPATH")}
    with_token = bare | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / "token")}
    # `python` in a job is the one of the head's PATH.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus=2"]
    command += [f"--port={port}", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}"]
    command += [f"--dashboard-agent-listen-port={agent}", "--dashboard-host=127.0.0.1"]
    command += ["--object-store-memory=300000000", "--disable-usage-stats"]
    log = folder / "head.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, env=with_token | {"PATH": path}, stdout=output, stderr=output, start_new_session=True
        )
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
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


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
    assert re.search(r"^tokenize: .*300 documents", text, re.MULTILINE)
    assert f"{tmp_path}/submitted" in text.splitlines()[-2] + text
    assert SECRET not in text
    local = [sys.executable, "-m", "ulmfit_ray.cli", *tokenize(corpus, tmp_path / "local")]
    environment = {name: value for name, value in head.environment.items() if not name.startswith("RAY_")}
    subprocess.run(local, cwd=tmp_path, env=environment, check=True, stdout=subprocess.DEVNULL)
    assert hashes(tmp_path / "submitted") == hashes(tmp_path / "local")


@pytest.mark.parametrize(
    ("missing", "status", "said"),
    [("words.txt", 2, "matches no file"), ("", 1, "No such verb of the nodes")],
)
def test_the_exit_status_of_a_job_that_fails_comes_back(
    head: Head, tmp_path: Path, missing: str, status: int, said: str
) -> None:
    if missing:
        arguments = tokenize(tmp_path / missing, tmp_path / "out")
    else:
        # A package that is sent in place of ours, and fails.
        package = tmp_path / "folder/ulmfit_ray"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "cli.py").write_text(f"import sys; sys.exit({said!r})\n")
        arguments = [*tokenize(tmp_path / "a", tmp_path / "out"), "--submit.working-dir", str(package.parent)]
    found, text = head.run(tmp_path, *arguments)
    assert found == status, text
    assert said in text
    assert f"ended with exit status {status}" in text


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


def waiting_package(folder: Path) -> list[str]:
    """Return options that send a package whose job says so when it has begun and when it is told to end."""
    package = folder / "folder/ulmfit_ray"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "cli.py").write_text(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('wrote a checkpoint'), sys.exit(130)))\n"
        "print('the job has begun')\n"
        "while True: time.sleep(1)\n"
    )
    return ["--submit.working-dir", str(package.parent)]


def job_state(head: Head, job: str) -> str:
    ray = str(Path(sys.executable).with_name("ray"))
    command = [ray, "job", "status", "--address", head.address, job]
    return subprocess.run(command, env=head.environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("answer", "said", "state"), [("stop", "wrote a checkpoint", "was stopped"), ("leave", "goes on", "RUNNING")]
)
def test_ctrl_c_stops_the_job_or_leaves_it_as_the_person_says(
    head: Head, corpus: Path, tmp_path: Path, answer: str, said: str, state: str
) -> None:
    arguments = [*tokenize(corpus, tmp_path / "out"), *waiting_package(tmp_path)]
    status, text = interrupted(head, tmp_path, arguments, "the job has begun", answer)
    assert status == 130, text
    assert said in text
    job = re.search(r"job (tokenize-\w+) is submitted", text)
    assert job, text
    assert state in job_state(head, job[1])
    ray = str(Path(sys.executable).with_name("ray"))
    subprocess.run(
        [ray, "job", "stop", "--no-wait", "--address", head.address, job[1]], env=head.environment, check=True
    )


def test_rays_own_command_runs_a_script_of_the_repository(head: Head) -> None:
    command = [str(Path(sys.executable).with_name("ray")), "job", "submit", "--address", head.address]
    command += ["--working-dir", ".", "--", "python", "jobs/embed_corpus.py", "--help"]
    found = subprocess.run(
        command, cwd=ROOT, env=head.environment, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "usage: ulmfit-ray embed" in found.stdout


def test_a_person_without_the_token_is_told_how_to_get_it(head: Head, corpus: Path, tmp_path: Path) -> None:
    environment = head.environment | {"RAY_AUTH_MODE": "disabled"}
    without: Callable = Head(head.address, environment).run
    status, text = without(tmp_path, *tokenize(corpus, tmp_path / "out"))
    assert status == 2
    assert "demands its token: put the file of its head's RAY_AUTH_TOKEN_PATH" in text
