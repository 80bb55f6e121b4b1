"""Documents -> probabilities and the head's features. Both depend on the document and the classifier alone.

The backbone runs as for any vector (see encoder.py); the head follows in float64 (see model.classifier.Scorer).
"""

from collections.abc import Iterator, Sequence

import numpy as np

from ulmfit_ray.encoding.encoder import TokenEncoder
from ulmfit_ray.model.classifier import AS_TRAINED, Classifier, Scored, Scorer

BLOCK = 16_384
"""Documents whose pooled vectors are held at once, 5 kB each: a shard may have millions of short ones."""
HEAD_ROWS = 1024
"""Documents that go through the head at a time, so that few of their pooled vectors are held in float64."""


class DocumentScorer:
    """Scores documents given as token ids in the order in which the classifier reads them."""

    def __init__(self, model: Classifier) -> None:
        self._encoder = TokenEncoder(model, AS_TRAINED)
        self._scorer = Scorer(model)
        self.dimension = model.description.sizes(self._encoder.dimension)[-2]
        """Width of the features."""

    def score(self, documents: Sequence[np.ndarray]) -> Scored:
        """Return probabilities (N, C) and features (N, F) of documents, in their order.

        Raises:
            ValueError: a document has no tokens.
        """
        parts = [
            self._scorer(pooled[start : start + HEAD_ROWS])
            for pooled in self._pooled(documents)
            for start in range(0, len(pooled) or 1, HEAD_ROWS)
        ]
        probabilities, features = zip(*((part.probabilities, part.features) for part in parts), strict=True)
        return Scored(np.concatenate(probabilities), np.concatenate(features))

    def _pooled(self, documents: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield the pooled vectors (B, P) of block after block; one block if there are no documents."""
        for start in range(0, len(documents) or 1, BLOCK):
            yield self._encoder.encode(documents[start : start + BLOCK])

    def encode(self, documents: Sequence[np.ndarray]) -> np.ndarray:
        """Return the features alone, float32 (N, dimension): vectors of the documents, as a TokenEncoder makes them."""
        return self.score(documents).features
