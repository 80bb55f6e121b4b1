"""Files that are not what their names say are refused before any work."""

import bz2
import gzip
import io
import lzma
import random
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from ulmfit_ray.corpus import contents
from ulmfit_ray.corpus.contents import check_contents
from ulmfit_ray.corpus.formats.options import ReadingOptions
from ulmfit_ray.corpus.formats.table import FORMATS, make_format
from ulmfit_ray.corpus.listing import list_inputs

CSV, JSONL, LINES, TXT = (make_format(name) for name in ("csv", "jsonl", "lines", "txt"))


def written(write: Callable[[io.BytesIO], object]) -> bytes:
    target = io.BytesIO()
    write(target)
    return target.getvalue()


def as_tar(target: io.BytesIO) -> None:
    with tarfile.open(fileobj=target, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../a.txt"))


def as_zip(target: io.BytesIO) -> None:
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("a.txt", "text")


TABLE = pa.table({"text": ["a", "b"]})
PARQUET = written(lambda target: pq.write_table(TABLE, target))
EMPTY_PARQUET = written(lambda target: pq.write_table(TABLE.slice(0, 0), target))
TEXT = '{"text": "zw\u00f6lf"}\n'
OTHER_KINDS = [
    (TEXT.encode("utf-16"), "text in UTF-16: convert it, as with iconv -f utf-16 -t utf-8"),
    ("\ufeff".encode("utf-16-be") + TEXT.encode("utf-16-be"), "text in UTF-16"),
    (TEXT.encode("utf-32"), "text in UTF-32: convert it, as with iconv -f utf-32 -t utf-8"),
    ("\ufeff".encode("utf-32-be") + TEXT.encode("utf-32-be"), "text in UTF-32"),
    (TEXT.encode("utf-16-le"), "binary, or text in UTF-16"),
    (written(lambda target: pa.feather.write_feather(TABLE, target)), "an Arrow file"),
    (written(as_zip), "a zip archive"),
    (written(as_tar), "a tar archive: unpack it"),
    (b"%PDF-1.7\n", "a PDF file: extract its text"),
    (b"SQLite format 3\0 and more", "an SQLite database: export its rows"),
    (gzip.compress(b"text"), "compressed by gzip: give it a name that ends in .gz"),
    (bz2.compress(b"text"), "compressed by bzip2"),
    (lzma.compress(b"text"), "compressed by xz"),
    (b"text" * 100 + b"\0", "binary, or text in UTF-16"),
]
"""None is a text in UTF-8, or a Parquet file."""


@pytest.mark.parametrize(("content", "message"), OTHER_KINDS, ids=[message[:24] for _, message in OTHER_KINDS])
@pytest.mark.parametrize("name", FORMATS)
def test_what_is_no_text_in_utf8_is_called_what_it_is(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / "in.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=r"in\.jsonl is ") as error:
        check_contents(list_inputs([str(tmp_path)]), make_format(name))
    assert message in str(error.value) or (name == "parquet" and "no Parquet file" in str(error.value))
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("text", [TEXT, TEXT + "".join(map(chr, range(0x3000, 0xD000))) * 6], ids=["short", "long"])
def test_compressed_files_are_looked_into(tmp_path: Path, compress: Callable[[bytes], bytes], text: str) -> None:
    suffix = {gzip.compress: "gz", bz2.compress: "bz2", lzma.compress: "xz"}[compress]
    (tmp_path / f"in.jsonl.{suffix}").write_bytes(compress(text.encode()))
    check_contents(list_inputs([str(tmp_path)]), JSONL)
    (tmp_path / f"in.jsonl.{suffix}").write_bytes(compress(text.encode("utf-16")))
    with pytest.raises(ValueError, match=r"in\.jsonl\.\w+ is text in UTF-16"):
        check_contents(list_inputs([str(tmp_path)]), JSONL)


def test_an_array_is_refused_as_jsonl_and_read_as_any_other_text(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('[\n{"text": "a"},\n{"text": "b"}\n]\n')
    files = list_inputs([str(tmp_path)])
    with pytest.raises(ValueError, match=r"in\.jsonl is a JSON array, not one object per line"):
        check_contents(files, JSONL)
    for file_format in (TXT, LINES, CSV):
        check_contents(files, file_format)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"\n", "\ufeffone".encode(), b"\xff is not UTF-8", b"PAR1 is a word", b"BZh too", b"PK\n"),
        *(b"x" * 1024 + b"\0", b"\x04\x22 control characters\x1f"),
    ],
)
def test_text_that_is_only_odd_is_left_to_its_records(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    check_contents(list_inputs([str(tmp_path)]), TXT)


def test_a_damaged_compressed_file_is_left_to_its_reading(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(random.Random(0).randbytes(99))[:20])
    (tmp_path / "b.txt.gz").write_bytes(b"\0\0\0")
    check_contents(list_inputs([str(tmp_path)]), TXT)


def test_of_many_files_the_first_wrong_one_is_named(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / f"{number:03}.txt").write_bytes(b"PK\x03\x04" if number in (40, 41, 90) else b"text")
    with pytest.raises(ValueError, match=r"040\.txt is a zip archive"):
        check_contents(list_inputs([str(tmp_path)]), TXT)


def test_text_that_says_it_is_utf8_is_not_read_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffzw\u00f6lf".encode())
    files = list_inputs([str(tmp_path)])
    check_contents(files, TXT)
    with pytest.raises(ValueError, match=r"a\.txt is text in UTF-8, as its first bytes say, and not in cp1252"):
        check_contents(files, make_format("txt", ReadingOptions(encoding="cp1252")))


def test_text_in_the_encoding_that_is_said_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes('[\u201c\n{"text": "zw\u00f6lf"}\n'.encode("cp1252"))
    for encoding in ("cp1252", "gb18030"):
        check_contents(list_inputs([str(tmp_path)]), make_format("jsonl", ReadingOptions(encoding=encoding)))


@pytest.mark.parametrize("content", [PARQUET, EMPTY_PARQUET])
def test_a_parquet_file_is_one_whatever_its_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "in.jsonl").write_bytes(content)
    files = list_inputs([str(tmp_path)])
    check_contents(files, make_format("parquet"))
    for name in FORMATS.keys() - {"parquet"}:
        with pytest.raises(ValueError, match=r"in\.jsonl is a Parquet file: give it a name that ends in \.parquet"):
            check_contents(files, make_format(name))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "no Parquet file"), (b"text", "no Parquet file"), (b"PARE\x15", "an encrypted Parquet file: decrypt it")],
)
def test_what_is_no_parquet_file_is_refused_as_one(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "in.parquet").write_bytes(content)
    with pytest.raises(ValueError, match=rf"in\.parquet is {message}"):
        check_contents(list_inputs([str(tmp_path)]), make_format("parquet"))


def test_of_very_many_files_some_are_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        (tmp_path / f"{number}.jsonl").write_bytes(b"\0" if number == 2 else b"{}")
    files = list_inputs([str(tmp_path)])
    monkeypatch.setattr(contents, "MAX_FILES_OPENED", 1)
    check_contents(files, JSONL)
    monkeypatch.setattr(contents, "MAX_FILES_OPENED", 3)
    with pytest.raises(ValueError, match=r"2\.jsonl is binary"):
        check_contents(files, JSONL)
