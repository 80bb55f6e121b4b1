"""Files are read decompressed, line by line, with the offset at which each line begins."""

import bz2
import gzip
import io
import lzma
import random
from pathlib import Path

import pytest

from ulmfit_ray.corpus.open_text import CountedLines, base_extension, content_of, is_compressed, open_text


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [("", bytes), (".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)],
)
def test_files_are_read_decompressed(tmp_path: Path, suffix: str, compress: object) -> None:
    assert callable(compress)
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(compress(b"one\ntwo"))
    with open_text(str(path)) as stream:
        assert stream.read() == b"one\ntwo"
    assert is_compressed(str(path)) == bool(suffix)
    assert base_extension(str(path)) == ".jsonl"


def test_a_missing_file_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_text(str(tmp_path / "missing.txt"))


def test_extension_is_lower_case_and_of_the_format() -> None:
    assert base_extension("s3://bucket/a.b/Data.CSV.gz") == ".csv"
    assert base_extension("/no/extension") == ""
    assert not is_compressed("a.gz.txt")


def test_the_case_of_an_extension_does_not_decide_whether_a_file_is_compressed(tmp_path: Path) -> None:
    packed = tmp_path / "in.jsonl.GZ"
    packed.write_bytes(gzip.compress(b"one\ntwo\n"))
    assert is_compressed(str(packed))
    assert base_extension(str(packed)) == ".jsonl"
    with open_text(str(packed)) as stream:
        assert stream.read() == b"one\ntwo\n"


def test_lines_handed_back_come_again_with_their_offsets() -> None:
    lines = CountedLines(io.BytesIO(b"a\nbb\nccc\n"))
    first = [lines.next_line(), lines.next_line()]
    lines.give_back([line for line in first if line])
    assert lines.offset == 0
    assert [lines.next_line() for _ in range(4)] == [b"a\n", b"bb\n", b"ccc\n", None]
    assert lines.offset == 9


def test_the_content_of_a_files_first_bytes_is_decompressed() -> None:
    content = random.Random(0).randbytes(100_000)
    assert content_of(b"as it is", "a.txt", 5) == b"as it"
    for name, compress in (("a.GZ", gzip.compress), ("a.xz", lzma.compress)):
        found = content_of(compress(content)[:50_000], name, 1000)
        assert found == content[: len(found)]
        assert 0 < len(found) <= 1000


def test_damaged_first_bytes_have_no_content() -> None:
    for name in ("a.gz", "a.bz2", "a.xz", "a.zst"):
        assert content_of(b"something else", name, 1000) == b""
    assert content_of(bz2.compress(random.Random(0).randbytes(100_000))[:50_000], "a.bz2", 1000) == b""
