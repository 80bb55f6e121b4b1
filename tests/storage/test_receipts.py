"""What is done, and what is missing."""

from collections.abc import Callable
from dataclasses import asdict

import pyarrow as pa
import pytest

from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.plan import PlannedUnit, PlannedUnits, planned_units
from ulmfit_ray.storage.receipts import (
    GrowingReceipts,
    Receipt,
    Receipts,
    finished_parts,
    in_order,
    pending_units,
    read_receipt,
    read_receipts,
)

MakeReceipt = Callable[..., Receipt]
Commit = Callable[..., Receipt]


def receipts(*some: Receipt) -> Receipts:
    return Receipts.of(some)


def unit(number: int, is_streamed: bool = False) -> PlannedUnit:
    return PlannedUnit(f"part-{number:07d}", is_streamed, number, 1)


def test_a_receipt_is_read_back_as_it_was_committed(folder: Folder, make_receipt: MakeReceipt, commit: Commit) -> None:
    facts = {"quarantined": {"null text": 3}, "files": {"shards/x": "00"}, "seconds": 1.5, "num_bytes": 9}
    written = commit(make_receipt("part-0000001", **facts))
    assert read_receipts(folder, "plan") == [written]
    assert read_receipt(folder, "part-0000001") == written
    assert written.num_quarantined == 3


def test_a_shard_without_receipt_has_none_to_read(folder: Folder) -> None:
    with pytest.raises(FileNotFoundError):
        read_receipt(folder, "part-0000001")
    assert read_receipts(folder, "plan") == []


def test_receipts_of_another_plan_are_as_good_as_none(
    folder: Folder, make_receipt: MakeReceipt, commit: Commit
) -> None:
    commit(make_receipt("part-0000001", plan="another"))
    commit(make_receipt("part-0000002"))
    assert read_receipts(folder, "plan").names() == ["part-0000002"]
    assert read_receipts(folder, "another").names() == ["part-0000001"]


def test_receipts_come_in_the_order_of_their_names(folder: Folder, make_receipt: MakeReceipt, commit: Commit) -> None:
    shards = [f"part-{number:07d}" for number in range(40)]
    for shard in reversed(shards):
        commit(make_receipt(shard))
    found = read_receipts(folder, "plan")
    assert found.names() == shards
    assert [receipt.shard for receipt in found] == shards


def test_each_phase_has_receipts_of_its_own(folder: Folder, make_receipt: MakeReceipt, commit: Commit) -> None:
    written = commit(make_receipt("part-0000001"), where="work/done")
    assert read_receipts(folder, "plan") == []
    assert read_receipts(folder, "plan", "work/done").names() == ["part-0000001"]
    assert read_receipt(folder, "part-0000001", "work/done") == written


def test_a_unit_is_complete_with_its_receipt(make_receipt: MakeReceipt) -> None:
    assert pending_units([unit(1), unit(2)], receipts(make_receipt("part-0000001"))) == [unit(2)]


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ([(0, False), (1, False), (2, True)], 3),
        ([(0, True)], 1),
        ([(0, False), (1, False)], None),
        ([(0, False), (2, True)], None),
        ([(1, False), (2, True)], None),
        ([], None),
    ],
)
def test_a_streamed_unit_is_complete_only_with_all_shards_up_to_the_last(
    make_receipt: MakeReceipt, there: list[tuple[int, bool]], expected: int | None
) -> None:
    found = receipts(*(make_receipt(f"part-0000004-{part:05d}", last=last) for part, last in there))
    units = PlannedUnits.of([unit(4, is_streamed=True)])
    assert pending_units(units, found) == ([unit(4, is_streamed=True)] if expected is None else [])
    assert len(in_order(units, found)) == (expected or 0)


