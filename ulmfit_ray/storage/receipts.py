"""Receipts: a shard is done when it has a receipt with the fingerprint of the current plan.

storage.commit writes them. The manifest is made from the receipts, so no result is in the driver's memory only.
"""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import MappingProxyType

from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.plan import PlannedUnit, shard_stem

READING_THREADS = 64
"""A receipt on an object store takes two requests of about 25 ms, nearly all waiting: 160,000 take 140 seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """Facts of one finished shard; `files` maps each file's name to its SHA-256."""

    plan: str
    shard: str
    num_documents: int
    num_tokens: int
    quarantined: dict[str, int] = field(default_factory=dict)
    """Documents that could not be read, by reason."""
    num_unknown: int = 0
    """Tokens that the vocabulary does not have; of predictions made from tokens not counted."""
    num_bytes: int = 0
    """Bytes of decompressed text that the shard was made from; 0 for a shard made from tokens."""
    num_text_bytes: int | None = None
    """Bytes of the documents' cleaned text; see text.sizes. None: not counted, as by earlier versions."""
    num_unknown_bytes: int | None = None
    """Bytes of the words among them that the vocabulary does not have; of a token dataset's finished shards."""
    num_repeated: int | None = None
    """Documents with the same tokens as an earlier one of the shard; of encoded shards."""
    seconds: float = 0.0
    last: bool | None = None
    """Of a streamed file's shards only: whether this is the file's last one."""
    files: dict[str, str] = field(default_factory=dict)

    @property
    def num_quarantined(self) -> int:
        """Return how many documents could not be read, for whatever reason."""
        return sum(self.quarantined.values())


def unknown_figures(receipts: Sequence[Receipt]) -> dict[str, float]:
    """Return what a manifest says of the tokens that the vocabulary does not have."""
    num_unknown = sum(receipt.num_unknown for receipt in receipts)
    num_tokens = sum(receipt.num_tokens for receipt in receipts)
    return {"num_unknown": num_unknown, "unknown_rate": round(num_unknown / max(1, num_tokens), 6)}


def read_receipt(folder: Folder, shard: str, where: str = "done") -> Receipt:
    """Return one shard's receipt.

    Raises:
        FileNotFoundError: it has none.
    """
    return Receipt(**folder.read_json(f"{where}/{shard}.json"))


def find_receipt(folder: Folder, plan_fingerprint: str, shard: str, where: str = "done") -> Receipt | None:
    """Return one shard's receipt, or None if it has none of this plan."""
    content = folder.find_json(f"{where}/{shard}.json")
    return None if content is None or content["plan"] != plan_fingerprint else Receipt(**content)


def read_receipts(
    folder: Folder, plan_fingerprint: str, where: str = "done", known: Mapping[str, Receipt] = MappingProxyType({})
) -> dict[str, Receipt]:
    """Return the receipts of this plan by shard, in order; those of another plan count as none.

    Each is looked for, and those not `known` already are read.
    """
    shards = [name.removesuffix(".json") for name in folder.names(where)]

    def read(shard: str) -> Receipt:
        return known.get(shard) or read_receipt(folder, shard, where)

    with ThreadPoolExecutor(READING_THREADS) as pool:
        return {receipt.shard: receipt for receipt in pool.map(read, shards) if receipt.plan == plan_fingerprint}


def shards_of(unit: PlannedUnit, receipts: Mapping[str, Receipt]) -> list[str] | None:
    """Return all shards of a unit when it is complete, else None.

    How many shards a streamed file has is unknown until the receipt of its last one is there.
    """
    if not unit.is_streamed:
        return [unit.stem] if unit.stem in receipts else None
    shards: list[str] = []
    while (stem := shard_stem(unit.stem, len(shards))) in receipts:
        shards.append(stem)
        if receipts[stem].last:
            return shards
    return None


def pending_units(units: Iterable[PlannedUnit], receipts: Mapping[str, Receipt]) -> list[PlannedUnit]:
    """Return the units with a shard still to be made."""
    return [unit for unit in units if shards_of(unit, receipts) is None]


def finished_parts(receipts: Iterable[str]) -> dict[str, list[int]]:
    """Return, for each streamed unit, the numbers of its shards that have a receipt already."""
    parts: dict[str, list[int]] = {}
    for shard in sorted(receipts):
        unit, _, part = shard.rpartition("-")
        if "-" in unit:
            parts.setdefault(unit, []).append(int(part))
    return parts
