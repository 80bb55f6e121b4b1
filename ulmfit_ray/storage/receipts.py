"""Receipts: a shard is done when it has a receipt with the fingerprint of the current plan.

storage.commit writes them. The manifest is made from the receipts, so no result is in the driver's memory only.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.plan import PlannedUnit, PlannedUnits, shard_stem
from ulmfit_ray.storage.rows import ROWS_AT_ONCE, Rows

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


RECEIPT_TYPE = pa.struct(
    [
        ("plan", pa.string()),
        ("shard", pa.string()),
        ("num_documents", pa.int64()),
        ("num_tokens", pa.int64()),
        ("quarantined", pa.map_(pa.string(), pa.int64())),
        ("num_unknown", pa.int64()),
        ("num_bytes", pa.int64()),
        ("num_text_bytes", pa.int64()),
        ("num_unknown_bytes", pa.int64()),
        ("num_repeated", pa.int64()),
        ("seconds", pa.float64()),
        ("last", pa.bool_()),
        ("files", pa.map_(pa.string(), pa.string())),
    ]
)
"""A Receipt, as it goes from workers to the driver."""
SHARDS = "shards/"


class Receipts(Rows[Receipt]):
    """Receipts in columns, one for each shard. Of their files only the shards themselves are kept."""

    row_type = Receipt
    schema = pa.schema(list(RECEIPT_TYPE)).set(0, pa.field("plan", pa.dictionary(pa.int32(), pa.string())))

    @staticmethod
    def cell(row: Receipt, name: str) -> Any:
        """Return one field of a receipt as Arrow takes it."""
        if name == "files":
            return [(file, digest) for file, digest in row.files.items() if file.startswith(SHARDS)]
        value = getattr(row, name)
        return list(value.items()) if isinstance(value, dict) else value

    @property
    def shards(self) -> pa.ChunkedArray:
        """The shards' names."""
        return self.table["shard"]

    def names(self) -> list[str]:
        """Return the shards' names as Python's strings."""
        names: list[str] = self.shards.to_pylist()
        return names

    def total(self, name: str) -> int:
        """Return the sum of a field that all receipts have."""
        return int(pc.sum(self.table[name], min_count=0).as_py())

    def seconds(self) -> float:
        """Return the seconds that the shards took together."""
        return float(pc.sum(self.table["seconds"], min_count=0).as_py())

    def has_all(self, name: str) -> bool:
        """Tell whether every receipt has this field; those of earlier versions lack some."""
        return self.table[name].null_count == 0

    def with_documents(self) -> "Receipts":
        """Return those of shards that hold a document."""
        return self.filter(pc.greater(self.table["num_documents"], 0))

    def with_bad_documents(self) -> "Receipts":
        """Return those of shards in which a document could not be read."""
        return self.filter(pc.greater(self.num_quarantined(), 0))

    def shard_files(self) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
        """Return the name and the SHA-256 of each shard's file."""
        entries = [_entries(chunk).flatten() for chunk in self.table["files"].chunks]
        names, hashes = (pa.chunked_array([some.field(n) for some in entries], pa.string()) for n in (0, 1))
        assert len(names) == len(self), "a receipt names one shard"
        return names, hashes

    def num_quarantined(self) -> pa.ChunkedArray:
        """Return for each shard how many documents could not be read."""
        return pa.chunked_array([_sums(chunk) for chunk in self.table["quarantined"].chunks], pa.int64())

    def quarantined(self) -> Counter[str]:
        """Return how many documents could not be read, by reason."""
        reasons: Counter[str] = Counter()
        for chunk in self.table["quarantined"].chunks:
            entries = pa.Table.from_struct_array(_entries(chunk).flatten())
            sums = entries.group_by("key").aggregate([("value", "sum")])
            reasons.update(dict(zip(sums["key"].to_pylist(), sums["value_sum"].to_pylist(), strict=True)))
        return reasons


def _sums(quarantined: pa.MapArray) -> pa.Array:
    """Return the sum of each map's values."""
    entries = _entries(quarantined)
    sums = np.zeros(len(entries), np.int64)
    np.add.at(sums, pc.list_parent_indices(entries).to_numpy(), entries.flatten().field("value").to_numpy())
    return pa.array(sums)


def _entries(maps: pa.MapArray) -> pa.ListArray:
    """Return maps as lists of keys and values: Arrow computes with those."""
    kind = pa.struct([("key", maps.type.key_type), ("value", maps.type.item_type)])
    return maps.cast(pa.list_(kind))


