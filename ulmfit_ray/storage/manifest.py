"""The manifest: written last, asked for by every reader.

A directory without `manifest.json` is unfinished work; readers refuse it and say how to finish it.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ulmfit_ray.storage.checkpoints import newest_checkpoint
from ulmfit_ray.storage.folder import Folder, scratch_directory
from ulmfit_ray.storage.plan import read_plan
from ulmfit_ray.storage.receipts import Receipt, add_up, num_missing, read_receipts

FORMAT_VERSION = 1
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


def write_dataset_manifest(
    folder: Folder, job: str, receipts: Sequence[Receipt], extension: str, facts: dict[str, Any]
) -> dict[str, Any]:
    """Write shards.parquet and then manifest.json for a data set whose receipts are all there."""
    receipts = sorted(receipts, key=lambda receipt: receipt.shard)
    rows = [
        {name: getattr(receipt, name) for name in SHARDS_SCHEMA.names[:6]}
        | {"file": (file := f"shards/{receipt.shard}.{extension}"), "sha256": receipt.files[file]}
        for receipt in receipts
    ]
    with scratch_directory() as scratch:
        pq.write_table(pa.Table.from_pylist(rows, schema=SHARDS_SCHEMA), scratch / "shards.parquet")
        folder.publish(scratch / "shards.parquet", "shards.parquet")
    facts = add_up(receipts) | {"plan": receipts[0].plan if receipts else None} | facts
    files = {"shards.parquet": folder.sha256("shards.parquet")}
    return write_manifest(folder, job, facts, files)


def write_manifest(folder: Folder, job: str, facts: dict[str, Any], files: dict[str, str]) -> dict[str, Any]:
    """Write manifest.json: the output is complete from this moment on."""
    manifest = {"format_version": FORMAT_VERSION, "job": job, **facts, "files": files}
    folder.publish_json(manifest, "manifest.json")
    return manifest


def read_manifest(folder: Folder, jobs: Iterable[str] = ()) -> dict[str, Any]:
    """Return the manifest of a finished output of one of `jobs` (of any job if none is named).

    Raises:
        FileNotFoundError: there is no such directory, or nothing of ours in it.
        IncompleteDatasetError: its job has not finished; the message says what is missing and what to run.
        ValueError: it is the output of another job, or of a newer version.
    """
    if not folder.exists("manifest.json"):
        if not folder.exists("config.json") or "verb" not in folder.read_json("config.json").get("job", {}):
            raise FileNotFoundError(f"{folder.uri} is not an output of ulmfit-ray: it has no manifest.json")
        raise IncompleteDatasetError(_what_is_missing(folder))
    manifest: dict[str, Any] = folder.read_json("manifest.json")
    if manifest["format_version"] > FORMAT_VERSION:
        raise ValueError(f"{folder.uri} was written by a newer version of ulmfit-ray: upgrade")
    jobs = list(jobs)
    if jobs and manifest["job"] not in jobs:
        raise ValueError(f"{folder.uri} is an output of `{manifest['job']}`; needed is one of `{'`, `'.join(jobs)}`")
    return manifest


def _what_is_missing(folder: Folder) -> str:
    config = folder.read_json("config.json")["job"]
    plan = read_plan(folder)
    state = "nothing is planned yet"
    if plan is not None:
        missing, total = num_missing(plan, read_receipts(folder, plan.fingerprint))
        state = f"{total - missing:,} of {total:,} units done, {missing:,} missing"
    elif folder.exists("checkpoints"):
        newest = newest_checkpoint(folder)
        state = f"its newest checkpoint is of step {newest[1]['step']:,}" if newest else "no checkpoint yet"
    return (
        f"{folder.uri} has no manifest.json: its {config['verb']} job has not finished ({state}).\n"
        f"    Run the same command again to finish it: {config['command']}"
    )


def read_shards(folder: Folder) -> list[dict[str, Any]]:
    """Return the rows of shards.parquet, in the order of the shards."""
    with folder.filesystem.open_input_file(folder.path("shards.parquet")) as source:
        rows: list[dict[str, Any]] = pq.read_table(source).to_pylist()
    return rows
