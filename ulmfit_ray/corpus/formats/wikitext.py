"""wikitext: an article is a document, as in WikiText-2 and WikiText-103. Asked for with --format wikitext.

An article begins with its title, a line such as ` = Robert Boulter = ` between two blank lines. The blank lines matter:
WikiText-2 also has lines like ` = Ties , A = `, which are no titles; without them it has the 600, 60 and 60 articles
that its paper counts. What stands before the first title belongs to the first article, so that no line is lost.
"""

import io
from collections.abc import Iterator
from typing import BinaryIO

from ulmfit_ray.corpus.formats.format import Format, Sample, Source, Values, all_strings
from ulmfit_ray.corpus.formats.options import ReadingOptions
from ulmfit_ray.corpus.open_text import MAX_RECORD_BYTES, CountedLines
from ulmfit_ray.corpus.records import Record, cut_at_lines, next_line

LOOK_BACK_BYTES = 256


def make_wikitext(options: ReadingOptions) -> Format:
    """Return the format."""

    def values(record: Record, source: Source) -> Values:
        lines = _lines(io.BytesIO(record.raw), record.offset)
        title = next((Record(place, line).text(options.encoding) for place, line, is_title in lines if is_title), "")
        return {"text": record.text(options.encoding), "title": title.strip()[1:-1].strip()}

    return Format(
        name="wikitext",
        extensions=(),
        cut=cut_at_lines,
        locate=locate_article,
        records=read_articles,
        values=values,
        sample=_sample,
        encoding=options.encoding,
    )


def _sample(stream: BinaryIO) -> Sample:
    return Sample(["text", "title"], has_records=bool(stream.read(1)), type_of=all_strings)


def read_articles(stream: BinaryIO, offset: int = 0, stop: int | None = None) -> Iterator[Record]:
    """Yield every article that begins before `stop`; an article begins at `offset`."""
    article: list[bytes] = []
    began, size, has_title = offset, 0, False
    for place, line, is_title in _lines(stream, offset):
        if is_title and has_title:
            yield Record(began, b"".join(article))
            article, size, has_title = [], 0, False
        if not article:
            began = place
            if stop is not None and began >= stop:
                return
        if size <= MAX_RECORD_BYTES:
            article.append(line)
            size += len(line)
        has_title = has_title or is_title
    if article:
        yield Record(began, b"".join(article))


def locate_article(stream: BinaryIO, start: int) -> int:
    """Move the stream to the first article that begins at `start` or later, and return its offset.

    The first title of a file begins no article: the first article begins at the front.
    """
    first_title = _find_title(stream, 0)
    return _find_title(stream, next_line(stream, max(start, first_title + 1)))


def _find_title(stream: BinaryIO, offset: int) -> int:
    """Move the stream to the first title behind `offset`, where a line begins, or to the end; return its offset."""
    is_behind_blank = _is_behind_blank(stream, offset)
    stream.seek(offset)
    for place, _, is_title in _lines(stream, offset, is_behind_blank=is_behind_blank):
        if is_title:
            return stream.seek(place)
    return stream.seek(0, io.SEEK_END)


def _is_behind_blank(stream: BinaryIO, offset: int) -> bool:
    """Tell whether the line that ends at `offset` is blank, or none is there."""
    size = LOOK_BACK_BYTES
    while True:
        stream.seek(max(0, offset - size))
        before = stream.read(min(size, offset)).removesuffix(b"\n")
        if before.rpartition(b"\n")[2].strip():
            return False
        if b"\n" in before or size >= offset:
            return True
        size *= 2


def _lines(stream: BinaryIO, offset: int, is_behind_blank: bool = True) -> Iterator[tuple[int, bytes, bool]]:
    """Yield each line with its place, and whether it is a title."""
    lines = CountedLines(stream, offset)
    line = lines.next_line()
    while line is not None:
        place = lines.began
        next_one = lines.next_line()
        is_before_blank = next_one is None or not next_one.strip()
        yield place, line, is_behind_blank and is_before_blank and _is_like_a_title(line)
        is_behind_blank = not line.strip()
        line = next_one


def _is_like_a_title(line: bytes) -> bool:
    line = line.strip()
    is_heading = line.startswith(b"= ") and line.endswith(b" =") and len(line) > 4
    return is_heading and not line.startswith(b"= = ") and not line.endswith(b" = =")
