"""Pairs of sentences with scores, from files with columns."""

import gzip
from pathlib import Path

import pytest

from ulmfit_ray.corpus.formats.options import ReadingOptions
from ulmfit_ray.corpus.sentence_pairs import SentencePair, read_sentence_pairs


def read(path: Path, content: str, format_name: str = "auto", *, numbered: bool = False) -> list[SentencePair]:
    path.write_bytes(gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode())
    a, b, score = ("1", "2", "0") if numbered else ("a", "b", "score")
    options = ReadingOptions(columns=(a, b, score), header=not numbered)
    return read_sentence_pairs(str(path), columns=(a, b), score=score, format_name=format_name, options=options)


EXPECTED = [SentencePair("one", "two", 2.5), SentencePair('"three', "four", 0.0)]


def test_a_table_without_header_has_numbered_columns_and_quotes_as_they_are(tmp_path: Path) -> None:
    content = '2.500\tone\ttwo\tmore\n0.000\t"three\tfour\n'
    assert read(tmp_path / "sts.csv.gz", content, "tsv", numbered=True) == EXPECTED


def test_objects_have_named_columns_and_numbers(tmp_path: Path) -> None:
    content = '{"a": "one", "b": "two", "score": 2.5}\n{"a": "\\"three", "b": "four", "score": 0.0}\n'
    assert read(tmp_path / "pairs.jsonl", content) == EXPECTED


@pytest.mark.parametrize("score", ["high", "", "nan", "inf"])
def test_a_score_that_is_no_number_is_named_with_its_place(tmp_path: Path, score: str) -> None:
    with pytest.raises(ValueError, match=r"pairs\.csv#24: score is '.*', not a number"):
        read(tmp_path / "pairs.csv", f"score,a,b\n2.5,one,two  \n{score},three,four\n")


def test_a_row_that_cannot_be_read_is_named_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"pairs\.csv at byte 22: malformed row"):
        read(tmp_path / "pairs.csv", "score,a,b\n2.5,one,two\n1,three\n")


def test_a_column_that_is_missing_is_named_with_those_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"column 'b' does not exist in .*pairs\.csv; its columns are score, a"):
        read(tmp_path / "pairs.csv", "score,a\n2.5,one\n")
