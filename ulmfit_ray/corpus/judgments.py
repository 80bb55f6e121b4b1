"""Queries and relevance judgments in BEIR's layout: queries.jsonl (`_id`, `text`), qrels.tsv, plain or compressed."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from ulmfit_ray.corpus.open_text import base_extension, open_text


@dataclass(frozen=True, slots=True)
class Query:
    """One query."""

    query_id: str
    text: str


def read_queries(path: str) -> list[Query]:
    """Return the queries of a BEIR queries.jsonl, or of a text file with one query in each line.

    Raises:
        ValueError: a line is no query, or two queries have one id; the message names it.
    """
    queries = []
    lines: dict[str, int] = {}
    with open_text(path) as stream:
        for number, raw in enumerate(stream, 1):
            line = raw.decode("utf-8").strip()
            if not line:
                continue
            query = _query(line, path, number) if base_extension(path) == ".jsonl" else Query(str(number), line)
            first = lines.setdefault(query.query_id, number)
            if first != number:
                where = f"{path}, line {number}"
                raise ValueError(
                    f"{where}: query id {query.query_id!r} stands in line {first} too: make the ids differ"
                )
            queries.append(query)
    return queries


def _query(line: str, path: str, number: int) -> Query:
    """Return the query of a line of queries.jsonl."""
    try:
        content = json.loads(line)
        return Query(str(content["_id"]), content["text"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}, line {number}: expected an object with _id and text") from error


def read_qrels(path: str) -> dict[str, dict[str, float]]:
    """Return for each query the grades of its judged documents, from tab-separated query-id, corpus-id, score.

    Raises:
        ValueError: a line does not have these three columns; the message names it.
    """
    judgments: dict[str, dict[str, float]] = {}
    for number, cells in _rows(path):
        if number == 1 and cells[-1] == "score":
            continue
        try:
            query_id, doc_id, grade = cells
            judgments.setdefault(query_id, {})[doc_id] = float(grade)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: expected query-id, corpus-id and score") from error
    return judgments


def _rows(path: str) -> Iterator[tuple[int, list[str]]]:
    with open_text(path) as stream:
        for number, raw in enumerate(stream, 1):
            yield number, raw.decode("utf-8").rstrip("\r\n").split("\t")
