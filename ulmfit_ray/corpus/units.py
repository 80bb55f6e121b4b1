"""Input files -> numbered units of work, cut by the input alone and never by the cluster.

A unit is a byte range of a large file (it owns the records that begin in it), a bundle of small files, or a large file
that must be read from the front (a compressed one, for example): such a file is streamed and cut into several shards.
Unit 17 always becomes shard `part-0000017` (or `part-0000017-00000`, `-00001`, ... when streamed), whoever
computes it and however often.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby, islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ulmfit_ray.corpus.columns import Columns
from ulmfit_ray.corpus.formats.format import Format
from ulmfit_ray.corpus.formats.options import ReadingOptions
from ulmfit_ray.corpus.formats.table import make_format
from ulmfit_ray.corpus.listing import InputFile, InputFiles, hashes_of_ends
from ulmfit_ray.corpus.open_text import is_compressed
from ulmfit_ray.storage.plan import Plan, unit_stem

MIN_UNIT_BYTES, MAX_UNIT_BYTES, UNITS_AIMED_AT = 1 << 20, 64 << 20, 64
COMPRESSION = 3
"""Bytes of text that a byte of a compressed file is taken for."""
PACKED_WEIGHT = 8
"""The same for a file that is read whole, and must not be larger than it seems: text is seldom compressed better."""
PIECES_AT_ONCE = 10_000
UNITS_SCHEMA = pa.schema(
    [
        ("unit", pa.int64()),
        ("path", pa.string()),
        ("name", pa.string()),
        ("start", pa.int64()),
        ("stop", pa.int64()),
        ("streamed", pa.bool_()),
        ("size", pa.int64()),
        ("modified", pa.string()),
        ("ends", pa.string()),
        ("until", pa.int64()),
    ]
)
"""`size`, `modified` and `ends` (see listing.hashes_of_ends) are of the whole file, the same in all its rows."""
OF_PIECES = pa.schema([item for item in UNITS_SCHEMA if item.name not in ("size", "modified")])


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes `start` to `stop` of one input file; `name` is what document ids begin with."""

    path: str
    name: str
    start: int
    stop: int
    until: int | None = None
    """Where no record is read any more (--limit): an offset such as records have, in bytes or rows; None: all are."""


@dataclass(frozen=True, slots=True)
class Unit:
    """The text of a unit: pieces of files, or one whole file that is streamed."""

    number: int
    pieces: tuple[Piece, ...]
    is_streamed: bool = False

    @property
    def stem(self) -> str:
        """Return the name that everything made from this unit begins with."""
        return unit_stem(self.number)

    @property
    def num_bytes(self) -> int:
        """Return how many bytes of its files are read."""
        ends = (piece.stop if piece.until is None else piece.until for piece in self.pieces)
        # Of a compressed file and of rows `until` counts something else: then it is a guess, and never negative.
        return sum(max(0, end - piece.start) for piece, end in zip(self.pieces, ends, strict=True))


@dataclass(frozen=True, kw_only=True, slots=True)
class CorpusFacts:
    """What plan.json says of the corpus."""

    format: str
    options: ReadingOptions
    columns: Columns
    num_files: int
    num_bytes: int
    text_bytes: int
    """What `num_bytes` hold when they are decompressed: a guess."""
    unit_bytes: int
    """A streamed file's shard is closed after the record that brings it to this size."""

    def to_json(self) -> dict[str, Any]:
        """Return the content of plan.json's "corpus"."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "CorpusFacts":
        """Rebuild the facts from plan.json's "corpus"."""
        columns, options = Columns.from_json(content["columns"]), ReadingOptions.from_json(content["options"])
        return cls(**content | {"columns": columns, "options": options})

    def file_format(self) -> Format:
        """Return the format that the corpus's files are read in."""
        return make_format(self.format, self.options)


def text_bytes(files: Iterable[InputFile]) -> int:
    """Return how much text the files hold, compressed ones by a guess."""
    return sum(file.size * (COMPRESSION if is_compressed(file.path) else 1) for file in files)


