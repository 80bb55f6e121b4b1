"""Seconds and memory of planning a million units, and of making the tasks for them: the driver's part before any work.

    python benchmarks/planning.py [--units 1000000] [--output FILE.json]

The input is a thousand files of lines, of 64 TB in all, which are not there: what is read of an input is little beside
what is computed. The peak is of the whole process. Runs without Ray's processes, though its library is loaded.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

from reporting import report

from ulmfit_ray.corpus.formats.table import make_format
from ulmfit_ray.corpus.listing import InputFile
from ulmfit_ray.corpus.units import MAX_UNIT_BYTES, cut_into_units, units_table
from ulmfit_ray.pipelines.tokenize.counting import tasks
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.plan import read_plan, write_plan
from ulmfit_ray.storage.receipts import pending_units

NUM_FILES = 1000


def peak_megabytes() -> int:
    """Return the largest resident memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000


def main() -> None:
    """Plan, read the plan again, make the tasks, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=1_000_000)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    size = options.units // NUM_FILES * MAX_UNIT_BYTES
    files = [InputFile(f"s3://bucket/corpus/{n:04d}.txt", f"{n:04d}.txt", size, "1") for n in range(NUM_FILES)]
    result: dict[str, object] = {"units": options.units, "megabytes at the start": peak_megabytes()}
    with tempfile.TemporaryDirectory() as place:
        folder = Folder(place)
        began = time.perf_counter()
        write_plan(folder, units_table(cut_into_units(files, make_format("lines")), files), identity={})
        planned = time.perf_counter()
        plan = read_plan(folder)
        assert plan is not None
        made = tasks(plan, pending_units(plan.units, {}), (), 1)
        done = time.perf_counter()
    assert sum(table.num_rows for table in made) == plan.facts.num_units == options.units
    result |= {
        "seconds": {"plan": round(planned - began, 1), "tasks": round(done - planned, 1)},
        "tasks": len(made),
        "megabytes at the end": peak_megabytes(),
    }
    report(result, options.output)


if __name__ == "__main__":
    main()
