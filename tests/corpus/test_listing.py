"""Which files are the corpus, in which format, with which columns."""

import gzip
from pathlib import Path

import pytest

from ulmfit_ray.corpus import listing as inputs
from ulmfit_ray.corpus.documents import Columns
from ulmfit_ray.corpus.listing import InputFile, detect_format, list_inputs, resolve_columns


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    root = tmp_path / "corpus"
    for name in ("b.txt", "a.txt", "sub/c.txt", "sub/deep/d.txt", ".hidden", "_SUCCESS"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def names(*given: object) -> list[str]:
    return [file.name for file in list_inputs([str(item) for item in given])]


def files(*paths: str, size: int = 10) -> list[InputFile]:
    return [InputFile(path, path, size, "0") for path in paths]


def columns_of(path: Path, content: str, file_format: str = "jsonl", **asked: object) -> Columns:
    path.write_bytes(gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode())
    wanted = {"text": ["text"], "id_column": None, "keep": []} | asked
    return resolve_columns(list_inputs([str(path)]), file_format, **wanted)  # type: ignore[arg-type]


def test_a_folder_gives_all_files_below_it_sorted_and_named_relative_to_it(corpus: Path) -> None:
    assert names(corpus) == ["a.txt", "b.txt", "sub/c.txt", "sub/deep/d.txt"]
    assert names(f"{corpus}/") == names(corpus)


def test_a_file_is_named_by_itself_with_size_and_time(corpus: Path) -> None:
    (file,) = list_inputs([str(corpus / "sub/c.txt")])
    assert (file.path, file.name, file.size) == (str(corpus / "sub/c.txt"), "c.txt", 9)
    assert file.modified == str((corpus / "sub/c.txt").stat().st_mtime_ns)


def test_globs_match_and_may_be_recursive(corpus: Path) -> None:
    assert names(corpus / "*.txt") == ["a.txt", "b.txt"]
    assert names(corpus / "**/*.txt") == ["a.txt", "b.txt", "c.txt", "d.txt"]


def test_a_file_named_twice_is_listed_once_under_its_first_name(corpus: Path) -> None:
    assert names(corpus, corpus / "sub/c.txt") == ["a.txt", "b.txt", "sub/c.txt", "sub/deep/d.txt"]
    assert names(corpus / "sub/c.txt", corpus) == ["a.txt", "b.txt", "c.txt", "sub/deep/d.txt"]


def test_the_order_of_the_inputs_changes_nothing(corpus: Path) -> None:
    given = [str(corpus / "sub"), str(corpus / "a.txt"), str(corpus / "b.txt")]
    assert list_inputs(given) == list_inputs(given[::-1])


def test_relative_paths_are_listed_as_absolute_ones(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(corpus)
    assert list_inputs(["a.txt"])[0].path == str(corpus / "a.txt")


@pytest.mark.parametrize("given", ["missing.txt", "*.nothing", "empty"])
def test_an_input_that_matches_no_file_is_named(corpus: Path, given: str) -> None:
    (corpus / "empty").mkdir()
    with pytest.raises(ValueError, match=r"matches no file") as error:
        list_inputs([str(corpus), str(corpus / given)])
    assert given in str(error.value)


@pytest.mark.parametrize(
    ("path", "expected"),
    [("a.txt", "txt"), ("a.csv.gz", "csv"), ("a.jsonl.zst", "jsonl"), ("a.NDJSON", "jsonl"), ("dir.csv/a.txt", "txt")],
)
def test_format_is_told_by_the_name_whatever_the_compression(path: str, expected: str) -> None:
    assert detect_format(files(path), "auto") == expected


def test_format_asked_for_is_believed() -> None:
    assert detect_format(files("a.csv", "b.unknown"), "lines") == "lines"


def test_an_unknown_extension_is_refused_with_the_option_to_use() -> None:
    with pytest.raises(ValueError, match=r"format of a\.parquet is not known by its name: say --format"):
        detect_format(files("a.parquet"), "auto")


def test_mixed_formats_are_refused_with_one_file_of_each() -> None:
    with pytest.raises(ValueError, match=r"several formats \(a\.csv, b\.txt\)"):
        detect_format(files("a.csv", "a2.csv", "b.txt"), "auto")


def test_a_huge_txt_is_refused_unless_its_format_is_said() -> None:
    huge = files("big.txt", size=inputs.MAX_TXT_BYTES + 1)
    with pytest.raises(ValueError, match=r"big\.txt is over 64 MiB: with --format lines"):
        detect_format([*files("small.txt"), *huge], "auto")
    assert detect_format(huge, "lines") == "lines"
    assert detect_format(files("fits.txt", size=inputs.MAX_TXT_BYTES), "auto") == "txt"


def test_a_missing_column_is_named_beside_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"column 'body' does not exist in .*a\.csv; its columns are id, text, note"):
        columns_of(tmp_path / "a.csv", "id,text,note\n1,x,y\n", "csv", text=["body"])
    with pytest.raises(ValueError, match=r"column 'key' does not exist in .*; its columns are text, note"):
        columns_of(tmp_path / "a.jsonl", '{"text": "x"}\n{"note": 1}\n', id_column="key")
    with pytest.raises(ValueError, match=r"column 'other' does not exist"):
        columns_of(tmp_path / "a.jsonl.gz", '{"text": "x"}\n', keep=["other"])


@pytest.mark.parametrize("name", ["doc_id", "tokens", "embedding", "field_starts", "num_tokens"])
def test_a_reserved_column_cannot_be_kept(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=f"column {name} cannot be kept: that name is used in the output"):
        columns_of(tmp_path / "a.csv", f"text,{name}\nx,y\n", "csv", keep=[name])


@pytest.mark.parametrize("asked", [{"text": []}, {"text": ["text", "text"]}, {"keep": ["note", "note"]}])
def test_columns_must_be_there_and_be_named_once(tmp_path: Path, asked: dict) -> None:
    with pytest.raises(ValueError, match="each be named once"):
        columns_of(tmp_path / "a.csv", "text,note\nx,y\n", "csv", **asked)


@pytest.mark.parametrize("asked", [{"text": ["title"]}, {"id_column": "id"}, {"keep": ["note"]}])
@pytest.mark.parametrize("file_format", ["lines", "txt"])
def test_formats_without_columns_refuse_options_that_name_some(tmp_path: Path, file_format: str, asked: dict) -> None:
    with pytest.raises(ValueError, match=f"format {file_format} has no columns"):
        columns_of(tmp_path / "a.txt", "x", file_format, **asked)


def test_types_of_kept_columns_are_found_in_jsonl_and_are_strings_in_csv(tmp_path: Path) -> None:
    content = '{"text": "x", "n": 1, "tags": ["a"]}\nnonsense\n[1]\n{"text": "y", "n": 2.5}\n'
    found = columns_of(tmp_path / "a.jsonl", content, id_column="n", keep=["n", "tags"])
    assert found == Columns(("text",), "n", ("n", "tags"), ("double", "list<string>"))
    found = columns_of(tmp_path / "a.csv", "\ufefftext,n\nx,1\n", "csv", keep=["n", "text"])
    assert found == Columns(("text",), None, ("n", "text"), ("string", "string"))


def test_a_column_of_mixed_types_cannot_be_kept(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="column 'n' cannot be kept: values of type int64 and string"):
        columns_of(tmp_path / "a.jsonl", '{"text": "x", "n": 1}\n{"text": "x", "n": "1"}\n', keep=["n"])


def test_columns_are_looked_for_in_the_first_file_that_is_not_empty(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("")
    (tmp_path / "b.jsonl").write_text('{"text": "x"}\n')
    listed = list_inputs([str(tmp_path)])
    assert resolve_columns(listed, "jsonl", text=["text"], id_column=None, keep=[]).text == ("text",)


def test_only_the_first_megabyte_is_looked_at(tmp_path: Path) -> None:
    line = '{"text": "' + "x" * 1000 + '"}\n'
    content = line * (inputs.SAMPLE_BYTES // len(line) + 2) + '{"late": 1}\n'
    with pytest.raises(ValueError, match=r"its columns are text$"):
        columns_of(tmp_path / "a.jsonl", content, text=["late"])


def test_a_file_whose_name_has_glob_characters_is_itself(tmp_path: Path) -> None:
    for name in ("d[1].txt", "q?x.txt"):
        (tmp_path / name).write_text("one")
        assert [file.name for file in list_inputs([str(tmp_path / name)])] == [name]


def test_files_in_hidden_folders_are_left_out(tmp_path: Path) -> None:
    for name in (".git/a.txt", "_tmp/b.txt", "c/d.txt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("one")
    assert [file.name for file in list_inputs([str(tmp_path)])] == ["c/d.txt"]
