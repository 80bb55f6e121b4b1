"""Vectors -> vectors that tell documents apart: the mean taken away, and on demand the main axes, made equally long.

What all documents of a corpus have in common makes their cosines alike, and says nothing. The blocks of a vector
(several models, or last, max and mean of one) are scaled to length 1 one by one first: else the longest block, whose
numbers have other sizes, would be all that counts.

N vectors of P numbers become vectors of D numbers.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SAMPLE = 20_000
"""Vectors to learn from; more do not change the axes, and four megabytes of a thousand of them are held."""
PART = 4096
"""Vectors that are held in float64 at once."""
_SPELLED = re.compile(r"center|(whiten|pca):([1-9][0-9]*)")


@dataclass(frozen=True, slots=True)
class Method:
    """What --project asks for."""

    name: str
    """center, pca or whiten."""
    size: int | None
    """D; None: as many as there are."""

    @classmethod
    def parse(cls, text: str) -> "Method":
        """Read `center`, `pca:D` or `whiten:D`.

        Raises:
            ValueError: it is none of these.
        """
        found = _SPELLED.fullmatch(text)
        if not found:
            raise ValueError(f"{text!r} is none of center, whiten:256, pca:256 (or another number of dimensions)")
        return cls(found[1] or "center", int(found[2]) if found[2] else None)


@dataclass(frozen=True, slots=True)
class Projection:
    """A fitted projection; the same for documents and queries."""

    parts: np.ndarray
    """Where each block begins and ends, (blocks, 2)."""
    mean: np.ndarray
    """Float64 (P,), of vectors with their blocks scaled."""
    axes: np.ndarray | None
    """Float64 (P, D); None: the mean is taken away, and that is all."""

    @classmethod
    def fit(cls, method: Method, parts: np.ndarray, sample: np.ndarray) -> "Projection":
        """Learn from a sample of vectors (N, P).

        Raises:
            ValueError: the sample has no more vectors, or they no more numbers, than dimensions are asked for.
        """
        scaled = _scaled(sample.astype(np.float64), parts)
        mean = scaled.mean(0)
        if method.size is None:
            return cls(parts, mean, None)
        if method.size > min(len(sample) - 1, sample.shape[1]):
            raise ValueError(
                f"{method.size} dimensions are asked for; {len(sample):,} documents with vectors of"
                f" {sample.shape[1]:,} numbers give at most {min(len(sample) - 1, sample.shape[1]):,}"
            )
        values, axes = np.linalg.eigh(_shrunk_covariance(scaled - mean))
        # From the longest on; the sign of an axis is arbitrary, and chosen so that it does not depend on the library.
        values, axes = values[::-1][: method.size], axes[:, ::-1][:, : method.size]
        axes = axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(method.size)])
        return cls(parts, mean, axes / np.sqrt(values) if method.name == "whiten" else axes)

    def apply(self, vectors: np.ndarray) -> np.ndarray:
        """Return float32 vectors (N, D) for vectors (N, P).

        They are computed in float64, so that what is rounded to float32 does not depend on how many come together.
        """
        blocks = [self._projected(vectors[start : start + PART]) for start in range(0, len(vectors) or 1, PART)]
        return np.concatenate(blocks)

    def _projected(self, vectors: np.ndarray) -> np.ndarray:
        found = _scaled(vectors.astype(np.float64), self.parts) - self.mean
        return (found if self.axes is None else found @ self.axes).astype(np.float32)

    def save(self, path: Path) -> None:
        """Write it as .npz, without pickles."""
        if self.axes is None:
            np.savez(path, parts=self.parts, mean=self.mean)
        else:
            np.savez(path, parts=self.parts, mean=self.mean, axes=self.axes)

    @classmethod
    def load(cls, path: Path) -> "Projection":
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as content:
            return cls(content["parts"], content["mean"], content.get("axes"))


def _scaled(vectors: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Return vectors whose blocks have length 1."""
    blocks = [vectors[:, start:stop] for start, stop in parts]
    return np.concatenate([own / np.maximum(np.linalg.norm(own, axis=1, keepdims=True), 1e-12) for own in blocks], 1)


def _shrunk_covariance(centred: np.ndarray) -> np.ndarray:
    """Return the covariance (P, P) of vectors with mean 0, drawn towards a multiple of the identity.

    Few documents make the shortest axes too short, and whitening would blow up their noise. How far it is drawn is the
    estimate of Ledoit and Wolf (2004, "A well-conditioned estimator for large-dimensional covariance matrices").
    """
    number, width = centred.shape
    covariance = centred.T @ centred / number
    middle = np.trace(covariance) / width
    spread = np.square(covariance).sum() - width * middle**2
    noise = (np.square(np.square(centred).sum(1)).sum() / number - np.square(covariance).sum()) / number
    share = min(1.0, max(0.0, noise / spread)) if spread > 0 else 1.0
    return (1 - share) * covariance + share * middle * np.eye(width)
