"""Patterns match in any file system what Python's glob matches on a disk."""

import glob
from pathlib import Path
from typing import Any

import pyarrow.fs
import pytest

from ulmfit_ray.corpus.globs import find_matches, split_pattern
from ulmfit_ray.corpus.listing import list_inputs

NAMES = (
    *("a.txt", "b.txt", "ab.csv", "[x].txt", "q?.txt", ".hidden", "_SUCCESS", "UPPER.TXT", "deep/a.txt", "deep/b.csv"),
    *("deep/er/a.txt", "deep/er/.h.txt", "deep/er/est/c.txt", ".secret/a.txt", "year=1/a.txt", "year=2/a.txt"),
)
PATTERNS = (
    *("*", "*.txt", "?.txt", "[ab].txt", "[!a].txt", "[[]x].txt", "q[?].txt", "*.TXT", "a*", ".*", "_*", "*.*"),
    *("**", "**/*", "**/*.txt", "**/a.txt", "deep/**", "deep/**/*.txt", "**/er/*", "*/*.txt", "*/er", "**/er/**"),
    *("year=*/a.txt", "year=[12]/*", ".*/a.txt", "**/.h*", "**.txt", "**/**/a.txt", "*/**/*.csv", "d*/*/*", "no*"),
)


class WithoutFolders:
    """A file system that, like some object stores, lists files alone."""

    def __init__(self, filesystem: pyarrow.fs.FileSystem) -> None:
        self._filesystem = filesystem

    def get_file_info(self, selector: pyarrow.fs.FileSelector) -> list[pyarrow.fs.FileInfo]:
        return [info for info in self._filesystem.get_file_info(selector) if info.is_file]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_text(name)
    return tmp_path / "in"


def expected_of(root: Path, pattern: str) -> list[str]:
    return sorted({path.rstrip("/") for path in glob.glob(f"{root}/{pattern}", recursive=True)})


@pytest.mark.parametrize("pattern", PATTERNS)
def test_what_matches_on_a_disk_matches_in_a_file_system(root: Path, pattern: str) -> None:
    found = find_matches(pyarrow.fs.LocalFileSystem(), str(root), pattern)
    assert found == expected_of(root, pattern)
    subtree: Any = pyarrow.fs.SubTreeFileSystem(str(root.parent), pyarrow.fs.LocalFileSystem())
    assert [f"{root.parent}/{path}" for path in find_matches(subtree, "in", pattern)] == found
    if "/" in pattern or "**" in pattern:
        without_folders: Any = WithoutFolders(pyarrow.fs.LocalFileSystem())
        assert find_matches(without_folders, str(root), pattern) == found


@pytest.mark.parametrize("pattern", [*PATTERNS, "*/", "**/", "deep/**/"])
def test_a_pattern_lists_the_same_files_as_a_uri_and_as_a_path(root: Path, pattern: str) -> None:
    assert listed(f"file://{root}/{pattern}") == listed(f"{root}/{pattern}")


def listed(given: str) -> list[str]:
    """Return the names under which the files are listed, with all that is known of them but the scheme."""
    try:
        files = list_inputs([given])
    except ValueError:
        return ["matches no file"]
    return [f"{file.path.removeprefix('file://')} {file.name} {file.size} {file.modified}" for file in files]


@pytest.mark.parametrize("name", ["[x].txt", "q?.txt"])
def test_a_uri_whose_file_has_magic_characters_is_that_file(root: Path, name: str) -> None:
    assert [file.name for file in list_inputs([f"file://{root}/{name}"])] == [name]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("bucket/corpus/*.jsonl.gz", ("bucket/corpus", "*.jsonl.gz")),
        ("/data/a[1]/b/**", ("/data", "a[1]/b/**")),
        ("bucket/**", ("bucket", "**")),
        ("bucket/plain", ("bucket/plain", "")),
        ("/*.txt", ("/", "*.txt")),
        ("*/a.txt", ("", "*/a.txt")),
    ],
)
def test_a_pattern_begins_with_the_first_magic_character(path: str, expected: tuple[str, str]) -> None:
    assert split_pattern(path) == expected


def test_a_pattern_of_buckets_is_refused() -> None:
    with pytest.raises(ValueError, match=r"input s3://\*/a\.txt: a pattern must have a folder or a bucket in front"):
        list_inputs(["s3://*/a.txt"])


def test_a_question_mark_in_a_uri_stands_for_a_character(root: Path) -> None:
    assert [file.name for file in list_inputs([f"file://{root}/a?.csv"])] == ["ab.csv"]
