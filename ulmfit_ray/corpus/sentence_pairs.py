"""Pairs of sentences that people have given a score: one table, as of STS-B, in any format that has columns."""

import math
from dataclasses import dataclass

from ulmfit_ray.corpus.columns import resolve_columns
from ulmfit_ray.corpus.documents import BadDocument
from ulmfit_ray.corpus.formats.options import ReadingOptions
from ulmfit_ray.corpus.formats.table import detect_format
from ulmfit_ray.corpus.listing import list_inputs
from ulmfit_ray.corpus.reading import documents_of
from ulmfit_ray.corpus.units import Piece, Unit


@dataclass(frozen=True, slots=True)
class SentencePair:
    """Two sentences, and how alike they are."""

    first: str
    second: str
    score: float


def read_sentence_pairs(
    path: str, *, columns: tuple[str, str], score: str, format_name: str, options: ReadingOptions
) -> list[SentencePair]:
    """Return the pairs of a file, or of all files of a folder or glob, in their order.

    `columns` hold the sentences, `score` the number. `format_name` is a format, or "auto": by extension.

    Raises:
        ValueError: there is no such column, or a row cannot be read or has no score; the message names its place.
    """
    files = list_inputs([path])
    file_format = detect_format(files, format_name, options)
    found = resolve_columns(files, file_format, text=columns, id_column=None, keep=(score,))
    units = [Unit(number, (Piece(file.path, file.name, 0, file.size),)) for number, file in enumerate(files)]
    pairs: list[SentencePair] = []
    for unit in units:
        for document in documents_of(unit, None, file_format, found):
            if isinstance(document, BadDocument):
                raise ValueError(f"{document.path} at byte {document.offset:,}: {document.reason}: {document.detail}")
            first, second = document.fields
            pairs.append(SentencePair(first, second, _score(document.kept[0], score, document.doc_id)))
    return pairs


def _score(value: object, column: str, place: str) -> float:
    try:
        score = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        score = math.nan
    if not math.isfinite(score):
        raise ValueError(f"{place}: {column} is {value!r}, not a number")
    return score
