"""Units are cut by the input alone, own what begins in them, and a plan is kept to."""

import json
import random
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest

from ulmfit_ray.corpus.documents import Columns
from ulmfit_ray.corpus.listing import InputFile, list_inputs
from ulmfit_ray.pipelines.tokenize.token_shards import TokenizeTask, tokenize_shard
from ulmfit_ray.storage import plan as plan_module
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.plan import (
    Piece,
    Plan,
    Unit,
    check_inputs,
    cut_into_units,
    read_plan,
    text_plan_table,
    unit_bytes,
    write_plan,
)
from ulmfit_ray.text.tokenizers.spacy_words import SpacyTokenizer, TokenizerSettings

MIB = 1 << 20


def file(path: str, size: int, modified: str = "0") -> InputFile:
    return InputFile(path, path, size, modified)


def plan_of(folder: Folder, files: list[InputFile], file_format: str = "lines", **identity: object) -> Plan:
    return write_plan(folder, text_plan_table(cut_into_units(files, file_format), files), {"identity": identity})


@pytest.fixture
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "MIN_UNIT_BYTES", 10)
    monkeypatch.setattr(plan_module, "MAX_UNIT_BYTES", 10)


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


@pytest.mark.usefixtures("small_units")
def test_byte_ranges_of_a_file_touch_each_other_and_cover_it() -> None:
    units = list(cut_into_units([file("a", 25), file("b", 10)], "lines"))
    assert [(piece.path, piece.start, piece.stop) for unit in units for piece in unit.pieces] == [
        ("a", 0, 10),
        ("a", 10, 20),
        ("a", 20, 25),
        ("b", 0, 10),
    ]
    assert [unit.number for unit in units] == [0, 1, 2, 3]
    assert not any(unit.streamed for unit in units)


@pytest.mark.usefixtures("small_units")
def test_small_text_files_are_bundled_until_they_fill_a_unit() -> None:
    units = list(
        cut_into_units([file(name, size) for name, size in zip("abcdef", (4, 5, 3, 30, 1, 0), strict=True)], "txt")
    )
    assert ["".join(piece.path for piece in unit.pieces) for unit in units] == ["abc", "d", "ef"]
    assert [unit.stem for unit in units] == ["part-0000000", "part-0000001", "part-0000002"]


@pytest.mark.usefixtures("small_units")
@pytest.mark.parametrize(("path", "file_format"), [("a.csv", "csv"), ("a.jsonl.gz", "jsonl"), ("a.txt.zst", "lines")])
def test_files_that_must_be_read_from_the_front_are_one_streamed_unit(path: str, file_format: str) -> None:
    (unit,) = cut_into_units([file(path, 1000)], file_format)
    assert unit == Unit(0, (Piece(path, path, 0, 1000),), streamed=True)
    assert unit.shard_stem(3) == "part-0000000-00003"
    assert unit.shard_stem(None) == "part-0000000"


def test_an_empty_file_is_a_unit_too() -> None:
    assert list(cut_into_units([file("a", 0)], "lines")) == [Unit(0, (Piece("a", "a", 0, 0),))]


def test_units_survive_the_way_through_the_plans_table() -> None:
    files = [file("a.txt", 3), file("b.txt", 4), file("c.txt", MIB)]
    units = list(cut_into_units(files, "txt"))
    assert list(Plan({}, text_plan_table(units, files)).units()) == units


@pytest.mark.parametrize("seed", range(4))
def test_ranges_own_the_lines_that_begin_in_them_so_every_line_is_read_once(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    lines = ["word " * draw.choice([0, 0, 1, 3, 8]) + draw.choice(["\n", "\r\n"]) for _ in range(40)]
    content = ("\ufeff" * (seed % 2) + "".join(lines) + "last" * (seed // 2)).encode()
    source = tmp_path / "corpus.txt"
    source.write_bytes(content)
    tokenizer = SpacyTokenizer(TokenizerSettings())
    task = TokenizeTask(str(tmp_path / "out"), "p", "lines", Columns(), tokenizer.settings, tokenizer.fingerprint, 10)
    offsets = [3 * (seed % 2)]
    while (end := content.find(b"\n", offsets[-1])) >= 0 and end + 1 < len(content):
        offsets.append(end + 1)
    cuts = [0, *sorted(draw.sample(range(1, len(content)), 12)), len(content)]
    read = []
    for number, (start, stop) in enumerate(pairwise(cuts)):
        tokenize_shard(task, Unit(number, (Piece(str(source), "corpus.txt", start, stop),)), None)
        with Folder(task.output).open(f"work/part-{number:07d}.arrow") as shard:
            read += pa.ipc.open_file(shard).read_all()["doc_id"].to_pylist()
    assert read == [f"corpus.txt#{offset}" for offset in offsets]


def test_a_plan_is_read_back_as_it_was_written(folder: Folder) -> None:
    written = plan_of(folder, [file("a", 5), file("b", 3 * MIB)], min_freq=3)
    again = read_plan(folder)
    assert again is not None
    assert again.facts == written.facts
    assert again.table.equals(written.table)
    assert again.fingerprint == written.fingerprint


def test_without_plan_json_there_is_no_plan(folder: Folder) -> None:
    assert read_plan(folder) is None
    plan_of(folder, [file("a", 5)])
    folder.delete("plan.json")
    assert read_plan(folder) is None


def test_the_same_input_and_config_give_the_same_plan_under_another_run_id(tmp_path: Path) -> None:
    files = [file("a", 5), file("b", 3 * MIB)]
    first, second = (plan_of(Folder(str(tmp_path / name)), files, a=1, b=2) for name in "xy")
    assert first.fingerprint == second.fingerprint
    assert first.facts["run_id"] != second.facts["run_id"]
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
    assert again.facts["run_id"] == first.facts["run_id"]


def test_a_plan_whose_table_was_changed_is_refused(folder: Folder) -> None:
    plan_of(folder, [file("a", 5)])
    folder.publish_bytes(folder.read_bytes("plan.arrow") + b"x", "plan.arrow")
    with pytest.raises(ValueError, match=r"plan\.arrow is damaged: start afresh with --overwrite"):
        read_plan(folder)


@pytest.fixture
def planned(tmp_path: Path, folder: Folder) -> Plan:
    (tmp_path / "in").mkdir()
    for name in ("a.txt", "b.txt"):
        (tmp_path / "in" / name).write_text(name)
    return plan_of(folder, list_inputs([str(tmp_path / "in")]))


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


def test_plan_json_says_what_it_was_made_from(folder: Folder) -> None:
    plan_of(folder, [file("a", 5)], min_freq=3)
    facts = json.loads(folder.read_bytes("plan.json"))
    assert facts["identity"] == {"min_freq": 3}
    assert facts["plan_arrow_sha256"] == folder.sha256("plan.arrow")
