"""Raw text -> vectors in one process, without Ray: what a search needs for its queries, and a notebook.

>>> encoder = DocumentEncoder.load("models/lm")
>>> encoder.encode(["first text", "second text"], pooling="concat").shape
(2, 1200)
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch

from ulmfit_ray.encoding.encoder import Encoder
from ulmfit_ray.model.files import load_model
from ulmfit_ray.storage.model_directory import ModelDirectory
from ulmfit_ray.text.tokenizers.spacy_words import SpacyTokenizer
from ulmfit_ray.text.vocab import Vocab


class DocumentEncoder:
    """A model with its own tokenizer and vocabulary.

    The vectors are those of the `embed` job: on a CPU to the last bit, on a GPU to 1e-6.
    """

    def __init__(self, directory: ModelDirectory, device: torch.device) -> None:
        self.directory = directory
        self.vocab = Vocab.from_json(directory.vocab)
        with directory.weights() as path:
            self.model = load_model(directory.model, path, device)

    @classmethod
    def load(cls, uri: str, device: str | None = None) -> "DocumentEncoder":
        """Open a model directory; the device is cuda if there is one.

        Raises:
            FileNotFoundError, IncompleteDatasetError, ValueError: it is no finished model directory.
        """
        chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
        return cls(ModelDirectory(uri), torch.device(chosen))

    @cached_property
    def tokenizer(self) -> SpacyTokenizer:
        """The tokenizer the model was trained with; loaded when the first text comes."""
        return SpacyTokenizer.from_json(self.directory.tokenizer)

    def encoder(self, pooling: str | None = None) -> Encoder:
        """Return the encoder of token ids with a pooling (default: what the model says)."""
        return Encoder(self.model, pooling=pooling or self.directory.model["pooling"], idf=self.vocab.idf())

    def numericalize(self, texts: Sequence[str | Sequence[str]]) -> list[np.ndarray]:
        """Return the token ids of texts; a text may be several fields, each tokenized by itself."""
        documents = [[text] if isinstance(text, str) else text for text in texts]
        ids = [self.vocab.numericalize(self.tokenizer.document(fields)) for fields in documents]
        return [self.directed(document) for document in ids]

    def directed(self, document: np.ndarray) -> np.ndarray:
        """Return the ids in the order in which the model reads them."""
        return document[::-1].copy() if self.directory.model["direction"] == "backward" else document

    def encode(self, texts: Sequence[str | Sequence[str]], pooling: str | None = None) -> np.ndarray:
        """Return float32 vectors (N, D) of raw texts."""
        return self.encoder(pooling).encode(self.numericalize(texts))
