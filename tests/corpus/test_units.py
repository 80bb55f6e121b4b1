"""Units are cut by the input alone, and a plan of them is kept to."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from ulmfit_ray.corpus import units as units_module
from ulmfit_ray.corpus.columns import Columns
from ulmfit_ray.corpus.formats.format import Format
from ulmfit_ray.corpus.formats.options import ReadingOptions
from ulmfit_ray.corpus.formats.table import make_format
from ulmfit_ray.corpus.listing import InputFile, hashes_of_ends, list_inputs
from ulmfit_ray.corpus.units import (
    CorpusFacts,
    Piece,
    Unit,
    check_inputs,
    cut_into_units,
    unit_bytes,
    units_of,
    units_table,
)
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.plan import Plan, write_plan

CSV, JSONL, LINES, TXT = (make_format(name) for name in ("csv", "jsonl", "lines", "txt"))

MIB = 1 << 20


def file(path: str, size: int) -> InputFile:
    return InputFile(path, path, size, "0")


def plan_of(folder: Folder, files: Sequence[InputFile], file_format: Format = LINES) -> Plan:
    return write_plan(folder, units_table(cut_into_units(files, file_format), files), identity={})


@pytest.fixture
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units_module, "MIN_UNIT_BYTES", 10)
    monkeypatch.setattr(units_module, "MAX_UNIT_BYTES", 10)


@pytest.mark.parametrize(
    ("total", "expected"),
    [
        (0, MIB),
        (64 * MIB, MIB),
        (64 * MIB + 1, MIB + 1),
        (640 * MIB, 10 * MIB),
        (4096 * MIB, 64 * MIB),
        (1 << 50, 64 * MIB),
    ],
)
def test_a_unit_is_a_64th_of_the_input_between_1_and_64_mib(total: int, expected: int) -> None:
    assert unit_bytes([file("a", total // 2), file("b", total - total // 2)]) == expected


def test_a_compressed_file_counts_as_three_times_its_bytes() -> None:
    assert unit_bytes([file("a.csv.gz", 64 * MIB), file("b.csv", 64 * MIB)]) == 4 * MIB


@pytest.mark.usefixtures("small_units")
def test_byte_ranges_of_a_file_touch_each_other_and_cover_it() -> None:
    units = list(cut_into_units([file("a", 25), file("b", 10)], LINES))
    assert [(piece.path, piece.start, piece.stop) for unit in units for piece in unit.pieces] == [
        ("a", 0, 10),
        ("a", 10, 20),
        ("a", 20, 25),
        ("b", 0, 10),
    ]
    assert [unit.number for unit in units] == [0, 1, 2, 3]
    assert not any(unit.is_streamed for unit in units)


@pytest.mark.usefixtures("small_units")
def test_small_text_files_are_bundled_until_they_fill_a_unit() -> None:
    units = list(
        cut_into_units([file(name, size) for name, size in zip("abcdef", (4, 5, 3, 30, 1, 0), strict=True)], TXT)
    )
    assert ["".join(piece.path for piece in unit.pieces) for unit in units] == ["abc", "d", "ef"]
    assert [unit.stem for unit in units] == ["part-0000000", "part-0000001", "part-0000002"]


@pytest.mark.usefixtures("small_units")
@pytest.mark.parametrize(
    ("path", "file_format"),
    [("a.csv.bz2", CSV), ("a.jsonl.gz", JSONL), ("a.txt.zst", LINES), ("a.json", make_format("json"))],
    ids=["a.csv.bz2-csv", "a.jsonl.gz-jsonl", "a.txt.zst-lines", "a.json-json"],
)
def test_files_that_must_be_read_from_the_front_are_one_streamed_unit(path: str, file_format: Format) -> None:
    (unit,) = cut_into_units([file(path, 1000)], file_format)
    assert unit == Unit(0, (Piece(path, path, 0, 1000),), is_streamed=True)
    assert unit.stem == "part-0000000"


@pytest.mark.usefixtures("small_units")
@pytest.mark.parametrize("name", ["csv", "tsv", "jsonl", "json", "lines", "wikitext", "parquet"])
def test_small_files_of_any_format_are_bundled(name: str) -> None:
    size = 0 if name == "parquet" else 3
    files = [file(path, size) for path in "abcdefg"]
    units = list(cut_into_units(files, make_format(name)))
    expected = ["abcdefg"] if name == "parquet" else ["abcd", "efg"]
    assert ["".join(piece.path for piece in unit.pieces) for unit in units] == expected
    assert all((piece.start, piece.stop) == (0, size) for unit in units for piece in unit.pieces)
    assert not any(unit.is_streamed for unit in units)


@pytest.mark.usefixtures("small_units")
def test_large_files_between_small_ones_keep_their_place() -> None:
    names = (
        ("a.csv", 3),
        ("b.csv.gz", 1),
        ("c.csv", 10),
        ("d.csv", 9),
        ("e.csv.gz", 2),
        ("f.csv.gz", 1),
        ("g.csv.gz", 1),
    )
    units = list(cut_into_units([file(name, size) for name, size in names], CSV))
    assert [("".join(piece.path[0] for piece in unit.pieces), unit.is_streamed) for unit in units] == [
        ("ab", False),
        ("c", True),
        ("d", False),
        ("e", True),
        ("fg", False),
    ]
    assert [unit.number for unit in units] == [0, 1, 2, 3, 4]


def test_an_empty_file_is_a_unit_too() -> None:
    assert list(cut_into_units([file("a", 0)], LINES)) == [Unit(0, (Piece("a", "a", 0, 0),))]


def test_units_survive_the_way_through_the_plans_table() -> None:
    files = [file("a.txt", 3), file("b.txt", 4), file("c.txt", MIB)]
    units = list(cut_into_units(files, TXT))
    assert list(units_of(units_table(units, files))) == units


def test_a_table_of_units_is_the_same_however_many_pieces_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [file(f"{number}.txt", MIB // 3) for number in range(10)]
    table = units_table(cut_into_units(files, TXT), files)
    monkeypatch.setattr(units_module, "PIECES_AT_ONCE", 3)
    again = units_table(cut_into_units(files, TXT), files)
    assert again.equals(table)
    assert all(column.num_chunks == 1 for column in again.columns)


@pytest.mark.usefixtures("small_units")
@pytest.mark.parametrize(
    ("file_format", "paths"),
    [(TXT, ["a.txt", "b.txt", "c.txt.gz"]), (JSONL, ["a.jsonl", "b.jsonl.gz", "c.jsonl"]), (CSV, ["a.csv"])],
    ids=["txt", "jsonl", "csv"],
)
def test_the_rows_of_each_planned_unit_are_that_unit(folder: Folder, file_format: Format, paths: list[str]) -> None:
    files = [file(path, 6 * number) for number, path in enumerate(paths, 1)]
    units = list(cut_into_units(files, file_format))
    plan = plan_of(folder, files, file_format)
    assert [unit for planned in plan.units for unit in units_of(plan.rows(planned))] == units
    assert [(planned.stem, planned.is_streamed) for planned in plan.units] == [
        (unit.stem, unit.is_streamed) for unit in units
    ]


def test_json_gives_the_facts_of_a_corpus_back() -> None:
    columns = Columns(("title", "text"), "id", ("n",), ("int64",))
    options = ReadingOptions(columns=("text",), delimiter="\t", header=False, classes=("World", "Sports"))
    facts = CorpusFacts(
        format="csv", options=options, columns=columns, num_files=3, num_bytes=70, text_bytes=70, unit_bytes=MIB
    )
    assert CorpusFacts.from_json(json.loads(json.dumps(facts.to_json()))) == facts


@pytest.fixture
def planned(tmp_path: Path, folder: Folder) -> Plan:
    (tmp_path / "in").mkdir()
    for name in ("a.txt", "b.txt"):
        (tmp_path / "in" / name).write_text(name)
    files = list_inputs([str(tmp_path / "in")])
    return write_plan(folder, units_table(cut_into_units(files, LINES), files, hashes_of_ends(files)), identity={})


def touch(path: Path) -> None:
    """Give a file another time."""
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


def test_unchanged_inputs_are_accepted(planned: Plan, tmp_path: Path) -> None:
    assert check_inputs(planned, list_inputs([str(tmp_path / "in")])) == []


def test_files_added_since_the_plan_are_named_and_left_out(planned: Plan, tmp_path: Path) -> None:
    (tmp_path / "in/0.txt").write_text("new")
    (tmp_path / "in/c.txt").write_text("new")
    added = check_inputs(planned, list_inputs([str(tmp_path / "in")]))
    assert added == [str(tmp_path / "in/0.txt"), str(tmp_path / "in/c.txt")]


def test_a_file_that_changed_since_the_plan_stops_the_job(planned: Plan, tmp_path: Path) -> None:
    (tmp_path / "in/b.txt").write_text("another text")
    with pytest.raises(ValueError, match=r"b\.txt has changed since the plan was made"):
        check_inputs(planned, list_inputs([str(tmp_path / "in")]))


def test_a_file_that_is_gone_since_the_plan_stops_the_job(planned: Plan, tmp_path: Path) -> None:
    (tmp_path / "in/a.txt").unlink()
    with pytest.raises(ValueError, match=r"a\.txt is gone since the plan was made"):
        check_inputs(planned, list_inputs([str(tmp_path / "in")]))


def test_a_file_whose_time_alone_has_changed_is_accepted(planned: Plan, tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        touch(tmp_path / "in" / name)
    assert check_inputs(planned, list_inputs([str(tmp_path / "in")])) == []


def test_a_file_that_changed_and_kept_its_size_stops_the_job(planned: Plan, tmp_path: Path) -> None:
    touch(tmp_path / "in/a.txt")
    (tmp_path / "in/b.txt").write_text("B.txt")
    touch(tmp_path / "in/b.txt")
    with pytest.raises(ValueError, match=r"b\.txt has changed since the plan was made: put it back"):
        check_inputs(planned, list_inputs([str(tmp_path / "in")]))


def test_files_of_the_same_size_and_time_are_not_read(
    planned: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[InputFile] = []
    monkeypatch.setattr(units_module, "hashes_of_ends", lambda files: read.extend(files) or hashes_of_ends(files))
    touch(tmp_path / "in/b.txt")
    check_inputs(planned, list_inputs([str(tmp_path / "in")]))
    assert [file.name for file in read] == ["b.txt"]


def test_without_hashes_a_file_of_another_time_has_changed(planned: Plan, tmp_path: Path) -> None:
    touch(tmp_path / "in/b.txt")
    table = planned.table
    of_an_earlier_version = table.drop_columns("ends")
    without_hashes = units_table(units_of(table), list_inputs([str(tmp_path / "in")]))
    for plan in (of_an_earlier_version, without_hashes):
        touch(tmp_path / "in/a.txt")
        with pytest.raises(ValueError, match=r"a\.txt has changed since the plan was made"):
            check_inputs(Plan(planned.facts, plan), list_inputs([str(tmp_path / "in")]))


@pytest.mark.usefixtures("small_units")
def test_every_row_of_a_file_has_its_size_time_and_hash(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("x" * 25)
    files = list_inputs([str(tmp_path / "a.jsonl")])
    table = units_table(cut_into_units(files, JSONL), files, hashes_of_ends(files))
    assert table.num_rows == 3
    assert table["size"].to_pylist() == [25] * 3
    assert table["modified"].to_pylist() == [files[0].modified] * 3
    assert table["ends"].to_pylist() == list(hashes_of_ends(files).values()) * 3
