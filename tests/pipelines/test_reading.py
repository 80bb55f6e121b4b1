"""How the units of a plan become tasks of reading."""

from pathlib import Path

from ulmfit_ray.corpus.formats.table import make_format
from ulmfit_ray.corpus.listing import InputFile
from ulmfit_ray.corpus.units import MIN_UNIT_BYTES, cut_into_units, units_of, units_table
from ulmfit_ray.pipelines.reading import tasks
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.plan import Plan, write_plan

SIZES = {"a": 10, "b": 10, "c.gz": MIN_UNIT_BYTES, "d": 3 * MIN_UNIT_BYTES, "e.gz": MIN_UNIT_BYTES, "f": 10}
"""The units 0 (a and b together), 1 (streamed), 2, 3, 4 (d), 5 (streamed) and 6 (f)."""


def plan_of(folder: Path) -> Plan:
    files = [InputFile(path, path, size, "0") for path, size in SIZES.items()]
    return write_plan(Folder(str(folder)), units_table(cut_into_units(files, make_format("lines")), files), identity={})


def test_streamed_units_are_tasks_of_their_own_and_others_share_them(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    made = tasks(plan, plan.units, (), per_task=3)
    assert [[unit.number for unit in units_of(table)] for table in made] == [[1], [5], [0, 2, 3], [4, 6]]
    whole = {unit.number: unit for unit in units_of(plan.table)}
    assert all(unit == whole[unit.number] for table in made for unit in units_of(table))
    assert len(next(units_of(made[2])).pieces) == 2


def test_only_pending_units_are_in_tasks_with_the_parts_that_are_done(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    pending = [plan.units[number] for number in (5, 0, 4)]
    receipts = ["part-0000005-00002", "part-0000005-00000", "part-0000001-00000", "part-0000002"]
    streamed, others = tasks(plan, pending, receipts, per_task=2)
    assert streamed["finished_parts"].to_pylist() == [[0, 2]]
    assert others["unit"].to_pylist() == [0, 0, 4]
    assert others["finished_parts"].to_pylist() == [[], [], []]
