"""A store that fails in every way that is known costs time, and nothing else: no byte is lost, doubled or made up."""

import gc
import logging
import os
import random
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import s3
from s3 import Fault, Proxy, Storm, What

from ulmfit_ray.corpus.listing import hashes_of_ends, list_inputs
from ulmfit_ray.corpus.open_text import open_text
from ulmfit_ray.storage import insistence, lease, remote
from ulmfit_ray.storage.checkpoints import Checkpoint, newest_checkpoint, publish_checkpoint
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.receipts import read_receipts
from ulmfit_ray.storage.store_errors import StoreLostError, bucket_of
from ulmfit_ray.storage.token_dataset import TokenDataset

LARGE = 9_000_000
"""Bytes of what is uploaded in parts and read in several requests."""
EVERYWHERE = ("HEAD", "GET", "PUT", "list-type", "uploads", "uploadId", "DELETE")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(insistence, "FIRST_PAUSE_SECONDS", 0.002)
    monkeypatch.setattr(insistence, "LONGEST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(remote, "TIMEOUT_SECONDS", 1.0)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "large"
    path.write_bytes(random.Random(0).randbytes(LARGE))
    return path


def use_everything(bucket: str, large: Path) -> None:
    """Do once what a folder in a bucket can do, and find what was put there."""
    folder = Folder(bucket)
    content = large.read_bytes()
    folder.publish_bytes(b"small", "dir/small")
    folder.publish(large, "dir/large")
    folder.create_json([1], "dir/made.json")
    assert folder.read_bytes("dir/small") == b"small"
    with folder.open("dir/large") as file:
        assert file.read_at(1000, 5_000_000) == content[5_000_000:5_001_000]
        file.seek(0)
        assert file.read() == content
    with folder.local_files(["dir/large"]) as place:
        assert (place / "dir/large").read_bytes() == content
    assert folder.size("dir/large") == LARGE
    assert folder.names("dir") == ["large", "made.json", "small"]
    assert (folder.exists("dir"), folder.exists("nothing")) == (True, False)
    assert {file.name: file.size for file in list_inputs([f"{bucket}/dir"])}["large"] == LARGE
    with open_text(f"{bucket}/dir/large") as stream:
        assert stream.read() == content
    folder.delete("dir/small")
    folder.delete_file("dir/small")
    folder.delete("dir")
    assert folder.names() == []


@pytest.mark.parametrize("what", sorted(s3.PASSING))
def test_each_fault_at_each_sort_of_request_is_not_noticed(what: What, proxy: Proxy, bucket: str, large: Path) -> None:
    proxy.faults = [Fault(where=where, what=what, after_bytes=10, times=2) for where in EVERYWHERE]
    use_everything(bucket, large)
    assert all(fault.count for fault in proxy.faults)


def test_a_store_that_says_nothing_is_asked_again(proxy: Proxy, bucket: str) -> None:
    proxy.faults = [Fault(where=where, what="stall", times=1) for where in ("HEAD", "GET")]
    Folder(bucket).publish_bytes(b"content", "name")
    assert Folder(bucket).read_bytes("name") == b"content"
    assert [fault.count for fault in proxy.faults] == [1, 1]


@pytest.mark.parametrize("seed", range(2))
def test_a_storm_over_many_threads_is_not_noticed(seed: int, proxy: Proxy, bucket: str, large: Path) -> None:
    storm = proxy.storm = Storm(seed, share=0.3)
    contents = {f"shards/{number}": random.Random(number).randbytes(number * 1000) for number in range(40)}
    folder = Folder(bucket)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: folder.publish_bytes(contents[name], name), contents))
        assert list(pool.map(folder.read_bytes, contents)) == list(contents.values())
        assert folder.names("shards") == sorted(name.removeprefix("shards/") for name in contents)
        files = list_inputs([f"{bucket}/shards"])
        assert len(hashes_of_ends(files)) == 40
        list(pool.map(folder.delete, list(contents)[::2]))
    use_everything(f"{bucket}/everything", large)
    assert storm.count > 40
    proxy.begin_anew()
    gc.collect()
    listed = s3.client(proxy.target).list_objects_v2(Bucket=bucket_of(bucket))["Contents"]
    sizes = {found["Key"]: found["Size"] for found in listed if not found["Key"].endswith("/")}
    assert sizes == {name: len(contents[name]) for name in list(contents)[1::2]}


