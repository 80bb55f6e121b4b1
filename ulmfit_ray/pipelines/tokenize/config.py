"""Options of `tokenize`. Loads no Ray and no spaCy, so that --help is quick."""

from dataclasses import dataclass, field
from typing import Literal

from ulmfit_ray.config import ConfigError
from ulmfit_ray.pipelines.options import CorpusRun
from ulmfit_ray.text.presets import FASTAI_07, FASTAI_V2, NONE, rule_names
from ulmfit_ray.text.rules import SPECIAL_TOKENS
from ulmfit_ray.text.tokenizers.kinds import WITH_MODEL, Eos, Kind, ModelType, TokenizerSettings

AUTO = ("auto",)


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerOptions:
    """What cuts the text into tokens."""

    kind: Kind = "spacy"
    """spacy: words as spaCy cuts them; sentencepiece: pieces of words; whitespace: text that is tokenized already;
    characters: one by one."""
    eos: Eos = "none"
    """Put xxeos behind each document, or behind each line; with line, no xxbos stands in front of documents."""
    model: str | None = None
    """sentencepiece: an existing model file, path or URI (default: one is trained on a sample of the text)."""
    model_type: ModelType = "unigram"
    """sentencepiece: the kind of model that is trained."""
    vocab_size: int = 0
    """sentencepiece: how many pieces the model gets (0: a quarter of the sample's distinct words, 30,000 at most)."""
    sample_bytes: int = 64 << 20
    """sentencepiece: how much text the model is trained on."""

    def __post_init__(self) -> None:
        if self.vocab_size < 0 or self.sample_bytes < 1:
            raise ConfigError("--tokenizer.vocab-size must not be negative, --tokenizer.sample-bytes at least 1")
        given = self.about_model()
        if given and self.kind not in WITH_MODEL:
            raise ConfigError(f"{given[0]} is for --tokenizer.kind sentencepiece")
        if self.model is not None and len(given) > 1:
            raise ConfigError(
                f"{given[1]} says how a model is trained, --tokenizer.model names one: leave out one of both"
            )

    def about_model(self) -> list[str]:
        """Return the options that say something of a SentencePiece model."""
        names = ("model", "model_type", "vocab_size", "sample_bytes")
        given = [name for name in names if getattr(self, name) != self.__dataclass_fields__[name].default]
        return [f"--tokenizer.{name.replace('_', '-')}" for name in given]


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizeConfig(CorpusRun):
    """Turn raw text into a token dataset: cleaned, tokenized, counted and numericalized."""

    lang: str = "en"
    """spaCy's code of the language, such as en or de; ja, ko, th and vi need the extra of that name."""
    rules: tuple[str, ...] = AUTO
    """Cleaning rules: fastai-v2, fastai-v1, fastai-0.7, none, or rules by name, in the order in which they run.
    auto: fastai-v2 with spacy and sentencepiece, none with whitespace and characters."""
    tokenizer: TokenizerOptions = field(default_factory=TokenizerOptions)
    mark_fields: Literal["auto", "yes", "no"] = "auto"
    """Put `xxfld n` in front of each field (auto: with several text columns, and with the rules of fastai-0.7)."""
    vocab: str | None = None
    """Use the vocabulary of this token dataset or model, and its tokenizer.model, instead of making them."""
    max_vocab: int = 60_000
    """Size of the vocabulary, the nine special tokens included."""
    min_freq: int = 3
    """Keep tokens that occur at least this often."""

    def __post_init__(self) -> None:
        CorpusRun.__post_init__(self)
        if self.max_vocab <= len(SPECIAL_TOKENS):
            raise ConfigError(f"--max-vocab must be over {len(SPECIAL_TOKENS)}, the number of special tokens")
        if self.min_freq < 1:
            raise ConfigError(f"--min-freq must be at least 1, not {self.min_freq}")
        if self.vocab is not None and self.tokenizer.about_model():
            raise ConfigError(f"--vocab brings its own tokenizer.model: leave out {self.tokenizer.about_model()[0]}")
        chosen = [name for name in ("max_vocab", "min_freq") if getattr(self, name) != _default(name)]
        if self.vocab is not None and chosen:
            raise ConfigError(f"--vocab brings its own words: leave out --{chosen[0].replace('_', '-')}")
        try:
            rule_names(self._rules())
        except ValueError as error:
            raise ConfigError(f"--rules: {error}") from error

    def _rules(self) -> tuple[str, ...]:
        if self.rules != AUTO:
            return self.rules
        return NONE if self.tokenizer.kind in ("whitespace", "characters") else FASTAI_V2

    def tokenizer_settings(self) -> TokenizerSettings:
        """Return what decides how texts are cut."""
        marks = self.mark_fields == "yes"
        if self.mark_fields == "auto":
            marks = len(self.text_columns) > 1 or self.rules == FASTAI_07
        tokenizer = self.tokenizer
        return TokenizerSettings(
            kind=tokenizer.kind, lang=self.lang, rules=self._rules(), mark_fields=marks, eos=tokenizer.eos
        )


def _default(name: str) -> object:
    return TokenizeConfig.__dataclass_fields__[name].default
