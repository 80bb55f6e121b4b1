"""Receipts: what says that a shard is done. A shard without one, or with another plan's, is not.

The order of a commit is: quarantine file (or none), shard, receipt. The manifest is the receipts added up, so
nothing is known to the driver alone.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.plan import Plan, Unit


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """Facts of one finished shard; `files` maps each file's name to its SHA-256."""

    plan: str
    shard: str
    num_documents: int
    num_tokens: int
    quarantined: dict[str, int] = field(default_factory=dict)
    num_bytes: int = 0
    seconds: float = 0.0
    last: bool | None = None
    """Of a streamed file's shards only: whether this is the file's last one."""
    files: dict[str, str] = field(default_factory=dict)

    @property
    def num_quarantined(self) -> int:
        """Return how many documents could not be read, for whatever reason."""
        return sum(self.quarantined.values())

    def commit(self, folder: Folder, where: str = "done") -> None:
        """Publish the receipt as `where`/<shard>.json: the shard counts from this moment on."""
        folder.publish_json(asdict(self), f"{where}/{self.shard}.json")


def read_receipts(folder: Folder, plan_fingerprint: str, where: str = "done") -> dict[str, Receipt]:
    """Return the receipts of this plan by shard; another plan's are as good as none."""
    receipts = {}
    for name in folder.names(where):
        receipt = Receipt(**folder.read_json(f"{where}/{name}"))
        if receipt.plan == plan_fingerprint:
            receipts[receipt.shard] = receipt
    return receipts


def shards_of(unit: Unit, receipts: dict[str, Receipt]) -> list[str] | None:
    """Return all shards of a unit when it is complete, else None.

    How many shards a streamed file has is unknown until the receipt of its last one is there.
    """
    if not unit.streamed:
        return [unit.stem] if unit.stem in receipts else None
    shards: list[str] = []
    while (stem := unit.shard_stem(len(shards))) in receipts:
        shards.append(stem)
        if receipts[stem].last:
            return shards
    return None


def pending_units(units: Iterable[Unit], receipts: dict[str, Receipt]) -> list[Unit]:
    """Return the units with a shard still to be made."""
    return [unit for unit in units if shards_of(unit, receipts) is None]


def num_missing(plan: Plan, receipts: dict[str, Receipt]) -> tuple[int, int]:
    """Return how many units of a plan, of text or of shards, are missing, and how many there are."""
    if "shard" in plan.table.schema.names:
        shards = plan.shards()
        return sum(shard not in receipts for shard in shards), len(shards)
    units = list(plan.units())
    return len(pending_units(units, receipts)), len(units)


def add_up(receipts: Iterable[Receipt]) -> dict[str, Any]:
    """Return the totals of a manifest."""
    quarantined: dict[str, int] = {}
    totals = {"num_shards": 0, "num_documents": 0, "num_tokens": 0, "num_quarantined": 0}
    for receipt in receipts:
        totals["num_shards"] += 1
        totals["num_documents"] += receipt.num_documents
        totals["num_tokens"] += receipt.num_tokens
        totals["num_quarantined"] += receipt.num_quarantined
        for reason, count in receipt.quarantined.items():
            quarantined[reason] = quarantined.get(reason, 0) + count
    return totals | {"quarantined": dict(sorted(quarantined.items()))}
