"""Phase 1 of tokenizing as a dataflow: units -> texts of missing shards -> rows of receipts.

Readers and tokenizers are two stages of one stream: a file that can only be read from the front is read by one task,
and its shards are tokenized by all cores while it is being read.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import pyarrow as pa
import ray.data
from ray.data import TaskPoolStrategy

from ulmfit_ray.lifecycle import ATTEMPTS, attempt, failure
from ulmfit_ray.pipelines.runtime import cluster_cpus, rows_as_they_come
from ulmfit_ray.pipelines.tokenize.token_shards import StreamedText, TokenizeTask, stream_shards, tokenize_shard
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.plan import Piece, Unit

READERS = 4
READER_CPUS = 0.01
"""A reader waits most of its time for the tokenizers; it must not hold a core meanwhile."""


def count_shards(task: TokenizeTask, pending: list[Unit], done: set[str]) -> Iterator[dict[str, Any]]:
    """read | tokenize: units -> texts of missing shards -> rows of receipts, as they come."""
    if not pending:
        return
    context = ray.data.DataContext.get_current()
    default_block_size = context.target_max_block_size
    # A shard's text is to be a block of its own: with the default, the tokenizers would start when a file is read.
    context.target_max_block_size = task.unit_bytes * 9 // 10
    try:
        items = [{"unit": json.dumps(asdict(unit))} for unit in pending]
        rows = (
            ray.data.from_items(items, override_num_blocks=len(items))
            .map_batches(
                partial(_read_unit, task=task, done=done),
                batch_size=1,
                num_cpus=READER_CPUS,
                compute=TaskPoolStrategy(READERS),
                max_retries=3,
            )
            .map_batches(
                partial(_tokenize, task=task),
                batch_size=1,
                batch_format="pyarrow",
                num_cpus=1,
                compute=TaskPoolStrategy(cluster_cpus()),
                max_retries=3,
            )
        )
        yield from rows_as_they_come(rows)
    finally:
        context.target_max_block_size = default_block_size


def _read_unit(batch: dict[str, Any], task: TokenizeTask, done: set[str]) -> Iterator[pa.Table]:
    """Yield a row for each shard to be made; streamed files are read here, others by the tokenizer itself."""
    text = str(batch["unit"][0])
    unit = _unit(text)
    if not unit.streamed:
        yield _row(text)
        return
    next_part, problem = 0, ""
    for number in range(ATTEMPTS):
        time.sleep(number)
        try:
            for shard in stream_shards(task, unit.pieces[0]):
                if shard.part >= next_part:
                    next_part = shard.part + 1
                    if unit.shard_stem(shard.part) not in done:
                        yield _row(text, json.dumps(asdict(shard) | {"text": ""}), shard.text)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        else:
            return
    # The shards before this place are good; the tokenizer puts the failure where all failures go.
    yield _row(text, problem=problem)


def _row(unit: str, shard: str = "", text: bytes = b"", problem: str = "") -> pa.Table:
    return pa.table(
        {"unit": [unit], "shard": [shard], "text": pa.array([text], pa.large_binary()), "problem": [problem]}
    )


def _unit(text: str) -> Unit:
    fields = json.loads(text)
    return Unit(fields["number"], tuple(Piece(**piece) for piece in fields["pieces"]), fields["streamed"])


def _tokenize(batch: pa.Table, task: TokenizeTask) -> pa.Table:
    rows = []
    for row in batch.to_pylist():
        unit, folder = _unit(row["unit"]), Folder(task.output)
        if row["problem"]:
            rows.append(failure(folder, unit.stem, row["problem"], f"while reading {unit.pieces[0].path}"))
            continue
        streamed = StreamedText(**json.loads(row["shard"]) | {"text": row["text"]}) if row["shard"] else None
        shard = unit.shard_stem(streamed.part if streamed else None)
        rows.append(attempt(folder, shard, partial(tokenize_shard, task, unit, streamed)))
    return pa.Table.from_pylist(rows)
