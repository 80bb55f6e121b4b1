"""The formats by name, and which of them a corpus is in."""

from collections.abc import Callable, Sequence

from ulmfit_ray.corpus.formats.csv_rows import make_csv, make_tsv
from ulmfit_ray.corpus.formats.format import Format
from ulmfit_ray.corpus.formats.json_array import make_json
from ulmfit_ray.corpus.formats.jsonl import make_jsonl
from ulmfit_ray.corpus.formats.lines import make_lines
from ulmfit_ray.corpus.formats.options import OPTION_FLAGS, ReadingOptions
from ulmfit_ray.corpus.formats.parquet import make_parquet
from ulmfit_ray.corpus.formats.txt import make_txt
from ulmfit_ray.corpus.formats.wikitext import make_wikitext
from ulmfit_ray.corpus.listing import InputFile
from ulmfit_ray.corpus.open_text import COMPRESSIONS, base_extension, is_compressed

FORMATS: dict[str, Callable[[ReadingOptions], Format]] = {
    "txt": make_txt,
    "lines": make_lines,
    "csv": make_csv,
    "tsv": make_tsv,
    "jsonl": make_jsonl,
    "json": make_json,
    "parquet": make_parquet,
    "wikitext": make_wikitext,
}
MAX_TXT_BYTES = 64 << 20


def make_format(name: str, options: ReadingOptions | None = None) -> Format:
    """Return the format of that name as these options have it read.

    Raises:
        ValueError: the format does not take one of the options.
    """
    file_format = FORMATS[name](options or ReadingOptions())
    for option in options.given() if options else ():
        if option not in file_format.options:
            fitting = ", ".join(other for other in FORMATS if option in FORMATS[other](ReadingOptions()).options)
            raise ValueError(f"{OPTION_FLAGS[option]} does not fit format {name}; it is for {fitting}")
    return file_format


def detect_format(files: Sequence[InputFile], wanted: str, options: ReadingOptions | None = None) -> Format:
    """Return the one format of all files: the one named `wanted`, or for "auto" the one of their extensions.

    Raises:
        ValueError: an extension says nothing, two formats are mixed, a .txt is too large for one document, or the
            format does not take one of the options.
    """
    chosen = make_format(_name_by_extension(files) if wanted == "auto" else wanted, options)
    for file in files:
        if chosen.is_binary and is_compressed(file.path):
            raise ValueError(f"{file.path}: a {chosen.name} file is read at random, not from its front: decompress it")
        if chosen.is_binary and not file.has_ranges:
            raise ValueError(f"{file.path}: the server sends no parts of files, which {chosen.name} needs: download it")
        if chosen.is_bundled and wanted == "auto" and file.size > MAX_TXT_BYTES:
            raise ValueError(f"{file.path} is over 64 MiB: with --format lines each line is a document, not the file")
    return chosen


def _name_by_extension(files: Sequence[InputFile]) -> str:
    known = [make_format(name) for name in FORMATS]
    by_extension = {extension: entry.name for entry in known for extension in entry.extensions}
    found: dict[str, str] = {}
    for file in files:
        extension = base_extension(file.path)
        if extension not in by_extension:
            names = ", ".join(f"{entry.name} ({' '.join(entry.extensions) or 'no name'})" for entry in known)
            raise ValueError(
                f"the format of {file.path} is not known by its name: say --format, or rename it.\n"
                f"    Formats and their names: {names}; {' '.join(COMPRESSIONS)} may follow"
            )
        found.setdefault(by_extension[extension], file.path)
    if len(found) > 1:
        raise ValueError(f"inputs of several formats ({', '.join(found.values())}): tokenize each format by itself")
    return next(iter(found))
