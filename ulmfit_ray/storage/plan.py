"""The plan: input files -> numbered units of work, cut by the input alone and never by the cluster.

A unit is a byte range of a large text file (it owns the lines that begin in it), a bundle of small files, or a
file that must be read from the front (compressed, or csv): such a file is streamed and cut into several shards.
Unit 17 always becomes shard `part-0000017` (or `part-0000017-00000`, `-00001`, ... when streamed), whoever
computes it and however often.
"""

import hashlib
import json
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.ipc

from ulmfit_ray.corpus.listing import InputFile
from ulmfit_ray.corpus.open_text import is_compressed
from ulmfit_ray.storage.folder import Folder, scratch_directory

MIN_UNIT_BYTES, MAX_UNIT_BYTES, UNITS_AIMED_AT = 1 << 20, 64 << 20, 64
TEXT_PLAN_SCHEMA = pa.schema(
    [
        ("unit", pa.int64()),
        ("path", pa.string()),
        ("name", pa.string()),
        ("start", pa.int64()),
        ("stop", pa.int64()),
        ("streamed", pa.bool_()),
        ("size", pa.int64()),
        ("modified", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes `start` to `stop` of one input file; `name` is what document ids begin with."""

    path: str
    name: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Unit:
    """Work that is done and committed as one; `streamed` units become several shards."""

    number: int
    pieces: tuple[Piece, ...]
    streamed: bool = False

    @property
    def stem(self) -> str:
        """Return the name that everything made from this unit begins with."""
        return f"part-{self.number:07d}"

    def shard_stem(self, part: int | None) -> str:
        """Return the name of one shard: the unit's own, or with the part's number when it is streamed."""
        return self.stem if part is None else f"{self.stem}-{part:05d}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What plan.json says, with the rows of plan.arrow."""

    facts: dict[str, Any]
    table: pa.Table

    @property
    def fingerprint(self) -> str:
        """Return the hash of the identity config and of plan.arrow, which every receipt carries."""
        return str(self.facts["fingerprint"])

    def shards(self) -> list[str]:
        """Return the shards of a plan made from another data set's shards, in order."""
        return [str(shard) for shard in self.table["shard"]]

    def units(self) -> Iterator[Unit]:
        """Yield the units of a plan made from text, in order."""
        for number, rows in groupby(self.table.to_pylist(), key=lambda row: row["unit"]):
            rows_of_unit = list(rows)
            pieces = tuple(Piece(row["path"], row["name"], row["start"], row["stop"]) for row in rows_of_unit)
            yield Unit(number, pieces, rows_of_unit[0]["streamed"])


def unit_bytes(files: Iterable[InputFile]) -> int:
    """Return the size of a unit: a 64th of the listed bytes, at least 1 MiB, at most 64 MiB."""
    return min(MAX_UNIT_BYTES, max(MIN_UNIT_BYTES, -(-sum(file.size for file in files) // UNITS_AIMED_AT)))


def cut_into_units(files: Sequence[InputFile], file_format: str) -> Iterator[Unit]:
    """Yield the units of the files, in their order."""
    size = unit_bytes(files)
    number = 0
    bundle: list[Piece] = []
    bundle_bytes = 0
    for file in files:
        whole = Piece(file.path, file.name, 0, file.size)
        if file_format == "txt":
            bundle.append(whole)
            bundle_bytes += file.size
            if bundle_bytes >= size:
                yield Unit(number, tuple(bundle))
                number, bundle, bundle_bytes = number + 1, [], 0
        elif file_format == "csv" or is_compressed(file.path):
            yield Unit(number, (whole,), streamed=True)
            number += 1
        else:
            for start in range(0, max(file.size, 1), size):
                yield Unit(number, (Piece(file.path, file.name, start, min(start + size, file.size)),))
                number += 1
    if bundle:
        yield Unit(number, tuple(bundle))


def text_plan_table(units: Iterable[Unit], files: Sequence[InputFile]) -> pa.Table:
    """Return the rows of plan.arrow for units of text: one for each piece."""
    by_path = {file.path: file for file in files}
    rows = [
        {
            "unit": unit.number,
            "path": piece.path,
            "name": piece.name,
            "start": piece.start,
            "stop": piece.stop,
            "streamed": unit.streamed,
            "size": by_path[piece.path].size,
            "modified": by_path[piece.path].modified,
        }
        for unit in units
        for piece in unit.pieces
    ]
    return pa.Table.from_pylist(rows, schema=TEXT_PLAN_SCHEMA)


def write_plan(folder: Folder, table: pa.Table, facts: dict[str, Any]) -> Plan:
    """Write plan.arrow, then plan.json with its hash; `facts` must hold "identity", the config's fields that matter.

    Raises:
        FileExistsError: another job is planning the same output at this moment.
    """
    with scratch_directory() as scratch:
        with pa.ipc.new_file(scratch / "plan.arrow", table.schema) as writer:
            writer.write_table(table)
        folder.publish(scratch / "plan.arrow", "plan.arrow")
    plan_hash = folder.sha256("plan.arrow")
    identity = json.dumps(facts["identity"], sort_keys=True)
    facts = facts | {
        "format_version": 1,
        "fingerprint": hashlib.sha256((identity + plan_hash).encode()).hexdigest(),
        "plan_arrow_sha256": plan_hash,
        "run_id": secrets.token_hex(8),
        "planned_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    folder.create_json(facts, "plan.json")
    return Plan(facts, table)


def read_plan(folder: Folder) -> Plan | None:
    """Return the plan, or None when there is none yet.

    Raises:
        ValueError: plan.arrow is not the one that plan.json was written for.
    """
    if not folder.exists("plan.json"):
        return None
    facts = folder.read_json("plan.json")
    if folder.sha256("plan.arrow") != facts["plan_arrow_sha256"]:
        raise ValueError(f"{folder.uri}/plan.arrow is damaged: start afresh with --overwrite")
    with folder.open("plan.arrow") as source:
        return Plan(facts, pa.ipc.open_file(source).read_all())


def check_inputs(plan: Plan, files: Sequence[InputFile]) -> list[str]:
    """Return the names of input files added since the plan was made; they stay out.

    Raises:
        ValueError: a planned file is gone or has changed.
    """
    planned = {row["path"]: (row["size"], row["modified"]) for row in plan.table.to_pylist()}
    now = {file.path: (file.size, file.modified) for file in files}
    for path, facts in planned.items():
        if now.get(path) != facts:
            what = "has changed" if path in now else "is gone"
            raise ValueError(f"input {path} {what} since the plan was made: put it back, or use --overwrite")
    return sorted(set(now) - set(planned))
