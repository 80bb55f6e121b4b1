"""Which files are the corpus."""

import hashlib
from pathlib import Path

import pytest

from ulmfit_ray.corpus import listing
from ulmfit_ray.corpus.listing import END_BYTES, hashes_of_ends, list_inputs
from ulmfit_ray.corpus.open_text import open_stored


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    root = tmp_path / "corpus"
    for name in ("b.txt", "a.txt", "sub/c.txt", "sub/deep/d.txt", ".hidden", "_SUCCESS"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def names(*given: object) -> list[str]:
    return [file.name for file in list_inputs([str(item) for item in given])]


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


def test_a_file_whose_name_has_glob_characters_is_itself(tmp_path: Path) -> None:
    for name in ("d[1].txt", "q?x.txt"):
        (tmp_path / name).write_text("one")
        assert [file.name for file in list_inputs([str(tmp_path / name)])] == [name]


def test_files_in_hidden_folders_are_left_out(tmp_path: Path) -> None:
    for name in (".git/a.txt", "_tmp/b.txt", "c/d.txt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("one")
    assert [file.name for file in list_inputs([str(tmp_path)])] == ["c/d.txt"]


def hash_of(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    files = list_inputs([str(path)])
    return hashes_of_ends(files)[files[0].path]


@pytest.mark.parametrize("size", [0, 1, END_BYTES, END_BYTES + 1, 2 * END_BYTES])
def test_the_hash_of_a_small_file_is_of_all_its_bytes(tmp_path: Path, size: int) -> None:
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert hash_of(tmp_path / "a.txt", content) == hashlib.sha256(content).hexdigest()


def test_the_hash_of_a_large_file_is_of_its_first_and_last_megabyte(tmp_path: Path) -> None:
    first, middle, last = b"a" * END_BYTES, b"b" * 5, b"c" * END_BYTES
    found = hash_of(tmp_path / "a.txt.gz", first + middle + last)
    assert found == hashlib.sha256(first + last).hexdigest()
    assert found == hash_of(tmp_path / "b.txt.gz", first + b"other" + last)
    assert found != hash_of(tmp_path / "c.txt.gz", first + middle + b"d" + last[1:])


def test_many_files_have_each_its_own_hash(corpus: Path) -> None:
    files = list_inputs([str(corpus)])
    expected = {file.path: hashlib.sha256(Path(file.path).read_bytes()).hexdigest() for file in files}
    assert hashes_of_ends(files) == expected
    assert len(set(expected.values())) == 4


def test_a_listed_file_is_opened_as_it_is_stored_whether_it_is_a_path_or_a_uri(tmp_path: Path) -> None:
    (tmp_path / "a b.txt.gz").write_bytes(b"as it is")
    for given in (str(tmp_path), tmp_path.as_uri()):
        (file,) = list_inputs([given])
        with open_stored(file.path) as stream:
            assert stream.read() == b"as it is"


def test_the_ends_of_very_many_files_are_not_read(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = list_inputs([str(corpus)])
    monkeypatch.setattr(listing, "MAX_FILES_OPENED", len(files))
    assert list(hashes_of_ends(files)) == [file.path for file in files]
    monkeypatch.setattr(listing, "MAX_FILES_OPENED", len(files) - 1)
    assert hashes_of_ends(files) == {}


def test_files_are_chosen_evenly_and_from_the_first_on(corpus: Path) -> None:
    files = list_inputs([str(corpus)])
    for number, chosen in ((1, [0]), (2, [0, 2]), (3, [0, 2]), (4, [0, 1, 2, 3]), (9, [0, 1, 2, 3])):
        assert files.some(number) == [files[place] for place in chosen]
