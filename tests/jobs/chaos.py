"""Kill -9 a tokenize job at random moments, again and again, until it ends; compare with an undisturbed run.

    python tests/jobs/chaos.py /tmp/out --kills 20 --output result.json --input train.csv.gz --id-column id

By turns a worker is killed (Ray must start the task again), the driver (all it started is orphaned), and the driver
with the whole Ray instance. A run that is killed is started again with the same command. Once the output is finished,
another one is begun, until there were as many kills. Exit status 1 if any file differs from the undisturbed run's.
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
from pathlib import Path

from kill_and_resume import MARK, finish, kill_all, start

from ulmfit_ray.storage.folder import sha256_file

VICTIMS = ("worker", "driver", "instance")
LONGEST_WAIT_SECONDS = 20.0
"""A run is killed so long after its start, at most; the undisturbed one takes about as long."""
COMPARED = ("shards", "census", "quarantine")


def workers(mark: str) -> list[int]:
    """Return the processes of this run that are at a task."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            is_ours = process.name.isdigit() and f"{MARK}={mark}".encode() in (process / "environ").read_bytes()
            if is_ours and (process / "cmdline").read_bytes().startswith(b"ray::MapBatches"):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def disturb(output: Path, options: list[str], victim: str, chance: random.Random) -> str:
    """Run the job, kill the victim at a random moment, and return what came of it."""
    mark = uuid.uuid4().hex
    process = start(output, options, mark)
    time.sleep(chance.uniform(2, LONGEST_WAIT_SECONDS))
    if process.poll() is not None:
        return "nothing: the job had ended"
    phase = next(
        (name for name in ("done", "vocab.json", "work/done", "plan.json") if (output / name).exists()), "start"
    )
    if victim == "worker":
        running = workers(mark)
        if running:
            os.kill(chance.choice(running), signal.SIGKILL)
        text, _ = process.communicate(timeout=300)
        if process.returncode:
            raise SystemExit(f"the job did not survive the death of a worker:\n{text}")
        return f"a worker, after {phase}" if running else "nothing: no worker was at a task"
    if victim == "driver":
        process.kill()
        # Orphans end by themselves; what they still commit is right, and the next run must bear it.
        time.sleep(chance.uniform(0, 2))
    else:
        kill_all(mark)
    process.wait()
    return f"the {victim}, after {phase}"


def hashes(output: Path) -> dict[str, str]:
    """Return the SHA-256 of every file that must be the same."""
    files = [path for name in COMPARED for path in sorted((output / name).glob("*"))]
    return {str(path.relative_to(output)): sha256_file(path) for path in [*files, output / "vocab.json"]}


def main() -> None:
    """Kill, finish, compare, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("place", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path)
    known, options = parser.parse_known_args()
    finish(known.place / "whole", options)
    expected = hashes(known.place / "whole")
    chance, happened, number = random.Random(known.seed), Counter[str](), 0
    killed = known.place / "killed"
    while happened.total() < known.kills:
        what = disturb(killed, options, VICTIMS[number % len(VICTIMS)], chance)
        number += 1
        print(what, flush=True)
        if not what.startswith("nothing"):
            happened[what] += 1
        if happened.total() == known.kills or (killed / "manifest.json").exists():
            finish(killed, options)
            if hashes(killed) != expected:
                raise SystemExit("the killed run has other files than the undisturbed one")
            shutil.rmtree(killed)
    result = {"kills": happened.total(), "of": dict(sorted(happened.items())), "files that differ": 0}
    print(json.dumps(result, indent=2))
    if known.output is not None:
        known.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
