"""What happens to one shard of a token dataset: text -> local ids (phase 1), local ids -> global ids (phase 3).

With a given vocabulary phase 1 does both.

Ray's workers run these functions; nothing here imports Ray. Each writes the same bytes whenever it runs, and its
receipt last, so it may be run again, or twice at once.
"""

import time
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from ulmfit_ray.corpus.documents import Document
from ulmfit_ray.corpus.reading import StreamedText
from ulmfit_ray.corpus.units import CorpusFacts, Unit
from ulmfit_ray.pipelines.shard_text import (
    ShardDocuments,
    ShardText,
    id_column,
    kept_columns,
    quarantine_files,
    token_column,
    tokenizer_of,
    vocab_of,
    with_global_ids,
)
from ulmfit_ray.storage.commit import commit_shard
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.receipts import Receipt, read_receipt
from ulmfit_ray.storage.token_dataset import census_file, token_schema, write_arrow, write_census
from ulmfit_ray.text.census import Census, checksums
from ulmfit_ray.text.sizes import text_bytes, word_bytes
from ulmfit_ray.text.tokenizers.kinds import TokenizerSettings
from ulmfit_ray.text.types import NumberedDocuments, TypeTable
from ulmfit_ray.text.vocab import UNK_ID, Vocab

WORK_RECEIPTS = "work/done"
"""Where the receipts of phase 1 lie; those of phase 3 lie in done/."""


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


def tokenize_shard(job: TokenizeJob, unit: Unit, streamed: StreamedText | None, shard: str) -> Receipt:
    """Phase 1: clean, tokenize and count one shard's documents.

    Ids are the shard's own, and go to work/. With a given vocabulary they are that one's, and the shard is finished.
    """
    began = time.monotonic()
    tokenizer = tokenizer_of(job.settings, job.tokenizer_fingerprint, job.output)
    tokenizer.forget()
    types = TypeTable(tokenizer)
    rows = _LocalRows(job)
    documents = ShardDocuments(job.corpus, ShardText(unit, streamed), [tokenizer])
    for block in documents.blocks():
        rows.add(block, types.add([document.fields for document in block]))
    table, census = rows.to_table(shard), rows.census()
    receipt = documents.receipt(job.plan, num_documents=table.num_rows, num_tokens=rows.num_tokens)
    receipt = replace(receipt, num_text_bytes=rows.num_text_bytes)
    folder = Folder(job.output)
    files = quarantine_files(folder, shard, documents.quarantine())
    files[census_file(shard)] = partial(write_census, census.to_table())
    if job.vocab is not None:
        vocab = vocab_of(job.output, job.vocab)
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


class _LocalRows:
    """The good documents of one shard, a table for each block of them."""

    def __init__(self, job: TokenizeJob) -> None:
        self._columns, self._rules = job.corpus.columns, job.settings.rules
        self._blocks: list[list[pa.Array]] = []
        self._lengths = [np.empty(0, np.int64)]
        self._checksums = [np.empty(0, np.uint64)]
        self.num_tokens = self.num_text_bytes = 0

    def add(self, block: list[Document], numbered: NumberedDocuments) -> None:
        arrays = [id_column(block), token_column(numbered)]
        if len(self._columns.text) > 1:
            arrays += [_places(places) for places in (numbered.field_starts, numbered.field_ends)]
        arrays += kept_columns(block, self._columns)
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


def numericalize_shard(job: TokenizeJob, vocab_fingerprint: str, shard: str) -> Receipt:
    """Phase 3: gather a counted shard's local ids into the vocabulary's, from work/ into shards/."""
    began = time.monotonic()
    folder = Folder(job.output)
    counted = read_receipt(folder, shard, WORK_RECEIPTS)
    vocab = vocab_of(job.output, vocab_fingerprint)
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
    columns = job.corpus.columns
    metadata = {"unit": shard, "vocab": vocab.fingerprint}
    schema = token_schema(len(columns.text), columns.kept_fields(), vocab.token_id_type(), metadata)
    arrays = [local[name] for name in schema.names]
    arrays[schema.names.index("tokens")] = with_global_ids(local["tokens"].combine_chunks(), global_ids, vocab)
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
