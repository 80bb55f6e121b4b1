"""Nearest documents by an index of FAISS: of one of three kinds, whose hits are ranked by cosines of whole vectors.

- flat: all vectors, and each query is compared with all. Exact.
- hnsw: all vectors, and a graph of neighbours through which a query finds its way.
- ivf-pq: vectors in lists around centroids, each as 64 bytes or so (product quantization). A query looks into the
  nearest lists only. The bytes alone do not tell the best ten from the next hundred, so the best 400 are compared once
  more by their vectors, which lie beside the index in half precision and are read where they are needed.

Files are memory-mapped: a search reads of them what it needs. N documents, Q queries, D numbers in a vector. FAISS
takes as many threads as OMP_NUM_THREADS says or as there are cores, like torch; the two work one after the other.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ulmfit_ray.retrieval.search import QUERIES_AT_ONCE, Hits, best, normalize_rows

Kind = Literal["flat", "hnsw", "ivf-pq"]
FLAT_BYTES = 200 << 20
"""Vectors of so many bytes are read for a query in 20 to 40 ms."""
HNSW_BYTES = 4 << 30
"""A graph over so many bytes is made in memory; over more, ivf-pq takes a thirtieth of it."""
HNSW_NEIGHBOURS, HNSW_BUILD_EFFORT = 32, 80
NUMBERS_PER_BYTE = 8
"""Of a vector, in product quantization."""
RERANKED = 400
TRAINING_PER_LIST, TRAINING_STEPS = 50, 10
LEAST_FOR_IVF_PQ = 10_000
"""Documents: each byte of product quantization has 256 centroids, and FAISS wants 39 vectors for each."""
MOST_LISTS = 1 << 14
"""So a training takes 820,000 vectors at most."""
INDEX_FILE, VECTORS_FILE = "index.faiss", "vectors.npy"


def require_faiss() -> None:
    """Raise ValueError where FAISS is missing; to be asked before any work."""
    try:
        import faiss  # noqa: F401
    except ImportError as error:
        raise ValueError("an index needs FAISS: pip install 'ulmfit-ray[search]'") from error


def kind_for(num_documents: int, dimension: int) -> Kind:
    """Return the kind of index that suits so many vectors."""
    num_bytes = 4 * num_documents * dimension
    if num_bytes <= FLAT_BYTES:
        return "flat"
    return "hnsw" if num_bytes <= HNSW_BYTES or num_documents < LEAST_FOR_IVF_PQ else "ivf-pq"


def num_lists(num_documents: int) -> int:
    """Return the number of lists of an ivf-pq index."""
    return min(MOST_LISTS, round(4 * math.sqrt(num_documents)))


def num_training_vectors(kind: Kind, num_documents: int) -> int:
    """Return how many of the vectors an index learns from before any is added."""
    return min(num_documents, TRAINING_PER_LIST * num_lists(num_documents)) if kind == "ivf-pq" else 0


class VectorIndex:
    """An index of one of the kinds, being made or opened."""

    def __init__(self, kind: Kind, index: Any, vectors: np.ndarray | None, effort: int) -> None:
        self.kind = kind
        self.effort = effort
        """How much is looked at for a query: hnsw's efSearch, the number of lists of ivf-pq."""
        self._index = index
        self._vectors = vectors
        """Of ivf-pq: unit vectors, float16 (N, D)."""

    @classmethod
    def make(cls, kind: Kind, dimension: int, num_documents: int, training: np.ndarray, place: Path) -> "VectorIndex":
        """Return an empty index for so many documents that is saved in `place`, a local folder, later.

        `training` are `num_training_vectors` of the vectors, drawn at random. With ivf-pq, memory is theirs and about
        D / 8 + 8 bytes a document: the vectors go to `place` as they are added. The other kinds hold all vectors.
        """
        import faiss

        if kind == "flat":
            return cls(kind, faiss.IndexFlatIP(dimension), None, 1)
        if kind == "hnsw":
            index = faiss.IndexHNSWFlat(dimension, HNSW_NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction = HNSW_BUILD_EFFORT
            return cls(kind, index, None, 1)
        num_codes = -(-dimension // NUMBERS_PER_BYTE)
        width = num_codes * NUMBERS_PER_BYTE
        centroids = faiss.IndexFlatIP(width)
        lists = num_lists(num_documents)
        index = faiss.IndexIVFPQ(centroids, width, lists, num_codes, 8, faiss.METRIC_INNER_PRODUCT)
        for clustering in (index.cp, index.pq.cp):
            clustering.niter = TRAINING_STEPS
            clustering.max_points_per_centroid = TRAINING_PER_LIST
            # With fewer than 39 it would warn; the recall is measured.
            clustering.min_points_per_centroid = 1
        index.cp.spherical = True
        index.train(_padded(normalize_rows(training), width))
        shape = (num_documents, dimension)
        vectors = np.lib.format.open_memmap(place / VECTORS_FILE, mode="w+", dtype=np.float16, shape=shape)
        return cls(kind, index, vectors, 1)

    def add(self, vectors: np.ndarray) -> None:
        """Add the next documents' vectors (N, D)."""
        unit = normalize_rows(vectors)
        if self._vectors is not None:
            first = self._index.ntotal
            self._vectors[first : first + len(unit)] = unit
        self._index.add(_padded(unit, self._index.d))

    def save(self, place: Path) -> None:
        """Write the index into the local folder that it was made for."""
        import faiss

        faiss.write_index(self._index, str(place / INDEX_FILE))
        if isinstance(self._vectors, np.memmap):
            self._vectors.flush()

    @classmethod
    def load(cls, place: Path, kind: Kind, effort: int) -> "VectorIndex":
        """Open a saved index in a local folder."""
        import faiss

        index = faiss.read_index(str(place / INDEX_FILE), faiss.IO_FLAG_MMAP_IFC)
        vectors = np.load(place / VECTORS_FILE, mmap_mode="r") if kind == "ivf-pq" else None
        return cls(kind, index, vectors, effort)

    @property
    def efforts(self) -> Sequence[int]:
        """Return the efforts to choose from, rising."""
        first, most = {"flat": (1, 1), "hnsw": (32, 2048), "ivf-pq": (1, getattr(self._index, "nlist", 1))}[self.kind]
        return [*(first << step for step in range(20) if first << step < most), most]

    def search(self, queries: np.ndarray, k: int) -> Hits:
        """Return the k nearest documents of each query (Q, D), fewer (row -1) only where that many are not reached."""
        k = min(k, self._index.ntotal)
        parts = [queries[start : start + QUERIES_AT_ONCE] for start in range(0, len(queries), QUERIES_AT_ONCE)]
        found = [self._nearest(normalize_rows(part), k) for part in parts]
        return Hits(np.concatenate([hits.rows for hits in found]), np.concatenate([hits.scores for hits in found]))

    def _nearest(self, queries: np.ndarray, k: int) -> Hits:
        """Look further than the effort says where it does not give k documents, as for a large k."""
        effort, most = self.effort, max(self._index.ntotal, self.efforts[-1])
        hits = self._candidates(queries, k, effort)
        while (hits.rows < 0).any() and effort < most:
            effort *= 4
            hits = self._candidates(queries, k, effort)
        return hits

    def _candidates(self, queries: np.ndarray, k: int, effort: int) -> Hits:
        import faiss

        if self.kind == "ivf-pq":
            parameters = faiss.SearchParametersIVF(nprobe=min(effort, self._index.nlist))
            num_candidates = min(max(RERANKED, 2 * k), self._index.ntotal)
            _, rows = self._index.search(_padded(queries, self._index.d), num_candidates, params=parameters)
            return self._reranked(queries, rows, k)
        parameters = None
        if self.kind == "hnsw":
            parameters = faiss.SearchParametersHNSW(efSearch=max(effort, 2 * k))
        scores, rows = self._index.search(np.ascontiguousarray(queries, np.float32), k, params=parameters)
        return Hits(rows, scores)

    def _reranked(self, queries: np.ndarray, candidates: np.ndarray, k: int) -> Hits:
        """Return the k best candidates (Q, C) by their cosines."""
        hits = Hits(np.full((len(queries), k), -1), np.full((len(queries), k), -np.inf, np.float32))
        for number, (query, rows) in enumerate(zip(queries, candidates, strict=True)):
            # Rising: the vectors are read in their order in the file, and ties go to the first document.
            known = np.sort(rows[rows >= 0])
            own = best((self.vectors(known) @ query)[None], k)
            hits.rows[number, : len(own.rows[0])] = known[own.rows[0]]
            hits.scores[number, : len(own.rows[0])] = own.scores[0]
        return hits

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """Return the unit vectors (R, D) of documents, float32."""
        if self._vectors is not None:
            return self._vectors[rows].astype(np.float32)
        found: np.ndarray = self._index.reconstruct_batch(np.ascontiguousarray(rows, np.int64))
        return found


def _padded(vectors: np.ndarray, width: int) -> np.ndarray:
    """Return the vectors as FAISS takes them, with zeros up to a width: they change no product."""
    missing = width - vectors.shape[1]
    padded = np.pad(vectors, ((0, 0), (0, missing))) if missing else vectors
    return np.ascontiguousarray(padded, np.float32)
