"""Commit shards in forked processes and kill them: the program of test_commit_under_kills.py.

    python tests/storage/committer.py

For each line of standard input, {"output": FOLDER, "seconds": S}, a process commits all shards that have no receipt
yet; so many seconds after it began with the first of them it is killed (null: it is left to end). The answer is a line
with its exit status. A program of its own: it forks, so it must have no threads.
"""

import json
import os
import signal
import sys
import time
import traceback
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from ulmfit_ray.storage.commit import commit_shard
from ulmfit_ray.storage.embedding_dataset import embedding_table
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.parquet_dataset import write_parquet
from ulmfit_ray.storage.receipts import Receipt, read_receipts
from ulmfit_ray.storage.scratch import scratch_directory

PLAN = "plan"
SHARDS = [f"part-{number:07d}" for number in range(16)]
DOCUMENTS_PER_SHARD = 500
DIMENSION = 64
"""A shard has 120 KB: it takes about as long to write as its receipt takes to follow it, and kills hit both."""


def is_bad(number: int) -> bool:
    """Tell whether a document goes to the quarantine; those of some shards are all good."""
    return number % 100 == 0 and number // DOCUMENTS_PER_SHARD % 4 != 0


def numbers_of(shard: str) -> range:
    """Return the numbers of a shard's documents, which are their ids too."""
    start = SHARDS.index(shard) * DOCUMENTS_PER_SHARD
    return range(start, start + DOCUMENTS_PER_SHARD)


def commit(folder: Folder, shard: str) -> Receipt:
    """Make and commit one shard, as an encoder actor does."""
    began = time.monotonic()
    good = [number for number in numbers_of(shard) if not is_bad(number)]
    bad = [number for number in numbers_of(shard) if is_bad(number)]
    table = rows(good)
    files = {f"shards/{shard}.parquet": partial(write_parquet, table)}
    if bad:
        files = {f"quarantine/{shard}.jsonl": partial(write_lines, bad)} | files
    receipt = Receipt(
        plan=PLAN,
        shard=shard,
        num_documents=len(good),
        num_tokens=len(good) * 7,
        quarantined={"bad": len(bad)} if bad else {},
    )
    return commit_shard(folder, receipt, files, began=began)


def rows(numbers: list[int]) -> pa.Table:
    """Return the rows of documents: the same ones each time."""
    vectors = np.random.default_rng(numbers).normal(size=(len(numbers), DIMENSION)).astype(np.float32)
    tokens = pa.table({"doc_id": [str(number) for number in numbers]})
    counts = np.full(len(numbers), 7)
    return embedding_table(tokens, counts, vectors, num_unknown=np.zeros(len(numbers)))


def write_lines(numbers: list[int], path: Path) -> None:
    """Write a quarantine file."""
    path.write_text("".join(json.dumps({"doc_id": str(number)}) + "\n" for number in numbers))


def commit_missing(output: str, begun: int) -> None:
    """Commit what has no receipt, and say at the pipe `begun` when it begins."""
    folder = Folder(output)
    done = read_receipts(folder, PLAN).names()
    os.write(begun, b"!")
    for shard in SHARDS:
        if shard not in done:
            commit(folder, shard)


def run(output: str, seconds: float | None) -> int:
    """Let a process commit what is missing, kill it or not, and return its exit status (-9: killed)."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            commit_missing(output, writing)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    os.close(writing)
    os.read(reading, 1)
    os.close(reading)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    """Answer line by line."""
    pa.set_cpu_count(1)
    # What is loaded at the first use is loaded before the first fork; this starts no thread.
    with scratch_directory() as scratch:
        write_parquet(rows([0]), scratch / "rows")
    for line in sys.stdin:
        print(run(**json.loads(line)), flush=True)


if __name__ == "__main__":
    main()
