"""Patterns of paths in any file system: `*`, `?`, `[...]` and `**` match what they match for Python's glob."""

import fnmatch
import glob
from collections.abc import Sequence
from itertools import takewhile

import pyarrow.fs


def split_pattern(path: str) -> tuple[str, str]:
    """Return the longest folder in front of a path's first part with a magic character, and the rest."""
    parts = path.rstrip("/").split("/")
    plain = list(takewhile(lambda part: not glob.has_magic(part), parts))
    return "/".join(plain) or "/" * path.startswith("/"), "/".join(parts[len(plain) :])


def find_matches(filesystem: pyarrow.fs.FileSystem, folder: str, pattern: str) -> list[str]:
    """Return the paths of the files and folders below `folder` that match, sorted; the folder itself may match `**`.

    One listing is all that is asked of the file system. Object stores need not list their folders: a folder is there if
    a file is in it.
    """
    parts = pattern.split("/")
    selector = pyarrow.fs.FileSelector(folder, allow_not_found=True, recursive=len(parts) > 1 or parts == ["**"])
    found: set[tuple[str, ...]] = set()
    for info in filesystem.get_file_info(selector):
        path = tuple(info.path.removeprefix(folder).strip("/").split("/"))
        found |= {path[:length] for length in range(len(path) + 1)}
    return sorted("/".join((folder.rstrip("/"), *path)) for path in found if _matches(path, parts))


def _matches(path: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not path
    first, rest = pattern[0], pattern[1:]
    if first == "**":
        is_deeper = bool(path) and not path[0].startswith(".") and _matches(path[1:], pattern)
        return is_deeper or _matches(path, rest)
    if not path or (path[0].startswith(".") and not first.startswith(".")):
        return False
    return fnmatch.fnmatchcase(path[0], first) and _matches(path[1:], rest)
