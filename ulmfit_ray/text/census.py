"""The census of a corpus: how long its documents are, in tokens, and how many are duplicates of another one.

Each shard is counted by itself, and the shards are added up, in any order and in constant memory. Lengths are exact,
and so are duplicates within a shard. To find those in different shards, each shard gives the checksums of at most
1,024 of its distinct documents: the smallest ones. Below the lowest limit of all shards every checksum of the corpus
is known, and in how many shards it stands. These are a random sample of the distinct documents (a bottom-k sketch,
Cohen and Kaplan 2007), and how many of them stand in several shards is an estimate for all.
"""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

SHARD_SAMPLE = 1 << 10
"""Checksums of a shard at most: 8 KB. A unit of 1 MiB mostly has fewer documents, and then the sum is exact."""
CORPUS_SAMPLE = 1 << 17
"""Checksums that are kept of the corpus at most."""
NO_LIMIT = np.uint64(2**64 - 1)
PERCENTILES = (5, 25, 50, 75, 95, 99)
CENSUS_SCHEMA = pa.schema(
    [
        ("lengths", pa.list_(pa.uint32())),
        ("documents", pa.list_(pa.uint32())),
        ("num_distinct", pa.int64()),
        ("sample", pa.list_(pa.uint64())),
    ]
)
"""A row is a shard: its distinct lengths and how many documents have each, its distinct documents, their sample."""


def checksums(documents: Iterable[Sequence[str]]) -> np.ndarray:
    """Return a uint64 for each document, given as its fields: equal for equal texts, on any machine.

    Two checksums of 32 bits take little more time than reading the text: 1 us for each kilobyte.
    """
    texts = ("\0".join(fields).encode() for fields in documents)
    return spread(np.array([zlib.crc32(text) << 32 | zlib.adler32(text) for text in texts], np.uint64))


def spread(numbers: np.ndarray) -> np.ndarray:
    """Return the numbers spread evenly over 64 bits, one to one (the finalizer of SplitMix64)."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def _first_places(values: np.ndarray) -> np.ndarray:
    """Return where each value of a sorted array stands first: a twentieth of the time of numpy's `unique`."""
    is_first = np.ones(len(values), bool)
    is_first[1:] = values[1:] != values[:-1]
    return np.flatnonzero(is_first)


@dataclass(frozen=True, slots=True)
class Census:
    """What is counted of one shard."""

    lengths: np.ndarray
    """uint32, the distinct lengths, rising"""
    documents: np.ndarray
    """uint32, how many documents have each of them"""
    num_distinct: int
    """Documents without those that equal an earlier one of the shard."""
    sample: np.ndarray
    """uint64, the smallest checksums of the distinct documents, rising"""

    @classmethod
    def of(cls, lengths: np.ndarray, checksums: np.ndarray) -> "Census":
        """Count the documents of a shard by their lengths and checksums."""
        lengths, checksums = np.sort(lengths), np.sort(checksums)
        starts, distinct = _first_places(lengths), checksums[_first_places(checksums)]
        documents = np.diff(starts, append=len(lengths))
        return cls(
            lengths[starts].astype(np.uint32), documents.astype(np.uint32), len(distinct), distinct[:SHARD_SAMPLE]
        )

    @property
    def limit(self) -> np.uint64:
        """Return the checksum up to which the sample has all of the shard."""
        return NO_LIMIT if len(self.sample) == self.num_distinct else self.sample[-1]

    def to_table(self) -> pa.Table:
        """Return one row of CENSUS_SCHEMA."""
        row = [[self.lengths], [self.documents], [self.num_distinct], [self.sample]]
        arrays = [pa.array(values, kind) for values, kind in zip(row, CENSUS_SCHEMA.types, strict=True)]
        return pa.table(arrays, schema=CENSUS_SCHEMA)

    @classmethod
    def from_table(cls, table: pa.Table) -> "Census":
        """Rebuild a census from its row."""
        lengths, documents, sample = (
            table[name].combine_chunks().values.to_numpy() for name in ("lengths", "documents", "sample")
        )
        return cls(lengths, documents, table["num_distinct"][0].as_py(), sample)