def test_receipts_checkpoints_and_shards_are_whole_after_a_storm(
    proxy: Proxy,
    bucket: str,
    large: Path,
    make_token_dataset: Callable[..., TokenDataset],
) -> None:
    local = make_token_dataset([[(f"d{n}-{m}", ([m, n],)) for m in range(50)] for n in range(3)])
    proxy.storm = Storm(7, share=0.3)
    stored = Folder(f"{bucket}/tokens")
    for path in Path(local.folder.root).rglob("*"):
        if path.is_file():
            stored.publish(path, str(path.relative_to(local.folder.root)))
    dataset = TokenDataset(stored.uri)
    assert [table.to_pylist() for table in dataset.tables()] == [table.to_pylist() for table in local.tables()]
    assert read_receipts(stored, "p") == read_receipts(local.folder, "p")
    run = Folder(f"{bucket}/run")
    for step in (1, 2, 3):
        publish_checkpoint(run, Checkpoint(step=step, is_last=False, world_size=1), {"state": large})
    newest = newest_checkpoint(run)
    assert newest is not None
    assert newest.step == 3
    assert run.names("checkpoints") == ["step-0000002", "step-0000003"]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("what", sorted(s3.PASSING))
def test_a_fault_that_never_ends_is_one_line_and_no_half_file(
    what: What, proxy: Proxy, bucket: str, large: Path
) -> None:
    folder = Folder(bucket)
    folder.publish_bytes(b"whole", "name")
    proxy.faults = [Fault(where=where, what=what) for where in ("GET", "PUT", "POST")]
    with pytest.raises(StoreLostError) as error:
        folder.read_bytes("name")
    assert str(error.value).startswith(f"{bucket}/name: for 0 seconds all in vain: ")
    assert "\n" not in str(error.value)
    if what in ("unavailable", "broken", "reset"):
        for file in (large, Path(__file__)):
            with pytest.raises(StoreLostError):
                folder.publish(file, "name")
    proxy.begin_anew()
    gc.collect()
    assert what == "unanswered" or folder.read_bytes("name") == b"whole"


def test_what_a_store_refuses_or_has_not_is_asked_for_once(proxy: Proxy, bucket: str) -> None:
    proxy.faults = [Fault(where="refused", what="refused")]
    with pytest.raises(PermissionError, match="the object store refuses access"):
        Folder(bucket).read_bytes("refused")
    with pytest.raises(FileNotFoundError):
        Folder(bucket).read_bytes("missing")
    assert len(proxy.requests) == 2


def test_a_job_whose_store_is_lost_for_good_ends_with_one_line(
    bucket: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class EndedError(BaseException):
        pass

    def end(status: int) -> None:
        raise EndedError(status)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    own = lease.Lease("run", "host", 1, "ulmfit-ray tokenize")
    # What is logged meanwhile goes where another test has sent it.
    monkeypatch.setattr(logging.getLogger("ulmfit_ray"), "handlers", [])
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(insistence, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.setenv("AWS_ENDPOINT_URL", nobody)
    remote._client.cache_clear()
    folder = Folder(f"{bucket}/output")
    with pytest.raises(EndedError, match="1"):
        lease._beat(folder, own, threading.Event())
    said = capfd.readouterr().err
    remote._client.cache_clear()
    assert said.startswith(f"error: {bucket}/output/lease.json: for 0 seconds all in vain: the object store does not")
    assert said.endswith("ended: run the same command again when the store is back\n")
    assert said.count("\n") == 1
