"""A file of an object store is fetched once to a node, by whichever process comes first, and never used damaged."""

import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pyarrow as pa
import pytest
from s3 import Fault, Proxy

from ulmfit_ray.storage import cache
from ulmfit_ray.storage.cache import local_file, open_cached
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.token_dataset import TokenDataset

MIB = 1 << 20


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Proxy) -> Path:
    """An empty cache for ten files of a tenth of a MiB."""
    monkeypatch.setenv("ULMFIT_RAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ULMFIT_RAY_CACHE_GIB", str(1 / 1024))
    monkeypatch.setattr(cache, "FREE_FRACTION", 0.0)
    cache._warn_once.cache_clear()
    return tmp_path / "cache"


def publish(folder: Folder, number: int, num_bytes: int = MIB // 10) -> tuple[str, str]:
    """Put a file of its own content in a bucket; return its name and hash."""
    content = bytes([number]) * num_bytes
    folder.publish_bytes(content, f"file-{number}")
    return f"file-{number}", hashlib.sha256(content).hexdigest()


def read(folder: Folder, file: tuple[str, str]) -> bytes:
    with open_cached(folder, *file) as source:
        return source.read()


def gets(proxy: Proxy, name: str) -> int:
    return sum(line.startswith("GET") and name in line for line in proxy.requests)


def copies(place: Path) -> set[str]:
    return {path.name for path in place.iterdir() if path.is_file()}


def test_a_file_is_fetched_once_and_memory_mapped_from_then_on(proxy: Proxy, bucket: str, place: Path) -> None:
    folder = Folder(bucket)
    file = publish(folder, 1)
    assert [read(folder, file) for _ in range(3)] == [b"\1" * (MIB // 10)] * 3
    assert gets(proxy, "file-1") == 1
    with open_cached(folder, *file) as source:
        assert isinstance(source, pa.MemoryMappedFile)
    assert copies(place) == {file[1]}


def test_a_local_file_is_itself(tmp_path: Path, place: Path) -> None:
    folder = Folder(str(tmp_path / "local"))
    file = publish(folder, 1)
    with local_file(folder, *file) as path:
        assert path == tmp_path / "local/file-1"
    assert not place.exists()


READ = """
import sys
from ulmfit_ray.storage.cache import open_cached
from ulmfit_ray.storage.folder import Folder
sys.stdout.write(str(len(open_cached(Folder(sys.argv[1]), *sys.argv[2:]).read())))
"""


@pytest.fixture
def begin(bucket: str) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts another process of this node, which reads a file of the bucket."""
    begun = []

    def begin(file: tuple[str, str]) -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, "-c", READ, bucket, *file], stdout=subprocess.PIPE, text=True)
        begun.append(process)
        return process

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


def test_processes_of_a_node_that_need_a_file_at_once_fetch_it_once(
    proxy: Proxy, bucket: str, begin: Callable[..., subprocess.Popen[str]]
) -> None:
    file = publish(Folder(bucket), 1)
    proxy.latency_seconds = 0.3
    try:
        processes = [begin(file) for _ in range(4)]
        assert [process.communicate(timeout=60)[0] for process in processes] == [str(MIB // 10)] * 4
    finally:
        proxy.latency_seconds = 0.0
    assert gets(proxy, "file-1") == 1


def test_a_process_that_dies_while_it_fetches_keeps_nobody_waiting(
    proxy: Proxy, bucket: str, place: Path, begin: Callable[..., subprocess.Popen[str]]
) -> None:
    file = publish(Folder(bucket), 1)
    proxy.faults = [fault := Fault(where="GET", what="stall", times=1)]
    first = begin(file)
    assert fault.met.wait(60)
    assert copies(place) == {f"{file[1]}.part"}
    second = begin(file)
    first.send_signal(signal.SIGKILL)
    assert second.communicate(timeout=60)[0] == str(MIB // 10)
    assert copies(place) == {file[1]}


def test_what_was_not_used_for_the_longest_time_makes_room(proxy: Proxy, bucket: str, place: Path) -> None:
    folder = Folder(bucket)
    files = [publish(folder, number) for number in range(12)]
    for file in (*files[:10], files[0], files[10], files[11]):
        read(folder, file)
    assert copies(place) == {digest for _, digest in (files[0], *files[3:])}
    assert read(folder, files[0]) == b"\0" * (MIB // 10)
    assert gets(proxy, "file-0") == 1


def test_what_is_in_use_stays_and_what_is_mapped_lives_on(proxy: Proxy, bucket: str, place: Path) -> None:
    folder = Folder(bucket)
    held, mapped, other = (publish(folder, number, MIB // 2) for number in (1, 2, 3))
    with local_file(folder, *held) as path, open_cached(folder, *mapped) as source:
        read(folder, other)
        assert copies(place) == {held[1], other[1]}
        assert path is not None
        assert path.read_bytes() == b"\1" * (MIB // 2)
        assert source.read() == b"\2" * (MIB // 2)
        # There is no room for what is too large, or beside what is in use.
        assert read(folder, publish(folder, 4, MIB * 3 // 4)) == b"\4" * (MIB * 3 // 4)
        assert copies(place) == {held[1]}


@pytest.mark.parametrize("damage", ["cut", "changed", "longer"])
def test_a_damaged_copy_is_fetched_again(proxy: Proxy, bucket: str, place: Path, damage: str) -> None:
    folder = Folder(bucket)
    file = publish(folder, 1)
    read(folder, file)
    content = (place / file[1]).read_bytes()
    bad = {"cut": content[:-1], "changed": b"x" + content[1:], "longer": content + b"x"}[damage]
    (place / file[1]).write_bytes(bad)
    assert read(folder, file) == content
    assert gets(proxy, "file-1") == 2


def test_a_file_that_comes_damaged_is_fetched_again_and_one_that_is_damaged_is_an_error(
    proxy: Proxy, bucket: str, place: Path
) -> None:
    folder = Folder(bucket)
    name, digest = publish(folder, 1)
    with pytest.raises(ValueError, match=rf"file-1 of {bucket} is not the file that was written"):
        read(folder, (name, "0" * 64))
    assert gets(proxy, "file-1") == cache.FETCHES
    assert copies(place) == set()
    assert read(folder, (name, digest)) == b"\1" * (MIB // 10)


def test_a_full_disk_is_warned_of_once_and_the_store_is_read(
    bucket: str, place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(file: int) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    folder = Folder(bucket)
    files = [publish(folder, number) for number in (1, 2)]
    monkeypatch.setattr(os, "fsync", refuse)
    assert [read(folder, file) for file in files] == [b"\1" * (MIB // 10), b"\2" * (MIB // 10)]
    assert copies(place) == set()
    assert [record.getMessage() for record in caplog.records] == [
        "the cache for object stores is not used: [Errno 28] No space left on device"
    ]


def test_a_disk_is_not_filled(bucket: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(bucket)
    files = [publish(folder, number) for number in (1, 2)]
    monkeypatch.setattr(cache, "FREE_FRACTION", 0.1)
    total = shutil.disk_usage("/").total
    for free, kept in ((total // 10 + MIB, {files[0][1]}), (total // 10, {files[1][1]}), (0, {files[1][1]})):
        usage = shutil.disk_usage("/")._replace(total=total, free=free)
        monkeypatch.setattr(shutil, "disk_usage", lambda place, usage=usage: usage)
        assert read(folder, files[0] if free > total // 10 else files[1])[:1] in (b"\1", b"\2")
        assert copies(place) == kept


def test_no_cache_is_used_where_it_is_switched_off_and_a_bound_that_is_no_number_is_refused(
    bucket: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(bucket)
    file = publish(folder, 1)
    monkeypatch.setenv("ULMFIT_RAY_CACHE_GIB", "0")
    assert read(folder, file) == b"\1" * (MIB // 10)
    assert not place.exists()
    monkeypatch.setenv("ULMFIT_RAY_CACHE_GIB", "much")
    with pytest.raises(ValueError, match=r"^ULMFIT_RAY_CACHE_GIB=much: needed is a number of GiB"):
        read(folder, file)


def test_a_folder_among_the_temporary_files_that_others_may_write_is_not_used(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("ULMFIT_RAY_CACHE")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    folder = Folder(bucket)
    file = publish(folder, 1)
    open_to_all = tmp_path / f"ulmfit-ray-cache-{os.getuid()}"
    read(folder, file)
    assert copies(open_to_all) == {file[1]}
    open_to_all.chmod(0o777)
    (open_to_all / file[1]).unlink()
    read(folder, file)
    assert copies(open_to_all) == set()
    assert "others may write there; name a folder with ULMFIT_RAY_CACHE" in caplog.text


def test_token_shards_come_from_the_nodes_copy_and_a_changed_one_is_refused(
    proxy: Proxy, bucket: str, place: Path, make_token_dataset: Callable[..., TokenDataset]
) -> None:
    local = make_token_dataset([[("a", ([1, 2],))], [("b", ([3],))]])
    stored = Folder(f"{bucket}/tokens")
    for path in Path(local.folder.root).rglob("*"):
        if path.is_file():
            stored.publish(path, str(path.relative_to(local.folder.root)))
    proxy.requests.clear()
    dataset = TokenDataset(stored.uri)
    for _ in range(2):
        assert [table.to_pylist() for table in dataset.tables()] == [table.to_pylist() for table in local.tables()]
        assert dataset.read_checked("part-0000000").equals(local.read("part-0000000"))
    assert gets(proxy, ".arrow") == 2
    stored.publish_bytes(stored.read_bytes("shards/part-0000000.arrow"), "shards/part-0000001.arrow")
    shutil.rmtree(place)
    for reading in (dataset.read, dataset.read_checked):
        with pytest.raises(ValueError, match=r"part-0000001\.arrow of .* is not the file that was written"):
            reading("part-0000001")
