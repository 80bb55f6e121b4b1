"""lines: a line is a document, a blank one too. Never guessed from a file's name; asked for with --format lines."""

from ulmfit_ray.corpus.formats.format import Format, Source, Values
from ulmfit_ray.corpus.formats.options import ReadingOptions
from ulmfit_ray.corpus.records import Record, cut_at_lines, next_line, read_lines


def make_lines(options: ReadingOptions) -> Format:
    """Return the format."""

    def values(record: Record, source: Source) -> Values:
        return {"text": record.text(options.encoding).removesuffix("\n").removesuffix("\r")}

    return Format(
        name="lines",
        extensions=(),
        cut=cut_at_lines,
        locate=next_line,
        records=read_lines,
        values=values,
        encoding=options.encoding,
    )
