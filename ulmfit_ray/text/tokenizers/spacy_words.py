"""Words as fastai cuts them: its cleaning rules, then spaCy's blank pipeline of the language.

For any text the tokens must be exactly those of fastai's `Tokenizer` with `SpacyTokenizer`. Two things differ, but
only in time: the tokenizer object is called directly (`nlp(text)` runs a pipeline and refuses texts over 1,000,000
characters), and its cache may hold ten million words instead of ten thousand (1.24 instead of 0.71 million tokens per
second on new text).

Chinese, Japanese, Korean, Thai and Vietnamese are not cut by spaCy's rules, and fastai fails on them: their tokenizers
cannot be told of special tokens. There the text is cut at the special tokens first, and what lies between them is
given to the language's own tokenizer. Chinese is cut into characters.
"""

import contextlib
import hashlib
import importlib.metadata
import re
from collections.abc import Iterator, Sequence
from typing import Any, cast

from ulmfit_ray.text.tokenizers.light_spacy import spacy  # isort: skip
from spacy.symbols import ORTH

from ulmfit_ray.text.presets import FASTAI_V2, clean, clean_tokens, token_rules, words_kept_whole
from ulmfit_ray.text.rules import SPECIAL_TOKENS
from ulmfit_ray.text.tokenizers.kinds import Refusal, TokenizerSettings, description
from ulmfit_ray.text.tokenizers.long_words import with_long_words
from ulmfit_ray.text.tokenizers.spans import SpanTable, spelling
from ulmfit_ray.text.tokenizers.tokenized import Tokenized, one_by_one, spelled_out
from ulmfit_ray.text.tokenizers.word_table import MAX_ROWS, WordTable

MAX_STRINGS = 5_000_000
"""spaCy keeps every string it has seen; a worker that lives for days starts over at this many (about 1 GB)."""
PACKAGES = {
    "ja": ("sudachipy", "sudachidict_core"),
    "ko": ("natto-py",),
    "th": ("pythainlp",),
    "vi": ("pyvi",),
}
"""Languages that are cut with the dictionary or model of another package; the extra has the language's name."""
NOT_FROM_PIP = {"ko": "mecab-ko and mecab-ko-dic on this machine, and "}
MAX_STRETCH = 4_000
"""Characters that SudachiPy (Japanese) is given at once: it refuses more than 49,149 bytes."""
SPECIAL_WORD = re.compile(rf" ?(?<!\S)({'|'.join(SPECIAL_TOKENS)})(?!\S) ?")
"""A special token as a word of its own, with the spaces that set it apart."""
MAX_WORD = 1_000
"""Characters of a word, in the languages whose long words spaCy alone can cut: 2,000 brackets take it 3 seconds, and
twice as many four times as long."""
WORD = re.compile(r"\S+")
JOINERS = (" @.@ ", " @-@ ", " @,@ ")
"""What rules make one word of, with the words beside it."""
LONG_PIECE = re.compile(rf".{{1,{MAX_STRETCH}}}(?<=[\n\u3002])|.{{1,{MAX_STRETCH}}}", re.DOTALL)
"""The longest piece that ends with a line or a sentence; without one, the longest piece."""


