"""The types of very many shards, added up in two steps, so that no process ever holds more than a part of them.

    work/<shard>.types.parquet -> a group of shards, added up -> work/types/group-0000017.parquet
    row group p of every group -> partition p, added up       -> what is wanted of it

A type's partition is a hash of its spelling. There are as many partitions as groups, both about as large. (Ray Data's
own group-by keeps all partitions in a few actors: 20 million types took 6 GB in one process.)
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import ray.data

from ulmfit_ray.pipelines.attempts import tried
from ulmfit_ray.pipelines.runtime import blocks_as_they_come
from ulmfit_ray.reporting.logs import configure_logging, log_context
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.scratch import scratch_directory

TYPES_SCHEMA = pa.schema([("token", pa.string()), ("count", pa.int64()), ("documents", pa.int64())])
SUFFIX = ".types.parquet"
PROBLEM = "problem"
"""The one column of what a task returns that failed."""
RETRIES = 30
"""How often Ray starts a task again whose worker died. Nothing else bounds it here; a dead node costs a few."""
MIN_TASK_BYTES, MIN_PIECE_BYTES = 16 << 20, 8 << 10
"""A task takes 16 MiB of files, about 2 million types. It takes more where groups and partitions would be so many that
a partition had less than 8 KiB in a group."""


def read_types(folder: Folder, shard: str) -> pa.Table:
    """Return the types of a shard; what cannot be read is tried again, and named."""
    return tried(partial(_read, folder, f"work/{shard}{SUFFIX}"))


def size_of_types(folder: Folder) -> int:
    """Return the bytes of all shards' types as they are stored."""
    return sum(_sizes(folder).values())


def _sizes(folder: Folder) -> dict[str, int]:
    """Return the bytes of the types of each shard, from one listing."""
    selector = pyarrow.fs.FileSelector(folder.path("work"))
    infos = folder.filesystem.get_file_info(selector)
    return {info.base_name.removesuffix(SUFFIX): info.size for info in infos if info.base_name.endswith(SUFFIX)}


def added_up(types: Sequence[pa.Table]) -> pa.Table:
    """Return tables of types as one, each type once."""
    # One thread: the order of the rows is then the same each time.
    groups = pa.concat_tables(types).group_by("token", use_threads=False)
    sums = groups.aggregate([("count", "sum"), ("documents", "sum")])
    return sums.rename_columns({"count_sum": "count", "documents_sum": "documents"}).cast(TYPES_SCHEMA)


def sums_of_partitions(
    folder: Folder, shards: Sequence[str], wanted: Callable[[pa.Table], pa.Table]
) -> Iterator[pa.Table]:
    """Yield what `wanted` returns for each partition of the types of all shards.

    Raises:
        RuntimeError: a shard's types cannot be read.
    """
    groups = list(_groups(shards, _sizes(folder)))
    numbered = [pa.table({"number": [number], "shards": [group]}) for number, group in enumerate(groups)]
    for _ in _rows(numbered, partial(_add_up_group, output=folder.uri, num_partitions=len(groups))):
        pass
    numbers = [pa.table({"number": [number]}) for number in range(len(groups))]
    yield from _rows(numbers, partial(_add_up_partition, output=folder.uri, num_groups=len(groups), wanted=wanted))


def _groups(shards: Sequence[str], sizes: dict[str, int]) -> Iterator[list[str]]:
    """Yield consecutive shards, so many that a task can add them up."""
    task_bytes = max(MIN_TASK_BYTES, math.isqrt(sum(sizes.values()) * MIN_PIECE_BYTES))
    group, num_bytes = [], 0
    for shard in shards:
        group.append(shard)
        # A shard that is not listed is not there: the task that reads it says so.
        num_bytes += sizes.get(shard, 0)
        if num_bytes >= task_bytes:
            yield group
            group, num_bytes = [], 0
    if group:
        yield group


