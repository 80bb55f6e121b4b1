"""Words of letters only: most languages' patterns find nothing in them, so they are one token and spaCy need not look.

This is proven from the patterns, not by example: a pattern is read as Python's `re` reads it, and asked whether any
match could consist of letters only, what stands before and behind it included. Where that cannot be ruled out, it is
taken to be possible.
"""

import re
from collections.abc import Callable
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

LETTERS = "a-z\u00df-\u00f6\u00f8-\u00ff\u03ac-\u03ce\u0430-\u045f"
"""Small Latin letters with the accents of western Europe, small Greek and Cyrillic letters."""
ONLY_LETTERS = re.compile(f"[{LETTERS}]+")
_ALL = [chr(code) for code in range(0x500) if ONLY_LETTERS.fullmatch(chr(code))]
_IN_CATEGORY = {
    codes.CATEGORY_DIGIT: False,
    codes.CATEGORY_SPACE: False,
}


def finds_nothing_in_letters(search: Any) -> bool:
    """Tell whether a search (the bound method of a compiled pattern) surely finds nothing in a word of LETTERS."""
    if search is None:
        return True
    pattern = getattr(search, "__self__", None)
    if not isinstance(pattern, re.Pattern) or pattern.flags & re.IGNORECASE:
        return False
    parsed = parser.parse(pattern.pattern, pattern.flags)
    return not (parsed.state.flags & re.IGNORECASE) and not _may_be_letters(parsed)


def _may_be_letters(sequence: Any) -> bool:
    """Tell whether a sequence of the pattern may match where there are only letters."""
    return all(_node_may(operation, argument) for operation, argument in sequence)


def _node_may(operation: Any, argument: Any) -> bool:
    may: bool = _NODES[operation](argument) if operation in _NODES else True
    return may


def _item_may(operation: Any, argument: Any) -> bool:
    """Tell whether an item of a set [...] may stand for a letter; a negated set may always."""
    if operation is codes.LITERAL:
        return chr(argument) in _ALL
    if operation is codes.RANGE:
        return any(argument[0] <= ord(letter) <= argument[1] for letter in _ALL)
    if operation is codes.CATEGORY:
        return _IN_CATEGORY.get(argument, True)
    return True


_NODES: dict[Any, Callable[[Any], bool]] = {
    codes.LITERAL: lambda code: chr(code) in _ALL,
    codes.IN: lambda items: any(_item_may(*item) for item in items),
    codes.BRANCH: lambda branch: any(map(_may_be_letters, branch[1])),
    codes.SUBPATTERN: lambda group: bool(group[1] & re.IGNORECASE) or _may_be_letters(group[3]),
    codes.ASSERT: lambda around: _may_be_letters(around[1]),
    codes.ATOMIC_GROUP: _may_be_letters,
} | dict.fromkeys(
    (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT),
    lambda repeat: repeat[0] == 0 or _may_be_letters(repeat[2]),
)
"""Part of a pattern -> whether it may match where there are only letters; a part that is not here may always."""
