"""Raw text -> vectors in one process, without Ray: used for the queries of a search, and in notebooks.

>>> encoder = DocumentEncoder.load("models/lm")
>>> encoder.encode(["first text", "second text"], pooling="concat").shape
(2, 1200)
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch

from ulmfit_ray.encoding.encoder import TokenEncoder
from ulmfit_ray.model.files import load_model
from ulmfit_ray.storage.model_directory import ModelDirectory
from ulmfit_ray.text.tokenizers.kinds import Tokenizer, load_tokenizer
from ulmfit_ray.text.types import document_tokens
from ulmfit_ray.text.vocab import Vocab


class DocumentEncoder:
    """A model with its own tokenizer and vocabulary.

    The vectors equal those of the `embed` job before --normalize and --dtype: bit for bit on a CPU, within 1e-6 on a
    GPU.
    """

    def __init__(self, directory: ModelDirectory, device: torch.device) -> None:
        self.directory = directory
        self.vocab = Vocab.from_json(directory.vocab)
        with directory.weights() as path:
            self.model = load_model(directory.description, path, device)

    @classmethod
    def load(cls, uri: str, device: str | None = None) -> "DocumentEncoder":
        """Load the model in directory `uri` onto `device` (default: cuda if there is one, else cpu).

        Raises:
            FileNotFoundError, IncompleteDatasetError, ValueError: `uri` is not a finished model directory.
        """
        chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
        return cls(ModelDirectory(uri), torch.device(chosen))

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer the model was trained with; loaded when the first text comes."""
        return load_tokenizer(self.directory.tokenizer)

    def token_encoder(self, pooling: str | None = None) -> TokenEncoder:
        """Return the encoder of token ids with a pooling (default: what the model says)."""
        pooling = pooling or self.directory.description.pooling
        return TokenEncoder(self.model, pooling=pooling, idf=self.vocab.idf())

    def numericalize(self, texts: Sequence[str | Sequence[str]]) -> list[np.ndarray]:
        """Return each text's int64 token ids, in the order in which the model reads them.

        A text may be several fields, each tokenized by itself.
        """
        documents = [[text] if isinstance(text, str) else text for text in texts]
        ids = [self.vocab.numericalize(document_tokens(self.tokenizer, fields)) for fields in documents]
        return [self.directed(document) for document in ids]

    def directed(self, document: np.ndarray) -> np.ndarray:
        """Return the ids in the order in which the model reads them."""
        return document[::-1].copy() if self.directory.description.direction == "backward" else document

    def encode(self, texts: Sequence[str | Sequence[str]], pooling: str | None = None) -> np.ndarray:
        """Return float32 vectors (N, D) of raw texts."""
        return self.token_encoder(pooling).encode(self.numericalize(texts))
