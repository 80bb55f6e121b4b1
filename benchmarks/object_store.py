"""Requests that a tokenize job makes to an object store for each shard, and how fast receipts are read.

    python benchmarks/object_store.py --output benchmarks/results/object_store.json

Both phases of 20 shards of the sample run in this process, into a bucket of moto's server, behind a proxy that counts.
"plain" is the same job through `FileSystem.from_uri` and pyarrow's calls as one would write them first: `copy_files`
and a look at the size, a question whether a file is there and then its content. Receipts are read from a local disk
(160,000 of them, a 10 TB corpus) and from a bucket (4,000) whose every answer takes 25 ms. The proxy keeps answers, so
that moto, a Python program, is not what is measured; the figure for 160,000 is the rate times 160,000.
"""

import argparse
import gzip
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.fs
from reporting import report
from rich.console import Console
from rich.table import Table

# For s3.py.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import s3
from s3 import Answer, Proxy

from ulmfit_ray.corpus.columns import Columns
from ulmfit_ray.corpus.formats.options import ReadingOptions
from ulmfit_ray.corpus.units import CorpusFacts, Piece, Unit
from ulmfit_ray.pipelines.attempts import Phase, attempt
from ulmfit_ray.pipelines.tokenize.token_shards import WORK_RECEIPTS, TokenizeJob, numericalize_shard, tokenize_shard
from ulmfit_ray.pipelines.tokenize.vocabulary import count_types
from ulmfit_ray.storage import folder as folder_module
from ulmfit_ray.storage.folder import Folder, to_json_bytes
from ulmfit_ray.storage.receipts import READING_THREADS, Receipt, read_receipts
from ulmfit_ray.text.tokenizers.kinds import TokenizerSettings, make_tokenizer

SAMPLE = Path(__file__).parents[1] / "jobs/sample/scifact/corpus.jsonl.gz"
NUM_SHARDS, NUM_LOCAL, NUM_STORED = 20, 160_000, 4_000
LATENCY_SECONDS = 0.025
KINDS = ("HEAD", "GET", "LIST", "PUT", "POST", "DELETE")


class PlainFolder:
    """Methods of Folder as one would write them first."""

    @staticmethod
    def publish(folder: Folder, local_file: Path, name: str) -> None:
        pyarrow.fs.copy_files(str(local_file), folder.path(name), destination_filesystem=folder.filesystem)
        assert folder.size(name) == local_file.stat().st_size

    @staticmethod
    def find_json(folder: Folder, name: str) -> Any:
        return folder.read_json(name) if folder.exists(name) else None

    @staticmethod
    def open(folder: Folder, name: str) -> pa.NativeFile:
        return folder.filesystem.open_input_file(folder.path(name))

    @staticmethod
    def delete_file(folder: Folder, name: str) -> None:
        folder.delete(name)


@contextmanager
def plainly() -> Iterator[None]:
    """Let all folders be plain ones."""
    names = [name for name in vars(PlainFolder) if not name.startswith("_")]
    plain = {name: getattr(PlainFolder, name) for name in names}
    with (
        mock.patch.multiple(Folder, **plain),
        mock.patch.object(folder_module, "file_system", pyarrow.fs.FileSystem.from_uri),
    ):
        yield


def kind_of(request: str) -> str:
    return "LIST" if "list-type=" in request else request.partition(" ")[0]


def write_units(place: str) -> list[Unit]:
    """Write the sample in so many files as there are to be shards."""
    with gzip.open(SAMPLE, "rt", encoding="utf-8") as lines:
        rows = list(lines)
    units = []
    for number in range(NUM_SHARDS):
        path = Path(place, f"{number}.jsonl")
        path.write_text("".join(rows[number::NUM_SHARDS]), encoding="utf-8")
        units.append(Unit(number, (Piece(str(path), path.name, 0, path.stat().st_size),)))
    return units


def requests_per_shard(proxy: Proxy, units: list[Unit], output: str) -> dict[str, float]:
    """Make all shards, read the receipts as a restart does; return how many requests of each kind that took."""
    settings = TokenizerSettings()
    facts = CorpusFacts(
        format="jsonl",
        options=ReadingOptions(),
        columns=Columns(),
        num_files=NUM_SHARDS,
        num_bytes=0,
        text_bytes=0,
        unit_bytes=1 << 20,
    )
    fingerprint = make_tokenizer(settings).fingerprint
    job = TokenizeJob(output=output, plan="p", corpus=facts, settings=settings, tokenizer_fingerprint=fingerprint)
    folder = Folder(output)
    proxy.begin_anew()
    first = Phase(job="tokenize", stage="1 tokenize", output=output, plan="p", where=WORK_RECEIPTS)
    for unit in units:
        outcome = attempt(first, unit.stem, partial(tokenize_shard, job, unit, None, unit.stem))
        assert outcome.receipt is not None, outcome.problem
    counted = read_receipts(folder, "p", WORK_RECEIPTS)
    vocab = count_types(folder, counted, max_vocab=60_000, min_freq=3).vocab
    folder.publish_json(vocab.to_json(), "vocab.json")
    last = replace(first, stage="3 numericalize", where="done")
    for unit in units:
        outcome = attempt(last, unit.stem, partial(numericalize_shard, job, vocab.fingerprint, unit.stem))
        assert outcome.receipt is not None, outcome.problem
    assert len(read_receipts(folder, "p")) == NUM_SHARDS
    kinds = Counter(kind_of(line) for line in proxy.requests if "part-" in line)
    found = {kind: round(kinds[kind] / NUM_SHARDS, 2) for kind in KINDS}
    return found | {"all": round(kinds.total() / NUM_SHARDS, 2)}


