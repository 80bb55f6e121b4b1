"""What happens to one shard of a token dataset: text -> local ids (phase 1), local ids -> global ids (phase 3).

No Ray here: these functions are handed to its workers. Each ends with a receipt, so each may be run again, or
twice at once, and writes the same bytes.
"""

import functools
import io
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ulmfit_ray.corpus.documents import BadDocument, Columns, Document, read_documents
from ulmfit_ray.corpus.listing import read_header
from ulmfit_ray.corpus.open_text import CountedLines, is_compressed, open_text
from ulmfit_ray.corpus.records import read_records
from ulmfit_ray.storage.folder import Folder, scratch_directory, sha256_file
from ulmfit_ray.storage.plan import Piece, Unit
from ulmfit_ray.storage.receipts import Receipt
from ulmfit_ray.storage.token_dataset import FIELD_COLUMNS, list_array, token_schema, write_arrow
from ulmfit_ray.text.tokenizers.spacy_words import SpacyTokenizer, TokenizerSettings
from ulmfit_ray.text.types import TypeTable
from ulmfit_ray.text.vocab import Vocab


@dataclass(frozen=True)
class TokenizeTask:
    """What every worker must know of the job."""

    output: str
    plan: str
    file_format: str
    columns: Columns
    settings: TokenizerSettings
    tokenizer_fingerprint: str
    unit_bytes: int


@dataclass(frozen=True)
class StreamedText:
    """The text of one shard, cut out of a file that is read from the front."""

    part: int
    offset: int
    header: list[str]
    text: bytes
    is_last: bool


@functools.lru_cache(maxsize=1)
def _tokenizer(settings: TokenizerSettings, fingerprint: str) -> SpacyTokenizer:
    """Return this process's tokenizer; it keeps its cache from shard to shard."""
    tokenizer = SpacyTokenizer(settings)
    if tokenizer.fingerprint != fingerprint:
        raise RuntimeError("this worker's tokenizer differs from the driver's: install the same spaCy everywhere")
    return tokenizer


def open_piece(piece: Piece) -> BinaryIO:
    """Open a piece's file for reading from its front.

    Raises:
        OSError: the file is shorter than planned: read so, it would give fewer documents and look complete.
    """
    stream = open_text(piece.path)
    if not is_compressed(piece.path):
        size = stream.seek(0, io.SEEK_END)
        if size < piece.stop:
            stream.close()
            raise OSError(f"{piece.path} has {size:,} bytes, {piece.stop:,} were planned")
        stream.seek(0)
    return stream


def _check_header(task: TokenizeTask, piece: Piece, header: list[str]) -> None:
    columns = task.columns
    missing = {*columns.text, *columns.keep, *([columns.id] if columns.id else [])} - set(header)
    if header and missing:
        names = ", ".join(sorted(missing))
        raise ValueError(f"{piece.path} has no column {names}; its columns are {', '.join(header)}")


def stream_shards(task: TokenizeTask, piece: Piece) -> Iterator[StreamedText]:
    """Cut a file into shards: each closes after the record that brings it to at least `unit_bytes`.

    The places depend on the file alone. There is always a last shard, be it empty.
    """
    with open_piece(piece) as stream:
        header: list[str] = []
        offset = 0
        if task.file_format == "csv":
            first_line = CountedLines(io.BytesIO(stream.readline()))
            header = read_header(first_line)
            offset = first_line.offset
            _check_header(task, piece, header)
        records = read_records(stream, task.file_format, offset)
        raw: list[bytes] = []
        size, part = 0, 0
        closed: StreamedText | None = None
        for record in records:
            if closed is not None:
                yield closed
                closed = None
            if not raw:
                offset = record.offset
            raw.append(record.raw)
            size += len(record.raw)
            if size >= task.unit_bytes:
                closed = StreamedText(part, offset, header, b"".join(raw), False)
                raw, size, part = [], 0, part + 1
        if closed is None:
            closed = StreamedText(part, offset, header, b"".join(raw), False)
        yield StreamedText(closed.part, closed.offset, closed.header, closed.text, True)


def _documents(task: TokenizeTask, unit: Unit, streamed: StreamedText | None) -> Iterator[Document | BadDocument]:
    if streamed is not None:
        records = read_records(io.BytesIO(streamed.text), task.file_format, streamed.offset)
        yield from read_documents(records, unit.pieces[0].name, task.file_format, task.columns, streamed.header)
        return
    for piece in unit.pieces:
        with open_piece(piece) as stream:
            start = 0
            if piece.start:
                # A range owns the lines that begin in it: the one that holds its first byte may begin before.
                stream.seek(piece.start - 1)
                start = piece.start - 1 + len(stream.readline())
            stop = None if task.file_format == "txt" else piece.stop
            records = read_records(stream, task.file_format, start, stop)
            yield from read_documents(records, piece.name, task.file_format, task.columns)


