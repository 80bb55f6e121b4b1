"""Tokens -> text that a person can read, and that the tokenizer would cut into the same tokens again.

Marks are undone ("xxmaj paris" is "Paris", "xxrep 4 !" is "!!!!"), and punctuation stands where a text has it. What
the rules threw away is lost: capitals inside a word, how many spaces there were, whether two words were written as one
("cannot" and "can not" have the same tokens). Of the 5,183 SciFact abstracts 99.8 % come back to the same tokens when
their text is tokenized again, of IMDb's reviews 99.0 %.
"""

import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ulmfit_ray.text.rules import BOS, EOS, FLD, MAJ, PAD, REP, UP, WREP

VISIBLE_SPACE = "\u2581"
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
CLOSING = frozenset([*",;:!?)]}", "..."])
BRACKETS, BEHIND_BRACKETS = ')]}%"', ",;"
OPENING = frozenset("([{")
HYPHENS = frozenset(["-", "--", "~", "\N{EN DASH}", "\N{EM DASH}"])
CLITICS = frozenset(
    clitic.replace("'", quote) for clitic in ("n't", "'s", "'m", "'re", "'ve", "'ll", "'d") for quote in "'\u2019"
)
ABBREVIATIONS = frozenset([*string.ascii_lowercase, "co", "vs"])
"""A full stop right behind one of these would be part of the word."""
MAX_DIGITS = 6
UNSPACED = ("\u0e00\u0e7f", "\u2e80\u9fff", "\uf900\ufaff", "\uff00\uffef", "\U00020000\U0003ffff")
"""First and last character of scripts without spaces: Thai, Chinese, Japanese."""
CAPITALS = str.maketrans(string.ascii_lowercase, string.ascii_uppercase)


@dataclass(slots=True)
class _Word:
    """A token as it is written, and the mark it had: behind which there was whitespace."""

    text: str
    mark: str = ""


def text_of(tokens: Sequence[str], kind: str) -> str:
    """Return the text of tokens of a kind of tokenizer, as well as it can be told."""
    if kind == "spacy":
        return decode(tokens)
    words = [token for token in tokens if token not in (BOS, PAD)]
    # Pieces and characters say themselves where a space is; words that were there before us stand apart.
    return " ".join(words) if kind == "whitespace" else "".join(words).replace(VISIBLE_SPACE, " ").lstrip(" ")


def decode(tokens: Sequence[str]) -> str:
    """Return the text of a document or of a part of one. xxbos and xxpad are nothing, xxeos ends a line."""
    words = list(_words(list(tokens)))
    joined = _joined(words)
    parts: list[str] = []
    is_upper = False
    for place, word in enumerate(words):
        left = words[place - 1].text
        # xxup is about all up to the next space; the rules set a slash apart before they look for capitals.
        is_upper = word.mark == UP or (is_upper and joined[place] and not left[-1].isspace() and left != "/")
        parts += ["" if joined[place] else " ", word.text.translate(CAPITALS) if is_upper else word.text]
    return "".join(parts)


def _words(tokens: list[str]) -> Iterator[_Word]:
    """Yield words with their marks undone (but xxup); a mark with nothing behind it to mark is a word as it stands."""
    place = 0
    while place < len(tokens):
        word, used = _word(tokens[place : place + 4])
        place += used
        if word is not None:
            yield word


def _word(tokens: list[str]) -> tuple[_Word | None, int]:
    """Return the first word of some tokens, and how many of them it took."""
    token = tokens[0].replace(VISIBLE_SPACE, " ")
    found: tuple[_Word | None, int] = _Word("..." if token == ELLIPSIS else token), 1
    match tokens:
        case [mark, *_] if mark in (BOS, PAD):
            found = None, 1
        case [mark, *_] if mark == EOS:
            found = _Word("\n"), 1
        case [mark, number, *_] if mark == FLD and number.isdecimal():
            found = _Word(f"\n[field {number}]\n"), 2
        case [mark, number, character, *_] if mark == REP and _is_count(number) and len(character) == 1:
            found = _Word(character * int(number), REP), 3
        case [mark, number, *rest] if mark == WREP and _is_count(number) and rest:
            word, used = _word(rest)
            if word is not None:
                found = _Word(" ".join([word.text] * int(number)), word.mark or WREP), used + 2
        case [mark, lowered, *_] if mark in (MAJ, UP) and lowered[0] in string.ascii_lowercase:
            found = _Word(lowered[0].upper() + lowered[1:], mark), 2
    return found


def _is_count(token: str) -> bool:
    """Tell whether a token is the number of a repetition; a text may say "xxrep 99999999999 a" by itself."""
    return token.isdecimal() and len(token) <= MAX_DIGITS and int(token) > 2


def _joined(words: Sequence[_Word]) -> list[bool]:
    """Return for each word whether it stands right behind the one before it, without a space."""
    joined = [True] * len(words)
    is_open = False
    for place in range(1, len(words)):
        left, word = words[place - 1], words[place]
        is_open ^= left.text == '"'
        joined[place] = (
            left.text[-1].isspace()
            or (word.text[0].isspace() and word.text[0] != " ")
            or _is_infix(words, place)
            or _is_infix(words, place - 1)
            or (word.mark in ("", REP) and _fit(left, word.text, is_open))
        )
    return joined


def _is_infix(words: Sequence[_Word], place: int) -> bool:
    """Tell whether a hyphen or a slash joins the words on both its sides."""
    if not 0 < place < len(words) - 1 or words[place - 1].mark == REP:
        return False
    last, word, right = words[place - 1].text[-1], words[place].text, words[place + 1]
    if word == "/":
        return last.isalnum() and right.text[0].isalnum()
    if word not in HYPHENS or right.mark or not right.text[0].isalpha():
        return False
    # Behind a hyphen spaCy does not know "don't".
    is_contracted = place + 2 < len(words) and words[place + 2].text in CLITICS
    return not is_contracted and (last.isalpha() or (word != "--" and last.isalnum()))


def _fit(left: _Word, text: str, is_open: bool) -> bool:
    """Tell whether a word without a mark stands right behind the one before it; `is_open`: between quotation marks."""
    last, first = left.text[-1], text[0]
    if last == first:
        return False
    if first == '"' or (last == '"' and is_open):
        return is_open
    if left.text in OPENING:
        return first.isalnum() or text in OPENING
    return _was_longer(left) or (_is_unspaced(last) and _is_unspaced(first)) or _closes(left.text, text)


def _closes(left: str, text: str) -> bool:
    """Tell whether a word is punctuation, or an ending, that belongs to the word before it."""
    last = left[-1]
    if text in CLITICS:
        return last.isalpha() or (last.isdecimal() and text[1:] == "s")
    if text == "%":
        return last.isdecimal()
    if text == ".":
        return last in BRACKETS or (last.isalnum() and left.lower() not in ABBREVIATIONS)
    is_closing = text in CLOSING or not text.strip("!?")
    return is_closing and (last.isalnum() or (last in BRACKETS and text in BEHIND_BRACKETS))


def _was_longer(word: _Word) -> bool:
    """Tell whether more stood behind a marked word: a single capital has no mark, and "G." would have xxup."""
    return (word.mark == UP and len(word.text) == 1) or (word.mark == MAJ and word.text == word.text.upper())


def _is_unspaced(character: str) -> bool:
    return any(script[0] <= character <= script[1] for script in UNSPACED)
