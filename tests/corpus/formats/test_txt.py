"""A text file is one document, as it is."""

import io

import pytest

from ulmfit_ray.corpus.formats.format import Source
from ulmfit_ray.corpus.formats.table import make_format
from ulmfit_ray.corpus.listing import InputFile
from ulmfit_ray.corpus.records import Record

TXT = make_format("txt")


def test_a_text_file_is_one_record() -> None:
    (record,) = TXT.records(io.BytesIO(b"one\n\ntwo"), 0, None)
    assert (record.offset, record.raw) == (0, b"one\n\ntwo")


def test_a_byte_order_mark_is_left_out() -> None:
    records = TXT.records(io.BytesIO(b"\xef\xbb\xbfwhole\nfile"), 0, None)
    assert [record.raw for record in records] == [b"whole\nfile"]


def test_a_text_file_is_one_document_as_it_is() -> None:
    assert TXT.values(Record(0, b"one\n\ntwo\n"), Source()) == {"text": "one\n\ntwo\n", "label": ""}


def test_a_text_file_is_never_cut_and_shares_its_unit_with_others() -> None:
    assert TXT.cut(InputFile("a.txt", "a.txt", 1000, "0"), 10) == [(0, 1000)]
    assert TXT.is_bundled


@pytest.mark.parametrize(
    ("path", "label"),
    [("/aclImdb/train/pos/1_9.txt", "pos"), ("s3://bucket/neg/a.txt.gz", "neg"), ("/a.txt", "")],
)
def test_the_label_is_the_name_of_the_files_folder(path: str, label: str) -> None:
    assert TXT.values(Record(0, b"x"), Source(path)) == {"text": "x", "label": label}