class GrowingReceipts:
    """Receipts that come one by one, put into columns some thousand at a time."""

    def __init__(self, found: Receipts) -> None:
        self._batches: list[pa.RecordBatch] = found.table.to_batches()
        self._waiting: list[Receipt] = []
        self._num_rows = len(found)

    def __len__(self) -> int:
        return self._num_rows

    def add(self, receipt: Receipt) -> None:
        """Take one more; of two for the same shard the first one counts."""
        self._waiting.append(receipt)
        self._num_rows += 1
        if len(self._waiting) >= ROWS_AT_ONCE:
            self._put_into_columns()

    def all(self) -> Receipts:
        """Return all until now."""
        self._put_into_columns()
        return Receipts(pa.Table.from_batches(self._batches, schema=Receipts.schema))

    def _put_into_columns(self) -> None:
        if self._waiting:
            self._batches.append(Receipts.batch(self._waiting))
            self._waiting.clear()


def unknown_figures(receipts: Iterable[Receipt]) -> dict[str, float]:
    """Return what a manifest says of the tokens that the vocabulary does not have."""
    receipts = Receipts.of(receipts)
    num_unknown, num_tokens = receipts.total("num_unknown"), receipts.total("num_tokens")
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
    folder: Folder, plan_fingerprint: str, where: str = "done", known: Receipts | None = None
) -> Receipts:
    """Return the receipts of this plan in the order of their shards; those of another plan count as none.

    Each is looked for, and those not `known` already are read.
    """
    names = pa.chunked_array([[name.removesuffix(".json") for name in folder.names(where)]], pa.string())
    known = known or Receipts.of(())
    places = pc.index_in(names, value_set=known.shards)
    unknown = names.filter(pc.is_null(places)).to_pylist()
    read = Receipts.of(one for one in _read_all(folder, where, unknown) if one.plan == plan_fingerprint)
    found = Receipts(pa.concat_tables([known.take(places.drop_null()).table, read.table]))
    return found.sorted_by("shard") if len(read) else found


def _read_all(folder: Folder, where: str, shards: Sequence[str]) -> Iterator[Receipt]:
    """Yield receipts, read in threads, some thousand under way at once."""
    with ThreadPoolExecutor(READING_THREADS) as pool:
        for start in range(0, len(shards), ROWS_AT_ONCE):
            yield from pool.map(partial(_read, folder, where), shards[start : start + ROWS_AT_ONCE])


def _read(folder: Folder, where: str, shard: str) -> Receipt:
    return read_receipt(folder, shard, where)


def _parts_of(unit: PlannedUnit, lasts: Mapping[str, bool]) -> list[str] | None:
    """Return all shards of a streamed unit when it is complete, else None.

    How many shards a streamed file has is unknown until the receipt of its last one is there. `lasts` says for each
    shard that has a receipt whether it is the last one.
    """
    shards: list[str] = []
    while (stem := shard_stem(unit.stem, len(shards))) in lasts:
        shards.append(stem)
        if lasts[stem]:
            return shards
    return None


def _lasts(receipts: Receipts) -> dict[str, bool]:
    """Return for each shard of a streamed file whether it is the file's last one."""
    streamed = receipts.filter(pc.is_valid(receipts.table["last"])).table
    return dict(zip(streamed["shard"].to_pylist(), streamed["last"].to_pylist(), strict=True))


def pending_units(units: Sequence[PlannedUnit], receipts: Receipts) -> PlannedUnits:
    """Return the units with a shard still to be made."""
    units = PlannedUnits.of(units)
    streamed = units.table["is_streamed"]
    is_missing = pc.invert(pc.or_(pc.is_in(units.table["stem"], value_set=receipts.shards), streamed))
    if units.any_streamed:
        lasts = _lasts(receipts)
        parts = pa.chunked_array([[unit.is_streamed and _parts_of(unit, lasts) is None for unit in units]], pa.bool_())
        is_missing = pc.or_(is_missing, parts)
    return units.filter(is_missing)


def in_order(units: PlannedUnits, receipts: Receipts) -> Receipts:
    """Return the receipts of all complete units, in the order of the units and of their parts."""
    shards = units.table["stem"]
    if units.any_streamed:
        lasts = _lasts(receipts)
        found = (_parts_of(unit, lasts) or () if unit.is_streamed else [unit.stem] for unit in units)
        shards = pa.chunked_array([[shard for some in found for shard in some]], pa.string())
    return receipts.take(pc.index_in(shards, value_set=receipts.shards).drop_null())


def finished_parts(receipts: Iterable[str]) -> dict[str, list[int]]:
    """Return, for each streamed unit, the numbers of its shards that have a receipt already."""
    parts: dict[str, list[int]] = {}
    for shard in sorted(receipts):
        unit, _, part = shard.rpartition("-")
        if "-" in unit:
            parts.setdefault(unit, []).append(int(part))
    return parts