def _rows(blocks: list[pa.Table], work: Callable[[pa.Table], pa.Table]) -> Iterator[pa.Table]:
    """Run a task for each block, and yield the results as they come; the first error ends the phase."""
    context = ray.data.DataContext.get_current()
    tolerated = context.max_errored_blocks
    # Elsewhere a lost block lacks its receipts. Here only the total would show it.
    context.max_errored_blocks = 0
    try:
        tasks = ray.data.from_arrow(blocks).map_batches(
            partial(_result_or_problem, work=work), batch_size=None, batch_format="pyarrow", max_retries=RETRIES
        )
        for result in blocks_as_they_come(tasks):
            if PROBLEM in result.schema.names:
                raise RuntimeError(f"the vocabulary could not be counted: {result[PROBLEM][0]}")
            yield result
    finally:
        context.max_errored_blocks = tolerated


def _result_or_problem(block: pa.Table, work: Callable[[pa.Table], pa.Table]) -> pa.Table:
    """Return what the work makes of a block, or why it cannot, on a worker: Ray would say that in other words."""
    configure_logging()
    try:
        return work(block)
    except Exception as error:
        return pa.table({PROBLEM: [str(error)]})


def _group_file(number: int) -> str:
    return f"work/types/group-{number:07d}.parquet"


def _add_up_group(group: pa.Table, output: str, num_partitions: int) -> pa.Table:
    """Write a group's types, a row group for each partition, on a worker."""
    folder, number = Folder(output), group["number"][0].as_py()
    with log_context(job="tokenize", stage="2 vocabulary", shard=_group_file(number)):
        types = added_up([read_types(folder, shard) for shard in group["shards"][0].as_py()])
        partitions = partitions_of(types["token"], num_partitions)
        order = np.argsort(partitions, kind="stable")
        ends = np.searchsorted(partitions[order], np.arange(num_partitions), side="right")
        types = types.take(order)
        tried(partial(_publish_partitions, folder, _group_file(number), types, ends))
    return pa.table({"number": [number]})


def _publish_partitions(folder: Folder, name: str, types: pa.Table, ends: np.ndarray) -> None:
    with scratch_directory() as scratch:
        local = Path(scratch, "types.parquet")
        with pq.ParquetWriter(local, TYPES_SCHEMA) as writer:
            for start, end in zip([0, *ends[:-1]], ends, strict=True):
                writer.write_table(types.slice(start, end - start), row_group_size=max(1, end - start))
        folder.publish(local, name)


def partitions_of(tokens: pa.ChunkedArray, num_partitions: int) -> np.ndarray:
    """Return the partition of each token; the same on every machine, as Python's own hash is not."""
    spelled = tokens.cast(pa.binary()).to_pylist()
    return np.fromiter(map(crc32, spelled), np.uint32, len(spelled)) % num_partitions


def _add_up_partition(
    partition: pa.Table, output: str, num_groups: int, wanted: Callable[[pa.Table], pa.Table]
) -> pa.Table:
    """Return what is wanted of a partition, on a worker."""
    folder, number = Folder(output), partition["number"][0].as_py()
    with log_context(job="tokenize", stage="2 vocabulary", shard=f"partition {number}"):
        parts = [tried(partial(_read, folder, _group_file(group), number)) for group in range(num_groups)]
        return wanted(added_up(parts))


def _read(folder: Folder, name: str, row_group: int | None = None) -> pa.Table:
    try:
        if row_group is None:
            with folder.open(name) as source:
                return pq.read_table(source).cast(TYPES_SCHEMA)
        # Not `open`, which reads the whole of a small file.
        with folder.filesystem.open_input_file(folder.path(name)) as source:
            return pq.ParquetFile(source).read_row_group(row_group)
    except Exception as error:
        raise RuntimeError(
            f"{folder.uri}/{name} cannot be read: {type(error).__name__}: {error}; if it cannot be mended,"
            " start afresh with --overwrite"
        ) from error
