"""Kill -9 a tokenize job in the middle of both of its phases, run it again, compare with an undisturbed run.

    python tests/jobs/kill_and_resume.py 32 /tmp/out --input train.csv.gz --text-columns text --id-column id

The first number is how many shards to expect. The job is killed, driver and all of its Ray processes, when half of
them are tokenized, again when half are written, and then left to finish. Exit status 1 if any shard's SHA-256
differs from the undisturbed run's.
"""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ulmfit_ray.storage.folder import sha256_file

MARK = "ULMFIT_RAY_KILL_MARK"
LIMIT_SECONDS = 300


def start(verb: str, output: Path | str, options: list[str], mark: str) -> subprocess.Popen[str]:
    """Start a job in a process whose whole family carries `mark` in its environment."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return subprocess.Popen(
        [sys.executable, "-m", "ulmfit_ray.cli", verb, "--output", str(output), *options],
        env=environment | {MARK: mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def marked(mark: str) -> Iterator[Path]:
    """Yield the folders in /proc of the processes that carry the mark, and of no other."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            with suppress(OSError):
                if f"{MARK}={mark}".encode() in (process / "environ").read_bytes():
                    yield process


def kill_all(mark: str) -> None:
    """Send SIGKILL to every process that carries the mark."""
    for process in marked(mark):
        with suppress(OSError):
            os.kill(int(process.name), signal.SIGKILL)


def workers(mark: str, title: bytes) -> list[int]:
    """Return the processes of a run that Ray has given a title which begins so."""
    found = []
    for process in marked(mark):
        with suppress(OSError):
            if (process / "cmdline").read_bytes().startswith(title):
                found.append(int(process.name))
    return found


def wait_for(process: subprocess.Popen[str], mark: str, receipts: Path, count: int) -> None:
    """Wait until a running job has `count` receipts in the folder `receipts`; end all if it ends or stands still."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while len(list(receipts.glob("part-*.json"))) < count:
        if process.poll() is not None or time.monotonic() > deadline:
            kill_all(mark)
            raise SystemExit(f"the job ended or stood still before {count} receipts:\n{process.communicate()[0]}")
        time.sleep(0.01)


def kill_at(output: Path, options: list[str], receipts: str, count: int) -> None:
    """Tokenize, and kill the job as soon as `count` receipts lie in the folder `receipts`."""
    mark = uuid.uuid4().hex
    process = start("tokenize", output, options, mark)
    wait_for(process, mark, output / receipts, count)
    kill_all(mark)
    process.wait()
    if (output / "manifest.json").exists():
        raise SystemExit("the job was finished before it could be killed")
    print(f"killed with {len(list((output / receipts).glob('part-*.json')))} receipts in {receipts}", flush=True)


def finish(verb: str, output: Path | str, options: list[str]) -> str:
    """Run a job to its end and return what it printed."""
    process = start(verb, output, options, uuid.uuid4().hex)
    text, _ = process.communicate(timeout=LIMIT_SECONDS)
    if process.returncode:
        raise SystemExit(f"the job failed:\n{text}")
    return text


def main(num_shards: int, place: Path, options: list[str]) -> None:
    """Run, kill, run, kill, run, and compare."""
    killed, whole = place / "killed", place / "whole"
    kill_at(killed, options, "work/done", num_shards // 2)
    kill_at(killed, options, "done", num_shards // 2)
    text = finish("tokenize", killed, options)
    print("\n".join(line for line in text.splitlines() if "shards found" in line))
    finish("tokenize", whole, options)
    names = sorted(path.name for path in (whole / "shards").iterdir())
    if len(names) != num_shards or names != sorted(path.name for path in (killed / "shards").iterdir()):
        raise SystemExit(f"{len(names)} shards, not {num_shards}, or other names in the killed run")
    for name in [*(f"shards/{name}" for name in names), "vocab.json"]:
        if sha256_file(killed / name) != sha256_file(whole / name):
            raise SystemExit(f"{name} differs")
    print(f"{len(names)} shards and the vocabulary have the same SHA-256 as those of an undisturbed run")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
