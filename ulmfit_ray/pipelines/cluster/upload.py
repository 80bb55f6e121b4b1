"""What a job takes along to the cluster: a zip, measured before it is made.

Ray can pack a folder by itself, but it reads and packs all of it before the job server says that it is too large. The
zip made here holds what was measured and nothing else, and is the same bytes for the same files: Ray sends it once.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from pathspec import GitIgnoreSpec

import ulmfit_ray
from ulmfit_ray.config import ConfigError

LIMIT_BYTES = 100 << 20
"""What Ray's job server takes in one request (DASHBOARD_CLIENT_MAX_SIZE, no setting)."""
NOT_SENT = (".*", "__pycache__", "*.py[co]", "*.egg-info", "venv", "/build", "/dist", "/data", "/results")
"""Whatever the folder's own files say: caches, repositories, environments, and hidden files, which may hold secrets."""
IGNORE_FILES = (".gitignore", ".rayignore")
"""Files that name, in git's way, what of their folder is not sent; Ray reads both, too."""
NUM_NAMED = 5


class File(NamedTuple):
    """A file that is sent: where it stands in the zip, and here."""

    name: str
    path: Path
    num_bytes: int


def package_files() -> list[File]:
    """Return the files of the package that is running."""
    package = Path(ulmfit_ray.__file__).parent
    return list(_files(package, package.parent))


def folder_files(folder: str) -> list[File]:
    """Return the files of a folder that are sent: not those that it ignores, nor `NOT_SENT`.

    Raises:
        ConfigError: there is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ConfigError(f"--submit.working-dir {folder} is no folder of this machine")
    return list(_files(root, root))


def _files(folder: Path, root: Path) -> Iterator[File]:
    """Yield the files below `folder`, named from `root`; a folder that is ignored is not looked into."""
    rules: dict[Path, list[tuple[Path, GitIgnoreSpec]]] = {folder.parent: [(root, GitIgnoreSpec.from_lines(NOT_SENT))]}
    for here, folders, names in os.walk(folder):
        place = Path(here)
        rules[place] = list(rules[place.parent])
        for ignoring in (place / name for name in IGNORE_FILES if name in names):
            lines = ignoring.read_text(encoding="utf-8").splitlines()
            rules[place].append((place, GitIgnoreSpec.from_lines(lines)))
        folders[:] = sorted(name for name in folders if not _is_ignored(place / name, rules[place], "/"))
        for path in (place / name for name in sorted(names)):
            # A link to nothing is no file.
            if path.is_file() and not _is_ignored(path, rules[place]):
                yield File(path.relative_to(root).as_posix(), path, path.stat().st_size)


def _is_ignored(path: Path, rules: list[tuple[Path, GitIgnoreSpec]], end: str = "") -> bool:
    return any(spec.match_file(path.relative_to(base).as_posix() + end) for base, spec in rules)


def check_size(files: list[File], what: str) -> int:
    """Return the bytes of all files together.

    Raises:
        ConfigError: they are more than Ray takes; the largest are named.
    """
    num_bytes = sum(file.num_bytes for file in files)
    if num_bytes >= LIMIT_BYTES:
        largest = sorted(files, key=lambda file: -file.num_bytes)[:NUM_NAMED]
        named = ", ".join(f"{file.name} ({megabytes(file.num_bytes)})" for file in largest)
        raise ConfigError(
            f"{what} has {megabytes(num_bytes)} in {len(files):,} files; Ray takes at most {megabytes(LIMIT_BYTES)}:"
            f" largest are {named};\n    name what the job does not need in its .rayignore, or keep data elsewhere"
        )
    return num_bytes


def write_zip(files: list[File], target: Path) -> None:
    """Write the files into a zip whose bytes depend on their names and contents alone."""
    with ZipFile(target, "w", ZIP_DEFLATED) as archive:
        for file in files:
            archive.writestr(ZipInfo(file.name), file.path.read_bytes(), ZIP_DEFLATED)


def megabytes(num_bytes: int) -> str:
    """Return a size as a person says it."""
    return f"{num_bytes / 1e6:,.1f} MB"
