"""Queries and judgments in BEIR's layout, and in TREC's."""

import gzip
from pathlib import Path

import pytest

from ulmfit_ray.corpus.judgments import Query, read_qrels, read_queries

SCIFACT = Path(__file__).parents[2] / "jobs/sample/scifact"


def written(path: Path, content: str) -> str:
    path.write_bytes(gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode())
    return str(path)


@pytest.mark.parametrize("name", ["queries.jsonl", "queries.jsonl.gz"])
def test_queries_of_beir_have_ids_and_texts(tmp_path: Path, name: str) -> None:
    content = '{"_id": "a", "text": "one", "metadata": {}}\n\n{"_id": 2, "text": "zw\u00f6lf"}'
    assert read_queries(written(tmp_path / name, content)) == [Query("a", "one"), Query("2", "zw\u00f6lf")]


def test_any_other_file_has_a_query_in_each_line_numbered_by_its_line(tmp_path: Path) -> None:
    content = "first query\n\n  third \n"
    assert read_queries(written(tmp_path / "queries.txt", content)) == [Query("1", "first query"), Query("3", "third")]


@pytest.mark.parametrize("line", ['{"_id": "b"}', "[1]", "no json", '{"text": "x"}', "3"])
def test_a_line_that_is_no_query_is_named(tmp_path: Path, line: str) -> None:
    path = written(tmp_path / "queries.jsonl", '{"_id": "a", "text": "one"}\n' + line)
    with pytest.raises(ValueError, match=r"queries\.jsonl, line 2: expected an object with _id and text"):
        read_queries(path)


def test_a_query_id_that_stands_twice_is_named_with_both_lines(tmp_path: Path) -> None:
    lines = ['{"_id": "a", "text": "one"}', "", '{"_id": 7, "text": "two"}', '{"_id": "7", "text": "three"}']
    path = written(tmp_path / "queries.jsonl", "\n".join(lines))
    with pytest.raises(ValueError, match=r"queries\.jsonl, line 4: query id '7' stands in line 3 too"):
        read_queries(path)


def test_equal_lines_of_a_text_file_are_queries_of_their_own(tmp_path: Path) -> None:
    assert read_queries(written(tmp_path / "queries.txt", "fat\nfat\n")) == [Query("1", "fat"), Query("2", "fat")]


def test_judgments_are_grades_by_query_and_document(tmp_path: Path) -> None:
    content = "query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td1\t0\r\nq1\td2\t2.5\n"
    assert read_qrels(written(tmp_path / "test.tsv", content)) == {"q1": {"d1": 1.0, "d2": 2.5}, "q2": {"d1": 0.0}}


def test_a_file_without_header_loses_no_judgment(tmp_path: Path) -> None:
    assert read_qrels(written(tmp_path / "test.tsv", "q1\td1\t1\n")) == {"q1": {"d1": 1.0}}


@pytest.mark.parametrize("separator", [" ", "\t", "  "])
def test_judgments_of_trec_have_a_column_that_says_nothing(tmp_path: Path, separator: str) -> None:
    rows = [("q1", "0", "d1", "1"), ("q1", "Q0", "d2", "-1")]
    content = "".join(separator.join(row) + "\n" for row in rows)
    assert read_qrels(written(tmp_path / "qrels.txt", content + "\n")) == {"q1": {"d1": 1.0, "d2": -1.0}}


@pytest.mark.parametrize("line", ["q1\td1", "q1\td1\thigh", "q1 d1 1", "q1 0 d1 high", "q1 0 d1 1 more"])
def test_a_line_without_the_columns_is_named(tmp_path: Path, line: str) -> None:
    path = written(tmp_path / "test.tsv", f"query-id\tcorpus-id\tscore\nq1\td1\t1\n{line}\n")
    with pytest.raises(ValueError, match=r"test\.tsv, line 3: expected query-id, corpus-id and score \(or TREC"):
        read_qrels(path)


def test_the_sample_has_1109_queries_of_which_300_are_judged_for_testing() -> None:
    queries = {query.query_id for query in read_queries(str(SCIFACT / "queries.jsonl.gz"))}
    judged = read_qrels(str(SCIFACT / "qrels/test.tsv.gz"))
    assert (len(queries), len(judged)) == (1109, 300)
    assert set(judged) <= queries
