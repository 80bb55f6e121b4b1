"""The plan of an output: its units of work, with numbers that never change, and the fingerprint that receipts carry.

`plan.arrow` has the units: one or more rows for a unit of text (see corpus.units), or one row for each shard of the
data set that is read. `plan.json` has the facts and the hash of plan.arrow, and is written last: without it there is
no plan.
"""

import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc

from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.rows import Rows
from ulmfit_ray.storage.scratch import scratch_directory

PLAN_VERSION = 2


def unit_stem(number: int) -> str:
    """Return the name that everything made from unit `number` begins with."""
    return f"part-{number:07d}"


def shard_stem(unit: str, part: int) -> str:
    """Return the name of one shard of a streamed unit."""
    return f"{unit}-{part:05d}"


@dataclass(frozen=True, slots=True)
class PlannedUnit:
    """Work that is done and committed as one. A streamed unit becomes several shards, any other unit one."""

    stem: str
    is_streamed: bool
    first_row: int
    """Number of the unit's first row in plan.arrow."""
    num_rows: int


class PlannedUnits(Rows[PlannedUnit]):
    """Units in columns."""

    row_type = PlannedUnit
    schema = pa.schema(
        [("stem", pa.string()), ("is_streamed", pa.bool_()), ("first_row", pa.int64()), ("num_rows", pa.int64())]
    )

    @property
    def any_streamed(self) -> bool:
        """Tell whether one of them is streamed."""
        return bool(pc.any(self.table["is_streamed"]).as_py())

    def streamed(self, kind: bool) -> "PlannedUnits":
        """Return those that are streamed, or those that are not."""
        return self.filter(pc.equal(self.table["is_streamed"], kind))

    def without(self, stems: Iterable[str]) -> "PlannedUnits":
        """Return the other units than these."""
        return self.filter(pc.invert(pc.is_in(self.table["stem"], value_set=pa.array(stems, pa.string()))))


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanFacts:
    """What plan.json says."""

    identity: dict[str, Any]
    """The fields of the config that change the result, and the fingerprints of the inputs."""
    num_units: int
    fingerprint: str
    """SHA-256 of the identity and of plan.arrow."""
    plan_arrow_sha256: str
    run_id: str
    planned_at: str
    corpus: dict[str, Any] | None = None
    """Of a plan made from text: see corpus.units.CorpusFacts."""
    format_version: int = PLAN_VERSION


@dataclass(frozen=True)
class Plan:
    """The facts of plan.json and the rows of plan.arrow."""

    facts: PlanFacts
    table: pa.Table

    @property
    def fingerprint(self) -> str:
        """Return what every receipt of this plan carries."""
        return self.facts.fingerprint

    @cached_property
    def units(self) -> PlannedUnits:
        """The units in order."""
        return planned_units(self.table)

    def rows(self, unit: PlannedUnit) -> pa.Table:
        """Return the rows of plan.arrow that are one unit."""
        return self.table.slice(unit.first_row, unit.num_rows)


def planned_units(table: pa.Table) -> PlannedUnits:
    """Return the units of a plan's rows, made from text (column "unit") or from other shards (column "shard")."""
    if "shard" in table.schema.names:
        return whole_units(table["shard"])
    numbers = table["unit"].to_numpy()
    first_rows = np.flatnonzero(np.diff(numbers, prepend=-1))
    columns = {
        "stem": pa.array(map(unit_stem, numbers[first_rows].tolist()), pa.string(), size=len(first_rows)),
        "is_streamed": table["streamed"].take(pa.array(first_rows)),
        "first_row": first_rows,
        "num_rows": np.diff(first_rows, append=len(numbers)),
    }
    return PlannedUnits(pa.table(columns, schema=PlannedUnits.schema))


def whole_units(shards: Iterable[str] | pa.ChunkedArray) -> PlannedUnits:
    """Return a unit for each shard of another data set, or of an earlier phase: its shard has the same name."""
    stems = shards if isinstance(shards, pa.ChunkedArray) else pa.chunked_array([list(shards)], pa.string())
    rows = np.arange(len(stems))
    columns = {
        "stem": stems,
        "is_streamed": pa.array(np.zeros(len(stems), bool)),
        "first_row": rows,
        "num_rows": np.ones_like(rows),
    }
    return PlannedUnits(pa.table(columns, schema=PlannedUnits.schema))


def write_plan(
    folder: Folder, table: pa.Table, *, identity: Mapping[str, Any], corpus: dict[str, Any] | None = None
) -> Plan:
    """Write plan.arrow, then plan.json with its hash.

    Raises:
        FileExistsError: another job is planning the same output at this moment.
    """
    with scratch_directory() as scratch:
        with pa.ipc.new_file(scratch / "plan.arrow", table.schema) as writer:
            writer.write_table(table)
        folder.publish(scratch / "plan.arrow", "plan.arrow")
    plan_hash = folder.sha256("plan.arrow")
    facts = PlanFacts(
        identity=dict(identity),
        num_units=len(planned_units(table)),
        fingerprint=hashlib.sha256((json.dumps(identity, sort_keys=True) + plan_hash).encode()).hexdigest(),
        plan_arrow_sha256=plan_hash,
        run_id=secrets.token_hex(8),
        planned_at=datetime.now(UTC).isoformat(timespec="seconds"),
        corpus=corpus,
    )
    folder.create_json(asdict(facts), "plan.json")
    return Plan(facts, table)


def read_plan(folder: Folder) -> Plan | None:
    """Return the plan, or None when there is none yet.

    Raises:
        ValueError: plan.arrow is not the one that plan.json was written for, or another version wrote them.
    """
    if not folder.exists("plan.json"):
        return None
    content = folder.read_json("plan.json")
    if content.get("format_version") != PLAN_VERSION:
        raise ValueError(f"{folder.uri} was planned by another version of ulmfit-ray: use that one, or --overwrite")
    facts = PlanFacts(**content)
    if folder.sha256("plan.arrow") != facts.plan_arrow_sha256:
        raise ValueError(f"{folder.uri}/plan.arrow is damaged: start afresh with --overwrite")
    with folder.open("plan.arrow") as source:
        return Plan(facts, pa.ipc.open_file(source).read_all())
