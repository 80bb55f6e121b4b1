"""Words that need no spaCy: letters only, perhaps with one mark before and one behind ("word", "(word", "word,").

How such a word is cut is proven from the patterns of the language, not by example. A pattern is read as Python's `re`
reads it, and asked what it can match in a text of letters and one mark. What cannot be ruled out is taken to be
possible, and then spaCy cuts the word.
"""

import re
from collections.abc import Callable
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

ONLY_LETTERS = re.compile("[a-z\u00df-\u00f6\u00f8-\u00ff\u03ac-\u03ce\u0430-\u045f]+")
"""Small Latin letters with the accents of western Europe, small Greek and Cyrillic letters."""
LETTERS = frozenset(chr(code) for code in range(0x500) if ONLY_LETTERS.fullmatch(chr(code)))
ASCII_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz")
MARKS = ".,;:!?()[]\"'"
NUM_LETTERS = 3
"""Letters that a word with a mark must have: no pattern looks farther back (that is checked)."""
_REPEATS = (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT)
_LOOKS = (codes.ASSERT, codes.ASSERT_NOT)
_ONE_CHARACTER = (codes.LITERAL, codes.NOT_LITERAL, codes.IN, codes.ANY)


def _parsed(search: Any) -> Any:
    """Return the parsed pattern of a search (the bound method of a compiled one), or None if it cannot be read."""
    pattern = getattr(search, "__self__", None)
    if not isinstance(pattern, re.Pattern) or pattern.flags & re.IGNORECASE:
        return None
    parsed = parser.parse(pattern.pattern, pattern.flags)
    return None if parsed.state.flags & re.IGNORECASE else parsed


def finds_nothing_in_letters(search: Any) -> bool:
    """Tell whether a search surely finds nothing in a word of LETTERS."""
    if search is None:
        return True
    parsed = _parsed(search)
    return parsed is not None and not _may_match(parsed, LETTERS)


def _may_match(sequence: Any, characters: frozenset[str]) -> bool:
    """Tell whether a sequence may match in a text of these characters; what it looks at before and behind included."""
    return all(
        _NODES[operation](argument, characters) if operation in _NODES else True for operation, argument in sequence
    )


def _item_may(item: Any, characters: frozenset[str]) -> bool:
    """Tell whether an item of a set [...] may stand for one of the characters; a negated set may always."""
    operation, argument = item
    if operation is codes.LITERAL:
        return chr(argument) in characters
    if operation is codes.RANGE:
        return any(argument[0] <= ord(character) <= argument[1] for character in characters)
    if argument in (codes.CATEGORY_DIGIT, codes.CATEGORY_SPACE):
        return any(character.isdecimal() or character.isspace() for character in characters)
    return True


_NODES: dict[Any, Callable[[Any, frozenset[str]], bool]] = {
    codes.LITERAL: lambda code, characters: chr(code) in characters,
    codes.IN: lambda items, characters: any(_item_may(item, characters) for item in items),
    codes.BRANCH: lambda branch, characters: any(_may_match(option, characters) for option in branch[1]),
    codes.SUBPATTERN: lambda group, characters: bool(group[1] & re.IGNORECASE) or _may_match(group[3], characters),
    codes.ASSERT: lambda look, characters: _may_match(look[1], characters),
    codes.ATOMIC_GROUP: _may_match,
} | dict.fromkeys(_REPEATS, lambda repeat, characters: repeat[0] == 0 or _may_match(repeat[2], characters))
"""Part of a pattern -> whether it may match where there are only such characters; a part that is not here may."""


def marks_that_fall_off(search: Any, *, at_end: bool) -> frozenset[str]:
    """Return the marks that a search surely cuts off the end, or the front, of any word of three ASCII_LETTERS or more.

    That is so if (1) what the pattern can match there holds no letter, so it is the mark alone; (2) to whatever it
    looks at beside the mark all letters are alike, and it looks no farther than three; (3) of one such word it does
    cut the mark off. A word has one mark at each end at most; what is cut off the front is cut off first.
    """
    parsed = _parsed(search)
    if parsed is None:
        return frozenset()
    return frozenset(mark for mark in MARKS if _falls_off(search, parsed, mark, at_end))


