"""The driver's part of a job over 64 TB: a million units are planned, their outcomes counted, their receipts read.

    python benchmarks/scale.py [--units 1000000] [--receipts 160000] [--output FILE.json]

The planner and the driver's bookkeeping are the real ones. Simulated are the corpus and the object store
(pretend_store.py, 25 ms for each request) and the work: Ray's workers return made-up receipts, in the groups, tasks and
blocks of a real job, and write none. Each part runs in a process of its own; its peak is that of the whole process,
shared memory of Ray's that it has touched included. No Ray is started for what needs none.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray.data
from pretend_store import CORPUS, OUTPUT, PretendStore, behind_s3

from ulmfit_ray.corpus.units import MAX_UNIT_BYTES
from ulmfit_ray.lifecycle import Outcome
from ulmfit_ray.pipelines.attempts import Phase
from ulmfit_ray.pipelines.options import RayOptions
from ulmfit_ray.pipelines.planning import claimed_plan, look_at_input
from ulmfit_ray.pipelines.reading import tasks
from ulmfit_ray.pipelines.runtime import blocks_as_they_come, ray_session
from ulmfit_ray.pipelines.shards import PhaseResult, grouped, outcomes_of, outcomes_table, run_phase
from ulmfit_ray.pipelines.tokenize.config import TokenizeConfig
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.manifest import Manifest, write_dataset_manifest
from ulmfit_ray.storage.plan import Plan, PlannedUnits, unit_stem, whole_units
from ulmfit_ray.storage.receipts import Receipt, Receipts

SECONDS_OF_A_REQUEST = 0.025
HUGE_FILES = 1000
NUM_PENDING = 100
"""Units that a resumed job finds undone."""
FILES = {
    "work/done": ("census/{}.parquet", "work/{}.arrow", "work/{}.types.parquet"),
    "done": ("census/{}.parquet", "shards/{}.arrow"),
}
Figures = dict[str, Any]


def receipt_of(where: str, shard: str, *, plan: str) -> Receipt:
    """Return what a worker would say of a shard of 64 MiB of text."""
    number = int(shard.removeprefix("part-"))
    return Receipt(
        plan=plan,
        shard=shard,
        num_documents=20_000 + number % 7,
        num_tokens=14_000_000 + number,
        quarantined={"invalid UTF-8": 1} if number % 10 == 0 else {},
        num_unknown=number % 1000,
        num_bytes=MAX_UNIT_BYTES,
        num_text_bytes=MAX_UNIT_BYTES - number % 1000,
        num_unknown_bytes=number % 5000,
        seconds=20 + number / 1_000_000,
        files={name.format(shard): sha256(f"{name}{number}".encode()).hexdigest() for name in FILES[where]},
    )


def pretend(group: pa.Table, *, where: str, plan: str, with_ray: bool) -> pa.Table:
    """Return the outcomes of a group of units or shards, in a worker of Ray's; without Ray nobody counts its cores."""
    by_unit = "unit" in group.schema.names
    shards = map(unit_stem, group["unit"].unique().to_pylist()) if by_unit else group["shard"].to_pylist()
    began, ended = (time.time(), time.time() + 1e-3) if with_ray else (0, 0)
    receipts = (receipt_of(where, shard, plan=plan) for shard in shards)
    return outcomes_table(Outcome(shard=one.shard, receipt=one, began=began, ended=ended) for one in receipts)


class Driver:
    """Runs phases whose workers only pretend, with Ray or in this process, and says what they took."""

    def __init__(self, store: PretendStore, plan: Plan, *, with_ray: bool) -> None:
        self._store, self._plan, self._with_ray = store, plan, with_ray
        store.receipt_of = lambda where, shard: asdict(receipt_of(where, shard, plan=plan.fingerprint))

    def run(self, stage: str, where: str, units: PlannedUnits, tables: Callable[..., list[pa.Table]]) -> PhaseResult:
        """Run a phase over the units; `tables` makes its tasks of those that are pending."""
        phase = Phase(job="tokenize", stage=stage, output=f"s3://{OUTPUT}", plan=self._plan.fingerprint, where=where)
        work = partial(pretend, where=where, plan=self._plan.fingerprint, with_ray=self._with_ray)

        def dataflow(pending: PlannedUnits, receipts: Receipts) -> Iterator[Outcome]:
            for table in self._outcomes(tables(pending, receipts), work):
                self._store.commit(where, table["shard"])
                yield from outcomes_of(table)

        return run_phase(phase, units, dataflow, lambda unit: unit.stem)

    def _outcomes(self, groups: list[pa.Table], work: Callable[[pa.Table], pa.Table]) -> Iterator[pa.Table]:
        if not self._with_ray:
            yield from map(work, groups)
            return
        dataset = ray.data.from_arrow(groups)
        del groups
        yield from blocks_as_they_come(dataset.map_batches(work, batch_size=None, batch_format="pyarrow"))

    def tokenize(self) -> PhaseResult:
        """Run the phase that reads text: each task has the places of its units."""
        plan = self._plan
        return self.run("1 tokenize", "work/done", plan.units, partial(tasks, plan, per_task=1))

    def numericalize(self, counted: PhaseResult) -> PhaseResult:
        """Run the phase after it: each task has the names of its shards."""

        def tables(pending: PlannedUnits, receipts: Receipts) -> list[pa.Table]:
            return [pa.table({"shard": group.table["stem"]}) for group in grouped(pending)]

        return self.run("3 numericalize", "done", whole_units(counted.receipts.shards), tables)


