"""Run one phase of a job over its shards: Ray Data makes the pending ones, outcomes are tallied, receipts checked.

A job that works shard by shard is one function `shard -> Receipt`. This module has the groups, retries and outcomes.
attempts.py has what happens on a worker; one bad shard does not end the job.

    receipts on disk -> pending units -> groups -> map_batches -> outcomes -> tally -> receipts on disk, read again
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa
import ray.data
from ray.data import ActorPoolStrategy

from ulmfit_ray.lifecycle import Outcome, Tally
from ulmfit_ray.pipelines.attempts import STARTS, Phase, attempt
from ulmfit_ray.pipelines.metrics import stage_metrics
from ulmfit_ray.pipelines.runtime import blocks_as_they_come, cluster_cpus
from ulmfit_ray.reporting.logs import configure_logging
from ulmfit_ray.reporting.progress import Bar
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.plan import PlannedUnit, PlannedUnits
from ulmfit_ray.storage.receipts import (
    RECEIPT_TYPE,
    GrowingReceipts,
    Receipt,
    Receipts,
    in_order,
    pending_units,
    read_receipts,
)

Unit = TypeVar("Unit")
MAX_GROUPS = 2000
"""Blocks of a dataflow at most: each costs the driver about 10 ms."""
TASK_BYTES, TASKS_PER_CPU = 8 << 20, 4
"""Small units share a task, because a core waits about 20 ms for its next one: so much text, but each core of the
cluster gets so many tasks at least."""
FOR_EVER = -1
"""Ray's retries of tasks and actors whose worker died; attempts.py has the limit."""
FAILURES = 2
"""How often a shard may fail before its unit is given up; each time the work was tried three times."""
OUTCOMES_SCHEMA = pa.schema(
    [
        ("shard", pa.string()),
        ("receipt", RECEIPT_TYPE),
        ("problem", pa.string()),
        ("began", pa.float64()),
        ("ended", pa.float64()),
    ]
)
ShardWork = Callable[[str], Receipt]
"""Makes and commits one shard."""


@dataclass(frozen=True, slots=True)
class PhaseResult:
    """All receipts of a finished phase in the order of the units, and how many of them were there at its start."""

    receipts: Receipts
    num_found: int
    tokens_per_second: float
    core_seconds: tuple[float, float] = (0.0, 0.0)
    """Between the first start and the last end: those in which a shard was made, and those that the cores had."""


@dataclass(slots=True)
class _Work:
    """The shards that were made in this run, added up; times are seconds since 1970."""

    began: float = math.inf
    ended: float = 0.0
    busy: float = 0.0
    """Seconds in which a shard was made."""
    num_tokens: int = 0

    def add(self, outcome: Outcome) -> None:
        if outcome.receipt is not None and outcome.ended:
            self.began, self.ended = min(self.began, outcome.began), max(self.ended, outcome.ended)
            self.busy += outcome.ended - outcome.began
            self.num_tokens += outcome.receipt.num_tokens

    def rate(self, receipts: Receipts) -> float:
        """Return tokens per second from the first start to the last end; if nothing was made, those of one worker."""
        if self.ended:
            return self.num_tokens / max(self.ended - self.began, 1e-9)
        return receipts.total("num_tokens") / max(receipts.seconds(), 1e-9)

    def core_seconds(self) -> tuple[float, float]:
        if not self.ended:
            return 0.0, 0.0
        # Nodes may have come and gone: the cores of now are what is known.
        return self.busy, max(self.busy, (self.ended - self.began) * cluster_cpus())


Dataflow = Callable[[PlannedUnits, Receipts], Iterator[Outcome]]
"""(pending units, receipts there are) -> an outcome for each missing shard, as they come."""


def run_phase(
    phase: Phase, units: PlannedUnits, dataflow: Dataflow, source_of: Callable[[PlannedUnit], str]
) -> PhaseResult:
    """Run what is pending, and again what is still missing; return the receipts of all units.

    A unit is given up when it has failed twice. One that has no outcome was lost with its worker or node: it is run
    again as long as others get made, and then until it must have been counted as one that ends its workers.
    At the end the receipts are listed, so that only what is really there counts, and those that no outcome brought are
    read. `source_of` names the file that a unit is made from, for the message about a unit that cannot be made.

    Raises:
        RuntimeError: shards failed or are missing, or too many documents are bad.
    """
    folder = Folder(phase.output)
    # Counts of an earlier launch say nothing about this one: perhaps it has more memory.
    folder.delete(phase.started)
    receipts = read_receipts(folder, phase.plan, phase.where)
    num_found = len(receipts)
    pending = pending_units(units, receipts)
    # How many shards a streamed file has is not known before its end.
    total = None if pending.any_streamed else num_found + len(pending)
    work, growing = _Work(), GrowingReceipts(receipts)
    with Bar(phase.stage, total, "shards", done=num_found) as bar, stage_metrics(phase.job, phase.stage) as metrics:
        tally = Tally(bar, folder, receipts, phase.max_bad_fraction)
        failures: Counter[str] = Counter()
        passes_in_vain = 0
        while pending and passes_in_vain <= STARTS:
            num_before = len(receipts)
            metrics.wait_for(len(pending))
            for outcome in dataflow(pending, receipts):
                tally.add(outcome)
                metrics.add(outcome)
                work.add(outcome)
                if outcome.receipt is None:
                    failures[outcome.shard] += 1
                else:
                    growing.add(outcome.receipt)
            receipts = growing.all()
            passes_in_vain = 0 if len(receipts) > num_before else passes_in_vain + 1
            given_up = _units_of(shard for shard, number in failures.items() if number >= FAILURES)
            pending = pending_units(units, receipts).without(given_up)
        receipts = read_receipts(folder, phase.plan, phase.where, known=receipts)
        missing = pending_units(units, receipts)
        _forget_failures(folder, missing)
        tally.finish(folder, {unit.stem: source_of(unit) for unit in missing})
    done = in_order(units, receipts)
    return PhaseResult(done, num_found, work.rate(done), work.core_seconds())


