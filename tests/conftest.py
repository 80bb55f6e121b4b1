"""What tests of several rooms share. Imports neither torch nor Ray, so that a light test stays light."""

import gzip
import json
import os
import secrets
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

# Tiny matrices are no work for two threads that wait for each other on a busy machine. Read when torch is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No session of a test is anybody's but its own: read when Ray is loaded.
os.environ.pop("RAY_ADDRESS", None)
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
# For classifiers.py, command_line.py, event_files.py, hostile.py, job_config.py, map_pages.py, outputs.py, s3.py,
# trap_texts.py, untrained.py.
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import pyarrow as pa
import pytest
from command_line import Command, Outcome

from ulmfit_ray.cli import main
from ulmfit_ray.storage import insistence, remote
from ulmfit_ray.storage.commit import commit_shard
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.job_record import JobRecord
from ulmfit_ray.storage.manifest import Manifest, write_dataset_manifest
from ulmfit_ray.storage.plan import unit_stem
from ulmfit_ray.storage.receipts import Receipt
from ulmfit_ray.storage.token_dataset import FIELD_COLUMNS, TokenDataset, token_schema, write_arrow

if TYPE_CHECKING:
    from s3 import Proxy

SCIFACT = Path(__file__).parents[1] / "jobs/sample/scifact"
NUM_ABSTRACTS = 200
Fields = Sequence[Sequence[int]]
MakeTokenDataset = Callable[..., TokenDataset]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(str(tmp_path / "output"))


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Return a function that runs a command line in `tmp_path`; a session of Ray would end it with another status."""
    import ray

    def refuse(*arguments: object, **options: object) -> NoReturn:
        raise AssertionError("Ray was started")

    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Outcome:
        try:
            status = main(arguments)
        except SystemExit as ended:
            status = int(ended.code or 0)
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Proxy"]:
    """An object store behind a proxy; s3:// URIs lead there from here on, in this process and those it starts."""
    # moto takes half a second to import.
    import s3

    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch, s3.running() as endpoint:
        proxy = s3.Proxy(endpoint)
        for name, value in (s3.variables(proxy.endpoint) | {"ULMFIT_RAY_CACHE": str(cache)}).items():
            patch.setenv(name, value)
        yield proxy
        proxy.close()


@pytest.fixture
def proxy(store: "Proxy") -> Iterator["Proxy"]:
    """The proxy on the way to each bucket, which has seen no request yet and has no faults afterwards."""
    store.begin_anew()
    yield store
    store.begin_anew()


@pytest.fixture
def bucket(store: "Proxy") -> str:
    """URI of a new bucket."""
    import s3

    name = f"test-{uuid.uuid4().hex}"
    s3.client(store.target).create_bucket(Bucket=name)
    return f"s3://{name}"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what a store does not answer be asked again for a tenth of a second only."""
    monkeypatch.setattr(insistence, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(insistence, "FIRST_PAUSE_SECONDS", 0.03)
    monkeypatch.setattr(remote, "PART_RETRIES", 1)


@pytest.fixture
def make_token_dataset(tmp_path: Path) -> MakeTokenDataset:
    """Return a function that writes a finished token dataset.

    `shards` has for each shard (document id, token ids of each field); a document is xxbos (2) and its fields. `kept`
    has for each shard the values of a kept column `label`.
    """

    def make(
        shards: Sequence[Sequence[tuple[str, Fields]]],
        text_columns: Sequence[str] = ("text",),
        token_id_type: pa.DataType | None = None,
        name: str = "tokens",
        kept: Sequence[pa.Array] = (),
    ) -> TokenDataset:
        folder = Folder(str(tmp_path / name))
        labels = [pa.field("label", kept[0].type)] if kept else []
        schema = token_schema(len(text_columns), labels, token_id_type or pa.uint16(), {"vocab": "v" * 64})
        job = JobRecord("tokenize", "ulmfit-ray tokenize", {"text_columns": list(text_columns)}, {})
        folder.publish_json({"job": job.to_json()}, "config.json")
        receipts = []
        for number, documents in enumerate(shards):
            stem = unit_stem(number)
            tokens, starts, ends = [], [], []
            for _, fields in documents:
                sizes = np.cumsum([1, *map(len, fields)])
                starts.append(sizes[:-1].tolist())
                ends.append(sizes[1:].tolist())
                tokens.append(np.array([2, *(token_id for field in fields for token_id in field)], np.uint32))
            arrays: list[Any] = [
                pa.array([doc_id for doc_id, _ in documents], pa.string()),
                pa.array(tokens, pa.list_(token_id_type or pa.uint16())),
            ]
            if FIELD_COLUMNS[0] in schema.names:
                arrays += [pa.array(places, pa.list_(pa.uint32())) for places in (starts, ends)]
            arrays += [kept[number]] if kept else []
            receipt = Receipt(plan="p", shard=stem, num_documents=len(documents), num_tokens=sum(map(len, tokens)))
            files = {f"shards/{stem}.arrow": partial(write_arrow, pa.table(arrays, schema=schema))}
            receipts.append(commit_shard(folder, receipt, files, began=time.monotonic()))
        manifest = Manifest(job="tokenize", vocab="v" * 64, tokenizer="t" * 64, plan="p", files={})
        write_dataset_manifest(folder, receipts, "arrow", manifest)
        return TokenDataset(folder.uri)

    return make


@pytest.fixture(scope="session")
def abstracts() -> list[dict[str, str]]:
    """200 real abstracts of all lengths, the shortest and the longest of the sample among them."""
    with gzip.open(SCIFACT / "corpus.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    rows.sort(key=lambda row: len(row["text"]))
    step = (len(rows) - 1) / (NUM_ABSTRACTS - 1)
    chosen = [rows[round(number * step)] for number in range(NUM_ABSTRACTS)]
    return [{name: row[name] for name in ("_id", "title", "text")} for row in chosen]
