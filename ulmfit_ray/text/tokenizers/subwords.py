"""Pieces of words by a SentencePiece model, as fastai 2's SubwordTokenizer makes and uses one.

The cleaning rules run first. Their marks are symbols of the model ("\\u2581xxmaj"), so none is ever cut. Here they have
their plain names, as in every kind of tokenizer: the vocabulary begins with them, and what looks for marks finds them.
fastai leaves the "\\u2581" in front; all other tokens are the same as fastai's. A piece is known by its text, not by
its number in the model: the vocabulary counts pieces like words.
"""

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import sentencepiece

from ulmfit_ray.text.presets import clean, clean_tokens, token_rules
from ulmfit_ray.text.rules import BOS, SPECIAL_TOKENS
from ulmfit_ray.text.tokenizers.kinds import ModelType, TokenizerSettings, description
from ulmfit_ray.text.tokenizers.tokenized import Tokenized, spelled_out

SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
SPECIAL_PIECES = {SPACE + token: token for token in SPECIAL_TOKENS}
PROBE = f"<unk> Word WORD aaaa {5 * 'word '}"
"""A text of which every rule that writes marks makes some."""
EUROPEAN = "bg cs da de el en es et fi fr ga hr hu it lt lv mt nl pl pt ro sk sl sv"
"""Languages with few letters: the model knows all but one in 100,000 characters of them, of others two in 10,000."""
MIN_PIECES, MAX_PIECES = 29, 30_000
NUM_THREADS = 16
"""SentencePiece's default. The model depends on it a little (sums are split among threads): always the same."""


class SentencePieceTokenizer:
    """Pieces of words.

    Raises:
        ValueError: the model is none, or lacks the marks that the rules write.
    """

    def __init__(self, settings: TokenizerSettings, model: bytes) -> None:
        self.settings = settings
        self.fingerprint = settings.fingerprint(model=hashlib.sha256(model).hexdigest())
        try:
            self._model = sentencepiece.SentencePieceProcessor(model_proto=model)
        except RuntimeError as error:
            raise ValueError("what is given as tokenizer.model is no SentencePiece model") from error
        self._unknown = self._model.unk_id()
        pieces = [self._model.id_to_piece(number) for number in range(len(self._model))]
        self._tokens = [SPECIAL_PIECES.get(piece, piece) for piece in pieces]
        written = set(clean_tokens(clean(PROBE, settings.rules).split(), settings.rules))
        missing = [piece for piece, mark in SPECIAL_PIECES.items() if mark in written and not self._is_whole(piece)]
        if missing:
            raise ValueError(
                f"the SentencePiece model does not know {', '.join(missing)}, which the rules write: use --rules none,"
                " or train it with --user_defined_symbols"
            )
        # fastai gives the model each document with xxbos in front. That changes no piece but for rounding of scores.
        self._front = f"{BOS} " if self._is_whole(SPACE + BOS) else ""

    def _is_whole(self, piece: str) -> bool:
        return bool(self._model.encode(SPECIAL_PIECES[piece], out_type=str) == [piece])

    def _prepared(self, text: str) -> str:
        """Return what the model is given.

        Raises:
            UnicodeEncodeError: the text holds half a surrogate pair; SentencePiece's own error names no place.
        """
        text.encode()
        return self._front + prepared(text, self.settings.rules)

    def __call__(self, text: str) -> list[str]:
        """Return the tokens of one field; see Tokenizer."""
        pieces = self._model.encode(self._prepared(text), out_type=str)
        return [SPECIAL_PIECES.get(piece, piece) for piece in pieces[bool(self._front) :]]

    def tokenize(self, texts: Sequence[str]) -> Tokenized:
        """Return the tokens of many fields, the same as one by one, but faster.

        Words are not looked up one by one: the best pieces of a long text depend, by rounding, on what stands before.
        """
        given = [self._prepared(text) for text in texts]
        unknown: dict[str, int] = {}
        numbers = [
            self._with_unknown(text, ids, unknown) if self._unknown in ids else ids
            for text, ids in zip(given, self._model.encode(given, out_type=int, num_threads=1), strict=True)
        ]
        bounds = np.cumsum([0, *(len(ids) - bool(self._front) for ids in numbers)])
        flat = chain.from_iterable(ids[1:] if self._front else ids for ids in numbers)
        found = pa.array(np.fromiter(flat, np.int64, bounds[-1])).dictionary_encode()
        tokens = [*self._tokens, *unknown]
        spellings = [[tokens[number]] for number in found.dictionary.to_pylist()]
        return spelled_out(found.indices.to_numpy(), bounds, spellings)

    def _with_unknown(self, text: str, ids: list[int], unknown: dict[str, int]) -> list[int]:
        """Return a text's ids; what the model does not know, and leaves as it is, is numbered behind its pieces."""
        pieces = self._model.encode(text, out_type=str)
        return [
            unknown.setdefault(piece, len(self._tokens) + len(unknown)) if number == self._unknown else number
            for piece, number in zip(pieces, ids, strict=True)
        ]

    def refusal(self, text: str) -> None:
        """Return None: any text is cut in time that grows with its length."""

    def forget(self) -> None:
        """Do nothing: nothing is remembered."""

    def to_json(self) -> dict[str, Any]:
        """Return the content of tokenizer.json."""
        return description(self, "sentencepiece")


def prepared(text: str, rules: tuple[str, ...]) -> str:
    """Return the text that the model is given: cleaned; rules for tokens run on words between whitespace."""
    text = clean(text, rules)
    return " ".join(clean_tokens(text.split(), rules)) if token_rules(rules) else text


def train(texts: Iterable[str], settings: TokenizerSettings, *, model_type: ModelType, vocab_size: int) -> bytes:
    """Return a model trained on raw texts, with the settings of fastai 2 but for one: lines of any length are read.

    fastai leaves out lines over 4,192 bytes. The same texts give the same model on any machine, from one version of
    SentencePiece. With `vocab_size` 0 it has a quarter as many pieces as there are distinct words, 30,000 at most.

    Raises:
        ValueError: there is no text, or it has more characters than the model may have pieces.
    """
    lines = list(_lines(texts, settings.rules))
    size = vocab_size or _default_size(lines)
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type=model_type,
            vocab_size=size,
            hard_vocab_limit=False,
            character_coverage=0.99999 if settings.lang in EUROPEAN.split() else 0.9998,
            user_defined_symbols=list(SPECIAL_PIECES),
            unk_id=len(SPECIAL_PIECES),
            pad_id=-1,
            bos_id=-1,
            eos_id=-1,
            max_sentence_length=1 << 30,
            num_threads=NUM_THREADS,
            minloglevel=2,
        )
    except RuntimeError as error:
        # What stands in front names SentencePiece's own source: "INTERNAL: src/...cc(638) [condition] message".
        message = str(error).rpartition("] ")[2]
        raise ValueError(
            f"SentencePiece cannot make a model of {size} pieces from {len(lines):,} lines of text: give it more text,"
            f" or another --tokenizer.vocab-size. {message}".rstrip()
        ) from error
    return model.getvalue()


def _lines(texts: Iterable[str], rules: tuple[str, ...]) -> Iterator[str]:
    for text in texts:
        yield from f"{BOS} {prepared(text, rules)}".split("\n")


def _default_size(lines: Iterable[str]) -> int:
    """Return fastai's number of pieces: a quarter of the distinct words, rounded up to a multiple of 8."""
    words: set[str] = set()
    for line in lines:
        words.update(line.split())
        if len(words) // 4 > MAX_PIECES:
            return MAX_PIECES
    return max(MIN_PIECES, -(-(len(words) // 4) // 8) * 8)
