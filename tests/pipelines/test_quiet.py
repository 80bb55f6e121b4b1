"""Ray's known lines stay off the terminal; every other line arrives as it was written."""

import subprocess
import sys

NOISE = (
    "[2026-11-21 16:02:27,477 E 23786 23786] core_worker.cc:2465: Actor with class name: 'MapWorker(MapBatches(f))' and"
    " ID: 'd99b' has constructor arguments in the object store and max_restarts > 0. If the arguments are lost, ..."
)
PROGRAM = f"""
import os, sys
from ulmfit_ray.pipelines.quiet import without_noise
print("before", file=sys.stderr)
with without_noise():
    os.write(2, b"an error of Ray's own\\n")
    os.write(2, {NOISE.encode()!r} + b"\\n")
    print("an error of ours", file=sys.stderr)
    os.write(2, b"core_worker.cc:1: something else\\n")
    os.write(2, b"no newline at the end")
print("after", file=sys.stderr)
"""


def test_known_noise_is_dropped_and_the_rest_arrives_in_order() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines() == [
        "before",
        "an error of Ray's own",
        "an error of ours",
        "core_worker.cc:1: something else",
        "no newline at the endafter",
    ]
    assert done.stdout == ""


def test_an_exception_inside_is_still_shown() -> None:
    program = (
        "from ulmfit_ray.pipelines.quiet import without_noise\nwith without_noise():\n    raise ValueError('shown')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ValueError: shown" in done.stderr
