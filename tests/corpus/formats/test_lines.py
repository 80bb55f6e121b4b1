"""A line is a document."""

import pytest

from ulmfit_ray.corpus.formats.format import Source
from ulmfit_ray.corpus.formats.table import make_format
from ulmfit_ray.corpus.records import Record

LINES = make_format("lines")


@pytest.mark.parametrize(
    ("line", "text"), [(b" a line \r\n", " a line "), (b"no newline", "no newline"), (b"\n", "")], ids=repr
)
def test_a_line_loses_its_newline_and_nothing_else(line: bytes, text: str) -> None:
    assert LINES.values(Record(7, line), Source()) == {"text": text}