class SpacyTokenizer:
    """Tokens of texts. spaCy names a token by a 64-bit hash of its text; a string is made once per distinct token."""

    def __init__(self, settings: TokenizerSettings) -> None:
        self.settings = settings
        self._load()
        # The fingerprint covers what spaCy has loaded so far, so it is taken before anything is dropped or cut.
        self.fingerprint = self._fingerprint()
        self._prepare()

    def _load(self) -> None:
        self._nlp = _blank(self.settings.lang)
        self._tokenizer = self._nlp.tokenizer
        self._takes_special_tokens = hasattr(self._tokenizer, "add_special_case")
        if self._takes_special_tokens:
            for token in words_kept_whole(self.settings.rules):
                self._tokenizer.add_special_case(token, [{ORTH: token}])

    def _prepare(self) -> None:
        """Let a tokenizer that spaCy's rules make cut long words; give it an empty table of words."""
        # Facts about each new word (its shape, whether it is a number) take as long as cutting it, and nobody asks.
        self._nlp.vocab.lex_attr_getters = {}
        self._table: WordTable | None = None
        self._takes_long_words = True
        if self._takes_special_tokens:
            in_linear_time = with_long_words(self._tokenizer)
            self._takes_long_words = in_linear_time is not None
            self._tokenizer = in_linear_time or self._tokenizer
            self._tokenizer.max_cache_size = 10**7
            with contextlib.suppress(ValueError):
                self._table = WordTable(SpanTable(self._tokenizer), cleans=self.settings.rules == FASTAI_V2)

    def _versions(self) -> dict[str, str]:
        """Return the versions of the packages whose dictionary or model cuts the language (none for most)."""
        return {name: importlib.metadata.version(name) for name in PACKAGES.get(self._nlp.lang, ())}

    def _fingerprint(self) -> str:
        """SHA-256 over settings, spaCy's own rules for the language, and ours.

        spaCy's version is not in it. The version of a package in PACKAGES is, because its rules cannot be read.
        """
        rules_of_spacy = hashlib.sha256(self._tokenizer.to_bytes()).hexdigest()
        return self.settings.fingerprint(spacy=rules_of_spacy, **self._versions())

    def __call__(self, text: str) -> list[str]:
        """Return the tokens of one field; see Tokenizer."""
        return clean_tokens(self._cut(clean(text, self.settings.rules)), self.settings.rules)

    def _cut(self, text: str) -> list[str]:
        """Return the tokens of a cleaned text."""
        if self._takes_special_tokens:
            return [spelling(self._tokenizer, token) for token in self._tokenizer(text).to_array(ORTH).tolist()]
        tokens: list[str] = []
        for stretch, is_special in stretches(text):
            if is_special:
                tokens.append(stretch)
                continue
            for piece in pieces(stretch, self._nlp.lang):
                tokens += [spelling(self._tokenizer, token) for token in self._tokenizer(piece).to_array(ORTH).tolist()]
        return tokens

    def tokenize(self, texts: Sequence[str]) -> Tokenized:
        """Return the tokens of many fields, the same as one by one; see Tokenizer."""
        rules = self.settings.rules
        if self._table is None:
            return one_by_one(self, texts)
        if rules == FASTAI_V2:
            return self._table.tokenize(texts)
        found = self._table.tokenize([clean(text, rules) for text in texts])
        if not token_rules(rules):
            return found
        return spelled_out(found.ids, found.bounds, [clean_tokens([token], rules) for token in found.types])

    def refusal(self, text: str) -> Refusal | None:
        """Return why a text is put aside; only in a language whose long words spaCy alone can cut, see Tokenizer."""
        if self._takes_long_words or len(text) <= MAX_WORD:
            return None
        for joiner in JOINERS if "@" in text else ():
            text = text.replace(joiner, "-")
        long = next((word for word in WORD.finditer(text) if word.end() - word.start() > MAX_WORD), None)
        if long is None:
            return None
        length = long.end() - long.start()
        return "word too long", f"{length:,} characters without a space, --lang {self._nlp.lang} takes {MAX_WORD:,}"

    def forget(self) -> None:
        """Give back the memory of words seen so far, once there are very many of them."""
        if len(self._nlp.vocab.strings) > MAX_STRINGS or (self._table is not None and len(self._table) > MAX_ROWS):
            self._load()
            self._prepare()

    def to_json(self) -> dict[str, Any]:
        """Return the content of tokenizer.json."""
        return description(self, "spacy", *self._versions())


def _blank(lang: str) -> Any:
    """Return spaCy's empty pipeline of a language.

    Raises:
        ImportError: spaCy does not know the language, or it needs a package that is not installed.
    """
    try:
        nlp = cast(Any, spacy.blank(lang))
        if lang in PACKAGES:
            # Korean's tokenizer looks for MeCab at the first word only, and fails with an error of its own kind.
            nlp.tokenizer("a")
    except Exception as error:
        if lang in PACKAGES:
            needs = NOT_FROM_PIP.get(lang, "") + " and ".join(PACKAGES[lang])
            raise ImportError(f"--lang {lang} needs {needs}: pip install 'ulmfit-ray[{lang}]'") from error
        raise ImportError(f"--lang {lang} is not a language that spaCy can cut: {error}") from error
    return nlp


def stretches(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the special tokens of a cleaned text and what lies between them, each with whether it is a special token.

    Only a whole word is a special token. The one space on each side of it belongs to neither.
    """
    for number, stretch in enumerate(SPECIAL_WORD.split(text)):
        if stretch:
            yield stretch, number % 2 == 1


def pieces(stretch: str, lang: str) -> list[str]:
    """Cut a stretch into what the tokenizer of a language can take at once: most take all."""
    if lang == "ja" and len(stretch) > MAX_STRETCH:
        return LONG_PIECE.findall(stretch)
    if lang == "ko":
        # To MeCab the character NUL is the end of the text.
        return [piece for piece in stretch.split("\0") if piece]
    return [stretch]
