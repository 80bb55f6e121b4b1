"""What happens to one shard of a token dataset: text -> local ids (phase 1), local ids -> global ids (phase 3).

With a given vocabulary phase 1 does both.

Ray's workers run these functions; nothing here imports Ray. Each writes the same bytes whenever it runs, and its
receipt last, so it may be run again, or twice at once.
"""

import functools
import gc
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from ulmfit_ray.corpus.documents import BadDocument, Document
from ulmfit_ray.corpus.reading import StreamedText, documents_of
from ulmfit_ray.corpus.units import CorpusFacts, Unit
from ulmfit_ray.storage.commit import WriteFile, commit_shard
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.model_directory import read_tokenizer_model
from ulmfit_ray.storage.receipts import Receipt, read_receipt
from ulmfit_ray.storage.token_dataset import census_file, token_schema, write_arrow, write_census
from ulmfit_ray.text.census import Census, checksums
from ulmfit_ray.text.sizes import text_bytes, word_bytes
from ulmfit_ray.text.tokenizers.kinds import WITH_MODEL, Tokenizer, TokenizerSettings, make_tokenizer
from ulmfit_ray.text.types import NumberedDocuments, TypeTable
from ulmfit_ray.text.vocab import UNK_ID, Vocab

WORK_RECEIPTS = "work/done"
"""Where the receipts of phase 1 lie; those of phase 3 lie in done/."""


BLOCK_CHARACTERS = 8 << 20
"""Text that is tokenized at once: more is faster (words are looked up once for each block), and needs more memory."""


@dataclass(frozen=True, kw_only=True)
class TokenizeJob:
    """What every worker must know of the job."""

    output: str
    plan: str
    corpus: CorpusFacts
    settings: TokenizerSettings
    tokenizer_fingerprint: str
    vocab: str | None = None
    """Fingerprint of a given vocabulary, which vocab.json holds from the beginning; None: it is counted."""


@functools.lru_cache(maxsize=1)
def _tokenizer(settings: TokenizerSettings, fingerprint: str, model_folder: str | None) -> Tokenizer:
    """Return this process's tokenizer; it keeps its cache from shard to shard."""
    model = None if model_folder is None else read_tokenizer_model(Folder(model_folder))
    tokenizer = make_tokenizer(settings, model)
    if tokenizer.fingerprint != fingerprint:
        raise RuntimeError("this worker's tokenizer differs from the driver's: install the same packages everywhere")
    # What is loaded stays: the garbage collector need not look through spaCy's rules again and again.
    gc.freeze()
    return tokenizer


def tokenize_shard(job: TokenizeJob, unit: Unit, streamed: StreamedText | None, shard: str) -> Receipt:
    """Phase 1: clean, tokenize and count one shard's documents.

    Ids are the shard's own, and go to work/. With a given vocabulary they are that one's, and the shard is finished.
    """
    began = time.monotonic()
    model_folder = job.output if job.settings.kind in WITH_MODEL else None
    tokenizer = _tokenizer(job.settings, job.tokenizer_fingerprint, model_folder)
    tokenizer.forget()
    types = TypeTable(tokenizer)
    rows = _LocalRows(job)
    bad: list[BadDocument] = []
    found = documents_of(unit, streamed, job.corpus.file_format(), job.corpus.columns)
    for block in blocks(_good(found, bad)):
        rows.add(block, types.add([document.fields for document in block]))
    table, census = rows.to_table(shard), rows.census()
    reasons = [document.reason for document in bad]
    receipt = Receipt(
        plan=job.plan,
        shard=shard,
        num_documents=table.num_rows,
        num_tokens=rows.num_tokens,
        quarantined={reason: reasons.count(reason) for reason in sorted(set(reasons))},
        num_bytes=len(streamed.text) if streamed else unit.num_bytes,
        num_text_bytes=rows.num_text_bytes,
        last=streamed.is_last if streamed else None,
    )
    folder, quarantine = Folder(job.output), f"quarantine/{shard}.jsonl"
    if not bad:
        folder.delete_file(quarantine)
    files: dict[str, WriteFile] = {quarantine: partial(_write_quarantine, bad)} if bad else {}
    files[census_file(shard)] = partial(write_census, census.to_table())
    if job.vocab is not None:
        vocab = _vocab(job.output, job.vocab)
        counts = types.to_table()
        global_ids = vocab.ids_of(counts["token"].combine_chunks())
        table = _with_global_ids(job, table, global_ids, vocab, shard)
        unknown_bytes = _unknown_bytes(counts, global_ids)
        receipt = replace(receipt, num_unknown=_num_unknown(table), num_unknown_bytes=unknown_bytes)
        files[f"shards/{shard}.arrow"] = partial(write_arrow, table)
        return commit_shard(folder, receipt, files, began=began)
    files[f"work/{shard}.arrow"] = partial(write_arrow, table)
    files[f"work/{shard}.types.parquet"] = partial(pq.write_table, types.to_table())
    return commit_shard(folder, receipt, files, began=began, where=WORK_RECEIPTS)


def _good(found: Iterable[Document | BadDocument], bad: list[BadDocument]) -> Iterator[Document]:
    """Yield the documents, and put the bad ones aside."""
    for document in found:
        if isinstance(document, BadDocument):
            bad.append(document)
        else:
            yield document


