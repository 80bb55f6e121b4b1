"""The manifest: written last, asked for by every reader.

A directory without `manifest.json` is unfinished work; readers refuse it and say how to finish it.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ulmfit_ray.storage.checkpoints import newest_checkpoint
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.job_record import find_job
from ulmfit_ray.storage.plan import read_plan
from ulmfit_ray.storage.receipts import Receipt, Receipts, pending_units, read_receipts
from ulmfit_ray.storage.rows import Rows
from ulmfit_ray.storage.scratch import scratch_directory

FORMAT_VERSION = 1
Figure = Any
"""A number, a word, or a table of them."""
SHARDS_SCHEMA = pa.schema(
    [
        ("shard", pa.string()),
        ("num_documents", pa.int64()),
        ("num_tokens", pa.int64()),
        ("num_quarantined", pa.int64()),
        ("num_bytes", pa.int64()),
        ("seconds", pa.float64()),
        ("file", pa.string()),
        ("sha256", pa.string()),
    ]
)


class IncompleteDatasetError(ValueError):
    """A directory whose job has not finished."""


@dataclass(frozen=True, slots=True)
class ShardRow:
    """One row of shards.parquet."""

    shard: str
    num_documents: int
    num_tokens: int
    num_quarantined: int
    num_bytes: int
    seconds: float
    file: str
    sha256: str


class ShardRows(Rows[ShardRow]):
    """The rows of shards.parquet in columns."""

    row_type = ShardRow
    schema = SHARDS_SCHEMA

    @classmethod
    def of_receipts(cls, receipts: Receipts, extension: str) -> "ShardRows":
        """Return the rows of finished shards."""
        columns = {name: receipts.table[name] for name in SHARDS_SCHEMA.names if name in receipts.table.column_names}
        columns["num_quarantined"] = receipts.num_quarantined()
        columns["file"], columns["sha256"] = receipts.shard_files()
        expected = pc.binary_join_element_wise(receipts.shards, extension, ".")
        assert columns["file"].equals(pc.binary_join_element_wise("shards", expected, "/")), "a shard has another name"
        return cls(pa.table({name: columns[name] for name in SHARDS_SCHEMA.names}, schema=SHARDS_SCHEMA))


@dataclass(frozen=True, kw_only=True, slots=True)
class Totals:
    """A data set's receipts added up."""

    num_shards: int
    num_documents: int
    num_tokens: int
    num_quarantined: int
    quarantined: dict[str, int]

    @classmethod
    def of(cls, receipts: Iterable[Receipt]) -> "Totals":
        """Add up receipts."""
        receipts = Receipts.of(receipts)
        quarantined = receipts.quarantined()
        return cls(
            num_shards=len(receipts),
            num_documents=receipts.total("num_documents"),
            num_tokens=receipts.total("num_tokens"),
            num_quarantined=quarantined.total(),
            quarantined={reason: quarantined[reason] for reason in sorted(quarantined)},
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What manifest.json says of a finished output; there the totals and figures are not nested, as they are here."""

    job: str
    vocab: str
    """Fingerprint of the vocabulary that token ids belong to."""
    tokenizer: str
    """Fingerprint of the tokenizer that cut the text."""
    files: dict[str, str]
    """SHA-256 of files that no receipt names."""
    plan: str | None = None
    """Of a data set: the fingerprint that its receipts carry."""
    model: str | None = None
    """Of embeddings and predictions: the fingerprint of the model that made them; of several joined by "+"."""
    pooling: str | None = None
    """Of embeddings: how outputs became vectors; "head": they are inputs of the last block of a classifier's head."""
    totals: Totals | None = None
    """Of a data set."""
    figures: dict[str, Figure] = field(default_factory=dict)
    """What the job measured: sizes, seconds, perplexity ..."""
    format_version: int = FORMAT_VERSION

    @property
    def counts(self) -> Totals:
        """Return the totals of a data set."""
        assert self.totals is not None, f"an output of {self.job} has no shards"
        return self.totals

    def to_json(self) -> dict[str, Any]:
        """Return the content of manifest.json."""
        content = asdict(self)
        totals, figures = content.pop("totals") or {}, content.pop("figures")
        return {name: value for name, value in content.items() if value is not None} | totals | figures

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Manifest":
        """Rebuild a manifest; what has no field of its own is a figure."""
        rest = dict(content)
        own = {item.name: rest.pop(item.name) for item in fields(cls) if item.name in rest}
        totals = None
        if "num_shards" in rest:
            totals = Totals(**{item.name: rest.pop(item.name) for item in fields(Totals)})
        return cls(**own, totals=totals, figures=rest)


def write_dataset_manifest(folder: Folder, receipts: Iterable[Receipt], extension: str, manifest: Manifest) -> Manifest:
    """Write shards.parquet and then the manifest, with totals, for a data set whose receipts are all there."""
    receipts = Receipts.of(receipts).sorted_by("shard")
    rows = ShardRows.of_receipts(receipts, extension)
    with scratch_directory() as scratch:
        pq.write_table(rows.table.combine_chunks(), scratch / "shards.parquet")
        folder.publish(scratch / "shards.parquet", "shards.parquet")
    files = {**manifest.files, "shards.parquet": folder.sha256("shards.parquet")}
    return write_manifest(folder, replace(manifest, totals=Totals.of(receipts), files=files))


def write_manifest(folder: Folder, manifest: Manifest) -> Manifest:
    """Write manifest.json: the output is complete from this moment on."""
    folder.publish_json(manifest.to_json(), "manifest.json")
    return manifest


def read_manifest(folder: Folder, jobs: Iterable[str] = ()) -> Manifest:
    """Return the manifest of a finished output of one of `jobs` (of any job if none is named).

    Raises:
        FileNotFoundError: there is no such directory, or nothing of ours in it.
        IncompleteDatasetError: its job has not finished; the message says what is missing and what to run.
        ValueError: it is the output of another job, or of a newer version.
    """
    if not folder.exists("manifest.json"):
        job = find_job(folder)
        if job is None:
            raise FileNotFoundError(f"{folder.uri} is not an output of ulmfit-ray: it has no manifest.json")
        raise IncompleteDatasetError(
            f"{folder.uri} has no manifest.json: its {job.verb} job has not finished ({_progress(folder)}).\n"
            f"    Run the same command again to finish it: {job.command}"
        )
    content = folder.read_json("manifest.json")
    if content["format_version"] > FORMAT_VERSION:
        raise ValueError(f"{folder.uri} was written by a newer version of ulmfit-ray: upgrade")
    jobs = list(jobs)
    if jobs and content["job"] not in jobs:
        raise ValueError(f"{folder.uri} is an output of `{content['job']}`; needed is one of `{'`, `'.join(jobs)}`")
    missing = [name for name in ("vocab", "tokenizer", "files") if name not in content]
    if missing:
        raise ValueError(f"{folder.uri}/manifest.json is damaged: it has no {', '.join(missing)}")
    return Manifest.from_json(content)


def _progress(folder: Folder) -> str:
    """Return how far an unfinished job has come."""
    plan = read_plan(folder)
    if plan is not None:
        total, missing = len(plan.units), len(pending_units(plan.units, read_receipts(folder, plan.fingerprint)))
        return f"{total - missing:,} of {total:,} units done, {missing:,} missing"
    if folder.exists("checkpoints"):
        newest = newest_checkpoint(folder)
        return f"its newest checkpoint is of step {newest.step:,}" if newest else "no checkpoint yet"
    return "nothing is planned yet"


def read_shards(folder: Folder) -> ShardRows:
    """Return the rows of shards.parquet, in the order of the shards."""
    with folder.filesystem.open_input_file(folder.path("shards.parquet")) as source:
        return ShardRows(pq.read_table(source))


def shards_fingerprint(rows: ShardRows) -> str:
    """Return the SHA-256 over the SHA-256 of all shards: equal shards give an equal fingerprint."""
    return hashlib.sha256("".join(rows.table["sha256"].to_pylist()).encode()).hexdigest()
