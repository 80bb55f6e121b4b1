"""A plan is read back as it was written, numbers its units once, and is kept to."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from ulmfit_ray.corpus.formats.table import make_format
from ulmfit_ray.corpus.listing import InputFile
from ulmfit_ray.corpus.units import UNITS_SCHEMA, cut_into_units, units_table
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.plan import (
    Plan,
    PlannedUnit,
    planned_units,
    read_plan,
    shard_stem,
    unit_stem,
    whole_units,
    write_plan,
)

MIB = 1 << 20


def file(path: str, size: int, modified: str = "0") -> InputFile:
    return InputFile(path, path, size, modified)


def table_of(files: list[InputFile]) -> pa.Table:
    return units_table(cut_into_units(files, make_format("lines")), files)


def plan_of(folder: Folder, files: list[InputFile], **identity: object) -> Plan:
    return write_plan(folder, table_of(files), identity=identity)


def test_shards_are_named_after_their_unit() -> None:
    assert unit_stem(17) == "part-0000017"
    assert shard_stem(unit_stem(0), 3) == "part-0000000-00003"


def test_a_bundle_is_one_unit_of_as_many_rows_as_it_has_files() -> None:
    table = pa.table({"unit": [0, 0, 0, 1, 2, 2], "streamed": [False] * 6})
    assert planned_units(table) == [
        PlannedUnit("part-0000000", False, 0, 3),
        PlannedUnit("part-0000001", False, 3, 1),
        PlannedUnit("part-0000002", False, 4, 2),
    ]


def test_a_streamed_file_is_one_unit_among_the_ranges_of_others() -> None:
    files = [file("a.jsonl", MIB + 1), file("b.jsonl.gz", MIB + 1), file("c.jsonl", 5)]
    assert planned_units(table_of(files)) == [
        PlannedUnit("part-0000000", False, 0, 1),
        PlannedUnit("part-0000001", False, 1, 1),
        PlannedUnit("part-0000002", True, 2, 1),
        PlannedUnit("part-0000003", False, 3, 1),
    ]


def test_a_plan_of_shards_has_a_whole_unit_for_each_under_the_shards_name() -> None:
    table = pa.table({"shard": ["part-0000000", "part-0000001-00000"], "num_tokens": [3, 4]})
    expected = [PlannedUnit("part-0000000", False, 0, 1), PlannedUnit("part-0000001-00000", False, 1, 1)]
    assert planned_units(table) == expected
    assert whole_units(table["shard"].to_pylist()) == expected


@pytest.mark.parametrize(
    "table", [UNITS_SCHEMA.empty_table(), pa.table({"shard": pa.array([], pa.string())})], ids=["text", "shards"]
)
def test_a_plan_without_rows_has_no_units(table: pa.Table) -> None:
    assert planned_units(table) == []


def test_the_rows_of_all_units_are_together_the_plans_table(folder: Folder) -> None:
    table = pa.table({"unit": [0, 0, 0, 1], "streamed": [False] * 4, "path": ["a", "b", "c", "d"]})
    plan = write_plan(folder, table, identity={})
    parts = [plan.rows(unit) for unit in plan.units]
    assert [part["path"].to_pylist() for part in parts] == [["a", "b", "c"], ["d"]]
    assert pa.concat_tables(parts).equals(plan.table)


def test_plan_json_says_how_many_units_there_are(folder: Folder) -> None:
    plan = plan_of(folder, [file("a", 3 * MIB), file("b", 5)])
    assert plan.facts.num_units == len(plan.units) == 4


def test_a_plan_is_read_back_as_it_was_written(folder: Folder) -> None:
    written = plan_of(folder, [file("a", 5), file("b", 3 * MIB)], min_freq=3)
    again = read_plan(folder)
    assert again is not None
    assert again.facts == written.facts
    assert again.table.equals(written.table)
    assert again.fingerprint == written.fingerprint
    assert again.units == written.units


def test_without_plan_json_there_is_no_plan(folder: Folder) -> None:
    assert read_plan(folder) is None
    plan_of(folder, [file("a", 5)])
    folder.delete("plan.json")
    assert read_plan(folder) is None


def test_the_same_input_and_config_give_the_same_plan_under_another_run_id(tmp_path: Path) -> None:
    files = [file("a", 5), file("b", 3 * MIB)]
    first, second = (plan_of(Folder(str(tmp_path / name)), files, a=1, b=2) for name in "xy")
    assert first.fingerprint == second.fingerprint
    assert first.facts.run_id != second.facts.run_id
    reordered = plan_of(Folder(str(tmp_path / "z")), files, b=2, a=1)
    assert reordered.fingerprint == first.fingerprint


def test_another_config_or_input_gives_another_plan(tmp_path: Path) -> None:
    files = [file("a", 5)]
    plans = [
        plan_of(Folder(str(tmp_path / "0")), files, a=1),
        plan_of(Folder(str(tmp_path / "1")), files, a=2),
        plan_of(Folder(str(tmp_path / "2")), [file("a", 6)], a=1),
        plan_of(Folder(str(tmp_path / "3")), [file("a", 5, "1")], a=1),
        plan_of(Folder(str(tmp_path / "4")), [*files, file("b", 1)], a=1),
    ]
    assert len({plan.fingerprint for plan in plans}) == len(plans)


def test_a_second_planner_of_the_same_output_is_refused(folder: Folder) -> None:
    first = plan_of(folder, [file("a", 5)])
    with pytest.raises(FileExistsError):
        plan_of(folder, [file("a", 5)])
    again = read_plan(folder)
    assert again is not None
    assert again.facts.run_id == first.facts.run_id


def test_a_plan_whose_table_was_changed_is_refused(folder: Folder) -> None:
    plan_of(folder, [file("a", 5)])
    folder.publish_bytes(folder.read_bytes("plan.arrow") + b"x", "plan.arrow")
    with pytest.raises(ValueError, match=r"plan\.arrow is damaged: start afresh with --overwrite"):
        read_plan(folder)


def test_plan_json_says_what_it_was_made_from(folder: Folder) -> None:
    table = table_of([file("a", 5)])
    write_plan(folder, table, identity={"min_freq": 3}, corpus={"format": "lines", "unit_bytes": MIB})
    facts = json.loads(folder.read_bytes("plan.json"))
    assert facts["identity"] == {"min_freq": 3}
    assert facts["corpus"] == {"format": "lines", "unit_bytes": MIB}
    assert facts["plan_arrow_sha256"] == folder.sha256("plan.arrow")