def blocks(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Yield documents in lists of about BLOCK_CHARACTERS."""
    block: list[Document] = []
    size = 0
    for document in documents:
        block.append(document)
        size += sum(map(len, document.fields))
        if size >= BLOCK_CHARACTERS:
            yield block
            block, size = [], 0
    if block:
        yield block


class _LocalRows:
    """The good documents of one shard, a table for each block of them."""

    def __init__(self, job: TokenizeJob) -> None:
        self._columns, self._rules = job.corpus.columns, job.settings.rules
        self._blocks: list[list[pa.Array]] = []
        self._lengths = [np.empty(0, np.int64)]
        self._checksums = [np.empty(0, np.uint64)]
        self.num_tokens = self.num_text_bytes = 0

    def add(self, block: list[Document], numbered: NumberedDocuments) -> None:
        arrays = [pa.array([document.doc_id for document in block], pa.string())]
        arrays.append(pa.ListArray.from_arrays(pa.array(numbered.bounds, pa.int32()), pa.array(numbered.ids)))
        if len(self._columns.text) > 1:
            arrays += [_places(places) for places in (numbered.field_starts, numbered.field_ends)]
        for number, field in enumerate(self._columns.kept_fields()):
            arrays.append(pa.array([document.kept[number] for document in block], field.type))
        self._blocks.append(arrays)
        self._lengths.append(np.diff(numbered.bounds))
        self._checksums.append(checksums(document.fields for document in block))
        self.num_tokens += len(numbered.ids)
        self.num_text_bytes += sum(text_bytes(document.fields, self._rules) for document in block)

    def to_table(self, shard: str) -> pa.Table:
        schema = token_schema(len(self._columns.text), self._columns.kept_fields(), pa.uint32(), {"unit": shard})
        if not self._blocks:
            return schema.empty_table()
        return pa.table([pa.concat_arrays(arrays) for arrays in zip(*self._blocks, strict=True)], schema=schema)

    def census(self) -> Census:
        """Return how long the documents are, and which of them are duplicates."""
        return Census.of(np.concatenate(self._lengths), np.concatenate(self._checksums))


def _places(places: np.ndarray) -> pa.Array:
    """Return the fields' places, (documents, fields), as lists."""
    offsets = np.arange(0, places.size + 1, places.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(places.ravel(), pa.uint32()))


def _write_quarantine(bad: Iterable[BadDocument], path: Path) -> None:
    lines = (json.dumps(document.to_json(), ensure_ascii=False) + "\n" for document in bad)
    path.write_text("".join(lines), encoding="utf-8", errors="backslashreplace")


@functools.lru_cache(maxsize=1)
def _vocab(output: str, fingerprint: str) -> Vocab:
    vocab = Vocab.from_json(Folder(output).read_json("vocab.json"))
    assert vocab.fingerprint == fingerprint, "vocab.json changed while the job ran"
    return vocab


def numericalize_shard(job: TokenizeJob, vocab_fingerprint: str, shard: str) -> Receipt:
    """Phase 3: gather a counted shard's local ids into the vocabulary's, from work/ into shards/."""
    began = time.monotonic()
    folder = Folder(job.output)
    counted = read_receipt(folder, shard, WORK_RECEIPTS)
    vocab = _vocab(job.output, vocab_fingerprint)
    with folder.open(f"work/{shard}.types.parquet") as source:
        counts = pq.read_table(source, columns=["token", "count"])
    global_ids = vocab.ids_of(counts["token"].combine_chunks())
    with folder.open(f"work/{shard}.arrow") as source:
        local = pa.ipc.open_file(source).read_all().combine_chunks()
        table = _with_global_ids(job, local, global_ids, vocab, shard)
        receipt = Receipt(
            plan=job.plan,
            shard=shard,
            num_documents=table.num_rows,
            num_tokens=len(_token_ids(table)),
            num_unknown=_num_unknown(table),
            quarantined=counted.quarantined,
            num_bytes=counted.num_bytes,
            num_text_bytes=counted.num_text_bytes,
            num_unknown_bytes=_unknown_bytes(counts, global_ids),
            seconds=counted.seconds,
            last=counted.last,
            files={name: digest for name, digest in counted.files.items() if not name.startswith("work/")},
        )
        found, expected = (receipt.num_documents, receipt.num_tokens), (counted.num_documents, counted.num_tokens)
        if found != expected:
            raise RuntimeError(f"work/{shard}.arrow has {found} documents and tokens, its receipt says {expected}")
        return commit_shard(folder, receipt, {f"shards/{shard}.arrow": partial(write_arrow, table)}, began=began)


def _with_global_ids(job: TokenizeJob, local: pa.Table, global_ids: np.ndarray, vocab: Vocab, shard: str) -> pa.Table:
    """Return a shard's table with the vocabulary's ids in place of its own."""
    tokens = local["tokens"].combine_chunks()
    ids = pa.array(global_ids[np.asarray(tokens.values)]).cast(vocab.token_id_type())
    columns = job.corpus.columns
    metadata = {"unit": shard, "vocab": vocab.fingerprint}
    schema = token_schema(len(columns.text), columns.kept_fields(), vocab.token_id_type(), metadata)
    arrays = [local[name] for name in schema.names]
    arrays[schema.names.index("tokens")] = pa.ListArray.from_arrays(tokens.offsets, ids)
    return pa.table(arrays, schema=schema)


def _token_ids(table: pa.Table) -> np.ndarray:
    """Return the ids of all documents of a shard, joined."""
    ids: np.ndarray = table["tokens"].combine_chunks().values.to_numpy()
    return ids


def _num_unknown(table: pa.Table) -> int:
    return int(np.count_nonzero(_token_ids(table) == UNK_ID))


def _unknown_bytes(types: pa.Table, global_ids: np.ndarray) -> int:
    """Return how many bytes the occurrences of the types have that the vocabulary does not know."""
    unknown = types.filter(pa.array(global_ids == UNK_ID))
    return int(word_bytes(unknown["token"].combine_chunks()) @ unknown["count"].to_numpy())
