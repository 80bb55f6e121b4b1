"""What no input can do: fill the memory, however long its records are and however well it is packed."""

import gzip
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import smart_open

from ulmfit_ray.corpus import damage, documents, open_text
from ulmfit_ray.corpus.columns import Columns
from ulmfit_ray.corpus.damage import DamagedFileError, open_checked
from ulmfit_ray.corpus.documents import BadDocument, Document
from ulmfit_ray.corpus.formats.options import ReadingOptions
from ulmfit_ray.corpus.formats.table import make_format
from ulmfit_ray.corpus.reading import documents_of, stream_shards
from ulmfit_ray.corpus.units import Piece, Unit

LIMIT = 1000
LONG = "x" * 5000


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let documents be no longer than LIMIT bytes."""
    for name, module in list(sys.modules.items()):
        if name.startswith("ulmfit_ray.corpus") and hasattr(module, "MAX_RECORD_BYTES"):
            monkeypatch.setattr(module, "MAX_RECORD_BYTES", LIMIT)
    monkeypatch.setattr(open_text, "SKIPPED_AT_ONCE", 64)


FILES: dict[str, Callable[[list[str]], str]] = {
    "lines": lambda texts: "".join(f"{text}\n" for text in texts),
    "jsonl": lambda texts: "".join(json.dumps({"text": text}) + "\n" for text in texts),
    "csv": lambda texts: "text\n" + "".join(f'"{text}"\n' for text in texts),
    "tsv": lambda texts: "text\n" + "".join(f"{text}\n" for text in texts),
    "wikitext": lambda texts: "".join(f" \n = {text[:3]} = \n \n {text}\n b\n" for text in texts),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize("begin", ["", "\ufeff"])
def test_a_document_that_is_too_long_costs_itself_only(
    tmp_path: Path, name: str, is_streamed: bool, begin: str
) -> None:
    texts = ["abc", LONG, "def", "ghi", LONG, "jkl"]
    if name == "lines":
        texts = [LONG, *texts]
    content = (begin + FILES[name](texts)).encode()
    path = tmp_path / (f"a.{name}.gz" if is_streamed else f"a.{name}")
    path.write_bytes(gzip.compress(content) if is_streamed else content)
    file_format, columns = make_format(name, ReadingOptions()), Columns()
    piece = Piece(str(path), path.name, 0, path.stat().st_size)
    found: list[Any] = []
    if is_streamed:
        unit = Unit(0, (piece,), is_streamed=True)
        shards = list(stream_shards(piece, file_format, columns, 20))
        assert max(len(shard.text) for shard in shards) < 2 * LIMIT
        for shard in shards:
            found += documents_of(unit, shard, file_format, columns)
    else:
        found += documents_of(Unit(0, (piece,)), None, file_format, columns)
    reasons = [item.reason if isinstance(item, BadDocument) else "" for item in found]
    assert reasons == ["document too long" if text == LONG else "" for text in texts]
    for item, text in zip(found, texts, strict=True):
        offset = int(item.doc_id.partition("#")[2]) if isinstance(item, Document) else item.offset
        record = content[offset:].decode()
        assert text in record[: len(text) + 20]
        if isinstance(item, Document):
            assert text in item.fields[0]


def test_a_file_that_is_one_document_is_read_no_farther_than_needed(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(LONG.encode()))
    unit = Unit(0, (Piece(str(path), path.name, 0, path.stat().st_size),))
    (bad,) = documents_of(unit, None, make_format("txt", ReadingOptions()), Columns())
    assert isinstance(bad, BadDocument)
    assert bad.reason == "document too long"


class Endless(io.RawIOBase):
    """A line of a million bytes that counts what is asked for at a time."""

    def __init__(self) -> None:
        self.left, self.most = 1_000_000, 0

    def readable(self) -> bool:
        return True

    def readline(self, size: int | None = -1) -> bytes:  # type: ignore[override]
        assert size is not None
        assert size > 0
        self.most = max(self.most, size)
        taken = min(size, self.left)
        self.left -= taken
        return b"x" * taken


def test_a_long_line_is_never_held_as_a_whole() -> None:
    stream = Endless()
    line = open_text.read_line(stream)  # type: ignore[arg-type]
    assert (len(line), open_text.line_bytes(line), stream.left) == (LIMIT + 4, 1_000_000, 0)
    assert stream.most == LIMIT + 4


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_a_file_that_unpacks_to_very_much_more_than_it_is_is_read_to_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(damage, "BOMB_BYTES", 100_000)
    monkeypatch.setattr(damage, "BOMB_RATIO", 100)
    path = tmp_path / f"a.txt{suffix}"
    with smart_open.open(path, "wb") as file:
        file.write(bytes(8 << 20))
    size = path.stat().st_size
    limit = max(100_000, 100 * size)
    assert limit < 8 << 20
    read: list[bytes] = []
    with open_checked(str(path), size) as stream, pytest.raises(DamagedFileError, match=r"a bomb$") as error:
        read.extend(iter(lambda: stream.read1(1 << 20), b""))  # type: ignore[attr-defined]
    assert sum(map(len, read)) == error.value.offset == limit


def test_text_that_is_packed_well_is_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(damage, "BOMB_BYTES", 1_000)
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"the same line\n" * 2_000))
    with open_checked(str(path), path.stat().st_size) as stream:
        assert len(stream.read()) == 28_000


@pytest.mark.parametrize("line", ["[" * 100_000, '{"a":' * 100_000, '{"text": "a", "n": ' + "9" * 900 + "}"])
def test_json_that_is_nested_deep_or_holds_huge_numbers_is_bad_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.setattr(documents, "MAX_RECORD_BYTES", 1 << 20)
    monkeypatch.setattr(open_text, "MAX_RECORD_BYTES", 1 << 20)
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join([line, '{"text": "good"}']))
    unit = Unit(0, (Piece(str(path), path.name, 0, path.stat().st_size),))
    digits = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        bad, good = documents_of(unit, None, make_format("jsonl", ReadingOptions()), Columns())
    finally:
        sys.set_int_max_str_digits(digits)
    assert isinstance(bad, BadDocument)
    assert bad.reason == "malformed JSON"
    assert isinstance(good, Document)
