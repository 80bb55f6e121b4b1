"""Kill -9 jobs at random moments, again and again, until they end; compare with undisturbed runs.

    python tests/jobs/chaos.py /tmp/out --kills 20 20 --output result.json --input train.csv.gz --id-column id

The text is tokenized, and then embedded by a language model that nobody trained. By turns a worker of Ray's is killed
(Ray must start its task, or the actor, again), the driver (all it started is orphaned), and the driver with the whole
Ray instance. A run that is killed is started again with the same command. Once the output is finished, another one is
begun, until there were as many kills of each job. Exit status 1 if any file differs from the undisturbed run's.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import time
import uuid
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from kill_and_resume import finish, kill_all, start, workers

sys.path.insert(0, str(Path(__file__).parents[1]))

from untrained import SMALL, untrained_model

from ulmfit_ray.storage.folder import sha256_file

VICTIMS = ("worker", "driver", "instance")
FIRST_SECONDS = 2.0
"""Before, a job has done nothing yet."""
LIMIT_SECONDS = 300
SHAPE = replace(SMALL, hidden_size=256)
"""Of the language model: it encodes for several seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A verb to disturb."""

    verb: str
    worker: bytes
    """How Ray's titles of the processes begin that are at work for it."""
    phases: tuple[str, ...]
    """What lies in the output after each phase, the last phase first."""
    compared: tuple[str, ...]
    """Files, and folders with files, that must be the same."""


JOBS = (
    Job(
        verb="tokenize",
        worker=b"ray::MapBatches",
        phases=("manifest.json", "done", "vocab.json", "work/done", "plan.json"),
        compared=("shards", "census", "quarantine", "vocab.json"),
    ),
    Job(verb="embed", worker=b"ray::MapWorker", phases=("manifest.json", "done", "plan.json"), compared=("shards",)),
)


def disturb(job: Job, output: Path, options: list[str], victim: str, longest: float, chance: random.Random) -> str:
    """Run the job, kill the victim within `longest` seconds, and return what came of it."""
    mark = uuid.uuid4().hex
    process = start(job.verb, output, options, mark)
    if victim == "worker":
        # Workers are there for a part of the time only.
        while process.poll() is None and not workers(mark, job.worker):
            time.sleep(0.1)
        time.sleep(chance.uniform(0, longest / 3))
    else:
        time.sleep(chance.uniform(FIRST_SECONDS, longest))
    if process.poll() is not None:
        return "nothing: the job had ended"
    phase = next((name for name in job.phases if (output / name).exists()), "start")
    if victim == "worker":
        running = workers(mark, job.worker)
        if running:
            os.kill(chance.choice(running), signal.SIGKILL)
        text, _ = process.communicate(timeout=LIMIT_SECONDS)
        if process.returncode:
            raise SystemExit(f"the job did not survive the death of a worker:\n{text}")
        return f"a worker, after {phase}" if running else "nothing: no worker was at work"
    if victim == "driver":
        process.kill()
        # Orphans end by themselves; what they still commit is right, and the next run must bear it.
        time.sleep(chance.uniform(0, 2))
    else:
        kill_all(mark)
    process.wait()
    return f"the {victim}, after {phase}"


def hashes(job: Job, output: Path) -> dict[str, str]:
    """Return the SHA-256 of every file that must be the same."""
    places = [output / name for name in job.compared]
    files = [path for place in places for path in ([place] if place.is_file() else sorted(place.glob("*")))]
    return {str(path.relative_to(output)): sha256_file(path) for path in files}


def disturbed(job: Job, place: Path, options: list[str], kills: int, chance: random.Random) -> dict[str, object]:
    """Kill the job so often, each time go on, and return what was hit; the last output is `place`/killed.

    Raises:
        SystemExit: a file differs from the undisturbed run's, or the job did not end well.
    """
    began = time.monotonic()
    finish(job.verb, place / "whole", options)
    longest, expected = time.monotonic() - began, hashes(job, place / "whole")
    assert any(name.startswith("shards/") for name in expected), f"{place}/whole has no shards"
    happened, number, killed = Counter[str](), 0, place / "killed"
    while happened.total() < kills:
        if (killed / "manifest.json").exists():
            compare(job, killed, options, expected)
            shutil.rmtree(killed)
        victim = VICTIMS[number % len(VICTIMS)]
        what = disturb(job, killed, options, victim, longest, chance)
        number += 1
        print(f"{job.verb}: {what}", flush=True)
        if not what.startswith("nothing"):
            happened[what] += 1
    compare(job, killed, options, expected)
    return {"kills": happened.total(), "of": dict(sorted(happened.items())), "files that differ": 0}


def compare(job: Job, output: Path, options: list[str], expected: dict[str, str]) -> None:
    """Finish a run that was killed and compare its files with the expected ones."""
    finish(job.verb, output, options)
    if hashes(job, output) != expected:
        raise SystemExit(f"{job.verb}: the killed run has other files than the undisturbed one")


def main() -> None:
    """Kill, finish, compare, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("place", type=Path)
    parser.add_argument("--kills", type=int, nargs=len(JOBS), default=[20] * len(JOBS), metavar=("TOKENIZE", "EMBED"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path)
    known, options = parser.parse_known_args()
    chance, results = random.Random(known.seed), {}
    for job, kills in zip(JOBS, known.kills, strict=True):
        results[job.verb] = disturbed(job, known.place / job.verb, options, kills, chance)
        if job.verb == "tokenize":
            tokens = str(known.place / "tokenize/killed")
            options = ["--input", tokens, "--model", untrained_model(known.place, tokens, shape=SHAPE)]
    print(json.dumps(results, indent=2))
    if known.output is not None:
        known.output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
