"""lines: a line is a document, a blank one too. Never guessed from a file's name; asked for with --format lines."""

from collections.abc import Sequence

from ulmfit_ray.corpus.formats.format import Format, Values
from ulmfit_ray.corpus.records import Record, cut_at_lines, next_line, read_lines


def _values(record: Record, header: Sequence[str]) -> Values:
    return {"text": record.text().removesuffix("\n").removesuffix("\r")}


LINES = Format(name="lines", extensions=(), cut=cut_at_lines, locate=next_line, records=read_lines, values=_values)
