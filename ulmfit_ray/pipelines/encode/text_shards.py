"""What happens to one shard of raw text before a model sees it: text -> the ids of each model's vocabulary.

Ray's workers run this; nothing here imports Ray or torch, so a tokenizer's process pays for neither.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from ulmfit_ray.corpus.documents import Document
from ulmfit_ray.corpus.units import CorpusFacts
from ulmfit_ray.pipelines.shard_text import (
    ShardDocuments,
    ShardText,
    id_column,
    kept_columns,
    token_column,
    tokenizer_of,
    vocab_of,
    with_global_ids,
)
from ulmfit_ray.storage.model_directory import ModelDirectory
from ulmfit_ray.storage.receipts import Receipt
from ulmfit_ray.storage.token_dataset import token_schema
from ulmfit_ray.text.tokenizers.kinds import TokenizerSettings, load_tokenizer, make_tokenizer
from ulmfit_ray.text.types import TypeTable
from ulmfit_ray.text.vocab import UNK_ID


@dataclass(frozen=True, kw_only=True, slots=True)
class Wording:
    """How a model sees text: what cuts it into tokens, and the vocabulary of their ids."""

    model: str
    """Directory in which vocab.json lies, and tokenizer.model if there is one."""
    settings: TokenizerSettings
    tokenizer: str
    """Fingerprint, like `vocab`."""
    vocab: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TextJob:
    """What every worker must know of the job."""

    plan: str
    corpus: CorpusFacts
    wordings: tuple[Wording, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizedShard:
    """A shard's documents as token ids, and what its receipt will say."""

    receipt: Receipt
    tables: Sequence[pa.Buffer]
    """An Arrow file for each wording with the documents' `tokens`; the first has all other columns of a token shard."""
    quarantine: bytes


def wording_of(model: ModelDirectory, mark_fields: bool | None) -> Wording:
    """Return how a model sees text; `mark_fields` None: as it was trained.

    Raises:
        ImportError, ValueError: this machine cannot cut text as the model's tokenizer did.
    """
    tokenizer = load_tokenizer(model.tokenizer, model.tokenizer_model)
    settings = tokenizer.settings
    if mark_fields is not None and mark_fields != settings.mark_fields:
        settings = replace(settings, mark_fields=mark_fields)
        tokenizer = make_tokenizer(settings, model.tokenizer_model)
    return Wording(
        model=model.folder.uri, settings=settings, tokenizer=tokenizer.fingerprint, vocab=model.manifest.vocab
    )


def tokenize_text(job: TextJob, text: ShardText) -> TokenizedShard:
    """Read a shard's documents, and give each wording's ids of them: those that `tokenize --vocab` writes."""
    began = time.monotonic()
    columns = job.corpus.columns
    ids: list[pa.Array] = []
    kept: list[list[pa.Array]] = []
    texts = [_WordedText(wording) for wording in job.wordings]
    documents = ShardDocuments(job.corpus, text, [worded.tokenizer for worded in texts])
    for block in documents.blocks():
        ids.append(id_column(block))
        kept.append(kept_columns(block, columns))
        for worded in texts:
            worded.add(block)
    first, *others = (worded.tokens() for worded in texts)
    schema = token_schema(1, columns.kept_fields(), first.type.value_type, {})
    table = schema.empty_table()
    if ids:
        whole = [pa.concat_arrays(arrays) for arrays in zip(*kept, strict=True)]
        table = pa.table([pa.concat_arrays(ids), first, *whole], schema=schema)
    token_ids = np.asarray(first.values)
    receipt = documents.receipt(job.plan, num_documents=len(first), num_tokens=len(token_ids))
    num_unknown = int(np.count_nonzero(token_ids == UNK_ID))
    tables = [table, *(pa.table({"tokens": tokens}) for tokens in others)]
    return TokenizedShard(
        receipt=replace(receipt, num_unknown=num_unknown, seconds=time.monotonic() - began),
        tables=[_arrow_file(table) for table in tables],
        quarantine=documents.quarantine(),
    )


class _WordedText:
    """The documents of one shard in the ids of one wording."""

    def __init__(self, wording: Wording) -> None:
        self._wording = wording
        self.tokenizer = tokenizer_of(wording.settings, wording.tokenizer, wording.model)
        self.tokenizer.forget()
        self._types = TypeTable(self.tokenizer)
        self._blocks: list[pa.Array] = []

    def add(self, block: Sequence[Document]) -> None:
        """Tokenize some documents more."""
        self._blocks.append(token_column(self._types.add([document.fields for document in block])))

    def tokens(self) -> pa.ListArray:
        """Return the ids of all documents in the vocabulary."""
        vocab = vocab_of(self._wording.model, self._wording.vocab)
        if not self._blocks:
            return pa.array([], pa.list_(vocab.token_id_type()))
        global_ids = vocab.ids_of(self._types.to_table()["token"].combine_chunks())
        return with_global_ids(pa.concat_arrays(self._blocks), global_ids, vocab)


def _arrow_file(table: pa.Table) -> pa.Buffer:
    """Return a table as an Arrow file of one record batch."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return sink.getvalue()