def _falls_off(search: Any, parsed: Any, mark: str, at_end: bool) -> bool:
    anchor = (codes.AT, codes.AT_END) if at_end else (codes.AT, codes.AT_BEGINNING)
    characters = ASCII_LETTERS | ({mark} if at_end else set(MARKS))
    for option in _options(parsed):
        if not _may_match(option, characters):
            continue
        if not option or option[-1 if at_end else 0] != anchor:
            return False
        if (at_end or _may_begin_with(option, frozenset(mark))) and not _matches_mark_only(option):
            return False
    found = search("abc" + mark if at_end else mark + "abc")
    return found is not None and found[0] == mark


def begins_with_no_letter(search: Any) -> bool:
    """Tell whether a search surely finds nothing at the front of a word that begins with one of ASCII_LETTERS."""
    parsed = _parsed(search)
    if parsed is None:
        return False
    options = [option for option in _options(parsed) if _may_match(option, ASCII_LETTERS | set(MARKS))]
    return all(
        option and option[0] == (codes.AT, codes.AT_BEGINNING) and not _may_begin_with(option, ASCII_LETTERS)
        for option in options
    )


def _may_begin_with(option: Any, characters: frozenset[str]) -> bool:
    """Tell whether the first character of a match may be one of these; an option that matches none may."""
    for operation, argument in option:
        if operation is codes.AT or operation in _LOOKS:
            continue
        if operation in _REPEATS and argument[0] == 0:
            return True
        return _may_match([(operation, argument)], characters)
    return True


def _options(parsed: Any) -> list[Any]:
    """Return the alternatives of a pattern, each as a list of nodes; `re` has put their common beginning in front."""
    nodes = list(parsed)
    if nodes and nodes[-1][0] is codes.BRANCH:
        return [[*nodes[:-1], *option] for option in nodes[-1][1][1]]
    if len(nodes) == 1 and nodes[0][0] is codes.SUBPATTERN:
        return _options(nodes[0][1][3])
    return [nodes]


def _matches_mark_only(nodes: Any) -> bool:
    """Tell whether no letter can be part of a match, and letters are all alike to what is looked at beside it."""
    return all(_node_is_mark_only(*node) for node in nodes)


def _node_is_mark_only(operation: Any, argument: Any) -> bool:
    if operation in _LOOKS:
        return max(argument[1].getwidth()) <= NUM_LETTERS and _is_blind_to_letters(argument[1])
    if operation in _ONE_CHARACTER:
        return not _may_match([(operation, argument)], ASCII_LETTERS)
    if operation is codes.SUBPATTERN:
        return not argument[1] & re.IGNORECASE and _matches_mark_only(argument[3])
    if operation is codes.BRANCH:
        return all(map(_matches_mark_only, argument[1]))
    if operation in _REPEATS:
        return _matches_mark_only(argument[2])
    return bool(operation is codes.AT)


def _is_blind_to_letters(sequence: Any) -> bool:
    """Tell whether each character of a sequence may be any letter, or none."""
    for operation, argument in sequence:
        if operation in _ONE_CHARACTER:
            allowed = {letter for letter in ASCII_LETTERS if _is_allowed(operation, argument, letter)}
            if allowed not in (set(), ASCII_LETTERS):
                return False
        elif operation is codes.BRANCH:
            if not all(map(_is_blind_to_letters, argument[1])):
                return False
        elif operation is codes.SUBPATTERN:
            if argument[1] & re.IGNORECASE or not _is_blind_to_letters(argument[3]):
                return False
        elif operation is not codes.AT:
            return False
    return True


def _is_allowed(operation: Any, argument: Any, letter: str) -> bool:
    """Tell whether a one-character node allows a letter, exactly."""
    if operation is codes.LITERAL:
        return bool(chr(argument) == letter)
    if operation is codes.NOT_LITERAL:
        return bool(chr(argument) != letter)
    if operation is codes.ANY:
        return True
    is_negated = argument[0][0] is codes.NEGATE
    items = argument[1:] if is_negated else argument
    if any(kind is codes.CATEGORY for kind, _ in items):
        # Categories do not tell one ASCII letter from another.
        return True
    return is_negated != any(_item_may(item, frozenset(letter)) for item in items)
