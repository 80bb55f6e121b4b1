"""Raw text -> vectors in one process, without Ray: used for the queries of a search, and in notebooks.

>>> encoder = DocumentEncoder.load("models/lm")
>>> encoder.encode(["first text", "second text"], pooling="concat").shape
(2, 1200)
>>> encoder.encode("one text").shape
(400,)
"""

import sys
from collections.abc import Iterable, Iterator, Sequence, Sized
from functools import cached_property
from itertools import chain, islice

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from ulmfit_ray.encoding.classifier import DocumentScorer
from ulmfit_ray.encoding.encoder import TokenEncoder
from ulmfit_ray.model.description import Reading
from ulmfit_ray.model.files import load_model
from ulmfit_ray.model.retriever import QueryRetriever, Retriever
from ulmfit_ray.storage.model_directory import ModelDirectory, common_head
from ulmfit_ray.text.letter_grams import gram_rows
from ulmfit_ray.text.tokenizers.kinds import Tokenizer, load_tokenizer
from ulmfit_ray.text.types import document_tokens
from ulmfit_ray.text.vocab import UNK_ID, Vocab

BLOCK = 500
"""Texts whose token ids are held at the same time; larger blocks are not faster."""
MANY = 2_000
"""More texts than these get a progress bar."""
HEAD = "head"
"""In place of a pooling: of a classifier, the inputs of its head's last block."""
LIKE_NEW_WORDS = 1_000
"""A word outside the vocabulary weighs as much as so many of the rarest words do on average."""
Text = str | Sequence[str]
"""A text, or its fields, each tokenized by itself."""
How = Reading | str | None
"""How documents are read: in all detail, or by their pooling alone (None: as the model says; `HEAD`: by its head)."""


