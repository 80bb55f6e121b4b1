"""The formats by name, and which of them a corpus is in."""

from collections.abc import Sequence

from ulmfit_ray.corpus.formats.csv_rows import CSV
from ulmfit_ray.corpus.formats.format import Format
from ulmfit_ray.corpus.formats.jsonl import JSONL
from ulmfit_ray.corpus.formats.lines import LINES
from ulmfit_ray.corpus.formats.txt import TXT
from ulmfit_ray.corpus.listing import InputFile
from ulmfit_ray.corpus.open_text import COMPRESSIONS, base_extension

FORMATS: dict[str, Format] = {entry.name: entry for entry in (TXT, LINES, CSV, JSONL)}
BY_EXTENSION = {extension: entry for entry in FORMATS.values() for extension in entry.extensions}
MAX_TXT_BYTES = 64 << 20


def detect_format(files: Sequence[InputFile], wanted: str) -> Format:
    """Return the one format of all files: the one named `wanted`, or for "auto" the one of their extensions.

    Raises:
        ValueError: an extension says nothing, two formats are mixed, or a .txt is too large for one document.
    """
    if wanted != "auto":
        return FORMATS[wanted]
    found: dict[str, str] = {}
    for file in files:
        extension = base_extension(file.path)
        if extension not in BY_EXTENSION:
            known = ", ".join(f"{entry.name} ({' '.join(entry.extensions) or 'no name'})" for entry in FORMATS.values())
            raise ValueError(
                f"the format of {file.path} is not known by its name: say --format, or rename it.\n"
                f"    Formats and their names: {known}; {' '.join(COMPRESSIONS)} may follow"
            )
        found.setdefault(BY_EXTENSION[extension].name, file.path)
    if len(found) > 1:
        raise ValueError(f"inputs of several formats ({', '.join(found.values())}): tokenize each format by itself")
    chosen = FORMATS[next(iter(found))]
    largest = max(files, key=lambda file: file.size)
    if chosen.is_bundled and largest.size > MAX_TXT_BYTES:
        raise ValueError(f"{largest.path} is over 64 MiB: with --format lines each line is a document, not the file")
    return chosen
