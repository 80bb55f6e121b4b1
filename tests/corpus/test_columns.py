"""Which columns a corpus has, which of them are asked for, and of what type the kept ones are."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pytest

from ulmfit_ray.corpus.columns import Columns, id_column_hint, resolve_columns
from ulmfit_ray.corpus.formats.format import Format
from ulmfit_ray.corpus.formats.table import make_format
from ulmfit_ray.corpus.listing import list_inputs
from ulmfit_ray.corpus.records import SAMPLE_BYTES

CSV, JSONL, LINES, TXT = (make_format(name) for name in ("csv", "jsonl", "lines", "txt"))


def columns_of(path: Path, content: str, file_format: Format = JSONL, **asked: object) -> Columns:
    path.write_bytes(gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode())
    wanted = {"text": ["text"], "id_column": None, "keep": []} | asked
    return resolve_columns(list_inputs([str(path)]), file_format, **wanted)  # type: ignore[arg-type]


def test_a_missing_column_is_named_beside_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"column 'body' does not exist in .*a\.csv; its columns are id, text, note"):
        columns_of(tmp_path / "a.csv", "id,text,note\n1,x,y\n", CSV, text=["body"])
    with pytest.raises(ValueError, match=r"column 'key' does not exist in .*; its columns are text, note"):
        columns_of(tmp_path / "a.jsonl", '{"text": "x"}\n{"note": 1}\n', id_column="key")
    with pytest.raises(ValueError, match=r"column 'other' does not exist"):
        columns_of(tmp_path / "a.jsonl.gz", '{"text": "x"}\n', keep=["other"])


@pytest.mark.parametrize(
    "name", ["doc_id", "tokens", "embedding", "prediction", "probabilities", "field_starts", "num_tokens"]
)
def test_a_reserved_column_cannot_be_kept(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=f"column {name} cannot be kept: that name is used in the output"):
        columns_of(tmp_path / "a.csv", f"text,{name}\nx,y\n", CSV, keep=[name])


@pytest.mark.parametrize("asked", [{"text": []}, {"text": ["text", "text"]}, {"keep": ["note", "note"]}])
def test_columns_must_be_there_and_be_named_once(tmp_path: Path, asked: dict) -> None:
    with pytest.raises(ValueError, match="at least one text column, and each text column and kept column only once"):
        columns_of(tmp_path / "a.csv", "text,note\nx,y\n", CSV, **asked)


@pytest.mark.parametrize("asked", [{"text": ["title"]}, {"id_column": "id"}, {"keep": ["note"]}])
def test_a_format_without_columns_refuses_options_that_name_some(tmp_path: Path, asked: dict) -> None:
    with pytest.raises(ValueError, match="format lines has no columns"):
        columns_of(tmp_path / "a.txt", "x", LINES, **asked)


@pytest.mark.parametrize("file_format", [LINES, TXT], ids=["lines", "txt"])
def test_formats_without_columns_have_the_text_alone(tmp_path: Path, file_format: Format) -> None:
    assert columns_of(tmp_path / "a.txt", "x", file_format) == Columns(text=("text",))


def test_a_text_file_has_its_text_and_its_label(tmp_path: Path) -> None:
    found = columns_of(tmp_path / "a.txt", "", TXT, keep=["label"])
    assert found == Columns(keep=("label",), keep_types=("string",))
    with pytest.raises(ValueError, match=r"column 'title' does not exist in .*a\.txt; its columns are text, label"):
        columns_of(tmp_path / "a.txt", "x", TXT, text=["title"])


def test_types_of_kept_columns_are_found_in_jsonl_and_are_strings_in_csv(tmp_path: Path) -> None:
    content = '{"text": "x", "n": 1, "tags": ["a"]}\nnonsense\n[1]\n{"text": "y", "n": 2.5}\n'
    found = columns_of(tmp_path / "a.jsonl", content, id_column="n", keep=["n", "tags"])
    assert found == Columns(("text",), "n", ("n", "tags"), ("double", "list<string>"))
    found = columns_of(tmp_path / "a.csv", "\ufefftext,n\nx,1\n", CSV, keep=["n", "text"])
    assert found == Columns(("text",), None, ("n", "text"), ("string", "string"))


def test_a_column_of_mixed_types_cannot_be_kept(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="column 'n' cannot be kept: values of type int64 and string"):
        columns_of(tmp_path / "a.jsonl", '{"text": "x", "n": 1}\n{"text": "x", "n": "1"}\n', keep=["n"])


def test_columns_are_looked_for_in_the_first_file_that_is_not_empty(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("")
    (tmp_path / "b.jsonl").write_text('{"text": "x"}\n')
    listed = list_inputs([str(tmp_path)])
    assert resolve_columns(listed, JSONL, text=["text"], id_column=None, keep=[]).text == ("text",)


@pytest.mark.parametrize("file_format", [CSV, JSONL, LINES], ids=["csv", "jsonl", "lines"])
@pytest.mark.parametrize("name", ["a", "a.gz"])
def test_a_corpus_without_a_record_is_nothing_to_tokenize(tmp_path: Path, name: str, file_format: Format) -> None:
    with pytest.raises(ValueError, match="none of the 1 input files holds a record in its first megabyte"):
        columns_of(tmp_path / name, "", file_format)


@pytest.mark.parametrize("content", ["id,text\n", "id,text", "id,text\r\n\r\n\n"])
def test_a_header_without_rows_is_nothing_to_tokenize(tmp_path: Path, content: str) -> None:
    with pytest.raises(ValueError, match=r"in\.csv has a header and no rows; none of the 1 input files holds a record"):
        columns_of(tmp_path / "in.csv", content, CSV)


def test_one_file_with_records_is_enough(tmp_path: Path) -> None:
    for name, content in (("a.csv", ""), ("b.csv", "id,text\n"), ("c.csv", "text\nx\n"), ("d.csv", "text\n")):
        (tmp_path / name).write_text(content)
    assert resolve_columns(list_inputs([str(tmp_path)]), CSV, text=["text"], id_column=None, keep=[]) == Columns()
    assert resolve_columns(list_inputs([str(tmp_path)]), LINES, text=["text"], id_column=None, keep=[]) == Columns()


def test_a_row_that_cannot_be_read_is_a_row_too(tmp_path: Path) -> None:
    assert columns_of(tmp_path / "a.csv", 'text\n"x', CSV) == Columns()


def test_the_lines_before_the_damage_of_a_file_show_its_columns(tmp_path: Path) -> None:
    lines = "".join(json.dumps({"text": f"{number:x}" * 20, "n": number}) + "\n" for number in range(3000))
    for name, length in (("a.jsonl.gz", 5), ("b.jsonl.gz", 5000)):
        (tmp_path / name).write_bytes(gzip.compress(lines.encode())[:length])
    found = resolve_columns(list_inputs([str(tmp_path)]), JSONL, text=["text"], id_column=None, keep=["n"])
    assert found.keep_types == ("int64",)


def hint(path: Path, content: str, file_format: Format, **asked: object) -> str | None:
    columns = columns_of(path, content, file_format, **asked)
    return id_column_hint(list_inputs([str(path)]), file_format, columns)


@pytest.mark.parametrize("name", ["_id", "id", "doc_id"])
def test_a_column_that_looks_like_an_id_and_is_not_used_is_mentioned(tmp_path: Path, name: str) -> None:
    said = f"the input has a column {name}: --id-column {name} would use it as the documents' ids"
    assert hint(tmp_path / "a.csv", f"text,{name}\nx,1\n", CSV) == said
    assert hint(tmp_path / "a.jsonl", f'{{"text": "x", "{name}": 1}}\n', JSONL, keep=[]) == said
    assert hint(tmp_path / "a.csv", f"text,{name}\nx,1\n", CSV, id_column=name) is None


def test_nothing_is_said_where_no_column_looks_like_an_id(tmp_path: Path) -> None:
    assert hint(tmp_path / "a.csv", "text,key\nx,1\n", CSV) is None
    assert hint(tmp_path / "a.csv", "id\nx\n", CSV, text=["id"]) is None
    assert hint(tmp_path / "a.csv", "key,id,text\n1,1,x\n", CSV, id_column="key") is None
    assert hint(tmp_path / "a.txt", "id", LINES) is None


def test_only_the_first_megabyte_is_looked_at(tmp_path: Path) -> None:
    line = '{"text": "' + "x" * 1000 + '"}\n'
    content = line * (SAMPLE_BYTES // len(line) + 2) + '{"late": 1}\n'
    with pytest.raises(ValueError, match=r"its columns are text$"):
        columns_of(tmp_path / "a.jsonl", content, text=["late"])


def test_kept_fields_have_the_columns_names_and_types() -> None:
    columns = Columns(keep=("a", "b"), keep_types=("int64", "list<list<string>>"))
    assert columns.kept_fields() == [pa.field("a", pa.int64()), pa.field("b", pa.list_(pa.list_(pa.string())))]


def test_json_gives_the_columns_back() -> None:
    columns = Columns(("title", "text"), "id", ("a", "b"), ("int64", "list<string>"))
    for one in (columns, Columns()):
        assert Columns.from_json(json.loads(json.dumps(one.to_json()))) == one


def test_a_header_without_one_of_the_columns_is_refused_with_those_it_has() -> None:
    columns = Columns(("title", "text"), "id", ("note",), ("string",))
    columns.check_header(["text", "more", "id", "note", "title"], "a.csv")
    with pytest.raises(ValueError, match=r"a\.csv has no column id, note; its columns are text, title"):
        columns.check_header(["text", "title"], "a.csv")


def test_a_file_without_header_lacks_no_column() -> None:
    Columns(("title",), "id").check_header([], "a.jsonl")
