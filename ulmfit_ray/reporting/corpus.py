"""What a person sees of a corpus that has been tokenized: rows for a summary, lengths, the most frequent tokens."""

import sys
from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

from ulmfit_ray.reporting.tables import format_number, print_table
from ulmfit_ray.storage.manifest import Manifest, Totals

ROWS = 5
"""The most frequent tokens are set in columns of so many."""
UNKNOWN_WARNED = 0.2
"""Part of the tokens that may be unknown without a warning."""


def corpus_rows(manifest: Manifest) -> dict[str, object]:
    """Return what the manifest of a token dataset says of the corpus, as rows of a summary."""
    counts, figures = manifest.counts, manifest.figures
    if "document_lengths" not in figures:
        # An earlier version made it.
        return {"documents": counts.num_documents, "quarantined": counts.num_quarantined, "tokens": counts.num_tokens}
    return {
        "documents": counts.num_documents,
        "quarantined": quarantined(counts),
        "duplicates within a shard": figures["num_duplicates_in_shards"],
        "duplicates in the corpus": _duplicates(figures["num_duplicates"], figures["num_duplicates_error"]),
        "tokens": counts.num_tokens,
        "types": figures.get("num_types", "not counted: the vocabulary is given"),
        "vocabulary": figures["vocab_size"],
        "unknown tokens": unknown_tokens(figures),
    }


def quarantined(counts: Totals) -> object:
    """Return how many documents could not be read, and why."""
    reasons = ", ".join(f"{number:,} x {reason}" for reason, number in counts.quarantined.items())
    return f"{counts.num_quarantined:,} ({reasons})" if reasons else 0


def unknown_tokens(figures: Mapping[str, Any]) -> str:
    """Return how many tokens the vocabulary does not have."""
    return f"{figures['num_unknown']:,} ({figures['unknown_rate']:.2%})"


def warn_of_unknown(rate: float, remedy: str) -> None:
    """Say on standard error that the vocabulary does not suit the text, if so."""
    if rate > UNKNOWN_WARNED:
        print(f"warning: {rate:.0%} of all tokens are not in the vocabulary: {remedy}", file=sys.stderr)


def _duplicates(number: int, error: int) -> str:
    return f"about {number:,} (\u00b1 {error:,})" if error else f"{number:,}"


def visible(token: str) -> str:
    """Return a token so that it can be seen: a line end as \\n."""
    return token if token.isprintable() else repr(token)[1:-1]


def print_corpus(manifest: Manifest) -> None:
    """Print the lengths of the documents and the most frequent tokens."""
    lengths = manifest.figures["document_lengths"]
    print_table("tokens in a document", list(lengths), [[format_number(value) for value in lengths.values()]], lengths)
    counts = manifest.figures.get("most_frequent_tokens", {}).items()
    cells = [(visible(token), f"{count:,}") for token, count in counts]
    if not cells:
        return
    columns = [cells[start : start + ROWS] for start in range(0, len(cells), ROWS)]
    rows = [sum(row, ()) for row in zip_longest(*columns, fillvalue=("", ""))]
    print_table("most frequent tokens", ["token", "times"] * len(columns), rows, right=("times",))
