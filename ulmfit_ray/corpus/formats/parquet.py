"""parquet: a row is a document. Row groups are the parts that are read apart, and only the columns asked for are read.

A record's offset is the number of its row in the file. A range of bytes owns the row groups that begin in it.
"""

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from ulmfit_ray.corpus.column_types import kept_type, plain_values
from ulmfit_ray.corpus.formats.format import Format, Header, Range, Sample, Source, Values, at_a_record
from ulmfit_ray.corpus.formats.options import ReadingOptions
from ulmfit_ray.corpus.listing import InputFile
from ulmfit_ray.corpus.open_text import open_stored
from ulmfit_ray.corpus.records import Record

BATCH_ROWS = 1024
FRONT, ENCRYPTED_FRONT = b"PAR1", b"PARE"


def make_parquet(options: ReadingOptions) -> Format:
    """Return the format."""
    columns = tuple(dict.fromkeys(options.columns))

    def records(stream: BinaryIO, offset: int, stop: int | None) -> Iterator[Record]:
        return _read_rows(stream, columns, offset, stop)

    def values(record: Record, source: Source) -> Values:
        assert record.cells is not None
        return dict(zip(columns, record.cells, strict=True))

    return Format(
        name="parquet",
        extensions=(".parquet", ".pq"),
        cut=cut_at_row_groups,
        locate=at_a_record,
        header=_header,
        records=records,
        values=values,
        sample=_sample,
        mistake=_mistake,
        options=(),
        is_binary=True,
    )


def cut_at_row_groups(file: InputFile, unit_bytes: int) -> list[Range]:
    """Return ranges whose row groups hold about `unit_bytes` before compression."""
    with open_stored(file.path) as stream:
        try:
            metadata = pq.read_metadata(stream)
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{file.path} cannot be read: {error}") from error
    sizes = {_begin(metadata, group): metadata.row_group(group).total_byte_size for group in _groups(metadata)}
    bounds, size = [0], 0
    for begin in sorted(sizes):
        if size >= unit_bytes:
            bounds.append(begin)
            size = 0
        size += sizes[begin]
    return list(zip(bounds, [*bounds[1:], file.size], strict=True))


def _groups(metadata: pq.FileMetaData) -> range:
    return range(metadata.num_row_groups)


def _begin(metadata: pq.FileMetaData, group: int) -> int:
    """Return the offset of a row group's first page."""
    first = metadata.row_group(group).column(0)
    return first.dictionary_page_offset if first.has_dictionary_page else first.data_page_offset


def _read_rows(stream: BinaryIO, columns: Sequence[str], offset: int, stop: int | None) -> Iterator[Record]:
    file = pq.ParquetFile(stream)
    row = 0
    for group in _groups(file.metadata):
        begin = _begin(file.metadata, group)
        if offset <= begin and (stop is None or begin < stop):
            yield from _read_group(file, group, columns, row)
        row += file.metadata.row_group(group).num_rows


def _read_group(file: pq.ParquetFile, group: int, columns: Sequence[str], row: int) -> Iterator[Record]:
    for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=list(columns), use_threads=False):
        rows: Iterator[tuple[Any, ...]] = zip(*(plain_values(batch.column(name)) for name in columns), strict=True)
        for cells in rows:
            yield Record(row, b"", list(cells))
            row += 1


def _header(stream: BinaryIO) -> Header:
    schema = pq.read_schema(stream)
    return Header(schema.names, 0, _type_names(schema))


def _type_names(schema: pa.Schema) -> list[str]:
    """Return what the columns' types are called, "" for one that holds nulls alone: it fits any."""
    return ["" if pa.types.is_null(field.type) else _type_name(field.type) for field in schema]


def _type_name(column_type: pa.DataType) -> str:
    try:
        return kept_type(column_type)
    except ValueError:
        return str(column_type)


def _sample(stream: BinaryIO) -> Sample:
    file = pq.ParquetFile(stream)
    schema = file.schema_arrow

    def type_of(column: str) -> str:
        return kept_type(schema.field(column).type)

    return Sample(schema.names, file.metadata.num_rows > 0, type_of, _type_names(schema))


def _mistake(head: bytes) -> str:
    if head.startswith(ENCRYPTED_FRONT):
        return "an encrypted Parquet file: decrypt it"
    return "" if head.startswith(FRONT) else "no Parquet file, which begins with PAR1"
