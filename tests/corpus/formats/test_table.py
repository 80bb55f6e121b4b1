"""Which format a corpus is in."""

from itertools import combinations
from typing import get_args, get_type_hints

import pytest

from ulmfit_ray.corpus.formats.options import ReadingOptions
from ulmfit_ray.corpus.formats.table import FORMATS, MAX_TXT_BYTES, detect_format, make_format
from ulmfit_ray.corpus.listing import InputFile
from ulmfit_ray.pipelines.tokenize.config import TokenizeConfig

ALL = [make_format(name) for name in FORMATS]
EXTENSIONS = [(extension, entry.name) for entry in ALL for extension in entry.extensions]


def files(*paths: str, size: int = 10) -> list[InputFile]:
    return [InputFile(path, path, size, "0") for path in paths]


@pytest.mark.parametrize("compression", ["", ".gz", ".ZST"])
@pytest.mark.parametrize(("extension", "name"), EXTENSIONS, ids=[extension for extension, _ in EXTENSIONS])
def test_every_format_is_found_by_each_of_its_extensions(extension: str, name: str, compression: str) -> None:
    for ending in (extension, extension.upper()):
        listed = files(f"a{ending}{compression}")
        if compression and make_format(name).is_binary:
            with pytest.raises(ValueError, match=r"a\.\w+\.\w+: a parquet file is read at random.*decompress it"):
                detect_format(listed, "auto")
        else:
            assert detect_format(listed, "auto").name == name


def test_no_two_formats_share_an_extension() -> None:
    for one, other in combinations(ALL, 2):
        assert not set(one.extensions) & set(other.extensions), (one.name, other.name)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_found_by_its_name(name: str) -> None:
    assert detect_format(files("a.unknown"), name).name == name


def test_format_offers_all_formats() -> None:
    assert get_args(get_type_hints(TokenizeConfig)["format"]) == ("auto", *FORMATS)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("jsonl", {"delimiter": ";"}, "--delimiter does not fit format jsonl; it is for csv$"),
        ("tsv", {"delimiter": ";"}, "--delimiter does not fit format tsv; it is for csv$"),
        ("lines", {"header": False}, "--no-header does not fit format lines; it is for csv, tsv"),
        ("txt", {"quoting": False}, "--quoting does not fit format txt; it is for csv, tsv"),
    ],
)
def test_an_option_that_does_not_fit_the_format_is_refused(name: str, given: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        detect_format(files("a"), name, ReadingOptions(**given))


def test_an_option_that_does_not_fit_the_format_of_the_names_is_refused() -> None:
    with pytest.raises(ValueError, match="--delimiter does not fit format txt"):
        detect_format(files("a.txt"), "auto", ReadingOptions(delimiter=";"))
    assert detect_format(files("a.csv"), "auto", ReadingOptions(delimiter=";")).name == "csv"


@pytest.mark.parametrize(
    ("path", "expected"),
    [("a.txt", "txt"), ("a.csv.gz", "csv"), ("a.jsonl.zst", "jsonl"), ("a.NDJSON", "jsonl"), ("dir.csv/a.txt", "txt")],
)
def test_format_is_told_by_the_name_whatever_the_compression(path: str, expected: str) -> None:
    assert detect_format(files(path), "auto").name == expected


def test_format_asked_for_is_believed() -> None:
    assert detect_format(files("a.csv", "b.unknown"), "lines").name == "lines"


def test_an_unknown_extension_is_refused_with_the_option_to_use() -> None:
    with pytest.raises(ValueError, match=r"format of a\.log is not known by its name: say --format, or rename it"):
        detect_format(files("a.log"), "auto")


def test_an_unknown_extension_is_refused_with_all_formats_and_extensions() -> None:
    with pytest.raises(ValueError, match="known by its name") as error:
        detect_format(files("a.jsonl", "b.xml"), "auto")
    assert "b.xml " in str(error.value)
    assert str(error.value).splitlines()[1:] == [
        "    Formats and their names: txt (.txt), lines (no name), csv (.csv), tsv (.tsv .tab), jsonl (.jsonl .ndjson),"
        " json (.json), parquet (.parquet .pq), wikitext (no name);"
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
