"""Phase 1 of tokenizing as a dataflow: units -> texts of missing shards -> outcomes.

Readers and tokenizers are two stages of one stream: a file that can only be read from the front is read by one task,
and its shards are tokenized by all cores while it is being read.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import ray.data
from ray.data import TaskPoolStrategy

from ulmfit_ray.corpus.reading import StreamedText, stream_shards
from ulmfit_ray.corpus.units import Piece, Unit, units_of
from ulmfit_ray.lifecycle import Outcome
from ulmfit_ray.pipelines.attempts import ATTEMPTS, Phase, WorkerEndedError, attempt, counted_start, failure
from ulmfit_ray.pipelines.shards import FOR_EVER, grouped, outcomes, outcomes_table, units_per_task
from ulmfit_ray.pipelines.tokenize.token_shards import TokenizeJob, tokenize_shard
from ulmfit_ray.reporting.logs import configure_logging
from ulmfit_ray.storage.plan import Plan, PlannedUnit, shard_stem
from ulmfit_ray.storage.receipts import Receipt, finished_parts

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
"""A row is a shard to be made: its unit and, of a streamed unit, the shard's text; or why the file cannot be read."""


def count_shards(
    phase: Phase, job: TokenizeJob, plan: Plan, pending: Sequence[PlannedUnit], receipts: dict[str, Receipt]
) -> Iterator[Outcome]:
    """read | tokenize: yield an outcome for each missing shard, as they come."""
    context = ray.data.DataContext.get_current()
    default_block_size = context.target_max_block_size
    unit_bytes = job.corpus.unit_bytes
    per_task = units_per_task(max(len(pending), job.corpus.text_bytes // unit_bytes), unit_bytes)
    # The text of a task is to be a block of its own: with the default, the tokenizers would start when a file is read.
    context.target_max_block_size = (per_task * 10 - 1) * unit_bytes // 10
    try:
        yield from outcomes(
            ray.data.from_arrow(tasks(plan, pending, receipts, per_task))
            .map_batches(
                partial(_read_units, phase=phase, job=job),
                batch_size=None,
                batch_format="pyarrow",
                num_cpus=READER_CPUS,
                compute=TaskPoolStrategy(READERS),
                max_retries=FOR_EVER,
            )
            .map_batches(
                partial(_tokenize, phase=phase, job=job),
                batch_size=None,
                batch_format="pyarrow",
                num_cpus=1,
                max_retries=FOR_EVER,
            )
        )
    finally:
        context.target_max_block_size = default_block_size


def tasks(plan: Plan, pending: Sequence[PlannedUnit], receipts: Iterable[str], per_task: int) -> list[pa.Table]:
    """Return each task's rows of the plan, with the numbers of a unit's finished parts in one more column.

    A streamed unit is a task by itself, as long as there are not too many of them.
    """
    parts = finished_parts(receipts)
    streamed, others = ([unit for unit in pending if unit.is_streamed is kind] for kind in (True, False))
    return [_rows(plan, group, parts) for group in (*grouped(streamed), *grouped(others, per_task))]


def _rows(plan: Plan, units: Sequence[PlannedUnit], parts: Mapping[str, list[int]]) -> pa.Table:
    rows = [np.arange(unit.first_row, unit.first_row + unit.num_rows) for unit in units]
    owners = np.repeat(np.arange(len(units)), [len(own) for own in rows])
    finished = pa.array([parts.get(unit.stem, []) for unit in units], pa.list_(pa.int64()))
    table = plan.table.take(np.concatenate(rows))
    return table.append_column("finished_parts", finished.take(pa.array(owners)))


def _read_units(group: pa.Table, phase: Phase, job: TokenizeJob) -> Iterator[pa.Table]:
    """Yield a row for each shard to be made; streamed files are read here, others by the tokenizer itself."""
    configure_logging()
    finished = dict(zip(group["unit"].to_pylist(), group["finished_parts"].to_pylist(), strict=True))
    for unit in units_of(group):
        if unit.is_streamed:
            yield from _read_streamed(phase, job, unit, set(finished[unit.number]))
        else:
            yield _text(unit)


def _read_streamed(phase: Phase, job: TokenizeJob, unit: Unit, finished: set[int]) -> Iterator[pa.Table]:
    """Yield the missing shards of a file that is read from its front; after an error it is read again."""
    next_part, problem = 0, ""
    for number in range(ATTEMPTS):
        time.sleep(number)
        try:
            for streamed in _streamed(phase, job, unit):
                if streamed.part >= next_part:
                    next_part = streamed.part + 1
                    if streamed.part not in finished:
                        yield _text(unit, streamed)
        except WorkerEndedError as error:
            problem = f"{error}, while the file was read"
            break
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        else:
            return
    # The shards before this place are good; the tokenizer puts the failure where all failures go.
    yield _text(unit, problem=problem)


def _streamed(phase: Phase, job: TokenizeJob, unit: Unit) -> Iterator[StreamedText]:
    """Yield a file's shards. What is counted is a worker that ends before the next shard is there.

    Between two shards the reader waits for the tokenizers, for hours perhaps: a node that is lost then says nothing
    about the file.
    """
    corpus = job.corpus
    shards = stream_shards(unit.pieces[0], corpus.file_format(), corpus.columns, corpus.unit_bytes)
    while True:
        with counted_start(phase, f"{unit.stem}-reader"):
            streamed = next(shards, None)
        if streamed is None:
            return
        yield streamed


def _text(unit: Unit, streamed: StreamedText | None = None, problem: str = "") -> pa.Table:
    row = {"unit": asdict(unit), "streamed": None if streamed is None else asdict(streamed), "problem": problem}
    return pa.Table.from_pylist([row], schema=TEXTS_SCHEMA)


def _tokenize(texts: pa.Table, phase: Phase, job: TokenizeJob) -> pa.Table:
    """Make and commit the shards of a block, on a worker."""
    configure_logging()
    return outcomes_table(_outcome(phase, job, row) for row in texts.to_pylist())


def _outcome(phase: Phase, job: TokenizeJob, row: dict[str, Any]) -> Outcome:
    pieces = tuple(Piece(**piece) for piece in row["unit"]["pieces"])
    unit = Unit(row["unit"]["number"], pieces, row["unit"]["is_streamed"])
    if row["problem"]:
        return failure(phase, unit.stem, row["problem"], f"while reading {pieces[0].path}")
    streamed = None if row["streamed"] is None else StreamedText(**row["streamed"])
    shard = unit.stem if streamed is None else shard_stem(unit.stem, streamed.part)
    return attempt(phase, shard, partial(tokenize_shard, job, unit, streamed, shard))
