"""Text that is tokenized already, and characters, against Python's own `str.split` and `list`."""

import gzip
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from trap_texts import trap_texts

from ulmfit_ray.text.presets import FASTAI_V2, NONE, clean
from ulmfit_ray.text.rules import SPECIAL_TOKENS
from ulmfit_ray.text.tokenizers.kinds import Kind, Tokenizer, TokenizerSettings, make_tokenizer
from ulmfit_ray.text.types import TypeTable, document_tokens

WIKITEXT = Path(__file__).parents[4] / "shared/data/wikitext-2"
TEXTS = ["", " ", "\n", "a", " a  b\n\nc ", *trap_texts(500, seed=3)]


def make(kind: Kind, rules: tuple[str, ...] = NONE) -> Tokenizer:
    return make_tokenizer(TokenizerSettings(kind=kind, rules=rules))


def at_once(tokenizer: Tokenizer, texts: list[str]) -> list[list[str]]:
    found = tokenizer.tokenize(texts)
    assert [found.types[number] for number in dict.fromkeys(found.ids.tolist())] == found.types
    return [[found.types[number] for number in found.ids[start:end]] for start, end in pairwise(found.bounds)]


def test_whitespace_gives_the_words_of_split() -> None:
    words = make("whitespace")
    assert at_once(words, TEXTS) == [text.split() for text in TEXTS] == [words(text) for text in TEXTS]


def test_characters_are_code_points_and_a_space_is_visible() -> None:
    characters = make("characters")
    expected = [list(text.replace(" ", "\u2581")) for text in TEXTS]
    assert at_once(characters, TEXTS) == expected == [characters(text) for text in TEXTS]
    assert characters("a \U0001f600e\u0301") == ["a", "\u2581", "\U0001f600", "e", "\u0301"]


def test_words_of_a_tokenized_text_stay_as_they_are() -> None:
    assert make("whitespace")("The <unk> of N.Y. @-@ xxmaj THE") == [
        "The",
        "<unk>",
        "of",
        "N.Y.",
        "@-@",
        "xxmaj",
        "THE",
    ]
    assert make("characters")("xxup") == ["x", "x", "u", "p"]


@pytest.mark.parametrize("rules", [FASTAI_V2, ("fastai-v1",), ("lowercase",), ("deal_caps",)])
@pytest.mark.parametrize("kind", ["whitespace", "characters"])
def test_rules_run_when_they_are_asked_for(kind: Kind, rules: tuple[str, ...]) -> None:
    tokenizer = make(kind, rules)
    assert at_once(tokenizer, TEXTS) == [tokenizer(text) for text in TEXTS]
    if rules == FASTAI_V2 and kind == "whitespace":
        assert at_once(tokenizer, TEXTS) == [clean(text, FASTAI_V2).split() for text in TEXTS]


def test_a_mark_that_a_rule_has_written_is_one_character_token() -> None:
    characters = make("characters", FASTAI_V2)
    assert characters("NO Xx xxupx") == ["xxup", *"\u2581no\u2581", "xxmaj", *"\u2581xx\u2581xxupx"]
    assert set(SPECIAL_TOKENS) <= {*characters(" ".join(SPECIAL_TOKENS))}


@pytest.mark.parametrize("kind", ["whitespace", "characters"])
@pytest.mark.parametrize("rules", [NONE, FASTAI_V2])
def test_half_a_surrogate_pair_is_refused(kind: Kind, rules: tuple[str, ...]) -> None:
    with pytest.raises(UnicodeEncodeError):
        make(kind, rules).tokenize(["a \ud800 b"])


@pytest.mark.parametrize("kind", ["whitespace", "characters"])
def test_no_texts_have_no_tokens(kind: Kind) -> None:
    found = make(kind).tokenize([])
    assert (found.types, found.ids.tolist(), found.bounds.tolist()) == ([], [], [0])


@pytest.mark.data
def test_wikitext_2_has_the_tokens_and_types_that_its_papers_count() -> None:
    tokenizer = make_tokenizer(TokenizerSettings(kind="whitespace", rules=NONE, eos="line"))
    counts, types = [], TypeTable(tokenizer)
    for part in ("train", "valid", "test"):
        text = gzip.decompress((WIKITEXT / f"wiki.{part}.tokens.txt.gz").read_bytes()).decode()
        counts.append(len(TypeTable(tokenizer).add([[text]]).ids))
        if part == "train":
            types.add([[text]])
        else:
            words = Counter(word for line in text.split("\n")[:-1] for word in [*line.split(), "xxeos"])
            assert Counter(document_tokens(tokenizer, [text])) == words
    assert counts == [2_088_628, 217_646, 245_569]
    assert types.to_table().num_rows == 33_278
