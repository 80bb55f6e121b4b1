"""How far the patterns of a language look, read from the patterns themselves.

What falls off a long word is found in a window at its front or its end, if no pattern looks farther than the window is
wide. One thing may be wider, a run of one character ("....."), and then the window is full of it. That is proven here
from the parsed patterns, not by example; long_words.py makes use of it.
"""

from re import _constants as codes  # type: ignore[attr-defined]
from typing import Any

from ulmfit_ray.text.tokenizers.letters import ONE_CHARACTER, REPEATS, options, parsed

_BORDERS = (codes.AT_BOUNDARY, codes.AT_NON_BOUNDARY)
"""Anchors that look at the characters beside them; `^` and `$` ask where the word ends, which a window cannot tell."""
_GROUPS = (codes.SUBPATTERN, codes.ATOMIC_GROUP, codes.ASSERT, codes.ASSERT_NOT)


def reach_at_front(search: Any) -> int | None:
    """Return how many characters a search at the front of a word takes and looks at, at most; None: it is not known.

    A run of one character counts with the number that it needs at least.
    """
    return _reach(search, first=(codes.AT, codes.AT_BEGINNING))


def reach_at_end(search: Any) -> int | None:
    """Return the same of a search at the end of a word."""
    return _reach(search, last=(codes.AT, codes.AT_END))


def reach_inside(search: Any) -> int | None:
    """Return the same of a search for what lies anywhere: with a bound, its time is linear in the whole word."""
    return _reach(search, anchors=(*_BORDERS, codes.AT_BEGINNING, codes.AT_END))


def _reach(search: Any, first: Any = None, last: Any = None, anchors: tuple[Any, ...] = _BORDERS) -> int | None:
    if search is None:
        return 0
    pattern = parsed(search)
    if pattern is None:
        return None
    reaches = []
    for option in options(pattern):
        nodes = list(option)
        if first is not None and (not nodes or nodes.pop(0) != first):
            return None
        if last is not None and (not nodes or nodes.pop() != last):
            return None
        reaches.append(len(nodes) if _is_run(nodes) else _width(nodes, anchors))
    return None if None in reaches else max(reach or 0 for reach in reaches)


def _is_run(nodes: list[Any]) -> bool:
    r"""Tell whether an alternative is a run of one character, as `\.\.+` is."""
    *same, (operation, argument) = nodes or [(None, None)]
    return (
        operation is codes.MAX_REPEAT
        and argument[:2] == (1, codes.MAXREPEAT)
        and argument[2][0][0] is codes.LITERAL
        and len(argument[2]) == 1
        and all(node == argument[2][0] for node in same)
    )


def _width(nodes: Any, anchors: tuple[Any, ...]) -> int | None:
    """Return how many characters a sequence takes and looks at, at most; None: without bound, or it is not known."""
    widths = [_node_width(operation, argument, anchors) for operation, argument in nodes]
    return None if None in widths else sum(width or 0 for width in widths)


def _node_width(operation: Any, argument: Any, anchors: tuple[Any, ...]) -> int | None:
    if operation in ONE_CHARACTER or (operation is codes.AT and argument in anchors):
        return 1
    if operation is codes.BRANCH:
        widths = [_width(option, anchors) for option in argument[1]]
        return None if None in widths else max(width or 0 for width in widths)
    if operation in _GROUPS:
        return _width(argument if operation is codes.ATOMIC_GROUP else argument[-1], anchors)
    if operation in REPEATS and argument[1] != codes.MAXREPEAT:
        width = _width(argument[2], anchors)
        return None if width is None else width * int(argument[1])
    return None
