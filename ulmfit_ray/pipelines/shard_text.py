"""The text of one shard on a worker: read as documents, block by block; what could not be read is put aside.

Nothing here imports Ray. The tokenizers and vocabularies of a process are kept from shard to shard.
"""

import functools
import gc
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from ulmfit_ray.corpus.columns import Columns
from ulmfit_ray.corpus.documents import BadDocument, Document
from ulmfit_ray.corpus.reading import StreamedText, documents_of
from ulmfit_ray.corpus.units import CorpusFacts, Unit
from ulmfit_ray.storage.commit import WriteFile
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.model_directory import read_tokenizer_model
from ulmfit_ray.storage.plan import shard_stem
from ulmfit_ray.storage.receipts import Receipt
from ulmfit_ray.text.tokenizers.kinds import WITH_MODEL, Tokenizer, TokenizerSettings, make_tokenizer
from ulmfit_ray.text.types import NumberedDocuments
from ulmfit_ray.text.vocab import Vocab

BLOCK_CHARACTERS = 8 << 20
"""Text that is tokenized at once: more is faster (words are looked up once for each block), and needs more memory."""
KEPT_IN_PROCESS = 8
"""Tokenizers and vocabularies; a job of one model has one of each."""


@dataclass(frozen=True, slots=True)
class ShardText:
    """Where the text of a shard lies, or the text itself if it was streamed, or why it cannot be read."""

    unit: Unit
    streamed: StreamedText | None = None
    problem: str = ""

    @property
    def shard(self) -> str:
        """Return the name of the shard; of a file that cannot be read, that of its unit."""
        return self.unit.stem if self.streamed is None else shard_stem(self.unit.stem, self.streamed.part)


class ShardDocuments:
    """The documents of a shard, which are read once; what one of the tokenizers refuses is bad."""

    def __init__(self, corpus: CorpusFacts, text: ShardText, tokenizers: Sequence[Tokenizer]) -> None:
        self._corpus, self._text, self._tokenizers = corpus, text, tokenizers
        self._bad: list[BadDocument] = []

    def blocks(self) -> Iterator[list[Document]]:
        """Yield the good documents in lists of about BLOCK_CHARACTERS, and put the bad ones aside."""
        block: list[Document] = []
        size = 0
        corpus, text = self._corpus, self._text
        for document in documents_of(text.unit, text.streamed, corpus.file_format(), corpus.columns):
            judged = self._judged(document) if isinstance(document, Document) else document
            if isinstance(judged, BadDocument):
                self._bad.append(judged)
                continue
            block.append(judged)
            size += sum(map(len, judged.fields))
            if size >= BLOCK_CHARACTERS:
                yield block
                block, size = [], 0
        if block:
            yield block

    def _judged(self, document: Document) -> Document | BadDocument:
        refusals = (tokenizer.refusal(text) for tokenizer in self._tokenizers for text in document.fields)
        refusal = next(filter(None, refusals), None)
        return BadDocument(document.path, document.offset, *refusal) if refusal else document

    def receipt(self, plan: str, *, num_documents: int, num_tokens: int) -> Receipt:
        """Return what is known of the shard once its documents are read; no file has been written yet."""
        reasons = [document.reason for document in self._bad]
        streamed = self._text.streamed
        return Receipt(
            plan=plan,
            shard=self._text.shard,
            num_documents=num_documents,
            num_tokens=num_tokens,
            quarantined={reason: reasons.count(reason) for reason in sorted(set(reasons))},
            num_bytes=self._text.unit.num_bytes if streamed is None else len(streamed.text),
            last=None if streamed is None else streamed.is_last,
        )

    def quarantine(self) -> bytes:
        """Return the content of the shard's quarantine file; empty if all documents are good."""
        lines = (json.dumps(document.to_json(), ensure_ascii=False) + "\n" for document in self._bad)
        return "".join(lines).encode(errors="backslashreplace")


def quarantine_files(folder: Folder, shard: str, content: bytes) -> dict[str, WriteFile]:
    """Return what writes a shard's quarantine file, if it has content; if not, one of an earlier attempt is deleted."""
    name = f"quarantine/{shard}.jsonl"
    if content:
        return {name: partial(_write_bytes, content)}
    folder.delete_file(name)
    return {}


def _write_bytes(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def id_column(block: Sequence[Document]) -> pa.Array:
    """Return the ids of documents."""
    return pa.array([document.doc_id for document in block], pa.string())


def kept_columns(block: Sequence[Document], columns: Columns) -> list[pa.Array]:
    """Return the kept columns of documents."""
    return [
        pa.array([document.kept[number] for document in block], field.type)
        for number, field in enumerate(columns.kept_fields())
    ]


def token_column(numbered: NumberedDocuments) -> pa.Array:
    """Return the local ids of documents as lists."""
    return pa.ListArray.from_arrays(pa.array(numbered.bounds, pa.int32()), pa.array(numbered.ids))


def with_global_ids(tokens: pa.ListArray, global_ids: np.ndarray, vocab: Vocab) -> pa.ListArray:
    """Return lists of local ids with a vocabulary's in their place; `global_ids` has that of each local id."""
    ids = pa.array(global_ids[np.asarray(tokens.values)]).cast(vocab.token_id_type())
    return pa.ListArray.from_arrays(tokens.offsets, ids)


def tokenizer_of(settings: TokenizerSettings, fingerprint: str, folder: str) -> Tokenizer:
    """Return this process's tokenizer of these settings; if its kind has a model, that lies in `folder`.

    Raises:
        RuntimeError: its fingerprint is another one: it would cut texts otherwise than the driver's.
    """
    return _tokenizer(settings, fingerprint, folder if settings.kind in WITH_MODEL else None)


@functools.lru_cache(maxsize=KEPT_IN_PROCESS)
def _tokenizer(settings: TokenizerSettings, fingerprint: str, folder: str | None) -> Tokenizer:
    tokenizer = make_tokenizer(settings, None if folder is None else read_tokenizer_model(Folder(folder)))
    if tokenizer.fingerprint != fingerprint:
        raise RuntimeError("this worker's tokenizer differs from the driver's: install the same packages everywhere")
    # What is loaded stays: the garbage collector need not look through spaCy's rules again and again.
    gc.freeze()
    return tokenizer


@functools.lru_cache(maxsize=KEPT_IN_PROCESS)
def vocab_of(folder: str, fingerprint: str) -> Vocab:
    """Return the vocabulary that lies in `folder`."""
    vocab = Vocab.from_json(Folder(folder).read_json("vocab.json"))
    assert vocab.fingerprint == fingerprint, "vocab.json changed while the job ran"
    return vocab
