"""A text file is one document, as it is."""

import io

from ulmfit_ray.corpus.formats.txt import TXT
from ulmfit_ray.corpus.listing import InputFile
from ulmfit_ray.corpus.records import Record


def test_a_text_file_is_one_record() -> None:
    (record,) = TXT.records(io.BytesIO(b"one\n\ntwo"), 0, None)
    assert (record.offset, record.raw) == (0, b"one\n\ntwo")


def test_a_byte_order_mark_is_left_out() -> None:
    records = TXT.records(io.BytesIO(b"\xef\xbb\xbfwhole\nfile"), 0, None)
    assert [record.raw for record in records] == [b"whole\nfile"]


def test_a_text_file_is_one_document_as_it_is() -> None:
    assert TXT.values(Record(0, b"one\n\ntwo\n"), ()) == {"text": "one\n\ntwo\n"}


def test_a_text_file_is_never_cut_and_shares_its_unit_with_others() -> None:
    assert TXT.cut(InputFile("a.txt", "a.txt", 1000, "0"), 10) == [(0, 1000)]
    assert TXT.is_bundled
