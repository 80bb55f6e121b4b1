"""Recount and re-hash everything that a directory claims."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pyarrow.parquet as pq
import tyro

from ulmfit_ray.config import Run
from ulmfit_ray.reporting.progress import Bar, print_summary
from ulmfit_ray.storage.embedding_dataset import vectors_of
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.manifest import read_manifest, read_shards
from ulmfit_ray.storage.plan import read_plan
from ulmfit_ray.storage.receipts import Receipt, read_receipts
from ulmfit_ray.storage.token_dataset import TokenDataset, flat_tokens
from ulmfit_ray.text.vocab import Vocab


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyConfig(Run):
    """Check a finished token dataset, model or embedding dataset against its manifest and receipts."""

    input: Annotated[str, tyro.conf.Positional]
    """The directory."""


class DamagedError(RuntimeError):
    """What a directory holds is not what it claims."""


def run(config: VerifyConfig) -> dict[str, Any]:
    """Check everything, print what was found, and raise DamagedError if anything disagrees."""
    folder = Folder(config.input)
    manifest = read_manifest(folder)
    problems = list(_changed_files(folder, manifest["files"]))
    if "num_shards" in manifest:
        found, shard_problems = _check_shards(folder, manifest)
        problems += shard_problems
    else:
        found = {"files": len(manifest["files"])}
    has_vocab = folder.exists("vocab.json")
    if has_vocab and Vocab.from_json(folder.read_json("vocab.json")).fingerprint != manifest["vocab"]:
        problems.append("vocab.json does not have the fingerprint that the manifest names")
    if problems:
        shown = "\n".join(f"    {problem}" for problem in problems[:20])
        raise DamagedError(f"{folder.uri} is damaged: {len(problems)} problems\n{shown}")
    print_summary(f"{manifest['job']}: everything agrees", found | {"output": folder.uri})
    return found


def _changed_files(folder: Folder, files: dict[str, str]) -> Iterator[str]:
    for name, digest in files.items():
        if not folder.exists(name):
            yield f"{name} is missing"
        elif folder.sha256(name) != digest:
            yield f"{name} has changed: its SHA-256 is not the recorded one"


def _check_shards(folder: Folder, manifest: dict[str, Any]) -> tuple[dict[str, int], list[str]]:
    """Hash and recount every shard; compare receipts, shards.parquet and manifest with what is there."""
    problems = []
    plan = read_plan(folder)
    receipts = read_receipts(folder, manifest["plan"])
    rows = read_shards(folder)
    if plan is None or plan.fingerprint != manifest["plan"]:
        problems.append("plan.json is not the one that the manifest was made with")
    if set(receipts) != {row["shard"] for row in rows}:
        problems.append("receipts and shards.parquet name different shards")
    totals = {"num_documents": 0, "num_tokens": 0, "num_quarantined": 0}
    seen: dict[str, int] = {}
    with Bar("verify", len(rows), "shards") as bar:
        for row in rows:
            receipt = receipts.get(row["shard"])
            problems += _changed_files(folder, receipt.files if receipt else {row["file"]: row["sha256"]})
            if receipt and not problems:
                found, shard_problems = _recount(folder, manifest, receipt, row["file"], seen)
                problems += shard_problems
                totals = {name: totals[name] + found[name] for name in totals}
            bar.advance(1)
    if not problems:
        problems += [
            f"the manifest says {name} {manifest[name]:,}, counted {total:,}"
            for name, total in totals.items()
            if manifest[name] != total
        ]
    equal_ids = sum(count - 1 for count in seen.values())
    return {"shards": len(rows)} | totals | {"equal document ids": equal_ids}, problems


def _recount(
    folder: Folder, manifest: dict[str, Any], receipt: Receipt, file: str, seen: dict[str, int]
) -> tuple[dict[str, int], list[str]]:
    """Count one shard's documents and tokens, its quarantine's lines, and check that its values can be."""
    problems = []
    if manifest["job"] == "tokenize":
        table = TokenDataset(folder.uri).read(receipt.shard)
        values, _ = flat_tokens(table["tokens"])
        num_tokens = len(values)
        if len(values) and int(values.max()) >= manifest["vocab_size"]:
            problems.append(f"{file} holds ids beyond the vocabulary")
    else:
        with folder.filesystem.open_input_file(folder.path(file)) as source:
            table = pq.read_table(source)
        num_tokens = int(np.sum(table["num_tokens"].to_numpy()))
        if not np.isfinite(vectors_of(table)).all():
            problems.append(f"{file} holds vectors that are not finite")
    quarantine = f"quarantine/{receipt.shard}.jsonl"
    num_quarantined = folder.read_bytes(quarantine).count(b"\n") if folder.exists(quarantine) else 0
    found = {"num_documents": table.num_rows, "num_tokens": num_tokens, "num_quarantined": num_quarantined}
    for name, count in found.items():
        if getattr(receipt, name) != count:
            problems.append(f"{file}: its receipt says {name} {getattr(receipt, name):,}, counted {count:,}")
    for doc_id in table["doc_id"].to_pylist():
        seen[doc_id] = seen.get(doc_id, 0) + 1
    return found, problems
