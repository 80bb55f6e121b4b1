"""The first stage of a dataflow over raw text: units of a plan -> a row for each shard that is to be made.

A file that can only be read from the front is read by one task, and its shards' texts go on while it is being read.
Of any other unit only its place goes on, and whoever makes the shard reads it.
"""

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial

import numpy as np
import pyarrow as pa
import ray.data
from ray.data import TaskPoolStrategy

from ulmfit_ray.corpus.reading import StreamedText, stream_shards
from ulmfit_ray.corpus.units import CorpusFacts, Piece, Unit, units_of
from ulmfit_ray.pipelines.attempts import ATTEMPTS, Phase, WorkerEndedError, counted_start
from ulmfit_ray.pipelines.shard_text import ShardText
from ulmfit_ray.pipelines.shards import FOR_EVER, grouped
from ulmfit_ray.reporting.logs import configure_logging
from ulmfit_ray.storage.plan import Plan, PlannedUnit, PlannedUnits
from ulmfit_ray.storage.receipts import Receipts, finished_parts

READERS = 4
READER_CPUS = 0
"""A reader waits most of its time for the tokenizers, and must not keep one from its core. A thousandth of a CPU would:
Ray Data counts the cluster's CPUs in whole tasks, and then one core has no room for a tokenizer."""
PIECE_TYPE = pa.struct(
    [
        ("path", pa.string()),
        ("name", pa.string()),
        ("start", pa.int64()),
        ("stop", pa.int64()),
        ("until", pa.int64()),
    ]
)
TEXTS_SCHEMA = pa.schema(
    [
        ("unit", pa.struct([("number", pa.int64()), ("pieces", pa.list_(PIECE_TYPE)), ("is_streamed", pa.bool_())])),
        (
            "streamed",
            pa.struct(
                [
                    ("part", pa.int64()),
                    ("offset", pa.int64()),
                    ("header", pa.list_(pa.string())),
                    ("text", pa.large_binary()),
                    ("is_last", pa.bool_()),
                    ("damage", pa.string()),
                    ("damaged_at", pa.int64()),
                ]
            ),
        ),
        ("problem", pa.string()),
    ]
)
"""A row is a ShardText."""


@contextmanager
def blocks_of(num_bytes: int) -> Iterator[None]:
    """Let dataflows that are begun and run in the block have blocks of that size: a row that is larger is one.

    With Ray's own 128 MiB the rows of a file would go on when the file is read.
    """
    context = ray.data.DataContext.get_current()
    default = context.target_max_block_size
    context.target_max_block_size = num_bytes
    try:
        yield
    finally:
        context.target_max_block_size = default


def read_texts(
    phase: Phase,
    corpus: CorpusFacts,
    plan: Plan,
    pending: PlannedUnits,
    receipts: Receipts,
    *,
    per_task: int,
) -> ray.data.Dataset:
    """Return a dataset with the text of each missing shard, `per_task` units in a task; see `texts_of`."""
    return ray.data.from_arrow(tasks(plan, pending, receipts, per_task)).map_batches(
        partial(_read_units, phase=phase, corpus=corpus),
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=READER_CPUS,
        compute=TaskPoolStrategy(READERS),
        max_retries=FOR_EVER,
    )


def texts_of(block: pa.Table) -> Iterator[ShardText]:
    """Yield the shards' texts of a block."""
    for row in block.to_pylist():
        pieces = tuple(Piece(**piece) for piece in row["unit"]["pieces"])
        unit = Unit(row["unit"]["number"], pieces, row["unit"]["is_streamed"])
        yield ShardText(unit, None if row["streamed"] is None else StreamedText(**row["streamed"]), row["problem"])


def tasks(plan: Plan, pending: PlannedUnits, receipts: Receipts, per_task: int) -> list[pa.Table]:
    """Return each task's rows of the plan, with the numbers of a unit's finished parts in one more column.

    A streamed unit is a task by itself, as long as there are not too many of them.
    """
    streamed, others = pending.streamed(True), pending.streamed(False)
    parts = finished_parts(receipts.names()) if streamed else {}
    return [_rows(plan, group, parts) for group in (*grouped(streamed), *grouped(others, per_task))]


def _rows(plan: Plan, units: Sequence[PlannedUnit], parts: Mapping[str, list[int]]) -> pa.Table:
    rows = [np.arange(unit.first_row, unit.first_row + unit.num_rows) for unit in units]
    owners = np.repeat(np.arange(len(units)), [len(own) for own in rows])
    finished = pa.array([parts.get(unit.stem, []) for unit in units], pa.list_(pa.int64()))
    # What else the plan says of a file is for its next launch.
    names = [name for name in plan.table.column_names if name not in ("size", "modified", "ends")]
    table = plan.table.select(names).take(np.concatenate(rows))
    return table.append_column("finished_parts", finished.take(pa.array(owners)))


def _read_units(group: pa.Table, phase: Phase, corpus: CorpusFacts) -> Iterator[pa.Table]:
    """Yield a row for each shard to be made, on a worker."""
    configure_logging()
    finished = dict(zip(group["unit"].to_pylist(), group["finished_parts"].to_pylist(), strict=True))
    for unit in units_of(group):
        streamed = _read_streamed(phase, corpus, unit, set(finished[unit.number]))
        for text in streamed if unit.is_streamed else [ShardText(unit)]:
            yield pa.Table.from_pylist([asdict(text)], schema=TEXTS_SCHEMA)


def _read_streamed(phase: Phase, corpus: CorpusFacts, unit: Unit, finished: set[int]) -> Iterator[ShardText]:
    """Yield the missing shards of a file that is read from its front; after an error it is read again.

    Errors count from the last shard on: a file that is read for hours may see several.
    """
    next_part, num_errors, problem = 0, 0, ""
    while num_errors < ATTEMPTS:
        time.sleep(num_errors)
        before = next_part
        try:
            for streamed in _streamed(phase, corpus, unit):
                if streamed.part >= next_part:
                    next_part = streamed.part + 1
                    if streamed.part not in finished:
                        yield ShardText(unit, streamed)
        except WorkerEndedError as error:
            problem = f"{error}, while the file was read"
            break
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            num_errors = 1 if next_part > before else num_errors + 1
        else:
            return
    # The shards before this place are good; the next stage puts the failure where all failures go.
    yield ShardText(unit, problem=problem)


def _streamed(phase: Phase, corpus: CorpusFacts, unit: Unit) -> Iterator[StreamedText]:
    """Yield a file's shards. What is counted is a worker that ends before the next shard is there, for each shard.

    Between two shards the reader waits for the tokenizers, for hours perhaps: a node that is lost then says nothing
    about the file.
    """
    shards = stream_shards(unit.pieces[0], corpus.file_format(), corpus.columns, corpus.unit_bytes)
    for part in itertools.count():
        with counted_start(phase, f"{unit.stem}-{part:05d}-reader"):
            streamed = next(shards, None)
        if streamed is None:
            return
        yield streamed