def tokenize_shard(task: TokenizeTask, unit: Unit, streamed: StreamedText | None) -> Receipt:
    """Phase 1: clean, tokenize and count one shard's documents; ids are the shard's own."""
    began = time.monotonic()
    shard = unit.shard_stem(streamed.part if streamed else None)
    tokenizer = _tokenizer(task.settings, task.tokenizer_fingerprint)
    tokenizer.forget()
    types = TypeTable(tokenizer)
    good: list[Document] = []
    bad: list[BadDocument] = []
    tokens, starts, ends = [], [], []
    for document in _documents(task, unit, streamed):
        if isinstance(document, BadDocument):
            bad.append(document)
            continue
        ids, field_starts, field_ends = types.add(document.fields)
        tokens.append(ids)
        starts.append(field_starts)
        ends.append(field_ends)
        document.fields = []
        good.append(document)
    schema = token_schema(task.columns, pa.uint32(), {"unit": shard})
    columns: list[Any] = [
        pa.array([document.doc_id for document in good], pa.string()),
        list_array(tokens, pa.uint32()),
    ]
    if FIELD_COLUMNS[0] in schema.names:
        columns += [pa.array(starts, pa.list_(pa.uint32())), pa.array(ends, pa.list_(pa.uint32()))]
    for number, field in enumerate(task.columns.kept_fields()):
        columns.append(pa.array([document.kept[number] for document in good], field.type))
    table = pa.table(columns, schema=schema)
    reasons = [document.reason for document in bad]
    receipt = Receipt(
        plan=task.plan,
        shard=shard,
        num_documents=len(good),
        num_tokens=sum(map(len, tokens)),
        quarantined={reason: reasons.count(reason) for reason in sorted(set(reasons))},
        num_bytes=len(streamed.text) if streamed else sum(piece.stop - piece.start for piece in unit.pieces),
        seconds=time.monotonic() - began,
        last=streamed.is_last if streamed else None,
    )
    return _commit_counted(task, receipt, table, types.to_table(), bad)


def _commit_counted(
    task: TokenizeTask, receipt: Receipt, table: pa.Table, types: pa.Table, bad: Iterable[BadDocument]
) -> Receipt:
    """Publish quarantine, work files and the receipt in work/done, in this order."""
    folder = Folder(task.output)
    quarantine = f"quarantine/{receipt.shard}.jsonl"
    with scratch_directory() as scratch:
        write_arrow(table, scratch / "work.arrow")
        pq.write_table(types, scratch / "types.parquet")
        if receipt.num_quarantined:
            lines = [json.dumps(document.to_json(), ensure_ascii=False) + "\n" for document in bad]
            (scratch / "bad.jsonl").write_text("".join(lines), encoding="utf-8", errors="backslashreplace")
            receipt.files[quarantine] = sha256_file(scratch / "bad.jsonl")
            folder.publish(scratch / "bad.jsonl", quarantine)
        else:
            folder.delete(quarantine)
        for local, name in (("work.arrow", "arrow"), ("types.parquet", "types.parquet")):
            receipt.files[f"work/{receipt.shard}.{name}"] = sha256_file(scratch / local)
            folder.publish(scratch / local, f"work/{receipt.shard}.{name}")
    receipt.commit(folder, "work/done")
    return receipt


@functools.lru_cache(maxsize=1)
def _vocab(output: str, fingerprint: str) -> Vocab:
    vocab = Vocab.from_json(Folder(output).read_json("vocab.json"))
    assert vocab.fingerprint == fingerprint, "vocab.json changed while the job ran"
    return vocab


def numericalize_shard(task: TokenizeTask, vocab_fingerprint: str, counted: Receipt) -> Receipt:
    """Phase 3: gather a counted shard's local ids into the vocabulary's, from work/ into shards/."""
    began = time.monotonic()
    folder = Folder(task.output)
    shard = counted.shard
    vocab = _vocab(task.output, vocab_fingerprint)
    with folder.open(f"work/{shard}.types.parquet") as source:
        global_ids = vocab.ids_of(pq.read_table(source, columns=["token"])["token"].combine_chunks())
    with folder.open(f"work/{shard}.arrow") as source:
        table = pa.ipc.open_file(source).read_all().combine_chunks()
        local = table["tokens"].combine_chunks()
        offsets, values = local.offsets, np.asarray(local.values)
        ids = pa.array(global_ids[values]).cast(vocab.token_id_type())
        metadata = {"unit": shard, "vocab": vocab_fingerprint}
        schema = token_schema(task.columns, vocab.token_id_type(), metadata)
        columns = [table[name] for name in schema.names]
        columns[schema.names.index("tokens")] = pa.ListArray.from_arrays(offsets, ids)
        with scratch_directory() as scratch:
            write_arrow(pa.table(columns, schema=schema), scratch / "shard.arrow")
            name = f"shards/{shard}.arrow"
            files = {name: sha256_file(scratch / "shard.arrow")}
            folder.publish(scratch / "shard.arrow", name)
    quarantine = {name: digest for name, digest in counted.files.items() if name.startswith("quarantine/")}
    receipt = Receipt(
        plan=task.plan,
        shard=shard,
        num_documents=counted.num_documents,
        num_tokens=len(ids),
        quarantined=counted.quarantined,
        num_bytes=counted.num_bytes,
        seconds=counted.seconds + time.monotonic() - began,
        last=counted.last,
        files=quarantine | files,
    )
    assert (table.num_rows, len(ids)) == (counted.num_documents, counted.num_tokens), f"{shard} changed in work/"
    receipt.commit(folder)
    return receipt
