"""Runs of letters, against a list written by hand."""

import zlib

import pytest

from ulmfit_ray.text.letter_grams import LONGEST_WORD, Spelling, gram_rows, letter_grams


def test_a_word_has_all_its_runs_of_three_to_five_letters_and_its_ends() -> None:
    assert list(letter_grams("cats")) == ["<ca", "cat", "ats", "ts>", "<cat", "cats", "ats>", "<cats", "cats>"]
    assert list(letter_grams("a")) == ["<a>"]
    assert list(letter_grams("é?")) == ["<é?", "é?>", "<é?>"]


def test_words_of_one_stem_share_most_of_their_runs() -> None:
    one, other = set(letter_grams("infectiousness")), set(letter_grams("infectiveness"))
    assert len(one & other) > 0.4 * len(one)


@pytest.mark.parametrize("mark", ["xxbos", "xxmaj", "xxunk"])
def test_a_mark_has_none(mark: str) -> None:
    assert list(letter_grams(mark)) == []


def test_of_a_very_long_word_only_the_front_counts() -> None:
    assert list(letter_grams("x" * LONGEST_WORD + "y" * 10_000)) == list(letter_grams("x" * LONGEST_WORD))


def test_a_run_is_numbered_by_its_checksum() -> None:
    assert gram_rows("at", 1000) == [zlib.crc32(gram) % 1000 for gram in (b"<at", b"at>", b"<at>")]


def test_the_runs_of_many_words_lie_one_behind_the_other() -> None:
    words = ["cats", "xxbos", "", "dog"]
    spelling = Spelling.of(words, 50)
    assert spelling.offsets.tolist() == [0, 9, 9, 9, 15]
    for number, word in enumerate(words):
        own = spelling.rows[spelling.offsets[number] : spelling.offsets[number + 1]]
        assert own.tolist() == gram_rows(word, 50)
