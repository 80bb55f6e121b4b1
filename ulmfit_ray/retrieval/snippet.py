"""The part of a long text that shows why it was found."""

import re


def snippet(text: str, query: str, size: int) -> str:
    """Return about `size` characters of a text in one line, around the first word of the query that occurs in it.

    The text is cut at spaces where it has any, and "…" stands where something was left out. If no word of the query
    occurs, the text's beginning is returned. A text that is not longer than `size` is returned whole.
    """
    text = " ".join(text.split())
    if len(text) <= size:
        return text
    word_start, word_stop = _first_word(text, query)
    start = min(max(0, (word_start + word_stop - size) // 2), len(text) - size)
    stop = start + size
    if start > 0 and text[start - 1] != " ":
        start = text.find(" ", start, word_start) + 1 or start
    if stop < len(text) and text[stop] != " ":
        space = text.rfind(" ", max(start, word_stop), stop)
        stop = space if space >= 0 else stop
    return "…" * (start > 0) + text[start:stop].strip() + "…" * (stop < len(text))


def _first_word(text: str, query: str) -> tuple[int, int]:
    """Return where the first word of the query that occurs in the text starts and stops; (0, 0) if none does."""
    for word in re.findall(r"\w+", query):
        found = re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE)
        if found:
            return found.span()
    return 0, 0
