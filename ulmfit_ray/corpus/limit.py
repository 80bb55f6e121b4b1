"""The first documents of a corpus, for a trial (--limit): the units that hold them, and where the last of them ends.

How many documents a unit has is known only by reading it. So the plan is read from its front, record by record, until
there are enough; what lies behind is not opened. The units are those of the whole corpus, so the documents have the
same ids and the same order.
"""

from collections.abc import Sequence
from dataclasses import replace

from ulmfit_ray.corpus.contents import check_contents
from ulmfit_ray.corpus.damage import DamagedFileError
from ulmfit_ray.corpus.formats.format import Format, Source
from ulmfit_ray.corpus.listing import InputFile
from ulmfit_ray.corpus.reading import open_records, records_of
from ulmfit_ray.corpus.records import BadRecordError, Record
from ulmfit_ray.corpus.units import Piece, Unit, cut_into_units


def first_units(files: Sequence[InputFile], file_format: Format, limit: int) -> list[Unit]:
    """Return the units with the first `limit` documents, good or bad; all units if there are not so many.

    Raises:
        ValueError: a file with one of them cannot be of this format.
    """
    by_path = {file.path: file for file in files}
    units: list[Unit] = []
    missing = limit
    for unit in cut_into_units(files, file_format):
        pieces: list[Piece] = []
        for piece in unit.pieces:
            if piece.start == 0:
                check_contents([by_path[piece.path]], file_format)
            found, until = _first(piece, file_format, missing)
            pieces.append(replace(piece, until=until))
            missing -= found
            if not missing:
                break
        units.append(replace(unit, pieces=tuple(pieces)))
        if not missing:
            break
    return units


def _first(piece: Piece, file_format: Format, wanted: int) -> tuple[int, int | None]:
    """Return how many documents a piece has, at most `wanted`, and if it has more, where reading is to end."""
    found, end = 0, 0
    with open_records(piece, file_format) as stream:
        try:
            header, records = records_of(stream, piece, file_format)
            for record in records:
                if found == wanted:
                    return found, record.offset
                found += _is_document(record, Source(piece.path, header.names), file_format)
                end = record.offset + max(1, len(record.raw))
        except DamagedFileError:
            # All that stands behind the damage is one bad document.
            return (found, end) if found == wanted else (found + 1, None)
    return found, None


def _is_document(record: Record, source: Source, file_format: Format) -> bool:
    """Tell whether a record is a document, good or bad, and not nothing, as a blank line of jsonl is."""
    try:
        return file_format.values(record, source) is not None
    except BadRecordError:
        return True
