"""Memory of the `tokenize` job: the peak of its driver and of its workers, on a small corpus and on a large one.

    python benchmarks/tokenize_memory.py --input ../shared/data/imdb/*.csv.gz [--megabytes 200 2000] [--num-cpus 2 1]

The corpora are the reviews again and again, each time with other ids and their words in another order, in one file
that is compressed with zstd: it is read from the front, in constant memory. The types are synthetic, 20 million in 400
shards, for the phase that adds them up. A process's figure is the largest resident memory that it ever had (VmHWM of
/proc). A worker that has mapped all of Ray's object store, 1 GB that all processes of a node share, has that in it too;
"of its own" is without it (RssAnon, looked at five times a second). Only on Linux.
"""

import argparse
import csv
import gzip
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import smart_open
from reporting import report

from ulmfit_ray.pipelines.options import RayOptions
from ulmfit_ray.pipelines.runtime import ray_session
from ulmfit_ray.pipelines.tokenize.vocabulary import count_types
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.receipts import Receipt

POLL_SECONDS = 0.2
NUM_SHARDS = 400
COUNTS = (5, 1)
"""Occurrences of a synthetic type in the shard that knows it alone, and in one more shard."""


class Peaks(threading.Thread):
    """Watches a process and all its descendants, and keeps the largest memory of each, in MB, by what they are."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid, self._is_over = pid, threading.Event()
        self.of_process: dict[int, tuple[str, float, float]] = {}

    def run(self) -> None:
        """Poll until `end` is called."""
        while not self._is_over.wait(POLL_SECONDS):
            for pid in _descendants(self._pid):
                found = _memory(pid)
                if found is not None:
                    _, peak, own = self.of_process.get(pid, found)
                    self.of_process[pid] = found[0], max(peak, found[1]), max(own, found[2])

    def end(self) -> dict[str, float]:
        """Return the largest peaks of the driver and of a worker."""
        self._is_over.set()
        self.join()
        driver = self.of_process.pop(self._pid)[1]
        peaks = [(peak, own) for name, peak, own in self.of_process.values() if name.startswith("ray::")]
        worker, own = (round(max(values)) for values in zip(*peaks, strict=True))
        return {"driver": round(driver), "worker": worker, "worker's own": own}


def _descendants(pid: int) -> set[int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _memory(pid: int) -> tuple[str, float, float] | None:
    """Return a process's name, its largest resident memory and what is its own now, in MB; None if it has ended."""
    try:
        name = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    peak, own = (re.search(rf"{field}:\s+(\d+) kB", status) for field in ("VmHWM", "RssAnon"))
    return None if peak is None or own is None else (name, int(peak[1]) / 1000, int(own[1]) / 1000)


def write_corpus(path: Path, inputs: list[str], megabytes: int) -> None:
    """Write reviews with new ids and shuffled words until the text is so large."""
    csv.field_size_limit(sys.maxsize)
    words = []
    for name in inputs:
        with gzip.open(name, "rt", newline="") as reviews:
            words += [row["text"].split(" ") for row in csv.DictReader(reviews)]
    flat = np.array([word for text in words for word in text], object)
    owners = np.repeat(np.arange(len(words)), [len(text) for text in words])
    bounds = np.concatenate([[0], np.cumsum([len(text) for text in words])])
    random, written, number = np.random.default_rng(1), 0, 0
    with smart_open.open(path, "wb", compression=".zst") as file:
        while written < megabytes * 1_000_000:
            shuffled = flat[np.lexsort((random.random(len(flat)), owners))]
            lines = io.StringIO()
            writer = csv.writer(lines)
            if not number:
                writer.writerow(["id", "text"])
            for start, stop in pairwise(bounds):
                number += 1
                writer.writerow([f"synthetic-{number}", " ".join(shuffled[start:stop])])
                if number % 1000 == 0 and written + lines.tell() > megabytes * 1_000_000:
                    break
            written += file.write(lines.getvalue().encode())


def tokenize(path: Path, folder: Path, num_cpus: int) -> dict[str, float]:
    """Run the command and return the peaks of its processes, and its seconds."""
    command = [sys.executable, "-m", "ulmfit_ray.cli", "tokenize", "--input", str(path), "--id-column", "id"]
    began = time.perf_counter()
    process = subprocess.Popen([*command, "--ray.num-cpus", str(num_cpus), "--output", str(folder)])
    peaks = Peaks(process.pid)
    peaks.start()
    if process.wait():
        raise SystemExit("tokenize failed")
    return peaks.end() | {"seconds": round(time.perf_counter() - began)}


def write_types(folder: Folder, num_types: int) -> list[Receipt]:
    """Write the types of phase 1 for shards that share few of them, and return their receipts."""
    (Path(folder.root) / "work").mkdir(parents=True)
    per_shard = num_types // NUM_SHARDS
    receipts = []
    for shard in range(NUM_SHARDS):
        own = np.arange(shard * per_shard, (shard + 1) * per_shard)
        shared = (own[: per_shard // 10] + per_shard) % (per_shard * NUM_SHARDS)
        tokens = pa.array([f"type{number:x}" for number in np.concatenate([own, shared]).tolist()])
        counts = np.repeat(COUNTS, [len(own), len(shared)])
        table = pa.table({"token": tokens, "count": counts, "documents": np.ones(len(counts), np.int64)})
        name = f"part-{shard:07d}"
        pq.write_table(table, f"{folder.root}/work/{name}.types.parquet")
        receipts.append(Receipt(plan="", shard=name, num_documents=1, num_tokens=int(counts.sum())))
    return receipts


@contextmanager
def peaks_of(pid: int) -> Iterator[dict[str, float]]:
    """Give a dictionary that has the peaks once the block is left."""
    found: dict[str, float] = {}
    peaks = Peaks(pid)
    peaks.start()
    yield found
    found |= peaks.end()


def add_up_types(num_types: int, num_cpus: int) -> dict[str, float]:
    """Add up synthetic types as the job does, and return the peaks and the seconds."""
    with tempfile.TemporaryDirectory() as place:
        folder = Folder(place)
        receipts = write_types(folder, num_types)
        began = time.perf_counter()
        with peaks_of(os.getpid()) as peaks, ray_session(RayOptions(num_cpus=num_cpus)):
            counted = count_types(folder, receipts, max_vocab=60_000, min_freq=3)
        assert counted.num_types == num_types // NUM_SHARDS * NUM_SHARDS
        return peaks | {"seconds": round(time.perf_counter() - began)}


def main() -> None:
    """Measure one after another and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", nargs="+", required=True)
    parser.add_argument("--megabytes", nargs="+", type=int, default=[200, 2000])
    parser.add_argument("--types", type=int, default=20_000_000)
    parser.add_argument("--num-cpus", nargs="+", type=int, default=[2, 1])
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    result: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as place:
        for megabytes in options.megabytes:
            corpus = Path(place, f"{megabytes}.csv.zst")
            write_corpus(corpus, options.input, megabytes)
            for num_cpus in options.num_cpus:
                folder = Path(place, f"{megabytes}-{num_cpus}")
                result[f"{megabytes} MB of text, {num_cpus} cores"] = tokenize(corpus, folder, num_cpus)
                shutil.rmtree(folder)
            corpus.unlink()
    if options.types:
        # In a process of its own, whose peak is not that of the corpora.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            result[f"{options.types:,} types"] = pool.submit(add_up_types, options.types, options.num_cpus[0]).result()
    report(result, options.output)


if __name__ == "__main__":
    main()
