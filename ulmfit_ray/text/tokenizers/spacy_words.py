"""Words as fastai cuts them: its cleaning rules, then spaCy's blank pipeline of the language.

For any text the tokens must be exactly those of fastai's `Tokenizer` with `SpacyTokenizer`. Two things differ, but
only in time: the tokenizer object is called directly (`nlp(text)` runs a pipeline and refuses texts over 1,000,000
characters), and its cache may hold ten million words instead of ten thousand (1.24 instead of 0.71 million tokens per
second on new text).
"""

import hashlib
import importlib.metadata
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, cast

import spacy
from spacy.symbols import ORTH

from ulmfit_ray.text.rules import SPECIAL_TOKENS, clean, rules_fingerprint
from ulmfit_ray.text.tokenizers.kinds import NumericalizeText, TokenizerSettings

MAX_STRINGS = 5_000_000
"""spaCy keeps every string it has seen; a worker that lives for days starts over at this many (about 1 GB)."""


class SpacyTokenizer:
    """Tokens of texts. spaCy names a token by a 64-bit hash of its text; a string is made once per distinct token."""

    def __init__(self, settings: TokenizerSettings) -> None:
        self.settings = settings
        self._load()
        self.fingerprint = self._fingerprint()

    def _load(self) -> None:
        self._nlp = cast(Any, spacy.blank(self.settings.lang))
        self._tokenizer = self._nlp.tokenizer
        for token in SPECIAL_TOKENS:
            self._tokenizer.add_special_case(token, [{ORTH: token}])
        # Some languages (zh, ja) bring a tokenizer of their own without a cache.
        if hasattr(self._tokenizer, "max_cache_size"):
            self._tokenizer.max_cache_size = 10**7

    def _fingerprint(self) -> str:
        """SHA-256 over settings, spaCy's own rules for the language, and ours; not over version numbers."""
        parts = asdict(self.settings) | {
            "kind": "spacy",
            "spacy": hashlib.sha256(self._tokenizer.to_bytes()).hexdigest(),
            "rules_fingerprint": rules_fingerprint(self.settings.rules),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _hashes(self, text: str) -> list[int]:
        return self._tokenizer(clean(text, self.settings.rules)).to_array(ORTH).tolist()

    def _spelling(self, token_hash: int) -> str:
        """Return the token behind a hash; spaces inside a token become the visible "\\u2581", as in fastai."""
        return self._nlp.vocab.strings[token_hash].replace(" ", "\N{LOWER ONE EIGHTH BLOCK}")

    def __call__(self, text: str) -> list[str]:
        """Return the tokens of one field: no xxbos, no field mark."""
        return [self._spelling(token_hash) for token_hash in self._hashes(text)]

    def numericalizer(self, id_of: Callable[[str], int]) -> NumericalizeText:
        """Return a function that gives the ids of a field's tokens, for one shard; see Tokenizer."""
        ids: dict[int, int] = {}

        def numericalize(text: str) -> list[int]:
            found = []
            for token_hash in self._hashes(text):
                token_id = ids.get(token_hash)
                if token_id is None:
                    # Two hashes may become one token: "\n " and a literal "\n\u2581".
                    token_id = ids[token_hash] = id_of(self._spelling(token_hash))
                found.append(token_id)
            return found

        return numericalize

    def forget(self) -> None:
        """Give back the memory of strings seen so far, once there are very many of them."""
        if len(self._nlp.vocab.strings) > MAX_STRINGS:
            self._load()

    def to_json(self) -> dict[str, Any]:
        """Return the content of tokenizer.json."""
        return {
            "format_version": 1,
            "kind": "spacy",
            **asdict(self.settings),
            "fingerprint": self.fingerprint,
            "versions": {"spacy": importlib.metadata.version("spacy")},
        }
