"""The units of a job as its report shows them: how long each took, which were slowest, which files they were made from.

N units.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.plan import read_plan
from ulmfit_ray.storage.receipts import READING_THREADS, Receipt, find_receipt

MOST_READ = 2000
"""Receipts of an unfinished job that are read; each is two requests to an object store."""
COLUMNS = ("shard", "num_documents", "num_tokens", "num_quarantined", "seconds")
WORK = "work/done"
"""Receipts of a first phase, whose units are made again by a last one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SlowUnit:
    """One of the units that took longest."""

    name: str
    source: str
    """The (first) file that it was made from, "" if it was made from another data set."""
    num_documents: int
    num_tokens: int
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitFacts:
    """What is known of the units that are done."""

    rows: pa.Table
    """(N, COLUMNS) of those that were looked at."""
    num_done: int
    num_planned: int | None
    """None if a file that can only be read from the front has an unknown number of them."""
    quarantined: dict[str, int]
    """Bad documents by reason, of an unfinished job; of a finished one they are in the manifest."""
    sources: dict[str, str]
    """File of each of the slowest units."""

    @property
    def seconds(self) -> np.ndarray:
        """Return how long each took (N,)."""
        return self.rows["seconds"].to_numpy()

    def slowest(self, number: int) -> list[SlowUnit]:
        """Return the units that took longest, the slowest first."""
        return [
            SlowUnit(
                name=row["shard"],
                source=self.sources.get(row["shard"], ""),
                num_documents=row["num_documents"],
                num_tokens=row["num_tokens"],
                seconds=row["seconds"],
            )
            for row in _largest(self.rows, "seconds", number)
        ]

    def most_quarantined(self, number: int) -> list[str]:
        """Return the names of the units with most bad documents."""
        return [row["shard"] for row in _largest(self.rows, "num_quarantined", number) if row["num_quarantined"]]


def read_units(folder: Folder, *, is_finished: bool) -> UnitFacts | None:
    """Return what an output says of its units; None if it is not made of units."""
    facts = folder.find_json("plan.json")
    if facts is None:
        return None
    quarantined: dict[str, int] = {}
    if is_finished:
        with folder.filesystem.open_input_file(folder.path("shards.parquet")) as file:
            rows = pq.read_table(file, columns=list(COLUMNS))
        num_done: int = rows.num_rows
    else:
        where = "done" if folder.names("done") else WORK
        names = [name.removesuffix(".json") for name in folder.names(where)]
        num_done = len(names)
        receipts = _receipts(folder, facts["fingerprint"], names[:MOST_READ], where)
        rows = pa.table({name: [getattr(receipt, name) for receipt in receipts] for name in COLUMNS})
        for receipt in receipts:
            for reason, number in receipt.quarantined.items():
                quarantined[reason] = quarantined.get(reason, 0) + number
    # As a column: there may be a million of them.
    is_streamed = pc.any(pc.equal(pc.count_substring(rows["shard"].cast(pa.string()), "-"), 2)).as_py()
    return UnitFacts(
        rows=rows,
        num_done=num_done,
        num_planned=None if is_streamed else facts["num_units"],
        quarantined=quarantined,
        sources=_sources(folder, [row["shard"] for row in _largest(rows, "seconds", 10)]),
    )


def _receipts(folder: Folder, plan: str, names: list[str], where: str) -> list[Receipt]:
    with ThreadPoolExecutor(READING_THREADS) as pool:
        found = pool.map(lambda name: find_receipt(folder, plan, name, where), names)
        return [receipt for receipt in found if receipt is not None]


def _largest(rows: pa.Table, column: str, number: int) -> list[dict]:
    values = rows[column].to_numpy()
    return rows.take(pa.array(np.argsort(-values, kind="stable")[:number], pa.int64())).to_pylist()


def _sources(folder: Folder, shards: list[str]) -> dict[str, str]:
    """Return the file that each of these shards was made from, by the plan."""
    plan = read_plan(folder)
    if plan is None or "path" not in plan.table.schema.names:
        return {}
    numbers = {shard: int(shard.split("-")[1]) for shard in shards}
    units, paths = plan.table["unit"], plan.table["path"]
    rows = pc.index_in(pa.array(list(numbers.values()), units.type), value_set=units)
    return {shard: paths[row.as_py()].as_py() for shard, row in zip(numbers, rows, strict=True) if row.is_valid}
