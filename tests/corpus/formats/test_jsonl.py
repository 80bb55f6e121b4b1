"""A line is an object whose keys are the columns."""

import io

import pytest

from ulmfit_ray.corpus.formats.format import Sample, Source
from ulmfit_ray.corpus.formats.table import make_format
from ulmfit_ray.corpus.records import SAMPLE_BYTES, BadRecordError, Record

JSONL = make_format("jsonl")


def text_of(line: bytes) -> str:
    values = JSONL.values(Record(0, line), Source())
    assert values is not None
    return values["text"]


def sample_of(content: bytes) -> Sample:
    assert JSONL.sample is not None
    return JSONL.sample(io.BytesIO(content))


def test_a_pair_of_surrogate_escapes_is_one_character() -> None:
    assert text_of(b'{"text": "\\ud83d\\ude00"}') == "\U0001f600"


def test_a_backslash_that_only_looks_like_a_surrogate_is_text() -> None:
    assert text_of(b'{"text": "\\\\ud83d"}') == "\\ud83d"


def test_a_lone_surrogate_is_malformed_in_any_column() -> None:
    with pytest.raises(BadRecordError, match="surrogates not allowed"):
        JSONL.values(Record(0, b'{"text": "x", "note": ["\\udc00"]}'), Source())


def test_a_sample_has_all_columns_in_the_order_they_come_and_passes_over_what_is_no_object() -> None:
    content = b'{"b": 1}\n\nnonsense\n[1]\n{"a": "x", "b": 2}\n'
    sample = sample_of(content)
    assert sample.names == ["b", "a"]
    assert [sample.type_of(name) for name in sample.names] == ["int64", "string"]
    assert sample.has_records
    assert not sample_of(b"nonsense\n").has_records


def test_a_sample_is_of_the_lines_that_begin_in_the_first_megabyte() -> None:
    first = b'{"first": "' + b"x" * SAMPLE_BYTES + b'"}\n'
    assert sample_of(first + b'{"late": 1}\n').names == ["first"]


@pytest.mark.parametrize(
    "content",
    [
        b'[{"text": "a"}, {"text": "b"}]',
        b'  \n [\n{"text": "a"},\n{"text": "b"}\n]\n',
        b'[{"text": "a"},\n {"text": "b"}]\n',
        b'[\n  {\n    "text": "a"\n  }\n]\n',
        b'\xef\xbb\xbf[{"text": "cut off he',
    ],
)
def test_a_json_array_is_not_taken_for_lines(content: bytes) -> None:
    assert JSONL.mistake(content) == "a JSON array, not one object per line: say --format json"


@pytest.mark.parametrize(
    "content",
    [
        b'{"text": "[a]"}\n',
        b'[1]\n{"text": "a"}\n',
        b'[broken\n{"text": "a"}\n',
        b"[1]\n[2]\n",
        b"nonsense\n",
        b"",
        b"[" * 100_000 + b'\n{"text": "a"}\n',
    ],
)
def test_bad_lines_do_not_make_an_array(content: bytes) -> None:
    assert JSONL.mistake(content) == ""
