"""The vectors of an embedding dataset, for documents and queries alike: one or several models side by side.

>>> encoder = JointEncoder.of_embeddings(EmbeddingDataset("embeddings"), ["models/forward", "models/backward"])
>>> encoder.encode_queries(["what you look for"]).shape
(1, 800)
"""

from collections.abc import Sequence

import numpy as np

from ulmfit_ray.document_encoder import HEAD, DocumentEncoder, chosen_device
from ulmfit_ray.encoding.projection import Projection
from ulmfit_ray.model.description import Block, ModelDescription, Reading, pooled_width
from ulmfit_ray.storage.embedding_dataset import EmbeddingDataset
from ulmfit_ray.storage.model_directory import ModelDirectory


class JointEncoder:
    """Models that each read a document in their own way; their vectors are joined in the order of the models."""

    def __init__(
        self, encoders: Sequence[DocumentEncoder], readings: Sequence[Reading], projection: Projection | None = None
    ) -> None:
        self.encoders, self._readings = encoders, readings
        self._makers = [encoder.vector_encoder(own) for encoder, own in zip(encoders, readings, strict=True)]
        self._projection = projection

    @classmethod
    def load(
        cls, uris: Sequence[str], readings: Sequence[Reading], projection: Projection | None = None
    ) -> "JointEncoder":
        """Load the models in these directories; each has a reading of its own."""
        device = chosen_device(None)
        return cls([DocumentEncoder(ModelDirectory(uri), device) for uri in uris], readings, projection)

    @classmethod
    def of_embeddings(cls, embeddings: EmbeddingDataset, uris: Sequence[str]) -> "JointEncoder":
        """Load the models that an embedding dataset was made with.

        Raises:
            ValueError: it was made with others, or with these in another order.
        """
        embeddings.check_models([ModelDirectory(uri).fingerprint for uri in uris], uris)
        projection = None
        if embeddings.projection_file is not None:
            with embeddings.folder.local_files([embeddings.projection_file]) as place:
                projection = Projection.load(place / embeddings.projection_file)
        return cls.load(uris, embeddings.readings, projection)

    @property
    def first(self) -> DocumentEncoder:
        """Return the first model's encoder; its vocabulary is that of token datasets that go with the vectors."""
        return self.encoders[0]

    def encode_tokens(self, documents: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
        """Return float32 vectors (N, D) of documents given as token ids in the order of the text.

        `documents` are those of each model's vocabulary, or one list of documents if all have the same.
        """
        own = documents if len(documents) > 1 else [*documents] * len(self.encoders)
        return self._joined(
            [
                maker.encode([encoder.directed(ids) for ids in found])
                for encoder, maker, found in zip(self.encoders, self._makers, own, strict=True)
            ]
        )

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        """Return float32 vectors (N, D) of queries: see DocumentEncoder.encode_queries."""
        pairs = zip(self.encoders, self._readings, strict=True)
        return self._joined([encoder.encode_queries(texts, reading) for encoder, reading in pairs])

    def _joined(self, vectors: Sequence[np.ndarray]) -> np.ndarray:
        joined = np.concatenate(vectors, 1) if len(vectors) > 1 else vectors[0]
        return joined if self._projection is None else self._projection.apply(joined)


def blocks_of(descriptions: Sequence[ModelDescription], readings: Sequence[Reading]) -> list[Block]:
    """Return the blocks of a joint vector by which one can search: a retriever's own, or one for each of several."""
    if len(descriptions) == 1:
        return list(descriptions[0].vector_blocks(readings[0].pooling))
    blocks, start = [], 0
    for number, own in enumerate(zip(descriptions, readings, strict=True), 1):
        width = sum(_part_widths(*own))
        blocks.append(Block(f"model {number}", start, start + width))
        start += width
    return blocks


def parts_of(descriptions: Sequence[ModelDescription], readings: Sequence[Reading]) -> np.ndarray:
    """Return where the parts of a joint vector begin and end, (parts, 2), whose numbers are of different sizes.

    They are each model's blocks, and of concat the last outputs, the maxima and the means.
    """
    widths = [width for own in zip(descriptions, readings, strict=True) for width in _part_widths(*own)]
    ends = np.cumsum(widths)
    return np.stack([ends - widths, ends], 1)


def _part_widths(description: ModelDescription, reading: Reading) -> list[int]:
    if reading.pooling == HEAD:
        assert description.head is not None
        return [description.head.sizes(description.dimension)[-2]]
    if description.blocks:
        widths = []
        for block in description.blocks:
            width = block.stop - block.start
            is_wide = block.name == "context" and reading.pooling == "concat"
            widths += [width] * 3 if is_wide else [width]
        return widths
    assert description.architecture is not None
    layer = description.architecture.layer_sizes()[-1 if reading.layer is None else reading.layer - 1]
    return [layer[1]] * (pooled_width(reading.pooling, layer[1]) // layer[1])
