"""What the patterns of a language can find in words of letters and marks, read from the patterns themselves.

A pattern is read as Python's `re` reads it, and asked what it can match. What cannot be ruled out is taken to be
possible. shapes.py draws the conclusions.
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
NUM_LETTERS = 3
"""So many letters in a row, or more, are alike to every pattern that looks no farther than this from a mark."""
REPEATS = (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT)
_LOOKS = (codes.ASSERT, codes.ASSERT_NOT)
_WITH_LETTERS = (codes.CATEGORY_WORD, codes.CATEGORY_NOT_DIGIT, codes.CATEGORY_NOT_SPACE)
"""Categories that have all letters; the others have none."""
ONE_CHARACTER = (codes.LITERAL, codes.NOT_LITERAL, codes.IN, codes.ANY)


def parsed(search: Any) -> Any:
    """Return the parsed pattern of a search (the bound method of a compiled one), or None if it cannot be read."""
    pattern = getattr(search, "__self__", None)
    if not isinstance(pattern, re.Pattern) or pattern.flags & re.IGNORECASE:
        return None
    tree = parser.parse(pattern.pattern, pattern.flags)
    return None if tree.state.flags & re.IGNORECASE else tree


def finds_nothing_in_letters(search: Any) -> bool:
    """Tell whether a search surely finds nothing in a word of LETTERS."""
    if search is None:
        return True
    pattern = parsed(search)
    return pattern is not None and not _may_match(pattern, LETTERS)


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
} | dict.fromkeys(REPEATS, lambda repeat, characters: repeat[0] == 0 or _may_match(repeat[2], characters))
"""Part of a pattern -> whether it may match where there are only such characters; a part that is not here may."""


def may_match(search: Any, characters: frozenset[str]) -> bool:
    """Tell whether a search may find something in a word of these characters."""
    if search is None:
        return False
    pattern = parsed(search)
    return pattern is None or _may_match(pattern, characters)


def tells_no_letters_apart(search: Any, marks: frozenset[str], *, at_end: bool) -> bool:
    """Tell whether a search surely finds the same in words that differ only in their runs of three letters or more.

    The words consist of ASCII_LETTERS and these marks. It is so if each alternative of the pattern (1) matches nothing
    in such a word, or (2) matches marks alone, and all letters are alike to what it looks at beside them, no farther
    than three, or (3) matches at the end of a word a mark and one or two letters behind it, which are no long run
    ("'s").
    """
    if search is None:
        return True
    pattern = parsed(search)
    return pattern is not None and all(
        not _may_match(option, ASCII_LETTERS | marks)
        or (_matches_mark_only(option) and _matches_something(option))
        or (at_end and _matches_mark_and_letters(option))
        for option in options(pattern)
    )


def _matches_something(option: Any) -> bool:
    """Tell whether an alternative matches a character at least: one that matches none may stand inside a run."""
    return any(
        operation in (*ONE_CHARACTER, codes.SUBPATTERN, codes.BRANCH) or (operation in REPEATS and argument[0] > 0)
        for operation, argument in option
    )


def _matches_mark_and_letters(option: Any) -> bool:
    """Tell whether an alternative is a mark with one or two letters behind it at the end of a word."""
    looks = [node for node in option if node[0] in _LOOKS]
    *matched, anchor = [node for node in option if node[0] not in _LOOKS] or [None]
    return (
        anchor == (codes.AT, codes.AT_END)
        and option[: len(looks)] == looks
        and _matches_mark_only(looks)
        and 2 <= len(matched) <= NUM_LETTERS
        and all(operation in ONE_CHARACTER for operation, _ in matched)
        and not _may_match(matched[:1], ASCII_LETTERS)
    )


def options(pattern: Any) -> list[Any]:
    """Return the alternatives of a pattern, each as a list of nodes; `re` has put their common beginning in front."""
    nodes = list(pattern)
    if nodes and nodes[-1][0] is codes.BRANCH:
        return [[*nodes[:-1], *option] for option in nodes[-1][1][1]]
    if len(nodes) == 1 and nodes[0][0] is codes.SUBPATTERN and not nodes[0][1][1] & re.IGNORECASE:
        return options(nodes[0][1][3])
    return [nodes]


def _matches_mark_only(nodes: Any) -> bool:
    """Tell whether no letter can be part of a match, and letters are all alike to what is looked at beside it."""
    return all(_node_is_mark_only(*node) for node in nodes)


def _node_is_mark_only(operation: Any, argument: Any) -> bool:
    if operation in _LOOKS:
        width = max(argument[1].getwidth())
        return width <= NUM_LETTERS and _is_blind_to_letters(argument[1], with_anchors=width < NUM_LETTERS)
    if operation in ONE_CHARACTER:
        return not _may_match([(operation, argument)], ASCII_LETTERS)
    if operation is codes.SUBPATTERN:
        return not argument[1] & re.IGNORECASE and _matches_mark_only(argument[3])
    if operation is codes.BRANCH:
        return all(map(_matches_mark_only, argument[1]))
    if operation in REPEATS:
        return _matches_mark_only(argument[2])
    return bool(operation is codes.AT)


def _is_blind_to_letters(sequence: Any, *, with_anchors: bool) -> bool:
    """Tell whether each character of a sequence may be any letter, or none.

    An anchor, such as the border of a word, tells how long a run is; `with_anchors`: that does not matter.
    """
    for operation, argument in sequence:
        if operation in ONE_CHARACTER:
            allowed = {letter for letter in ASCII_LETTERS if _is_allowed(operation, argument, letter)}
            if allowed not in (set(), ASCII_LETTERS):
                return False
        elif operation is codes.BRANCH:
            if not all(_is_blind_to_letters(option, with_anchors=with_anchors) for option in argument[1]):
                return False
        elif operation is codes.SUBPATTERN:
            if argument[1] & re.IGNORECASE or not _is_blind_to_letters(argument[3], with_anchors=with_anchors):
                return False
        elif operation is not codes.AT or not with_anchors:
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
    return is_negated != any(
        value in _WITH_LETTERS if kind is codes.CATEGORY else _item_may((kind, value), frozenset(letter))
        for kind, value in items
    )
