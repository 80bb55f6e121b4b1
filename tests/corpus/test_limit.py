"""The first documents of a corpus, against those of the whole corpus."""

import gzip
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ulmfit_ray.corpus import units as units_module
from ulmfit_ray.corpus.columns import Columns
from ulmfit_ray.corpus.documents import BadDocument, Document
from ulmfit_ray.corpus.formats.format import Format
from ulmfit_ray.corpus.formats.options import ReadingOptions
from ulmfit_ray.corpus.formats.table import make_format
from ulmfit_ray.corpus.limit import first_units
from ulmfit_ray.corpus.listing import InputFile, list_inputs
from ulmfit_ray.corpus.reading import documents_of, stream_shards
from ulmfit_ray.corpus.units import Unit, cut_into_units, units_of, units_table

CSV, JSON, JSONL, LINES, TXT, WIKITEXT = map(make_format, ("csv", "json", "jsonl", "lines", "txt", "wikitext"))
LINES_OF_TEXT = b"\xef\xbb\xbfone\n\ntwo \xff\nthree\r\n" + b"four words in line\n" * 5 + b"last"
OBJECTS = b'{"text": "a"}\nno object\n\n{"text": null}\n{"text": "b"}\n\n\n' + b'{"text": "some words"}\n' * 6 + b"\n\n"
ROWS = (
    b'id,text\n1,"two\nlines, quoted"\n2,"stray" quote\n3,c\n\n4,"d ""e"""\n5\n'
    + b"6,some words\n" * 6
    + b'7,"open\n8,f\n'
)
ARRAY = b'[{"text": "a"}, {"text": null},\n 7, {"text": "b"},' + b' {"text": "some words"},' * 6 + b'{"text": "c"}]'
ARTICLES = b" \n = A = \n \n text\n" + b" \n = B = \n \n = = C = = \n more\n" * 6


def corpus(folder: Path, contents: dict[str, bytes]) -> list[InputFile]:
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return list_inputs([str(folder)])


CORPORA: dict[str, tuple[Format, dict[str, bytes]]] = {
    "lines": (LINES, {"a.log": LINES_OF_TEXT, "b.log": b"", "c.log": LINES_OF_TEXT}),
    "jsonl": (JSONL, {"a.jsonl": OBJECTS, "b.jsonl": OBJECTS}),
    "jsonl.gz": (JSONL, {"a.jsonl.gz": OBJECTS, "b.jsonl.gz": OBJECTS}),
    "json": (JSON, {"a.json": ARRAY, "b.json": ARRAY}),
    "json, not closed": (JSON, {"a.json": ARRAY[:-1], "b.json": ARRAY + b" more"}),
    "wikitext": (WIKITEXT, {"a.tokens": ARTICLES, "b.tokens": ARTICLES}),
    "csv": (CSV, {"a.csv": ROWS, "b.csv": ROWS}),
    "csv.gz": (CSV, {"a.csv.gz": ROWS, "b.csv.gz": ROWS}),
    "txt": (TXT, {f"{number}.txt": b"word " * number for number in range(9)} | {"9.txt.gz": b"packed"}),
}


def read(units: Iterable[Unit], file_format: Format, unit_bytes: int) -> list[tuple[str, list[Document | BadDocument]]]:
    """Return the shards with their documents, out of units that went through a plan."""
    columns, shards = Columns(), []
    for unit in units:
        streamed = stream_shards(unit.pieces[0], file_format, columns, unit_bytes) if unit.is_streamed else [None]
        for part in streamed:
            name = unit.stem if part is None else f"{unit.stem}-{part.part}"
            shards.append((name, list(documents_of(unit, part, file_format, columns))))
    return shards


def test_the_first_rows_of_parquet_files_are_those_of_the_whole(tmp_path: Path, unit_bytes: int) -> None:
    file_format = make_format("parquet", ReadingOptions(columns=("text",)))
    (tmp_path / "in").mkdir()
    for name in "ab":
        rows = pa.table({"text": [f"{name} {number}" for number in range(25)]})
        pq.write_table(rows, tmp_path / f"in/{name}.parquet", row_group_size=10)
    files = list_inputs([str(tmp_path / "in")])
    for limit in (1, 9, 10, 11, 25, 26, 49, 50, 51):
        units = planned(first_units(files, file_format, limit), files)
        found = [document.doc_id for _, documents in read(units, file_format, unit_bytes) for document in documents]
        every = [f"{name}.parquet#{number}" for name in "ab" for number in range(25)]
        assert found == every[:limit]
        assert all(unit.num_bytes >= 0 for unit in units)


