"""The second stage of the stream from raw text: texts of shards -> their token ids, each shard one row.

A module of its own, without torch: a tokenizer's process pays for what this one imports.
"""

import traceback
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import pyarrow as pa

from ulmfit_ray.lifecycle import Outcome
from ulmfit_ray.pipelines.attempts import Phase, counted_start, failure, tried
from ulmfit_ray.pipelines.encode.text_shards import TextJob, TokenizedShard, tokenize_text
from ulmfit_ray.pipelines.reading import texts_of
from ulmfit_ray.pipelines.shard_text import ShardText
from ulmfit_ray.reporting.logs import configure_logging, log_context
from ulmfit_ray.storage.receipts import RECEIPT_TYPE

TOKENIZED_SCHEMA = pa.schema(
    [
        ("shard", pa.string()),
        ("problem", pa.string()),
        ("receipt", RECEIPT_TYPE),
        ("tables", pa.list_(pa.large_binary())),
        ("quarantine", pa.large_binary()),
    ]
)
"""A row is a TokenizedShard, or the problem of a shard that is none."""


def tokenize_texts(texts: pa.Table, phase: Phase, job: TextJob) -> Iterator[pa.Table]:
    """Yield a row for each shard of a block, on a worker."""
    configure_logging()
    for text in texts_of(texts):
        found = _tokenized(phase, job, text)
        row: dict[str, Any] = {"shard": text.shard}
        if isinstance(found, Outcome):
            row["problem"] = found.problem
        else:
            tables = [table.to_pybytes() for table in found.tables]
            row |= {"receipt": asdict(found.receipt), "tables": tables, "quarantine": found.quarantine}
        yield pa.Table.from_pylist([row], schema=TOKENIZED_SCHEMA)


def _tokenized(phase: Phase, job: TextJob, text: ShardText) -> TokenizedShard | Outcome:
    """Return a shard's ids, or why there are none; text that ends its worker each time is not tried for ever."""
    if text.problem:
        return failure(phase, text.shard, text.problem, f"while reading {text.unit.pieces[0].path}")
    with log_context(job=phase.job, stage=phase.stage, shard=text.shard):
        try:
            with counted_start(phase, f"{text.shard}-tokenizer"):
                return tried(partial(tokenize_text, job, text))
        except Exception as error:
            return failure(phase, text.shard, f"{type(error).__name__}: {error}", traceback.format_exc())
