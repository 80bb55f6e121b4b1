"""Words of text that is tokenized already: whatever stands between whitespace (`str.split`)."""

from collections.abc import Sequence
from typing import Any

from ulmfit_ray.text.presets import clean, clean_tokens
from ulmfit_ray.text.tokenizers.kinds import TokenizerSettings, description
from ulmfit_ray.text.tokenizers.pieces import cut
from ulmfit_ray.text.tokenizers.tokenized import Tokenized, spelled_out


class WhitespaceTokenizer:
    """Words between whitespace."""

    def __init__(self, settings: TokenizerSettings) -> None:
        self.settings = settings
        self.fingerprint = settings.fingerprint()

    def __call__(self, text: str) -> list[str]:
        """Return the tokens of one field; see Tokenizer."""
        rules = self.settings.rules
        return clean_tokens(clean(text, rules).split(), rules)

    def tokenize(self, texts: Sequence[str]) -> Tokenized:
        """Return the tokens of many fields: each distinct word is looked at once."""
        rules = self.settings.rules
        pieces = cut([clean(text, rules) for text in texts])
        words = [clean_tokens(piece.split(), rules) for piece in pieces.distinct]
        return spelled_out(pieces.index, pieces.bounds, words)

    def refusal(self, text: str) -> None:
        """Return None: any text is cut in time that grows with its length."""

    def forget(self) -> None:
        """Do nothing: nothing is remembered."""

    def to_json(self) -> dict[str, Any]:
        """Return the content of tokenizer.json."""
        return description(self)