@contextmanager
def measured(figures: Figures, what: str) -> Iterator[None]:
    """Note the seconds of the block, and the largest resident memory that the process had in it."""
    Path("/proc/self/clear_refs").write_text("5")
    began = time.perf_counter()
    yield
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    found = {"seconds": round(time.perf_counter() - began, 1), "peak_megabytes": peak * 1024 // 1_000_000}
    figures[what] = found
    print(f"{what}: {found}", file=sys.stderr, flush=True)


@contextmanager
def pretended(num_files: int, file_bytes: int, num_units: int, seconds: float) -> Iterator[PretendStore]:
    """Give a store with that corpus, behind s3:// URIs."""
    with tempfile.TemporaryDirectory() as place:
        store = PretendStore(
            Path(place), num_files=num_files, file_bytes=file_bytes, num_units=num_units, seconds=seconds
        )
        with behind_s3(store):
            yield store


def planned() -> Plan:
    """List the corpus, look into it, and plan."""
    config = TokenizeConfig(input=(f"s3://{CORPUS}",), output=f"s3://{OUTPUT}")
    plan = claimed_plan(config, Folder(config.output), look_at_input(config))
    assert len(plan.units) == plan.facts.num_units
    return plan


def whole_job(num_units: int, *, with_ray: bool = True, seconds: float = SECONDS_OF_A_REQUEST) -> Figures:
    """Plan a corpus of a file for each unit, and keep the books of a whole tokenize job over it."""
    figures: Figures = {"units": num_units, "files": num_units}
    with pretended(num_units, MAX_UNIT_BYTES, num_units, seconds) as store:
        with measured(figures, "planning from a listing"):
            plan = planned()
        assert len(plan.units) == num_units
        with ray_session(RayOptions()) if with_ray else nullcontext():
            driver = Driver(store, plan, with_ray=with_ray)
            with measured(figures, "phase 1"):
                counted = driver.tokenize()
            with measured(figures, "phase 3"):
                written = driver.numericalize(counted)
        with measured(figures, "manifest"):
            manifest = Manifest(job="tokenize", vocab="v", tokenizer="t", plan=plan.fingerprint, files={})
            manifest = write_dataset_manifest(Folder(f"s3://{OUTPUT}"), written.receipts, "arrow", manifest)
    assert manifest.counts.num_shards == num_units
    assert manifest.counts.num_tokens == num_units * 14_000_000 + num_units * (num_units - 1) // 2
    assert manifest.counts.num_quarantined == -(-num_units // 10)
    slowest = max(figures[phase]["seconds"] for phase in ("phase 1", "phase 3"))
    figures["units_per_second"] = round(num_units / max(slowest, 0.1))
    return figures


def huge_files(num_units: int, *, seconds: float = SECONDS_OF_A_REQUEST) -> Figures:
    """Plan the same text in a thousand large files."""
    num_files = min(HUGE_FILES, num_units)
    figures: Figures = {"units": num_units, "files": num_files}
    with pretended(num_files, num_units // num_files * MAX_UNIT_BYTES, num_units, seconds):
        with measured(figures, "planning from a listing"):
            plan = planned()
        assert len(plan.units) == num_units
        with measured(figures, "reading the plan again"):
            assert len(planned().units) == num_units
    return figures


def resume(num_receipts: int, *, seconds: float = SECONDS_OF_A_REQUEST) -> Figures:
    """Run a phase of a job that ended shortly before its end."""
    num_units = num_receipts + NUM_PENDING
    figures: Figures = {"receipts": num_receipts, "seconds_of_a_request": seconds}
    with pretended(num_units, MAX_UNIT_BYTES, num_units, seconds) as store:
        plan = planned()
        driver = Driver(store, plan, with_ray=False)
        store.commit("work/done", plan.units[:num_receipts].table["stem"])
        with measured(figures, "resumed phase"):
            result = driver.tokenize()
    assert (result.num_found, len(result.receipts)) == (num_receipts, num_units)
    return figures


PARTS: dict[str, Callable[[int], Figures]] = {
    "a million files": whole_job,
    "a thousand files": huge_files,
    "resume": resume,
}


def main() -> None:
    """Run each part in a process of its own, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=1_000_000)
    parser.add_argument("--receipts", type=int, default=160_000)
    parser.add_argument("--only", choices=PARTS, help="run this part in this process")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    numbers = {part: options.receipts if part == "resume" else options.units for part in PARTS}
    if options.only:
        print(json.dumps(PARTS[options.only](numbers[options.only])))
        return
    # It loads torch, which no driver of these jobs does.
    from reporting import report

    sizes = ["--units", str(options.units), "--receipts", str(options.receipts)]
    result: Figures = {"simulated": "the corpus, the object store, and the work of the workers"}
    for part in PARTS:
        command = [sys.executable, __file__, "--only", part, *sizes]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        result[part] = json.loads(said.splitlines()[-1])
    report(result, options.output)


if __name__ == "__main__":
    main()
