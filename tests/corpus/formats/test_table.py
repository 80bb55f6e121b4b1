"""Which format a corpus is in."""

from itertools import combinations

import pytest

from ulmfit_ray.corpus.formats.format import Format
from ulmfit_ray.corpus.formats.table import FORMATS, MAX_TXT_BYTES, detect_format
from ulmfit_ray.corpus.listing import InputFile

EXTENSIONS = [(extension, entry) for entry in FORMATS.values() for extension in entry.extensions]


def files(*paths: str, size: int = 10) -> list[InputFile]:
    return [InputFile(path, path, size, "0") for path in paths]


@pytest.mark.parametrize("compression", ["", ".gz", ".ZST"])
@pytest.mark.parametrize(("extension", "entry"), EXTENSIONS, ids=[extension for extension, _ in EXTENSIONS])
def test_every_format_is_found_by_each_of_its_extensions(extension: str, entry: Format, compression: str) -> None:
    for name in (extension, extension.upper()):
        assert detect_format(files(f"a{name}{compression}"), "auto") is entry


def test_no_two_formats_share_an_extension() -> None:
    for one, other in combinations(FORMATS.values(), 2):
        assert not set(one.extensions) & set(other.extensions), (one.name, other.name)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_found_by_its_name(name: str) -> None:
    assert detect_format(files("a.unknown"), name) is FORMATS[name]
    assert FORMATS[name].name == name


@pytest.mark.parametrize(
    ("path", "expected"),
    [("a.txt", "txt"), ("a.csv.gz", "csv"), ("a.jsonl.zst", "jsonl"), ("a.NDJSON", "jsonl"), ("dir.csv/a.txt", "txt")],
)
def test_format_is_told_by_the_name_whatever_the_compression(path: str, expected: str) -> None:
    assert detect_format(files(path), "auto").name == expected


def test_format_asked_for_is_believed() -> None:
    assert detect_format(files("a.csv", "b.unknown"), "lines").name == "lines"


def test_an_unknown_extension_is_refused_with_the_option_to_use() -> None:
    with pytest.raises(ValueError, match=r"format of a\.parquet is not known by its name: say --format, or rename it"):
        detect_format(files("a.parquet"), "auto")


def test_an_unknown_extension_is_refused_with_all_formats_and_extensions() -> None:
    with pytest.raises(ValueError, match="known by its name") as error:
        detect_format(files("a.jsonl", "b.json"), "auto")
    assert "b.json " in str(error.value)
    assert str(error.value).splitlines()[1:] == [
        "    Formats and their names: txt (.txt), lines (no name), csv (.csv), jsonl (.jsonl .ndjson);"
        " .gz .bz2 .xz .zst may follow"
    ]


def test_mixed_formats_are_refused_with_one_file_of_each() -> None:
    with pytest.raises(ValueError, match=r"several formats \(a\.csv, b\.txt\)"):
        detect_format(files("a.csv", "a2.csv", "b.txt"), "auto")


def test_a_huge_txt_is_refused_unless_its_format_is_said() -> None:
    huge = files("big.txt", size=MAX_TXT_BYTES + 1)
    with pytest.raises(ValueError, match=r"big\.txt is over 64 MiB: with --format lines"):
        detect_format([*files("small.txt"), *huge], "auto")
    assert detect_format(huge, "lines").name == "lines"
    assert detect_format(files("fits.txt", size=MAX_TXT_BYTES), "auto").name == "txt"
