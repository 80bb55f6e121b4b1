"""What a file holds, whatever its name says: what is no text in the encoding is refused before any work."""

import codecs
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from ulmfit_ray.corpus.formats.format import Format
from ulmfit_ray.corpus.listing import MAX_FILES_OPENED, READING_THREADS, InputFile, InputFiles
from ulmfit_ray.corpus.open_text import UTF8_BOM, content_of, open_stored

HEAD_BYTES = 1 << 16
MAX_STORED_BYTES = 1 << 20
"""So much is read of a compressed file whose first 64 KiB hold no whole block."""
NUL_BYTES = 1 << 10
KINDS = (
    # The mark of UTF-16 is the beginning of that of UTF-32.
    (codecs.BOM_UTF32_LE, "text in UTF-32: convert it, as with iconv -f utf-32 -t utf-8"),
    (codecs.BOM_UTF32_BE, "text in UTF-32: convert it, as with iconv -f utf-32 -t utf-8"),
    (codecs.BOM_UTF16_LE, "text in UTF-16: convert it, as with iconv -f utf-16 -t utf-8"),
    (codecs.BOM_UTF16_BE, "text in UTF-16: convert it, as with iconv -f utf-16 -t utf-8"),
    (b"PAR1\x15", "a Parquet file: give it a name that ends in .parquet"),
    (b"ARROW1\0\0", "an Arrow file, which is not supported: write its rows as Parquet"),
    (b"PK\x03\x04", "a zip archive (as xlsx and docx files are): unpack it, or export its text"),
    (b"%PDF-", "a PDF file: extract its text into a .txt file"),
    (b"SQLite format 3\0", "an SQLite database: export its rows as csv or jsonl"),
    (b"\x1f\x8b", "compressed by gzip: give it a name that ends in .gz"),
    (b"BZh91AY&SY", "compressed by bzip2: give it a name that ends in .bz2"),
    (b"\xfd7zXZ\0", "compressed by xz: give it a name that ends in .xz"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd: give it a name that ends in .zst"),
)
"""How files begin that are no text of ASCII's bytes, and what to say of them."""
TAR_MARK = slice(257, 262)
"""Where a tar archive says that it is one."""


def check_contents(files: Sequence[InputFile], file_format: Format) -> None:
    """Refuse files that cannot be text of this format, by their first bytes.

    The cost is one read of 64 KiB for each file, in threads: 10,000 files take about a second on a local disk and 20
    seconds on an object store. Of more files than that as many are looked into, evenly chosen; what others hold is
    found when they are read.

    Raises:
        ValueError: a file is binary, in another encoding, or of another format; the message names the first one.
    """
    files = InputFiles.of(files).some(MAX_FILES_OPENED)
    with ThreadPoolExecutor(READING_THREADS) as pool:
        found = pool.map(lambda file: _other_kind(_head(file), file_format), files)
        for file, kind in zip(files, found, strict=True):
            if kind:
                raise ValueError(f"{file.path} is {kind}")


def _other_kind(head: bytes, file_format: Format) -> str:
    """Return what a file with these first bytes is instead of text of this format, and what to do; else ""."""
    mistake = file_format.mistake(head)
    if file_format.is_binary and not mistake:
        return ""
    kind = next((kind for beginning, kind in KINDS if head.startswith(beginning)), "")
    if not kind and head[TAR_MARK] == b"ustar":
        kind = "a tar archive: unpack it, and name the folder"
    if kind:
        return kind
    if file_format.is_binary:
        return mistake
    if head.startswith(UTF8_BOM) and file_format.encoding != "utf-8":
        return f"text in UTF-8, as its first bytes say, and not in {file_format.encoding}: leave --encoding out"
    if b"\0" in head[:NUL_BYTES]:
        return "binary, or text in UTF-16 (it has NUL bytes at its front): leave it out, or convert it to UTF-8"
    return mistake


def _head(file: InputFile) -> bytes:
    """Return the first bytes of a file's content; none if it is damaged there."""
    with open_stored(file.path) as stream:
        heads = (content_of(stream.read_at(size, 0), file.path, HEAD_BYTES) for size in (HEAD_BYTES, MAX_STORED_BYTES))
        return next(filter(None, heads), b"")
