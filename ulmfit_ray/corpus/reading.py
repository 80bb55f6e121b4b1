"""The text of a unit: opened, cut into shards where the file must be streamed, and read as documents."""

import io
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from typing import BinaryIO

from ulmfit_ray.corpus.columns import Columns
from ulmfit_ray.corpus.damage import DamagedFileError, open_checked
from ulmfit_ray.corpus.documents import BadDocument, Document, read_documents
from ulmfit_ray.corpus.formats.format import Format, Header, Source, never_cut
from ulmfit_ray.corpus.open_text import MAX_RECORD_BYTES, is_compressed, open_stored, open_text
from ulmfit_ray.corpus.records import Record
from ulmfit_ray.corpus.units import Piece, Unit


@dataclass(frozen=True, slots=True)
class StreamedText:
    """The text of one shard, cut out of a file that is read from the front."""

    part: int
    offset: int
    """Byte offset of the shard's first record in the decompressed file."""
    header: list[str]
    text: bytes
    is_last: bool
    damage: str = ""
    """Of a file's last shard only: why its content cannot be read any further."""
    damaged_at: int = 0
    """Byte offset in the decompressed file where reading stopped."""


def open_piece(piece: Piece) -> BinaryIO:
    """Open a piece's file for reading from its front; a compressed file that is damaged raises DamagedFileError there.

    Raises:
        OSError: the file is shorter than planned. Reading it would give fewer documents, and nobody would notice.
    """
    if is_compressed(piece.path):
        return open_checked(piece.path, piece.stop)
    stream = open_text(piece.path)
    size = stream.seek(0, io.SEEK_END)
    if size < piece.stop:
        stream.close()
        raise OSError(f"{piece.path} has {size:,} bytes, {piece.stop:,} were planned")
    stream.seek(0)
    return stream


def open_records(piece: Piece, file_format: Format) -> BinaryIO:
    """Open a piece's file as its format wants to read it: from its front, or at random."""
    return open_stored(piece.path) if file_format.is_binary else open_piece(piece)


def records_of(stream: BinaryIO, piece: Piece, file_format: Format) -> tuple[Header, Iterator[Record]]:
    """Return the header of a piece's opened file, and the piece's records."""
    header = _header(stream, piece, file_format)
    offset = header.offset
    if piece.start > offset:
        offset = file_format.locate(stream, piece.start)
    # A compressed file is a piece as a whole, and its size says nothing about its content. A file that is never cut is
    # read to its end, so that it is seen what is missing there.
    stop = None if is_compressed(piece.path) or file_format.cut is never_cut else piece.stop
    if piece.until is None:
        return header, file_format.records(stream, offset, stop)
    if file_format.is_binary:
        # Its records have numbers, its pieces have bytes.
        return header, takewhile(partial(_is_before, piece.until), file_format.records(stream, offset, stop))
    return header, file_format.records(stream, offset, piece.until)


def _header(stream: BinaryIO, piece: Piece, file_format: Format) -> Header:
    try:
        return file_format.header(stream)
    except ValueError as error:
        raise ValueError(f"{piece.path} cannot be read: {error}") from error


def _is_before(until: int, record: Record) -> bool:
    return record.offset < until


def stream_shards(piece: Piece, file_format: Format, columns: Columns, unit_bytes: int) -> Iterator[StreamedText]:
    """Cut a file into shards: each closes after the record that brings it to at least `unit_bytes`.

    Where it is cut depends on the file and `unit_bytes` alone. The last shard may be empty. If the file is damaged, it
    says so, and the record that is cut by the damage is in no shard.
    """
    header: list[str] = []
    raw: list[bytes] = []
    offset, size, part = 0, 0, 0
    closed: StreamedText | None = None
    damage, damaged_at = "", 0
    with open_piece(piece) as stream:
        try:
            header, offset, _ = _header(stream, piece, file_format)
            columns.check_header(header, piece.path)
            for record in file_format.records(stream, offset, piece.until):
                # A closed shard is given away when the next record is there: only then it is known not to be the last.
                if closed is not None:
                    yield closed
                    closed = None
                if not raw:
                    offset = record.offset
                raw.append(record.raw)
                size += len(record.raw)
                # What follows a record of which only the front is here has another offset than in this text.
                if size >= unit_bytes or len(record.raw) > MAX_RECORD_BYTES:
                    closed = StreamedText(part, offset, header, b"".join(raw), False)
                    raw, size, part = [], 0, part + 1
        except DamagedFileError as error:
            damage, damaged_at = error.detail, error.offset
    if closed is None:
        closed = StreamedText(part, offset, header, b"".join(raw), False)
    yield replace(closed, is_last=True, damage=damage, damaged_at=damaged_at)


def documents_of(
    unit: Unit, streamed: StreamedText | None, file_format: Format, columns: Columns
) -> Iterator[Document | BadDocument]:
    """Yield the documents of a unit, or of one shard of a streamed unit.

    A damaged file gives the documents before the damage, and then one bad document that stands for all behind it.
    """
    if streamed is not None:
        piece = unit.pieces[0]
        records = file_format.records(io.BytesIO(streamed.text), streamed.offset, None)
        # The text of a shard is no whole file: what is damaged was found when the file was read.
        with suppress(DamagedFileError):
            yield from read_documents(records, piece.name, file_format, columns, Source(piece.path, streamed.header))
        if streamed.damage:
            yield BadDocument(piece.name, streamed.damaged_at, "corrupt file", streamed.damage)
        return
    for piece in unit.pieces:
        yield from _documents_of_piece(piece, file_format, columns)


def _documents_of_piece(piece: Piece, file_format: Format, columns: Columns) -> Iterator[Document | BadDocument]:
    with open_records(piece, file_format) as stream:
        try:
            header, records = records_of(stream, piece, file_format)
            columns.check_header(header.names, piece.path)
            columns.check_types(dict(zip(header.names, header.types, strict=False)), piece.path)
            yield from read_documents(records, piece.name, file_format, columns, Source(piece.path, header.names))
        except DamagedFileError as error:
            yield BadDocument(piece.name, error.offset, "corrupt file", error.detail)
