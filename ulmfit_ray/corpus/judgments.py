"""Queries and judgments: BEIR's queries.jsonl (`_id`, `text`); qrels of BEIR and TREC; plain or compressed."""

import json
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
    """Return for each query the grades of its judged documents.

    A line is query-id, corpus-id and score, separated by tabs (BEIR), or query-id, a column that says nothing, doc-id
    and grade, separated by tabs or spaces (TREC). Blank lines are skipped.

    Raises:
        ValueError: a line does not have these columns; the message names it.
    """
    judgments: dict[str, dict[str, float]] = {}
    with open_text(path) as stream:
        for number, raw in enumerate(stream, 1):
            line = raw.decode("utf-8").rstrip("\r\n")
            if not line.strip() or (number == 1 and line.endswith("\tscore")):
                continue
            try:
                query_id, doc_id, grade = _judgment(line)
                judgments.setdefault(query_id, {})[doc_id] = float(grade)
            except ValueError as error:
                columns = "query-id, corpus-id and score (or TREC's four columns)"
                raise ValueError(f"{path}, line {number}: expected {columns}") from error
    return judgments


def _judgment(line: str) -> list[str]:
    cells = line.split("\t")
    if len(cells) == 3:
        return cells
    query_id, _, doc_id, grade = line.split()
    return [query_id, doc_id, grade]
