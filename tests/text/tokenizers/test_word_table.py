"""Words that are cut once and remembered give the tokens of the plain tokenizer, on whatever text."""

import gzip
import json
import pkgutil
import sys
from pathlib import Path

import numpy as np
import pytest
import spacy.lang
from trap_texts import SPACES, trap_texts

from ulmfit_ray.text.tokenizers.kinds import TokenizerSettings
from ulmfit_ray.text.tokenizers.pieces import cut
from ulmfit_ray.text.tokenizers.spacy_words import SpacyTokenizer
from ulmfit_ray.text.tokenizers.tokenized import ranges

TESTS = Path(__file__).parents[2]
GOLDEN = json.loads((TESTS / "golden/fastai_tokens.json").read_text())
SAMPLE = TESTS.parent / "jobs/sample/scifact/corpus.jsonl.gz"


def tokens_of(tokenizer: SpacyTokenizer, texts: list[str]) -> list[list[str]]:
    found = tokenizer.tokenize(texts)
    return [
        [found.types[number] for number in found.ids[start:end]]
        for start, end in zip(found.bounds, found.bounds[1:], strict=False)
    ]


def differing(tokenizer: SpacyTokenizer, texts: list[str]) -> list[str]:
    """Return the texts whose tokens differ from those of the plain tokenizer."""
    return [text for text, tokens in zip(texts, tokens_of(tokenizer, texts), strict=True) if tokens != tokenizer(text)]


def test_all_texts_of_the_golden_file_at_once_give_fastais_tokens(tokenizer: SpacyTokenizer) -> None:
    found = tokens_of(tokenizer, [row["text"] for row in GOLDEN])
    assert [["xxbos", *tokens] for tokens in found] == [row["tokens"] for row in GOLDEN]


def test_real_abstracts_give_the_plain_tokenizers_tokens(tokenizer: SpacyTokenizer) -> None:
    with gzip.open(SAMPLE, "rt") as lines:
        texts = [json.loads(line)["text"] for _, line in zip(range(300), lines, strict=False)]
    assert differing(tokenizer, texts) == []


@pytest.mark.parametrize("rules", ["fastai-v2", "fastai-v1", "fastai-0.7", "none"])
@pytest.mark.parametrize("lang", ["en", "de", "es", "fr", "ru", "tr", "ar"])
def test_traps_give_the_plain_tokenizers_tokens(lang: str, rules: str) -> None:
    tokenizer = SpacyTokenizer(TokenizerSettings(lang=lang, rules=(rules,)))
    assert tokenizer._table is not None
    special = [word for case in tokenizer._tokenizer.rules for word in case.split()]
    assert differing(tokenizer, list(trap_texts(1000, seed=7, more=special))) == []


@pytest.mark.slow
def test_traps_give_the_plain_tokenizers_tokens_in_every_language_that_spacy_cuts_by_rules() -> None:
    others = {"zh", "ja", "ko", "th", "vi"}
    languages = {module.name for module in pkgutil.iter_modules(spacy.lang.__path__) if module.ispkg} - others
    assert len(languages) > 70
    for lang in sorted(languages):
        tokenizer = SpacyTokenizer(TokenizerSettings(lang=lang))
        assert tokenizer._table is not None, lang
        special = [word for case in tokenizer._tokenizer.rules for word in case.split()]
        assert differing(tokenizer, list(trap_texts(300, seed=11, more=special))) == [], lang


@pytest.mark.parametrize(
    "text", ["2) :O(((", "back'' ''Return", "\n/x", "a\n!!!", "no No NO no", "a a abbb", "333 3 3"]
)
@pytest.mark.parametrize("around", ["{}", "x {} y", "x\n{}\ny", "{} {}", "{}\u00a0{}"])
def test_a_word_is_cut_with_its_neighbour_where_that_matters(tokenizer: SpacyTokenizer, text: str, around: str) -> None:
    assert differing(tokenizer, [around.format(text, text)]) == []


def test_tokens_do_not_depend_on_how_texts_are_put_together(tokenizer: SpacyTokenizer) -> None:
    texts = list(trap_texts(200, seed=1))
    alone = [tokens for text in texts for tokens in tokens_of(tokenizer, [text])]
    assert tokens_of(tokenizer, texts) == alone
    assert tokens_of(SpacyTokenizer(TokenizerSettings()), texts[::-1]) == alone[::-1]


def test_half_a_surrogate_pair_is_refused_as_spacy_does(tokenizer: SpacyTokenizer) -> None:
    for tokenize in (tokenizer, lambda text: tokenizer.tokenize([text])):
        with pytest.raises(UnicodeEncodeError):
            tokenize("a \ud800 b")


def test_every_whitespace_character_is_told_from_all_others() -> None:
    others = [
        chr(code) for code in range(sys.maxunicode + 1) if not chr(code).isspace() and not 0xD800 <= code < 0xE000
    ]
    joined = "".join(others)
    assert cut([joined]).distinct == [joined]
    for space in SPACES:
        # A space belongs to the word before it, any other whitespace is a piece.
        expected = ["a ", "b"] if space == " " else ["a", space, "b"]
        assert cut([f"a{space}b"]).distinct == expected


def test_pieces_are_words_with_their_space_and_the_whitespace_that_is_left() -> None:
    pieces = cut(["a  b\n\nc ", "", " d", "a "])
    found = [pieces.distinct[number] for number in pieces.index]
    assert found == ["a ", " ", "b", "\n\n", "c ", " ", "d", "a "]
    assert pieces.bounds.tolist() == [0, 5, 5, 7, 8]
    assert cut([]).bounds.tolist() == [0]
    assert cut(["", ""]).bounds.tolist() == [0, 0, 0]


def test_ranges_are_joined() -> None:
    assert ranges(np.array([5, 9, 0]), np.array([2, 0, 3])).tolist() == [5, 6, 0, 1, 2]
