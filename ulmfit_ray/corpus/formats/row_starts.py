"""Where rows of a csv file begin, found in the middle of it: for files that prove to be well formed.

A newline ends a row unless it stands inside of quotes, and whether it does is known only when all quotes before it are
counted. So each block of the file is looked through for both cases, that it begins outside and inside of quotes, in
threads and in any order; the numbers of quotes then tell, block by block, which case holds.

Counting quotes tells the truth only if each one opens a cell, closes one, or is one of a pair inside of a cell. A quote
that opens must stand behind a delimiter or a newline, one that closes before one of these; a quote beside it makes the
two a pair. Then the csv module finds no row that it cannot parse, and all rows are those of a reading from the front.
Where there is any doubt the file must be read from its front.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from ulmfit_ray.corpus.listing import InputFile
from ulmfit_ray.corpus.open_text import UTF8_BOM, open_stored

BLOCK_BYTES = 4 << 20
"""In each block a row must end: a row is then shorter than three blocks, and so than MAX_RECORD_BYTES."""
THREADS = 8
"""A block and what is found in it take about 20 MiB of memory."""
NEWLINE, RETURN, QUOTE = b'\n\r"'


@dataclass(frozen=True, slots=True)
class _Case:
    """A block, if it begins outside of quotes, or inside."""

    is_sound: bool
    """Whether each quote is where it may be."""
    row_ends: np.ndarray
    """Offsets in the file of newlines that end a row: of the first one, and of those first behind the places."""


@dataclass(frozen=True, slots=True)
class _Block:
    num_quotes: int
    cases: tuple[_Case, _Case]
    """If it begins outside of quotes, and inside."""


def find_row_starts(file: InputFile, places: Sequence[int], delimiter: bytes) -> list[int] | None:
    """Return where the first rows at or behind some ascending places begin, each once; None if quotes leave a doubt."""
    row_ends: list[int] = []
    is_inside = False
    starts = range(0, file.size, BLOCK_BYTES)
    with ThreadPoolExecutor(THREADS) as pool:
        blocks = pool.map(lambda start: _look_through(file, start, places, delimiter), starts)
        # Closing it cancels what is not begun.
        with closing(blocks):  # type: ignore[type-var]
            for start, block in zip(starts, blocks, strict=True):
                case = block.cases[is_inside]
                is_last = start + BLOCK_BYTES >= file.size
                if not case.is_sound or not (is_last or len(case.row_ends)):
                    return None
                row_ends += case.row_ends.tolist()
                is_inside ^= block.num_quotes % 2 == 1
    if is_inside:
        return None
    found = np.searchsorted(row_ends, np.asarray(places) - 1)
    return sorted({row_ends[end] + 1 for end in found if end < len(row_ends)} - {file.size})


def _look_through(file: InputFile, start: int, places: Sequence[int], delimiter: bytes) -> _Block:
    """Look through the block that begins at `start`."""
    content = _with_neighbours(file, start, delimiter)
    block = content[1:-1]
    quotes = np.flatnonzero(block == QUOTE)
    before, after = content[quotes], content[quotes + 2]
    borders = (delimiter[0], NEWLINE, QUOTE)
    may_open, may_close = np.isin(before, borders), np.isin(after, (*borders, RETURN))
    # A return that is no part of a newline ends a row in a way that the csv module refuses.
    returns = np.flatnonzero((block == RETURN) & (content[2:] != NEWLINE))
    returns_inside = np.searchsorted(quotes, returns) % 2 == 1
    newlines = np.flatnonzero(block == NEWLINE)
    newlines_inside = np.searchsorted(quotes, newlines) % 2 == 1

    def case(is_inside: bool) -> _Case:
        opens, closes = may_open[is_inside::2], may_close[1 - is_inside :: 2]
        is_sound = opens.all() and closes.all() and (returns_inside != is_inside).all()
        row_ends = newlines[newlines_inside == is_inside] + start
        wanted = np.unique([0, *np.searchsorted(row_ends, np.asarray(places) - 1)])
        return _Case(bool(is_sound), row_ends[wanted[wanted < len(row_ends)]])

    return _Block(len(quotes), (case(False), case(True)))


def _with_neighbours(file: InputFile, start: int, delimiter: bytes) -> np.ndarray:
    """Return a block with the byte before and the byte behind it; a newline stands for those outside of the file."""
    stop = min(start + BLOCK_BYTES, file.size)
    first, last = max(0, start - 1), min(stop + 1, file.size)
    with open_stored(file.path) as stream:
        content = stream.read_at(last - first, first)
    if start == 0:
        content = b"\n" + (content.replace(UTF8_BOM, delimiter * 3, 1) if content.startswith(UTF8_BOM) else content)
    if stop == file.size:
        content += b"\n"
    return np.frombuffer(content, np.uint8)
