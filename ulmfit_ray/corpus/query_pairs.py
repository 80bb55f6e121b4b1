"""Pairs that people have: a query and the text of the document that it should find, an object of JSON in each line."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from ulmfit_ray.corpus.open_text import open_text


@dataclass(frozen=True, slots=True)
class QueryPair:
    """A query and the document that it should find."""

    query: str
    document: str
    doc_id: str | None = None
    """The document's id in the corpus, if the file says it."""


def read_query_pairs(path: str) -> list[QueryPair]:
    """Return the pairs of a file of `query`, `document` and, if it is known, `doc_id`; plain or compressed.

    Raises:
        ValueError: a line is no pair, or there is none; the message names it.
    """
    pairs = []
    with open_text(path) as stream:
        for number, raw in enumerate(stream, 1):
            if raw.strip():
                pairs.append(_pair(raw, f"{path}, line {number}"))
    if not pairs:
        raise ValueError(f"{path} has no pairs: each line is to be an object with query and document")
    return pairs


def _pair(line: bytes, where: str) -> QueryPair:
    try:
        content = json.loads(line)
        query, document = content["query"], content["document"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{where}: expected an object with query and document") from error
    for name, text in (("query", query), ("document", document)):
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{where}: {name} must be a text, not {text!r}")
    doc_id = content.get("doc_id")
    return QueryPair(query, document, None if doc_id is None else str(doc_id))


def documents_of(pairs: Sequence[QueryPair], path: str) -> set[str]:
    """Return the ids of the documents of all pairs.

    Raises:
        ValueError: a pair does not say it.
    """
    missing = sum(pair.doc_id is None for pair in pairs)
    if missing:
        raise ValueError(f"{path}: {missing:,} of {len(pairs):,} pairs have no doc_id, by which documents are known")
    return {str(pair.doc_id) for pair in pairs}
