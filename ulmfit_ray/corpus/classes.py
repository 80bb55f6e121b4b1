"""The names of classes that a file only numbers: classes.txt beside it, as AG News, DBpedia and Yelp come."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from ulmfit_ray.corpus.listing import InputFile, read_beside
from ulmfit_ray.corpus.open_text import UTF8_BOM
from ulmfit_ray.corpus.web import is_on_the_web

CLASSES = "classes.txt"


def find_classes(files: Sequence[InputFile], encoding: str) -> tuple[str, ...]:
    """Return the names in the classes.txt beside the files, one a line, the first of class 1; none if there is none.

    Raises:
        ValueError: the files lie beside several that differ, or only some beside one.
    """
    found: dict[tuple[str, ...], str] = {}
    for folder in sorted({_folder(file.path) for file in files}):
        content = (read_beside(folder, CLASSES) or b"").removeprefix(UTF8_BOM)
        lines = content.decode(encoding, "replace").split("\n")
        found.setdefault(tuple(line.strip() for line in lines if line.strip()), folder)
    if len(found) > 1:
        raise ValueError(
            f"the classes of the inputs differ ({', '.join(f'{folder}/{CLASSES}' for folder in found.values())}):"
            " tokenize each folder by itself"
        )
    return next(iter(found), ())


def _folder(path: str) -> str:
    """Return the folder of a file; what stands behind the ? of a web address belongs to the file."""
    if is_on_the_web(path):
        path = urlsplit(path)._replace(query="", fragment="").geturl()
    return path.rpartition("/")[0]
