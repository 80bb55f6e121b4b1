"""The names of classes that a file only numbers: classes.txt beside it, as AG News, DBpedia and Yelp come."""

from collections.abc import Sequence

from ulmfit_ray.corpus.listing import InputFile, read_beside

CLASSES = "classes.txt"


def find_classes(files: Sequence[InputFile], encoding: str) -> tuple[str, ...]:
    """Return the names in the classes.txt beside the files, one a line, the first of class 1; none if there is none.

    Raises:
        ValueError: the files lie beside several that differ, or only some beside one.
    """
    found: dict[tuple[str, ...], str] = {}
    for folder in sorted({file.path.rpartition("/")[0] for file in files}):
        content = read_beside(folder, CLASSES)
        lines = content.decode(encoding, "replace").splitlines() if content is not None else []
        found.setdefault(tuple(line.strip() for line in lines if line.strip()), folder)
    if len(found) > 1:
        raise ValueError(
            f"the classes of the inputs differ ({', '.join(f'{folder}/{CLASSES}' for folder in found.values())}):"
            " tokenize each folder by itself"
        )
    return next(iter(found), ())
