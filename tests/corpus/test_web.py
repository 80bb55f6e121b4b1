"""Files on a web server are listed and read as any others."""

import gzip
import random
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from web_server import Ranges, WholeFiles, serving

from ulmfit_ray.corpus.classes import find_classes
from ulmfit_ray.corpus.columns import Columns, resolve_columns
from ulmfit_ray.corpus.contents import check_contents
from ulmfit_ray.corpus.documents import BadDocument, Document
from ulmfit_ray.corpus.formats.options import ReadingOptions
from ulmfit_ray.corpus.formats.table import detect_format, make_format
from ulmfit_ray.corpus.listing import END_BYTES, InputFile, hashes_of_ends, list_inputs
from ulmfit_ray.corpus.open_text import base_extension, is_compressed, open_stored
from ulmfit_ray.corpus.reading import documents_of, stream_shards
from ulmfit_ray.corpus.units import Piece, Unit

LINES = "".join(f'{{"text": "line {number} {"x" * (number % 50)}"}}\n' for number in range(3000)).encode()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jsonl").write_bytes(LINES)
    (tmp_path / "in/b c.jsonl.gz").write_bytes(gzip.compress(LINES))
    (tmp_path / "in/hollow.txt").write_text("x")
    return tmp_path / "in"


@pytest.fixture(params=[Ranges, WholeFiles], ids=["ranges", "whole files"])
def address(root: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    with serving(root, request.param) as given:
        yield given


@pytest.fixture
def with_ranges(root: Path) -> Iterator[str]:
    with serving(root, Ranges) as given:
        yield given


def documents(file: InputFile, name: str, ranges: list[tuple[int, int]] | None) -> list[Document | BadDocument]:
    """Return the documents of a file, read in ranges, or streamed in shards."""
    file_format, columns = make_format(name), Columns()
    if ranges is not None:
        units = [Unit(0, (Piece(file.path, file.name, start, stop),)) for start, stop in ranges]
        return [found for unit in units for found in documents_of(unit, None, file_format, columns)]
    piece = Piece(file.path, file.name, 0, file.size)
    unit = Unit(0, (piece,), is_streamed=True)
    shards = stream_shards(piece, file_format, columns, 20_000)
    return [found for shard in shards for found in documents_of(unit, shard, file_format, columns)]


def test_a_file_is_listed_with_its_size_and_version(address: str, root: Path) -> None:
    plain, packed = list_inputs([f"{address}/a.jsonl", f"{address}/b c.jsonl.gz?download=true"])
    assert (plain.path, plain.name, plain.size) == (f"{address}/a.jsonl", "a.jsonl", len(LINES))
    assert (packed.name, packed.size) == ("b c.jsonl.gz", (root / "b c.jsonl.gz").stat().st_size)
    assert plain.modified
    (root / "a.jsonl").write_bytes(LINES.replace(b"line", b"Line"))
    assert list_inputs([plain.path])[0].modified != plain.modified or not plain.has_ranges


def test_the_address_of_a_compressed_file_may_go_on_behind_its_name() -> None:
    url = "https://host.example/a.JSONL.gz?download=true#top"
    assert is_compressed(url)
    assert base_extension(url) == ".jsonl"
    assert not is_compressed("/data/a.txt?x=.gz/b")


@pytest.mark.parametrize("unit_bytes", [10_000, 1 << 20])
def test_documents_are_those_of_the_file_on_disk(address: str, root: Path, unit_bytes: int) -> None:
    for name in ("a.jsonl", "b c.jsonl.gz"):
        (file,) = list_inputs([f"{address}/{name}"])
        (local,) = list_inputs([str(root / name)])
        jsonl = detect_format([file], "auto")
        check_contents([file], jsonl)
        assert resolve_columns([file], jsonl, text=["text"], id_column=None, keep=[]) == Columns()
        expected = documents(local, "jsonl", None)
        assert len(expected) == 3000
        ranges = jsonl.cut(file, unit_bytes)
        assert (ranges is None) == (name != "a.jsonl" or not file.has_ranges)
        assert documents(file, "jsonl", ranges) == expected
        if name == "a.jsonl":
            assert documents(file, "jsonl", [(0, file.size)]) == expected


def test_the_hash_of_a_files_ends_is_that_of_the_file_on_disk(with_ranges: str, root: Path) -> None:
    content = random.Random(0).randbytes(2 * END_BYTES + 100)
    (root / "large.bin").write_bytes(content)
    (file,) = list_inputs([f"{with_ranges}/large.bin"])
    (local,) = list_inputs([str(root / "large.bin")])
    assert list(hashes_of_ends([file]).values()) == list(hashes_of_ends([local]).values())
    first_alone = replace(file, has_ranges=False)
    (root / "large.bin").write_bytes(content[:-1] + b"!")
    assert hashes_of_ends([first_alone]) == hashes_of_ends([replace(local, path=file.path, has_ranges=False)])


def test_a_parquet_file_is_read_in_parts(with_ranges: str, root: Path) -> None:
    pq.write_table(
        pa.table({"text": [f"text {number}" for number in range(100)]}), root / "a.parquet", row_group_size=9
    )
    (file,) = list_inputs([f"{with_ranges}/a.parquet"])
    ranges = detect_format([file], "auto").cut(file, 500)
    assert ranges is not None
    assert len(ranges) > 2
    found = documents(file, "parquet", ranges)
    assert found == [Document(f"a.parquet#{number}", [f"text {number}"], []) for number in range(100)]
    with pytest.raises(ValueError, match=r"a\.parquet: the server sends no parts of files, which parquet needs"):
        detect_format([replace(file, has_ranges=False)], "auto", ReadingOptions())


def test_a_damaged_file_costs_what_stands_behind_the_damage(address: str, root: Path) -> None:
    path = root / "b c.jsonl.gz"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (file,) = list_inputs([f"{address}/b c.jsonl.gz"])
    (local,) = list_inputs([str(path)])
    found = documents(file, "jsonl", None)
    assert found == documents(local, "jsonl", None)
    assert isinstance(found[-1], BadDocument)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.txt", "the server answers 404 "),
        ("hollow.txt", r"the server does not say how long it is \(Content-Length\): download it first"),
    ],
)
def test_what_cannot_be_listed_is_named_with_the_reason(with_ranges: str, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"input {with_ranges}/{name}: {message}"):
        list_inputs([f"{with_ranges}/{name}"])


def test_a_server_that_is_not_there_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/a.txt"
        with pytest.raises(ValueError, match=f"input {url} cannot be reached: .*refused"):
            list_inputs([url])


def test_classes_are_looked_for_beside_a_file_on_the_web(address: str, root: Path) -> None:
    files = list_inputs([f"{address}/a.jsonl"])
    assert find_classes(files, "utf-8") == ()
    (root / "classes.txt").write_text("World\nSports\n")
    assert find_classes(files, "utf-8") == ("World", "Sports")


def test_a_file_that_is_gone_is_an_error_and_no_empty_one(with_ranges: str, root: Path) -> None:
    (file,) = list_inputs([f"{with_ranges}/a.jsonl"])
    (root / "a.jsonl").unlink()
    with pytest.raises(OSError, match="404"):
        documents(file, "jsonl", None)
    with pytest.raises(OSError, match="404"), open_stored(file.path) as stream:
        stream.read()
