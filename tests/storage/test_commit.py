"""A shard counts from its receipt on, and the receipt says what was published."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.fs
import pytest

from ulmfit_ray.storage.commit import WriteFile
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.receipts import Receipt, read_receipt

MakeReceipt = Callable[..., Receipt]
Commit = Callable[..., Receipt]


def writes(content: bytes) -> WriteFile:
    def write(path: Path) -> None:
        path.write_bytes(content)

    return write


def breaks_off(path: Path) -> None:
    path.write_bytes(b"half of")
    raise OSError("no space left")


def content_of(folder: Folder) -> dict[str, bytes]:
    selector = pyarrow.fs.FileSelector(folder.root, recursive=True)
    names = [i.path.removeprefix(f"{folder.root}/") for i in folder.filesystem.get_file_info(selector) if i.is_file]
    return {name: folder.read_bytes(name) for name in names if not name.endswith(".json")}


@pytest.fixture
def files() -> dict[str, WriteFile]:
    """A shard's files, in another order than that of their names."""
    return {"work/a.types": writes(b"types"), "quarantine/a": writes(b"bad"), "shards/a": writes(b"rows")}


def test_files_are_published_in_the_order_given_and_the_receipt_last(
    make_receipt: MakeReceipt, commit: Commit, files: dict[str, WriteFile], published: list[str]
) -> None:
    commit(make_receipt("a"), files=files)
    assert published == ["work/a.types", "quarantine/a", "shards/a", "done/a.json"]


def test_hashes_are_those_of_the_published_files(
    folder: Folder, make_receipt: MakeReceipt, commit: Commit, files: dict[str, WriteFile]
) -> None:
    receipt = commit(make_receipt("a"), files=files)
    assert receipt.files == {name: folder.sha256(name) for name in files}
    assert content_of(folder) == {"work/a.types": b"types", "quarantine/a": b"bad", "shards/a": b"rows"}


def test_hashes_that_the_receipt_had_stay(
    make_receipt: MakeReceipt, commit: Commit, files: dict[str, WriteFile]
) -> None:
    receipt = commit(make_receipt("a", files={"quarantine/earlier": "00"}), files=files)
    assert set(receipt.files) == {"quarantine/earlier", *files}
    assert receipt.files["quarantine/earlier"] == "00"


def test_the_receipt_is_given_back_as_it_was_published(
    folder: Folder, make_receipt: MakeReceipt, commit: Commit, files: dict[str, WriteFile]
) -> None:
    given = make_receipt("a", quarantined={"null text": 3}, last=True, num_bytes=9)
    receipt = commit(given, files=files)
    assert read_receipt(folder, "a") == receipt
    assert replace(receipt, files={}, seconds=0.0) == given


def test_seconds_are_added_to_those_the_receipt_had(make_receipt: MakeReceipt, commit: Commit) -> None:
    receipt = commit(make_receipt("a", seconds=1000.0), began=time.monotonic() - 100)
    assert 1100 <= receipt.seconds < 1150


def test_seconds_hold_the_time_of_writing(make_receipt: MakeReceipt, commit: Commit) -> None:
    def write_slowly(path: Path) -> None:
        time.sleep(0.05)
        path.touch()

    assert commit(make_receipt("a"), files={"shards/a": write_slowly}).seconds >= 0.05


def test_receipts_go_where_they_are_told_to(folder: Folder, make_receipt: MakeReceipt, commit: Commit) -> None:
    commit(make_receipt("a"), where="work/done")
    assert folder.names("work/done") == ["a.json"]
    assert not folder.exists("done")


def test_a_writer_that_breaks_off_leaves_no_receipt_and_no_file_of_its_own(
    folder: Folder, make_receipt: MakeReceipt, commit: Commit, files: dict[str, WriteFile]
) -> None:
    with pytest.raises(OSError, match="no space left"):
        commit(make_receipt("a"), files=files | {"quarantine/a": breaks_off})
    assert content_of(folder) == {"work/a.types": b"types"}
    assert not folder.exists("done")


def test_two_commits_of_a_shard_give_the_same_files(
    folder: Folder, make_receipt: MakeReceipt, commit: Commit, files: dict[str, WriteFile]
) -> None:
    first = commit(make_receipt("a"), files=files)
    content = content_of(folder)
    second = commit(make_receipt("a"), files=files)
    assert content_of(folder) == content
    assert replace(second, seconds=first.seconds) == first
    assert folder.names("done") == ["a.json"]