def planned(units: Iterable[Unit], files: list[InputFile]) -> list[Unit]:
    return list(units_of(units_table(units, files)))


@pytest.fixture(params=[30, 1 << 20])
def unit_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Units of a few records, and units of whole files."""
    monkeypatch.setattr(units_module, "MIN_UNIT_BYTES", request.param)
    monkeypatch.setattr(units_module, "MAX_UNIT_BYTES", request.param)
    return int(request.param)


@pytest.mark.parametrize("kind", CORPORA)
def test_any_number_of_documents_are_the_first_of_the_whole_corpus_in_the_same_shards(
    tmp_path: Path, kind: str, unit_bytes: int
) -> None:
    file_format, contents = CORPORA[kind]
    files = corpus(tmp_path / "in", contents)
    whole = read(planned(cut_into_units(files, file_format), files), file_format, unit_bytes)
    every = [(shard, document) for shard, documents in whole for document in documents]
    assert len(every) >= 9
    for limit in range(1, len(every) + 3):
        first = read(planned(first_units(files, file_format, limit), files), file_format, unit_bytes)
        found = [(shard, document) for shard, documents in first for document in documents]
        # Why a row cannot be parsed may be put otherwise if what stands behind it is not read.
        assert [_without_detail(pair) for pair in found] == [_without_detail(pair) for pair in every[:limit]]


def _without_detail(pair: tuple[str, Document | BadDocument]) -> tuple[str, Document | BadDocument]:
    shard, document = pair
    return shard, replace(document, detail="") if isinstance(document, BadDocument) else document


@pytest.mark.parametrize("kind", CORPORA)
def test_more_documents_than_there_are_make_the_plan_of_the_whole_corpus(
    tmp_path: Path, kind: str, unit_bytes: int
) -> None:
    file_format, contents = CORPORA[kind]
    files = corpus(tmp_path / "in", contents)
    assert first_units(files, file_format, 1_000) == list(cut_into_units(files, file_format))


@pytest.mark.parametrize("limit", [2, 3, 4])
def test_a_damaged_file_counts_as_one_document_behind_those_that_can_be_read(tmp_path: Path, limit: int) -> None:
    files = corpus(tmp_path / "in", {"a.log.gz": b"one\ntwo\n", "b.log.gz": b"three\n"})
    path = tmp_path / "in/a.log.gz"
    path.write_bytes(path.read_bytes()[:-4])
    files = list_inputs([str(tmp_path / "in")])
    found = [
        document.fields[0] if isinstance(document, Document) else document.reason
        for _, documents in read(first_units(files, LINES, limit), LINES, 1 << 20)
        for document in documents
    ]
    assert found == ["one", "two", "corrupt file", "three"][:limit]


def test_what_lies_behind_the_last_document_is_not_opened(tmp_path: Path, unit_bytes: int) -> None:
    files = corpus(tmp_path / "in", {"a.jsonl": OBJECTS, "b.jsonl": OBJECTS})
    (tmp_path / "in/b.jsonl").unlink()
    units = first_units(files, JSONL, 4)
    assert {piece.path for unit in units for piece in unit.pieces} == {str(tmp_path / "in/a.jsonl")}
    with pytest.raises(FileNotFoundError):
        first_units(files, JSONL, 100)


def test_a_file_of_another_kind_is_refused_only_if_it_is_needed(tmp_path: Path) -> None:
    files = corpus(tmp_path / "in", {"a.jsonl": OBJECTS, "b.jsonl": b"PK\x03\x04"})
    assert len(first_units(files, JSONL, 2)) == 1
    with pytest.raises(ValueError, match=r"b\.jsonl is a zip archive"):
        first_units(files, JSONL, 100)


def test_the_bytes_of_a_unit_are_those_that_are_read(tmp_path: Path) -> None:
    content = b"12345\n" * 10
    files = corpus(tmp_path / "in", {"a.log": content})
    for limit, expected in ((3, 18), (10, 60), (11, 60)):
        assert [unit.num_bytes for unit in first_units(files, LINES, limit)] == [expected]
