"""The distinct tokens ("types") of one shard, numbered by first occurrence, with their counts.

Numbers depend on the shard's text alone, never on what a worker has seen before, so that two attempts at a
shard write the same bytes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pyarrow as pa

from ulmfit_ray.text.rules import BOS, EOS, FLD
from ulmfit_ray.text.tokenizers.kinds import Eos, Tokenizer

FRAMES: dict[Eos, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "none": ((BOS,), ()),
    "document": ((BOS,), (EOS,)),
    "line": ((), ()),
}
"""Where xxeos is wanted -> what stands in front of a document and behind it. With a xxeos behind each line documents
are joined as in the papers on language models, where nothing but line ends parts them."""


def field_prefixes(tokenizer: Tokenizer, num_fields: int) -> Iterator[tuple[str, ...]]:
    """Yield the tokens that stand in front of each field: xxfld and the tokens of its number, or none."""
    for number in range(1, num_fields + 1):
        yield (FLD, *tokenizer(str(number))) if tokenizer.settings.mark_fields else ()


def lines_of(text: str) -> list[str]:
    """Return the lines of a text: a final line end adds none, an empty text is one."""
    return text.removesuffix("\n").split("\n")


def document_tokens(tokenizer: Tokenizer, fields: Sequence[str]) -> list[str]:
    """Return the tokens of a whole document: xxbos, then each field, with its mark if marks are on; and xxeos."""
    begin, end = FRAMES[tokenizer.settings.eos]
    tokens = list(begin)
    for prefix, text in zip(field_prefixes(tokenizer, len(fields)), fields, strict=True):
        tokens += prefix
        if tokenizer.settings.eos == "line":
            tokens += [token for line in lines_of(text) for token in (*tokenizer(line), EOS)]
        else:
            tokens += tokenizer(text)
    return [*tokens, *end]


@dataclass(frozen=True, slots=True)
class NumberedDocuments:
    """The local ids of some documents, joined, and where documents and their fields lie in them."""

    ids: np.ndarray
    """uint32 (tokens,)"""
    bounds: np.ndarray
    """int64 (documents + 1,): document i is `ids[bounds[i]:bounds[i + 1]]`"""
    field_starts: np.ndarray
    """int64 (documents, fields): where a field's own tokens start, counted from the document's first token"""
    field_ends: np.ndarray


class TypeTable:
    """Numericalizes the documents of one shard against a dictionary that grows as they come."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: dict[str, int] = {}
        self._counts = np.zeros((2, 0), np.int64)

    def add(self, documents: Sequence[Sequence[str]]) -> NumberedDocuments:
        """Return the local ids of documents, each given as its fields (all have equally many)."""
        num_fields = len(documents[0])
        begin, end = (self._ids_of(tokens) for tokens in FRAMES[self._tokenizer.settings.eos])
        prefixes = [self._ids_of(prefix) for prefix in field_prefixes(self._tokenizer, num_fields)]
        before = [np.concatenate([begin, prefixes[0]]), *prefixes[1:]]
        own, own_bounds = self._fields([text for fields in documents for text in fields])
        # Where each field's own tokens start and end, when what stands around them is put in.
        widths = np.tile([len(prefix) for prefix in before], len(documents))
        behind = np.repeat(np.arange(len(documents)) * len(end), num_fields)
        ends = own_bounds[1:] + np.cumsum(widths) + behind
        starts = ends - np.diff(own_bounds)
        last_ends = ends[num_fields - 1 :: num_fields]
        ids = np.empty(int(last_ends[-1]) + len(end), np.uint32)
        is_own = np.ones(len(ids), bool)
        around = [(starts[field::num_fields] - len(prefix), prefix) for field, prefix in enumerate(before)]
        for firsts, tokens in (*around, (last_ends, end)):
            for place, token_id in enumerate(tokens):
                ids[firsts + place], is_own[firsts + place] = token_id, False
        ids[is_own] = own
        bounds = np.concatenate([[0], last_ends + len(end)])
        self._count(ids, bounds)
        places = np.stack([starts, ends]).reshape(2, -1, num_fields) - bounds[:-1, None]
        return NumberedDocuments(ids, bounds, places[0], places[1])

    def _fields(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the local ids of fields, joined, and the fields' bounds in them."""
        if self._tokenizer.settings.eos != "line":
            found = self._tokenizer.tokenize(texts)
            return self._ids_of(found.types)[found.ids], found.bounds
        fields = [lines_of(text) for text in texts]
        found = self._tokenizer.tokenize(list(chain.from_iterable(fields)))
        line_ends = found.bounds[1:] + np.arange(len(found.bounds) - 1)
        ids = np.empty(len(found.ids) + len(line_ends), np.uint32)
        is_word = np.ones(len(ids), bool)
        is_word[line_ends] = False
        ids[is_word], ids[line_ends] = self._ids_of(found.types)[found.ids], self._ids_of([EOS])
        return ids, np.concatenate([[0], line_ends + 1])[np.cumsum([0, *map(len, fields)])]

    def _ids_of(self, tokens: Sequence[str]) -> np.ndarray:
        """Return the local ids of tokens; those that are new get the next ones."""
        ids = self._ids
        return np.array([ids.setdefault(token, len(ids)) for token in tokens], np.uint32)

    def _count(self, ids: np.ndarray, bounds: np.ndarray) -> None:
        """Count the occurrences of each type, and the documents that hold it."""
        size = len(self._ids)
        keys = np.repeat(np.arange(len(bounds) - 1, dtype=np.int64) * size, np.diff(bounds)) + ids
        keys.sort()
        firsts = keys[np.diff(keys, prepend=-1) != 0] % size
        counts = np.zeros((2, size), np.int64)
        counts[:, : self._counts.shape[1]] = self._counts
        counts[0] += np.bincount(ids, minlength=size)
        counts[1] += np.bincount(firsts, minlength=size)
        self._counts = counts

    def to_table(self) -> pa.Table:
        """Return columns token, count and documents; row i is local id i."""
        return pa.table(
            {"token": pa.array(list(self._ids), pa.string()), "count": self._counts[0], "documents": self._counts[1]}
        )
