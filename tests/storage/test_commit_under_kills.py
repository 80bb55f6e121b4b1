"""The commit protocol under 200 random kill -9: whatever is there afterwards, a receipt can be believed."""

import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import committer
import pyarrow.parquet as pq
import pytest

from ulmfit_ray.storage.folder import TEMPORARY_SUFFIX, Folder, sha256_file
from ulmfit_ray.storage.receipts import Receipt, read_receipt, read_receipts

KILLS = 200
SHARDS_PER_LIFE = 4
"""A process is killed before it would have committed so many."""
WRITTEN, PUBLISHED, UNRECEIPTED = "a file half written", "a file not renamed", "a shard without its receipt"
Traces = dict[str, tuple[int, int, int]]
"""Files by name: what tells each from one that takes its place, and last its size in bytes."""


class Committer:
    """The program committer.py, which runs one process after the other."""

    def __init__(self, scratch: Path) -> None:
        self._program = subprocess.Popen(
            [sys.executable, committer.__file__],
            env=os.environ | {"TMPDIR": str(scratch)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, output: Path, seconds: float | None = None) -> int:
        """Commit what is missing, and return the exit status; with `seconds` the process is killed after so many."""
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write(json.dumps({"output": str(output), "seconds": seconds}) + "\n")
        self._program.stdin.flush()
        return int(self._program.stdout.readline())

    def close(self) -> None:
        """Wait for the program's end."""
        self._program.communicate()
        assert self._program.returncode == 0


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """The folder of the program's scratch directories."""
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


@pytest.fixture
def program(scratch: Path) -> Iterator[Committer]:
    program = Committer(scratch)
    yield program
    program.close()


@pytest.fixture
def whole(program: Committer, tmp_path: Path) -> Path:
    """The output of a run that nobody disturbs."""
    assert program.run(tmp_path / "whole") == 0
    return tmp_path / "whole"


def receipts_of(output: Path) -> dict[str, Receipt]:
    folder = Folder(str(output))
    return {shard: read_receipt(folder, shard) for shard in read_receipts(folder, committer.PLAN).names()}


def content_of(output: Path) -> dict[str, bytes | Receipt]:
    """Return all files, temporary ones too; receipts without the seconds, which differ."""
    found: dict[str, bytes | Receipt] = {}
    for path in output.rglob("*"):
        if path.is_file() and path.parent.name != "done":
            found[str(path.relative_to(output))] = path.read_bytes()
    receipts = {f"done/{shard}": replace(receipt, seconds=0) for shard, receipt in receipts_of(output).items()}
    return found | receipts


def traces(place: Path) -> Traces:
    found = {str(path.relative_to(place)): path.stat() for path in place.rglob("*") if path.is_file()}
    return {name: (stat.st_ino, stat.st_mtime_ns, stat.st_size) for name, stat in found.items()}


def interrupted(before: Traces, after: Traces, whole: Traces) -> set[str]:
    """Return what a kill has interrupted, by the files that the process left: those it found there do not count."""
    found = set()
    for name in (name for name, trace in after.items() if before.get(name) != trace):
        place, _, base = name.rpartition("/")
        if base.endswith(TEMPORARY_SUFFIX):
            found.add(PUBLISHED)
        elif "scratch" in place and base.endswith(".parquet") and after[name][-1] < whole[f"shards/{base}"][-1]:
            found.add(WRITTEN)
        elif place == "killed/shards" and f"killed/done/{base.removesuffix('.parquet')}.json" not in after:
            found.add(UNRECEIPTED)
    return found


def check_what_can_be_seen(output: Path, whole: Path) -> None:
    """Each receipt names files that are whole, and nothing that never got its name is listed."""
    for receipt in receipts_of(output).values():
        assert f"shards/{receipt.shard}.parquet" in receipt.files
        assert receipt.files == {name: sha256_file(output / name) for name in receipt.files}
    for place in ("shards", "quarantine", "done"):
        assert set(Folder(str(output)).names(place)) <= set(os.listdir(whole / place))


def check_documents(output: Path) -> None:
    """Each document is there exactly once, good or bad, and counted so."""
    receipts = receipts_of(output)
    assert list(receipts) == committer.SHARDS
    good = [doc_id for shard in receipts for doc_id in ids_of(output / f"shards/{shard}.parquet")]
    files = [output / name for receipt in receipts.values() for name in receipt.files if name.startswith("quarantine/")]
    bad = [json.loads(line)["doc_id"] for file in files for line in file.read_text().splitlines()]
    assert sorted(map(int, good + bad)) == list(range(len(committer.SHARDS) * committer.DOCUMENTS_PER_SHARD))
    assert bad
    assert sum(receipt.num_documents for receipt in receipts.values()) == len(good)
    assert sum(receipt.num_quarantined for receipt in receipts.values()) == len(bad)


def ids_of(shard: Path) -> list[str]:
    ids: list[str] = pq.read_table(shard, columns=["doc_id"])["doc_id"].to_pylist()
    return ids


def check_finished(output: Path, whole: Path) -> None:
    """All is there, and after the sweep that ends a job nothing else is."""
    check_what_can_be_seen(output, whole)
    check_documents(output)
    for place in ("shards", "quarantine", "done"):
        assert Folder(str(output)).names(place) == sorted(os.listdir(whole / place))
        Folder(str(output)).sweep(place)
        assert sorted(os.listdir(output / place)) == sorted(os.listdir(whole / place))
    assert content_of(output) == content_of(whole)


@pytest.mark.slow
def test_shards_of_processes_killed_at_200_random_moments_are_those_of_an_undisturbed_run(
    tmp_path: Path, program: Committer, scratch: Path, whole: Path
) -> None:
    killed, of_whole, draw = tmp_path / "killed", traces(whole), random.Random(5)
    longest = SHARDS_PER_LIFE * statistics.median(receipt.seconds for receipt in receipts_of(whole).values())
    hit: Counter[str] = Counter()
    num_kills = 0
    while num_kills < KILLS:
        before = traces(tmp_path)
        status = program.run(killed, draw.uniform(0, longest))
        check_what_can_be_seen(killed, whole)
        if status == 0:
            check_finished(killed, whole)
            shutil.rmtree(killed)
            continue
        assert status == -signal.SIGKILL
        num_kills += 1
        found = interrupted(before, traces(tmp_path), of_whole)
        hit.update(found)
        hit["anything"] += bool(found)
    assert program.run(killed) == 0
    check_finished(killed, whole)
    # Kills that hit nothing would prove nothing.
    assert hit["anything"] >= KILLS // 5
    assert min(hit[WRITTEN], hit[PUBLISHED], hit[UNRECEIPTED]) >= KILLS // 40
