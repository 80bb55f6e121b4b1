"""Random spans of a document that stand for a query (the inverse cloze task, Lee et al. 2019): no labels are needed."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class SpanOptions:
    """Queries that are a random span of their own document; the others are its query field."""

    share: float = 0.5
    """Part of the queries that are a span; of a single text column, all are."""
    min_tokens: int = 12
    """Shortest span."""
    max_tokens: int = 40
    """Longest span; never more than half of its document."""
    taken_out: float = 0.5
    """Part of the spans that are not left in the document, so that it must be known by other words than the query's."""
    with_query_field: float = 0.5
    """Part of the spans whose document has its query field in front, as it has when it is searched for."""

    def __post_init__(self) -> None:
        for name in ("share", "taken_out", "with_query_field"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"spans.{name} must lie between 0 and 1, not {getattr(self, name)}")
        if not 1 <= self.min_tokens <= self.max_tokens:
            raise ValueError(
                f"spans.min_tokens must be at least 1, and spans.max_tokens no less: not {self.min_tokens} and"
                f" {self.max_tokens}"
            )


def draw_span_query(
    title: np.ndarray, document: np.ndarray, options: SpanOptions, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a span as the query, what may stand in front of the document that it should find, and that document."""
    length = int(random.integers(options.min_tokens, options.max_tokens + 1))
    # Not the whole of a short document: a query that is its document teaches nothing.
    start, stop = span_of(len(document), min(length, max(1, len(document) // 2)), random)
    rest = document
    if random.random() < options.taken_out and len(document) > 1:
        rest = np.concatenate([document[:start], document[stop:]])
    front = title if random.random() < options.with_query_field else title[:0]
    return document[start:stop], front, rest


def span_of(num_tokens: int, length: int, random: np.random.Generator) -> tuple[int, int]:
    """Return where a random span begins and ends; it is the whole where that is no longer than `length`."""
    start = int(random.integers(0, max(0, num_tokens - length) + 1))
    return start, min(start + length, num_tokens)
