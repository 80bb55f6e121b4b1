"""How the units of a plan become tasks of reading, and what becomes of a file that cannot be read to its end."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from ulmfit_ray.corpus.documents import Columns
from ulmfit_ray.corpus.formats.options import ReadingOptions
from ulmfit_ray.corpus.formats.table import make_format
from ulmfit_ray.corpus.listing import InputFile
from ulmfit_ray.corpus.reading import StreamedText
from ulmfit_ray.corpus.units import MIN_UNIT_BYTES, CorpusFacts, Piece, Unit, cut_into_units, units_of, units_table
from ulmfit_ray.pipelines import reading
from ulmfit_ray.pipelines.attempts import Phase
from ulmfit_ray.pipelines.reading import tasks
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.plan import Plan, write_plan
from ulmfit_ray.storage.receipts import Receipt, Receipts

SIZES = {"a": 10, "b": 10, "c.gz": MIN_UNIT_BYTES, "d": 3 * MIN_UNIT_BYTES, "e.gz": MIN_UNIT_BYTES, "f": 10}
"""The units 0 (a and b together), 1 (streamed), 2, 3, 4 (d), 5 (streamed) and 6 (f)."""


def plan_of(folder: Path) -> Plan:
    files = [InputFile(path, path, size, "0") for path, size in SIZES.items()]
    return write_plan(Folder(str(folder)), units_table(cut_into_units(files, make_format("lines")), files), identity={})


def test_streamed_units_are_tasks_of_their_own_and_others_share_them(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    made = tasks(plan, plan.units, Receipts.of(()), per_task=3)
    assert [[unit.number for unit in units_of(table)] for table in made] == [[1], [5], [0, 2, 3], [4, 6]]
    whole = {unit.number: unit for unit in units_of(plan.table)}
    assert all(unit == whole[unit.number] for table in made for unit in units_of(table))
    assert len(next(units_of(made[2])).pieces) == 2


def test_only_pending_units_are_in_tasks_with_the_parts_that_are_done(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    pending = plan.units.take(pa.array([5, 0, 4]))
    shards = ["part-0000005-00002", "part-0000005-00000", "part-0000001-00000", "part-0000002"]
    receipts = Receipts.of(Receipt(plan="p", shard=shard, num_documents=1, num_tokens=1) for shard in shards)
    streamed, others = tasks(plan, pending, receipts, per_task=2)
    assert streamed["finished_parts"].to_pylist() == [[0, 2]]
    assert others["unit"].to_pylist() == [0, 0, 4]
    assert others["finished_parts"].to_pylist() == [[], [], []]


FACTS = CorpusFacts(
    format="lines", options=ReadingOptions(), columns=Columns(), num_files=1, num_bytes=9, text_bytes=36, unit_bytes=9
)
NUM_PARTS = 5
Fault = Callable[[int], None]
"""Is told which part is about to be read."""


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Fault], list[tuple[int | None, str]]]:
    """Reads a file of five parts; returns of each row that goes on its part and the problem."""
    phase = Phase(job="tokenize", stage="1", output=str(tmp_path), plan="p")
    unit = Unit(7, (Piece("in.gz", "in.gz", 0, 9, 9),), is_streamed=True)
    monkeypatch.setattr(reading.time, "sleep", lambda seconds: None)

    def run(fault: Fault) -> list[tuple[int | None, str]]:
        def stream(*arguments: object) -> Iterator[StreamedText]:
            for part in range(NUM_PARTS):
                fault(part)
                yield StreamedText(part, 0, [], b"text", is_last=part == NUM_PARTS - 1)

        monkeypatch.setattr(reading, "stream_shards", stream)
        rows = reading._read_streamed(phase, FACTS, unit, set())
        return [(None if row.streamed is None else row.streamed.part, row.problem or "") for row in rows]

    return run


def test_a_shard_that_ends_its_reader_again_and_again_is_told_wherever_it_lies_in_the_file(read) -> None:
    def die(part: int) -> None:
        if part == 2:
            os._exit(1)

    for _ in range(3):
        child = os.fork()
        if not child:
            read(die)
            os._exit(0)
        assert os.waitpid(child, 0)[1] != 0
    *before, told = read(lambda part: None)
    assert before == [(0, ""), (1, "")]
    assert told == (None, "it ended its worker 3 times (killed, out of memory, or crashed), while the file was read")


def test_errors_count_from_the_last_shard_on(read) -> None:
    failures = [0] * NUM_PARTS

    def twice(part: int) -> None:
        failures[part] += 1
        if failures[part] in (1, 2) and part in (1, 3, 4):
            raise ConnectionError(f"part {part}")

    assert read(twice) == [(part, "") for part in range(NUM_PARTS)]

    def always(part: int) -> None:
        if part == 3:
            raise ConnectionError("gone")

    assert read(always) == [(0, ""), (1, ""), (2, ""), (None, "ConnectionError: gone")]
