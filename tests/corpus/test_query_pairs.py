"""Pairs that people have."""

import gzip
from pathlib import Path

import pytest

from ulmfit_ray.corpus.query_pairs import QueryPair, documents_of, read_query_pairs

LINES = (
    '{"query": "a question", "document": "an answer", "doc_id": 7}\n\n'
    '{"document": "the other", "query": "Wort", "source": "x"}\n'
)
PAIRS = [QueryPair("a question", "an answer", "7"), QueryPair("Wort", "the other")]


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.jsonl.gz"])
def test_pairs_are_read_plain_or_compressed(name: str, tmp_path: Path) -> None:
    content = LINES.encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert read_query_pairs(str(tmp_path / name)) == PAIRS


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not JSON", "expected an object with query and document"),
        ("[1]", "expected an object"),
        ('{"query": "a"}', "expected an object"),
        ('{"query": "a", "document": 5}', "document must be a text, not 5"),
        ('{"query": " ", "document": "b"}', "query must be a text, not ' '"),
    ],
)
def test_a_line_that_is_no_pair_is_named(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"query": "a", "document": "b"}\n' + line)
    with pytest.raises(ValueError, match=rf"pairs\.jsonl, line 2: {message}"):
        read_query_pairs(str(path))


def test_a_file_without_pairs_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n")
    with pytest.raises(ValueError, match=r"pairs\.jsonl has no pairs"):
        read_query_pairs(str(path))


def test_documents_are_known_by_their_ids_if_all_pairs_say_them() -> None:
    assert documents_of([PAIRS[0], PAIRS[0]], "pairs.jsonl") == {"7"}
    with pytest.raises(ValueError, match=r"pairs\.jsonl: 1 of 2 pairs have no doc_id"):
        documents_of(PAIRS, "pairs.jsonl")