def _units_of(shards: Iterable[str]) -> set[str]:
    """Return the stems of the units that shards are of: part-0000001-00003 is of part-0000001, as is that itself."""
    return {stem for shard in shards for stem in (shard, shard.rpartition("-")[0])}


def _forget_failures(folder: Folder, missing: Sequence[PlannedUnit]) -> None:
    """Delete the tracebacks of units that have been made since."""
    stems = tuple(unit.stem for unit in missing)
    for name in folder.names("failed"):
        if not name.startswith(stems):
            folder.delete_file(f"failed/{name}")


def grouped(units: Sequence[Unit], per_task: int = 1) -> Iterator[Sequence[Unit]]:
    """Yield consecutive units in groups of `per_task`, or larger ones if those were more than 2,000 groups."""
    size = max(per_task, -(-len(units) // MAX_GROUPS))
    for start in range(0, len(units), size):
        yield units[start : start + size]


def units_per_task(num_units: int, unit_bytes: int) -> int:
    """Return how many units of that size a task should take, on the cluster as it is now."""
    return max(1, min(TASK_BYTES // max(unit_bytes, 1), num_units // (TASKS_PER_CPU * max(cluster_cpus(), 1))))


def map_shards(phase: Phase, pending: Sequence[PlannedUnit], work: ShardWork, unit_bytes: int) -> Iterator[Outcome]:
    """Run `work` over shards, each of about `unit_bytes`, in tasks of one core; yield the outcomes as they come."""
    yield from outcomes(
        _groups(pending, units_per_task(len(pending), unit_bytes)).map_batches(
            partial(_work_on_group, phase=phase, work=work),
            batch_size=None,
            batch_format="pyarrow",
            max_retries=FOR_EVER,
        )
    )


def map_shards_in_actors(
    phase: Phase,
    pending: Sequence[PlannedUnit],
    make_work: Callable[[], ShardWork],
    *,
    pool: ActorPoolStrategy,
    num_cpus: float,
    num_gpus: float,
) -> Iterator[Outcome]:
    """Run shards through a pool of actors, each of which calls `make_work` once, and yield the outcomes."""
    yield from outcomes(
        _groups(pending).map_batches(
            _ShardActor,
            fn_constructor_kwargs={"phase": phase, "make_work": make_work},
            # As many as a group has: Ray wants a number here when it is asked for GPUs.
            batch_size=len(next(grouped(pending))),
            batch_format="pyarrow",
            num_cpus=num_cpus,
            num_gpus=num_gpus or None,
            compute=pool,
            max_task_retries=FOR_EVER,
        )
    )


def _groups(pending: Sequence[PlannedUnit], per_task: int = 1) -> ray.data.Dataset:
    """Return a dataset with one block, of shard names, per group."""
    groups = grouped(pending, per_task)
    return ray.data.from_arrow([pa.table({"shard": [unit.stem for unit in group]}) for group in groups])


class _ShardActor:
    """An actor that builds its work (loads a model) once, and then takes group after group."""

    def __init__(self, phase: Phase, make_work: Callable[[], ShardWork]) -> None:
        self._phase, self._work = phase, make_work()

    def __call__(self, group: pa.Table) -> pa.Table:
        return _work_on_group(group, phase=self._phase, work=self._work)


def _work_on_group(group: pa.Table, *, phase: Phase, work: ShardWork) -> pa.Table:
    """Make the shards of a group, on a worker, each committed by itself."""
    configure_logging()
    return outcomes_table(attempt(phase, shard, partial(work, shard)) for shard in group["shard"].to_pylist())


def outcomes(dataset: ray.data.Dataset) -> Iterator[Outcome]:
    """Run a dataflow that ends in tables of outcomes and yield them block by block, as they come."""
    for table in blocks_as_they_come(dataset):
        yield from outcomes_of(table)


def outcomes_of(table: pa.Table) -> Iterator[Outcome]:
    """Yield the outcomes of one block."""
    for row in table.to_pylist(maps_as_pydicts="strict"):
        receipt = row.pop("receipt")
        yield Outcome(**row, receipt=None if receipt is None else Receipt(**receipt))


def outcomes_table(found: Iterable[Outcome]) -> pa.Table:
    """Return outcomes as the table in which Ray passes them to the driver."""
    rows = [_fields(outcome) | {"receipt": outcome.receipt and _fields(outcome.receipt)} for outcome in found]
    return pa.Table.from_pylist(rows, schema=OUTCOMES_SCHEMA)


def _fields(row: Outcome | Receipt) -> dict[str, Any]:
    """Return the fields as they are; asdict copies what is in them, which takes longer than all else."""
    return {item.name: getattr(row, item.name) for item in fields(row)}
