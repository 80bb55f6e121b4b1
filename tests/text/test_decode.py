"""Text out of tokens: written by hand, and by what becomes of it when it is tokenized again."""

import gzip
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from trap_texts import trap_texts

from ulmfit_ray.text.decode import decode, text_of
from ulmfit_ray.text.tokenizers.kinds import Tokenizer, TokenizerSettings, make_tokenizer

SCIFACT = Path(__file__).parents[2] / "jobs/sample/scifact/corpus.jsonl.gz"
BY_HAND = [
    ("xxbos xxmaj the xxup nato met in xxmaj paris .", "The NATO met in Paris."),
    ("w xxrep 5 o w xxrep 3 ! xxup so xxup good …", "w ooooo w!!! SO GOOD..."),
    ("xxwrep 3 no , xxwrep 4 xxmaj the . xxwrep 3 xxup why ?", "no no no, The The The The. WHY WHY WHY?"),
    ("xxmaj it 's ( so it seems ) his : do n't , you 're", "It's (so it seems) his: don't, you're"),
    ("xxmaj t - cell , xxup a - b , b - cell - like", "T-cell, A-B, b-cell-like"),
    ("xxup and / or , 1 / 2 xxmaj km / h", "AND/or, 1/2 Km/h"),
    ('he said " a b " , then " c', 'he said "a b", then "c'),
    ("xxup dna 's 5 % [ 3 ] . xxmaj g. 's", "DNA'S 5% [3]. G.'s"),
    ("xxmaj mr. b. in vitamin d .", "Mr. b. in vitamin d ."),
    ("xxup end . \n\n xxmaj new line \n▁ 1", "END.\n\nNew line\n 1"),
    ("( xxmaj a ) x = 3 - 4 , a + b", "( A) x = 3 - 4, a + b"),
    ("你 好 。 a 世 界 。", "你好。 a 世界。"),
    ("one xxeos two xxeos xxpad xxpad", "one\ntwo\n"),
    ("xxbos xxfld 1 xxmaj title xxfld 2 text", "\n[field 1]\nTitle\n[field 2]\ntext"),
    ("xxup xxunk , xxmaj xxunk , xxmaj", "XXUNK, Xxunk, xxmaj"),
    ('" a " , b', '"a", b'),
    ("xxrep 4", "xxrep 4"),
    ("xxrep 0 a xxwrep 2 b", "xxrep 0 a xxwrep 2 b"),
    ("xxrep 99999999999 a", "xxrep 99999999999 a"),
    ("xxwrep xxrep many a", "xxwrep xxrep many a"),
    ("xxmaj 5 xxup école", "xxmaj 5 xxup école"),
    ("", ""),
]


@pytest.mark.parametrize(("tokens", "text"), BY_HAND, ids=[text for _, text in BY_HAND])
def test_marks_are_undone_and_punctuation_stands_where_a_text_has_it(tokens: str, text: str) -> None:
    assert decode(tokens.split(" ") if tokens else []) == text


def tokens_of(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[str]]:
    found = tokenizer.tokenize(texts)
    return [[found.types[token] for token in found.ids[start:end].tolist()] for start, end in pairwise(found.bounds)]


def share_that_comes_back(tokenizer: Tokenizer, texts: Sequence[str]) -> float:
    """Return what part of the texts has the same tokens after it was tokenized, decoded and tokenized again."""
    tokens = tokens_of(tokenizer, texts)
    again = tokens_of(tokenizer, [decode(document) for document in tokens])
    return sum(before == after for before, after in zip(tokens, again, strict=True)) / len(texts)


def test_real_abstracts_and_titles_come_back_to_their_tokens(tokenizer: Tokenizer) -> None:
    with gzip.open(SCIFACT, "rt") as lines:
        rows = [json.loads(line) for line in lines]
    # Measured: 0.9979 of the abstracts, and every title.
    assert share_that_comes_back(tokenizer, [row["text"] for row in rows[::5]]) > 0.995
    assert share_that_comes_back(tokenizer, [row["title"] for row in rows]) == 1


def test_abstracts_that_no_rule_has_cleaned_come_back_too(abstracts: list[dict[str, str]]) -> None:
    plain = make_tokenizer(TokenizerSettings(rules=("none",)))
    assert share_that_comes_back(plain, [row["text"] for row in abstracts]) > 0.98


def test_chinese_comes_back_without_spaces_between_its_characters() -> None:
    chinese = make_tokenizer(TokenizerSettings(lang="zh"))
    texts = ["早餐太差。无论去多少人。", "房间好!!!! 不错不错。"]
    tokens = tokens_of(chinese, texts)
    assert [decode(document) for document in tokens] == ["早餐太差。无论去多少人。", "房间好!!!! 不错不错。"]
    assert share_that_comes_back(chinese, texts) == 1


def test_any_tokens_become_some_text(tokenizer: Tokenizer) -> None:
    texts = list(trap_texts(300, seed=5))
    for text, tokens in zip(texts, tokens_of(tokenizer, texts), strict=True):
        assert isinstance(decode(tokens), str), text
        assert isinstance(decode(tokens[::-1]), str), text


@pytest.mark.parametrize(
    ("kind", "tokens", "text"),
    [
        ("spacy", ["xxbos", "xxmaj", "paris", "!"], "Paris!"),
        ("whitespace", ["xxbos", "Paris", "!"], "Paris !"),
        ("sentencepiece", ["xxbos", "\u2581par", "is", "\u2581is"], "paris is"),
        ("characters", ["xxbos", "a", "\u2581", "b", "xxpad"], "a b"),
    ],
)
def test_each_kind_of_tokens_has_its_own_way_back_to_text(kind: str, tokens: list[str], text: str) -> None:
    assert text_of(tokens, kind) == text