def receipt(number: int) -> bytes:
    """Return a receipt of the usual size."""
    shard = f"part-{number:07d}"
    files = {f"quarantine/{shard}.jsonl": "0" * 64, f"shards/{shard}.arrow": "1" * 64}
    counts = {"num_documents": 12_345, "num_tokens": 13_000_000, "num_bytes": 1 << 26, "seconds": 61.5}
    return to_json_bytes(asdict(Receipt(plan="p", shard=shard, quarantined={"null text": 3}, files=files, **counts)))  # type: ignore[arg-type]


def local_seconds(place: str) -> float:
    """Return how long it takes to read 160,000 receipts from a local disk."""
    Path(place, "done").mkdir()
    for number in range(NUM_LOCAL):
        Path(place, f"done/part-{number:07d}.json").write_bytes(receipt(number))
    began = time.perf_counter()
    assert len(read_receipts(Folder(place), "p")) == NUM_LOCAL
    return time.perf_counter() - began


class KeepingProxy(Proxy):
    """A proxy that asks the endpoint once for each answer."""

    _kept: dict[tuple[str, str], Answer]

    def forward(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Return the answer of the first time."""
        kept = self.__dict__.setdefault("_kept", {})
        if (method, path) not in kept:
            kept[method, path] = super().forward(method, path, headers, body)
        return kept[method, path]


def serve_receipts(endpoints: Any) -> None:
    """Run a store with 4,000 receipts in a process of its own; hand over its URL, and be slow from the second time."""
    with s3.running() as endpoint:
        client = s3.client(endpoint)
        client.create_bucket(Bucket="receipts")
        for number in range(NUM_STORED):
            client.put_object(Bucket="receipts", Key=f"done/part-{number:07d}.json", Body=receipt(number))
        proxy = KeepingProxy(endpoint)
        endpoints.put(proxy.endpoint)
        endpoints.get()
        proxy.latency_seconds = LATENCY_SECONDS
        endpoints.put("slow")
        time.sleep(3600)


def stored_seconds() -> float:
    """Return how long it takes to read 4,000 receipts from a store that answers after 25 ms."""
    processes = multiprocessing.get_context("spawn")
    endpoints: Any = processes.Queue()
    server = processes.Process(target=serve_receipts, args=(endpoints,), daemon=True)
    server.start()
    with mock.patch.dict(os.environ, s3.variables(endpoints.get())):
        folder = Folder("s3://receipts")
        read_receipts(folder, "p")
        endpoints.put("go")
        time.sleep(0.5)
        assert endpoints.get() == "slow"
        began = time.perf_counter()
        assert len(read_receipts(folder, "p")) == NUM_STORED
        seconds = time.perf_counter() - began
    server.terminate()
    return seconds


def main() -> None:
    """Count, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    with s3.running() as endpoint, tempfile.TemporaryDirectory() as place:
        proxy = Proxy(endpoint)
        s3.client(endpoint).create_bucket(Bucket="tokens")
        with mock.patch.dict(os.environ, s3.variables(proxy.endpoint)):
            units = write_units(place)
            with plainly():
                plain = requests_per_shard(proxy, units, "s3://tokens/plain")
            ours = requests_per_shard(proxy, units, "s3://tokens/ours")
        local = local_seconds(place)
    stored = stored_seconds()
    table = Table("requests per shard", *plain)
    table.add_row("plain", *map(str, plain.values()))
    table.add_row("ours", *map(str, ours.values()))
    Console(stderr=True).print(table)
    result = {
        "shards": NUM_SHARDS,
        "requests per shard": {"plain": plain, "ours": ours},
        "receipts": {
            "threads": READING_THREADS,
            "160,000 from a local disk, seconds": round(local, 1),
            "4,000 from a store that answers after 25 ms, seconds": round(stored, 2),
            "per second": round(NUM_STORED / stored),
            "160,000 at this rate, seconds": round(NUM_LOCAL * stored / NUM_STORED),
        },
    }
    report(result, options.output)


if __name__ == "__main__":
    main()
