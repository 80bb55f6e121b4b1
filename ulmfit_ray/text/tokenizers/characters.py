"""Characters: each Unicode code point is a token, a space the token "\\u2581".

A special token that a cleaning rule has written stays whole. It stands in the text as half a surrogate pair, which is
no character and in no text.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ulmfit_ray.text.presets import clean, clean_tokens, rule_names
from ulmfit_ray.text.rules import SPECIAL_TOKENS
from ulmfit_ray.text.tokenizers.kinds import TokenizerSettings, description
from ulmfit_ray.text.tokenizers.tokenized import Tokenized, spelled_out

SPECIAL_WORD = re.compile(rf"(?<!\S)(?:{'|'.join(SPECIAL_TOKENS)})(?!\S)")
STANDS_FOR = {chr(0xD800 + number): token for number, token in enumerate(SPECIAL_TOKENS)}
STAND_IN = {token: character for character, token in STANDS_FOR.items()}
SPELLINGS = STANDS_FOR | {" ": "\N{LOWER ONE EIGHTH BLOCK}"}


class CharacterTokenizer:
    """The characters of a text."""

    def __init__(self, settings: TokenizerSettings) -> None:
        self.settings = settings
        self.fingerprint = settings.fingerprint()

    def _cleaned(self, text: str) -> str:
        """Run the rules, if there are any, and put a character in the place of each special token.

        Raises:
            UnicodeEncodeError: the text holds half a surrogate pair.
        """
        text.encode()
        rules = self.settings.rules
        return SPECIAL_WORD.sub(lambda m: STAND_IN[m[0]], clean(text, rules)) if rule_names(rules) else text

    def _spelled(self, character: str) -> list[str]:
        return clean_tokens([SPELLINGS.get(character, character)], self.settings.rules)

    def __call__(self, text: str) -> list[str]:
        """Return the tokens of one field; see Tokenizer."""
        return [token for character in self._cleaned(text) for token in self._spelled(character)]

    def tokenize(self, texts: Sequence[str]) -> Tokenized:
        """Return the tokens of many fields: each distinct character is looked at once."""
        cleaned = [self._cleaned(text) for text in texts]
        codes = np.frombuffer("".join(cleaned).encode("utf-32-le", "surrogatepass"), np.uint32)
        characters = pa.array(codes).dictionary_encode()
        spellings = [self._spelled(chr(code)) for code in characters.dictionary.to_pylist()]
        bounds = np.cumsum([0, *map(len, cleaned)])
        return spelled_out(characters.indices.to_numpy(), bounds, spellings)

    def refusal(self, text: str) -> None:
        """Return None: any text is cut in time that grows with its length."""

    def forget(self) -> None:
        """Do nothing: nothing is remembered."""

    def to_json(self) -> dict[str, Any]:
        """Return the content of tokenizer.json."""
        return description(self)