def test_pending_units_are_those_that_are_not_complete(make_receipt: MakeReceipt) -> None:
    units = [unit(0), unit(1), unit(2, is_streamed=True), unit(3, is_streamed=True)]
    found = receipts(
        make_receipt("part-0000001"),
        make_receipt("part-0000002-00000", last=True),
        make_receipt("part-0000003-00000", last=False),
    )
    assert pending_units(units, found) == [units[0], units[3]]


def test_pending_units_are_found_in_plans_of_text_and_of_shards(make_receipt: MakeReceipt) -> None:
    text_units = planned_units(pa.table({"unit": [0, 1, 2], "streamed": [True, True, True]}))
    found = receipts(make_receipt("part-0000001-00000", last=True))
    assert pending_units(text_units, found) == [text_units[0], text_units[2]]
    shard_units = planned_units(pa.table({"shard": ["part-0000000", "part-0000001-00000"]}))
    found = receipts(make_receipt("part-0000001-00000"))
    assert pending_units(shard_units, found) == [shard_units[0]]


def test_finished_parts_are_those_of_streamed_units_that_have_a_receipt() -> None:
    shards = ["part-0000003-00002", "part-0000001", "part-0000003-00000", "part-0000002-00000", "part-0000003-00010"]
    assert finished_parts(shards) == {"part-0000002": [0], "part-0000003": [0, 2, 10]}
    assert finished_parts([]) == {}


def test_a_receipt_holds_nothing_that_json_changes(make_receipt: MakeReceipt) -> None:
    assert Receipt(**asdict(make_receipt("a", last=True))) == make_receipt("a", last=True)


def test_receipts_in_columns_add_up_to_what_they_say_one_by_one(make_receipt: MakeReceipt) -> None:
    some = [
        make_receipt("a", quarantined={"x": 1, "y": 2}, num_repeated=1, seconds=1.5),
        make_receipt("b", num_documents=0, files={"work/b.arrow": "1", "shards/b.arrow": "2"}, seconds=0.25),
        make_receipt("c", quarantined={"y": 4}, num_repeated=3),
    ]
    found = receipts(*some)
    assert (found.total("num_tokens"), found.total("num_repeated"), found.seconds()) == (90, 4, 1.75)
    assert (found.has_all("num_tokens"), found.has_all("num_repeated")) == (True, False)
    assert found.quarantined() == {"x": 1, "y": 6}
    # Parts of columns too: Arrow's maps know nothing of where a part begins.
    assert found[1:].quarantined() == {"y": 4}
    assert found[1:].num_quarantined().to_pylist() == [0, 4]
    assert found.with_bad_documents().names() == ["a", "c"]
    assert found.with_documents().names() == ["a", "c"]
    assert [column.to_pylist() for column in found[1:2].shard_files()] == [["shards/b.arrow"], ["2"]]
    assert list(found)[1].files == {"shards/b.arrow": "2"}
    assert receipts().quarantined() == {}
    assert receipts().total("num_tokens") == 0


def test_of_two_receipts_of_a_shard_one_counts(folder: Folder, make_receipt: MakeReceipt, commit: Commit) -> None:
    growing = GrowingReceipts(receipts(make_receipt("part-0000001")))
    for number in (3, 2, 3):
        growing.add(commit(make_receipt(f"part-000000{number}")))
    commit(make_receipt("part-0000001"))
    assert len(growing) == 4
    assert read_receipts(folder, "plan", known=growing.all()).names() == [f"part-000000{n}" for n in (1, 2, 3)]


def test_receipts_come_in_the_order_of_the_units_and_of_their_parts(make_receipt: MakeReceipt) -> None:
    parts = [make_receipt(f"part-0000002-{part:05d}", last=part == 1) for part in (1, 0)]
    found = receipts(make_receipt("part-0000001"), make_receipt("part-0000009"), *parts, make_receipt("stray"))
    units = PlannedUnits.of([unit(9), unit(2, is_streamed=True), unit(1), unit(4)])
    names = ["part-0000009", "part-0000002-00000", "part-0000002-00001", "part-0000001"]
    assert in_order(units, found).names() == names