class DocumentEncoder:
    """A model with its own tokenizer and vocabulary.

    The vectors of `encode` equal those that `embed` makes in the same way before --project, --normalize and --dtype:
    bit for bit on a CPU, within 1e-6 on a GPU.
    """

    def __init__(self, directory: ModelDirectory, device: torch.device) -> None:
        self.directory = directory
        self.vocab = Vocab.from_json(directory.vocab)
        self._encoders: dict[Reading, TokenEncoder] = {}
        with directory.weights() as path:
            self.model = load_model(directory.description, path, device)

    @classmethod
    def load(cls, uri: str, device: str | None = None) -> "DocumentEncoder":
        """Load the model in directory `uri` onto `device` (default: cuda if there is one, else cpu).

        Raises:
            FileNotFoundError, IncompleteDatasetError, ValueError: `uri` is not a finished model directory.
        """
        return cls(ModelDirectory(uri), chosen_device(device))

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer the model was trained with; loaded when the first text comes."""
        return load_tokenizer(self.directory.tokenizer, self.directory.tokenizer_model)

    def reading(self, pooling: How = None) -> Reading:
        """Return how the model reads documents: as asked for, else as its description says."""
        own = self.directory.description.pooling
        return pooling if isinstance(pooling, Reading) else Reading(pooling=pooling or own)

    def token_encoder(self, pooling: How = None) -> TokenEncoder:
        """Return the encoder of token ids; one for each way of reading, because some hold weights of their own."""
        reading = self.reading(pooling)
        if reading not in self._encoders:
            self._encoders[reading] = TokenEncoder(self.model, reading, idf=self.vocab.idf())
        return self._encoders[reading]

    def vector_encoder(self, pooling: How = None) -> TokenEncoder | DocumentScorer:
        """Return what makes vectors: the encoder of token ids, or with the pooling `HEAD` a scorer.

        Raises:
            ValueError: `HEAD`, and the model is no classifier.
        """
        if self.reading(pooling).pooling != HEAD:
            return self.token_encoder(pooling)
        common_head([self.directory])
        return DocumentScorer(self.model)

    def numericalize(self, texts: Iterable[Text]) -> list[np.ndarray]:
        """Return each text's int64 token ids, in the order in which the model reads them.

        Raises:
            ValueError: `texts` is a single text.
        """
        return [self.directed(self.vocab.numericalize(tokens)) for tokens in self._tokenized(texts)]

    def _tokenized(self, texts: Iterable[Text]) -> Iterator[list[str]]:
        if isinstance(texts, str):
            raise ValueError("several texts are expected: put the one text in a list")
        for text in texts:
            yield document_tokens(self.tokenizer, [text] if isinstance(text, str) else text)

    def directed(self, document: np.ndarray) -> np.ndarray:
        """Return the ids in the order in which the model reads them."""
        return document[::-1].copy() if self.directory.description.direction == "backward" else document

    def encode(self, texts: str | Iterable[Text], pooling: How = None) -> np.ndarray:
        """Return float32 vectors (N, D) of raw texts, or the vector (D,) of one text.

        Texts that come from an iterator are read in blocks, so that only their vectors are held in memory.
        """
        if isinstance(texts, str):
            return self.encode([texts], pooling)[0]
        encoder = self.vector_encoder(pooling)
        vectors = [np.empty((0, encoder.dimension), np.float32)]
        vectors += [encoder.encode(self.numericalize(block)) for block in text_blocks(texts, "encode")]
        return np.concatenate(vectors)

    def encode_queries(self, texts: Sequence[str], pooling: How = None) -> np.ndarray:
        """Return float32 vectors (N, D) of queries: as `encode`, but with words outside the vocabulary.

        A retriever that has vectors of runs of letters gives such a word a vector by its spelling. In documents it is
        xxunk like all others, because a token dataset does not say which word it was.

        Raises:
            ValueError: `texts` is a single text.
        """
        tokens = list(self._tokenized(texts))
        spelling = {word: self._runs(word) for word in sorted({word for own in tokens for word in own})}
        spelling = {word: runs for word, runs in spelling.items() if runs}
        if not spelling:
            return self.encode(texts, pooling)
        stoi = {word: len(self.vocab) + number for number, word in enumerate(spelling)}
        ids = [
            np.array([stoi.get(token, self.vocab.stoi.get(token, UNK_ID)) for token in own], np.int64) for own in tokens
        ]
        assert isinstance(self.model, Retriever)
        device = self.model.log_weights.device
        rows = torch.tensor([row for runs in spelling.values() for row in runs], device=device)
        lengths = torch.tensor([len(runs) for runs in spelling.values()], device=device)
        # Ids are ranks by frequency: the last ones are the rarest.
        like = torch.arange(max(0, len(self.vocab) - LIKE_NEW_WORDS), len(self.vocab), device=device)
        model = QueryRetriever(self.model, rows, lengths, like)
        encoder = TokenEncoder(model, self.reading(pooling))
        return encoder.encode([self.directed(own) for own in ids])

    def spelled_words(self, text: str) -> list[str]:
        """Return the words of a query that are known by their spelling alone: see `encode_queries`."""
        (tokens,) = self._tokenized([text])
        return [word for word in tokens if self._runs(word)]

    def _runs(self, word: str) -> list[int]:
        """Return a word's runs of letters, if the model has vectors of such and the word is not in its vocabulary."""
        num_grams = self.model.num_grams if isinstance(self.model, Retriever) else 0
        is_spelled = num_grams and word not in self.vocab.stoi and any(map(str.isalnum, word))
        return gram_rows(word, num_grams) if is_spelled else []


def chosen_device(name: str | None) -> torch.device:
    """Return the device of that name, or cuda if there is one, else cpu."""
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def text_blocks(texts: Iterable[Text], title: str) -> Iterator[list[Text]]:
    """Yield texts in blocks; show a progress bar on standard error if they are many and it is a terminal."""
    total = -(-len(texts) // BLOCK) if isinstance(texts, Sized) else None
    source = iter(texts)
    first = list(islice(source, MANY + 1))
    source = chain(first, source)
    blocks = iter(lambda: list(islice(source, BLOCK)), [])
    is_shown = len(first) > MANY and sys.stderr.isatty()
    yield from track(blocks, title, total=total, console=Console(stderr=True), disable=not is_shown)