def unit_bytes(files: Iterable[InputFile]) -> int:
    """Return the size of a unit: a 64th of the text, at least 1 MiB, at most 64 MiB."""
    return min(MAX_UNIT_BYTES, max(MIN_UNIT_BYTES, -(-text_bytes(files) // UNITS_AIMED_AT)))


def cut_into_units(files: Sequence[InputFile], file_format: Format) -> Iterator[Unit]:
    """Yield the units of the files, in their order."""
    for number, (pieces, is_streamed) in enumerate(_cut(files, file_format, unit_bytes(files))):
        yield Unit(number, tuple(pieces), is_streamed)


def _cut(files: Iterable[InputFile], file_format: Format, size: int) -> Iterator[tuple[list[Piece], bool]]:
    """Yield the pieces of each unit, and whether it is streamed."""
    bundle: list[Piece] = []
    bundle_bytes = 0
    for file in files:
        whole = Piece(file.path, file.name, 0, file.size)
        is_packed = file_format.is_binary or is_compressed(file.path)
        weight = file.size * PACKED_WEIGHT if is_packed else file.size
        if weight < size or file_format.is_bundled:
            bundle.append(whole)
            bundle_bytes += weight
            if bundle_bytes >= size:
                yield bundle, False
                bundle, bundle_bytes = [], 0
            continue
        if bundle:
            yield bundle, False
            bundle, bundle_bytes = [], 0
        ranges = file_format.cut(file, size)
        if ranges is None:
            yield [whole], True
        else:
            yield from (([Piece(file.path, file.name, start, stop)], False) for start, stop in ranges)
    if bundle:
        yield bundle, False


def units_table(units: Iterable[Unit], files: Sequence[InputFile], ends: Mapping[str, str] | None = None) -> pa.Table:
    """Return the rows of plan.arrow for units of text: one for each piece.

    `ends` are the files' hashes by path; without them a file counts as changed as soon as its time differs.
    """
    files, hashes = InputFiles.of(files), ends or {}
    pieces = ((unit, piece) for unit in units for piece in unit.pieces)
    batches = []
    # A million of them as Python's objects would take a gigabyte.
    while some := list(islice(pieces, PIECES_AT_ONCE)):
        columns = {
            "unit": [unit.number for unit, _ in some],
            "path": [piece.path for _, piece in some],
            "name": [piece.name for _, piece in some],
            "start": [piece.start for _, piece in some],
            "stop": [piece.stop for _, piece in some],
            "streamed": [unit.is_streamed for unit, _ in some],
            "ends": [hashes.get(piece.path) for _, piece in some],
            "until": [piece.until for _, piece in some],
        }
        batches.append(pa.RecordBatch.from_pydict(columns, schema=OF_PIECES))
    table = pa.Table.from_batches(batches, schema=OF_PIECES)
    owners = pc.index_in(table["path"], value_set=files.table["path"])
    for name in ("size", "modified"):
        table = table.append_column(name, files.table[name].take(owners))
    return table.select(UNITS_SCHEMA.names).combine_chunks()


def units_of(table: pa.Table) -> Iterator[Unit]:
    """Yield the units of some rows of plan.arrow."""
    for number, rows in groupby(table.to_pylist(), key=lambda row: row["unit"]):
        pieces = list(rows)
        is_streamed = pieces[0]["streamed"]
        # A plan of an earlier version has no `until`.
        cut = (Piece(p["path"], p["name"], p["start"], p["stop"], p.get("until")) for p in pieces)
        yield Unit(number, tuple(cut), is_streamed)


def check_inputs(plan: Plan, files: Sequence[InputFile]) -> list[str]:
    """Return the paths of input files that were added since the plan was made; they are not tokenized.

    A file of the same size and time is unchanged. Of one whose time alone differs the ends are read and compared.

    Raises:
        ValueError: a planned file is gone or has changed.
    """
    listed = InputFiles.of(files)
    paths = pc.unique(plan.table["path"])
    planned = plan.table.take(pc.index_in(paths, value_set=plan.table["path"]))
    now = listed.take(pc.index_in(paths, value_set=listed.table["path"]))
    is_gone, is_touched = (pc.is_null(now.table["path"]), pc.not_equal(now.table["modified"], planned["modified"]))
    # A plan of an earlier version has no hashes, and neither has one of very many files.
    ends = planned["ends"] if "ends" in planned.schema.names else pa.nulls(len(paths), pa.string())
    has_changed = pc.or_(pc.not_equal(now.table["size"], planned["size"]), pc.and_(is_touched, pc.is_null(ends)))
    for is_wrong, what in ((is_gone, "is gone"), (has_changed, "has changed")):
        for path in paths.filter(is_wrong)[:1].to_pylist():
            raise ValueError(_changed(path, what))
    before = dict(zip(paths.filter(is_touched).to_pylist(), ends.filter(is_touched).to_pylist(), strict=True))
    found = hashes_of_ends(now.filter(is_touched))
    for path, known in before.items():
        if found.get(path) != known:
            raise ValueError(_changed(path, "has changed"))
    is_planned = pc.is_in(listed.table["path"], value_set=paths)
    added: list[str] = listed.table["path"].filter(pc.invert(is_planned)).to_pylist()
    return sorted(added)


def _changed(path: str, what: str) -> str:
    return f"input {path} {what} since the plan was made: put it back, or use --overwrite"