class CorpusCensus:
    """The censuses of shards, added up."""

    def __init__(self) -> None:
        self.num_documents = 0
        self._num_shards = 0
        """Shards with documents."""
        self._documents: dict[int, int] = {}
        self._num_distinct = 0
        """Distinct documents of each shard, added up."""
        self._limit = NO_LIMIT
        self._sample = np.empty(0, np.uint64)
        self._shards = np.empty(0, np.int64)
        """In how many shards each document of the sample stands."""
        self._waiting: list[np.ndarray] = []

    def add(self, census: Census) -> None:
        """Add a shard."""
        for length, documents in zip(census.lengths.tolist(), census.documents.tolist(), strict=True):
            self._documents[length] = self._documents.get(length, 0) + documents
            self.num_documents += documents
        self._num_shards += census.num_distinct > 0
        self._num_distinct += census.num_distinct
        self._limit = min(self._limit, census.limit)
        self._waiting.append(census.sample)
        if sum(map(len, self._waiting)) > CORPUS_SAMPLE:
            self._merge()

    def _merge(self) -> None:
        """Bring the samples that wait into the sample, and cut it to its size."""
        ones = [np.ones(len(sample), np.int64) for sample in self._waiting]
        checksums, places = np.unique(np.concatenate([self._sample, *self._waiting]), return_inverse=True)
        shards = np.bincount(places, np.concatenate([self._shards, *ones]), len(checksums)).astype(np.int64)
        if len(checksums) > CORPUS_SAMPLE:
            self._limit = min(self._limit, checksums[CORPUS_SAMPLE - 1])
        is_known = checksums <= self._limit
        self._sample, self._shards, self._waiting = checksums[is_known], shards[is_known], []

    def length_percentiles(self) -> dict[str, float]:
        """Return min, percentiles (the smallest length that so many documents do not exceed), max and mean."""
        lengths = np.array(sorted(self._documents), np.int64)
        documents = np.array([self._documents[length] for length in lengths.tolist()], np.int64)
        ends = np.cumsum(documents)
        # In whole numbers: 0.05 * 20 is a little over 1, and would ask for the second of 20 documents.
        ranks = [-(-percent * self.num_documents // 100) for percent in PERCENTILES]
        found = lengths[np.searchsorted(ends, ranks)].tolist()
        mean = round(float(lengths @ documents) / self.num_documents, 2)
        named = dict(zip((f"{percent}%" for percent in PERCENTILES), found, strict=True))
        return {"min": int(lengths[0]), **named, "max": int(lengths[-1]), "mean": mean}

    def duplicates(self) -> tuple[int, int, int]:
        """Return how many documents equal an earlier one: of their shard, of the corpus, and the latter's error.

        The error is 0 if all is known. Otherwise 95 of 100 estimates are not further off: twice the standard deviation
        of a ratio. One squared residual more is added: a sample without duplicates does not prove that there are none.
        """
        self._merge()
        in_shards = self.num_documents - self._num_distinct
        if self._num_shards == 1:
            return in_shards, in_shards, 0
        if self._limit == NO_LIMIT:
            return in_shards, self.num_documents - len(self._sample), 0
        part = len(self._sample) / self._shards.sum()
        deviation = np.sqrt(np.square(1 - part * self._shards).sum() + 1) / self._shards.sum()
        across = (1 - part) * self._num_distinct
        return in_shards, in_shards + round(across), round(2 * deviation * self._num_distinct)

    def figures(self) -> dict[str, Any]:
        """Return what the manifest says."""
        in_shards, duplicates, error = self.duplicates()
        return {
            "document_lengths": self.length_percentiles(),
            "num_duplicates_in_shards": in_shards,
            "num_duplicates": duplicates,
            "num_duplicates_error": error,
        }
