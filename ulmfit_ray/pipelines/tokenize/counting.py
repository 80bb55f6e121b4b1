"""Phase 1 of tokenizing as a dataflow: units -> texts of missing shards -> outcomes.

Readers and tokenizers are two stages of one stream: a file that can only be read from the front is read by one task,
and its shards are tokenized by all cores while it is being read.
"""

from collections.abc import Iterator
from functools import partial

import pyarrow as pa

from ulmfit_ray.lifecycle import Outcome
from ulmfit_ray.pipelines.attempts import Phase, attempt, failure
from ulmfit_ray.pipelines.reading import blocks_of, read_texts, texts_of
from ulmfit_ray.pipelines.shard_text import ShardText
from ulmfit_ray.pipelines.shards import FOR_EVER, outcomes, outcomes_table, units_per_task
from ulmfit_ray.pipelines.tokenize.token_shards import TokenizeJob, tokenize_shard
from ulmfit_ray.reporting.logs import configure_logging
from ulmfit_ray.storage.plan import Plan, PlannedUnits
from ulmfit_ray.storage.receipts import Receipts


def count_shards(
    phase: Phase, job: TokenizeJob, plan: Plan, pending: PlannedUnits, receipts: Receipts
) -> Iterator[Outcome]:
    """read | tokenize: yield an outcome for each missing shard, as they come."""
    unit_bytes = job.corpus.unit_bytes
    per_task = units_per_task(max(len(pending), job.corpus.text_bytes // unit_bytes), unit_bytes)
    # The text of a task is to be a block of its own: the tokenizers begin while a file is being read.
    with blocks_of((per_task * 10 - 1) * unit_bytes // 10):
        yield from outcomes(
            read_texts(phase, job.corpus, plan, pending, receipts, per_task=per_task).map_batches(
                partial(_tokenize, phase=phase, job=job),
                batch_size=None,
                batch_format="pyarrow",
                num_cpus=1,
                max_retries=FOR_EVER,
            )
        )


def _tokenize(texts: pa.Table, phase: Phase, job: TokenizeJob) -> pa.Table:
    """Make and commit the shards of a block, on a worker."""
    configure_logging()
    return outcomes_table(_outcome(phase, job, text) for text in texts_of(texts))


def _outcome(phase: Phase, job: TokenizeJob, text: ShardText) -> Outcome:
    if text.problem:
        return failure(phase, text.shard, text.problem, f"while reading {text.unit.pieces[0].path}")
    return attempt(phase, text.shard, partial(tokenize_shard, job, text.unit, text.streamed, text.shard))
