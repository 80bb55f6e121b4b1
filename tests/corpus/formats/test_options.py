"""What a person may say of how files are read, and what is refused."""

import json

import pytest

from ulmfit_ray.corpus.formats.options import ReadingOptions, encoding_name, stands_alone


@pytest.mark.parametrize("delimiter", ["", "ab", '"', "\n", "\r"])
def test_a_delimiter_is_one_character(delimiter: str) -> None:
    with pytest.raises(ValueError, match="--delimiter must be one character and no quote or newline"):
        ReadingOptions(delimiter=delimiter)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "cp1252", "gb18030", "shift_jis", "koi8-r", "ascii"])
def test_encodings_that_hold_ascii_are_taken(encoding: str) -> None:
    assert ReadingOptions(encoding=encoding).encoding == encoding


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32-le", "utf-7", "cp037", "iso2022_jp", "hz"])
def test_other_encodings_are_refused_with_the_remedy(encoding: str) -> None:
    with pytest.raises(ValueError, match=f"--encoding {encoding} is not read.*iconv -f {encoding} -t utf-8"):
        ReadingOptions(encoding=encoding)


@pytest.mark.parametrize("encoding", ["latin-99", "base64", "rot13"])
def test_what_is_no_encoding_is_refused(encoding: str) -> None:
    with pytest.raises(ValueError, match=f"--encoding {encoding} is not known to Python"):
        ReadingOptions(encoding=encoding)


@pytest.mark.parametrize("name", ["utf8", "UTF-8", "utf_8", "utf-8-sig"])
def test_utf8_has_one_name(name: str) -> None:
    assert encoding_name(name) == "utf-8"
    assert encoding_name("Latin-1") == "Latin-1"


@pytest.mark.parametrize(
    ("character", "encoding", "expected"),
    [
        ("|", "utf-8", True),
        ("|", "cp1252", True),
        (",", "shift_jis", True),
        (",", "gb18030", True),
        # 0x7C is the second byte of katakana mu, 0x83 0x7C, and of many Chinese characters.
        ("|", "shift_jis", False),
        ("|", "gb18030", False),
    ],
)
def test_a_byte_may_be_a_part_of_another_character(character: str, encoding: str, expected: bool) -> None:
    assert stands_alone(character, encoding) is expected


def test_only_options_that_are_not_the_default_are_given() -> None:
    assert ReadingOptions(columns=("a",), classes=("b",)).given() == []
    options = ReadingOptions(encoding="cp1252", delimiter=";", quoting=False, header=False)
    assert options.given() == ["encoding", "delimiter", "quoting", "header"]


def test_json_gives_the_options_back() -> None:
    options = ReadingOptions(columns=("1", "label"), delimiter="\t", header=False, classes=("World", "Sports"))
    content = {name: getattr(options, name) for name in ReadingOptions.__dataclass_fields__}
    assert ReadingOptions.from_json(json.loads(json.dumps(content))) == options
