"""The file that a command writes its result to when asked: never over another file, unless asked for that too."""

from ulmfit_ray.config import ConfigError
from ulmfit_ray.storage.folder import Folder, absolute_uri


def place_of(output: str) -> tuple[Folder, str]:
    """Return the folder of a file and the file's name in it."""
    place, _, name = absolute_uri(output).rpartition("/")
    return Folder(place), name


def refuse_existing(output: str | None, overwrite: bool, option: str = "--output") -> None:
    """Raise ConfigError if the file that an option names is there and must not be replaced. Called before any work."""
    if output is None or overwrite:
        return
    folder, name = place_of(output)
    if folder.exists(name):
        raise ConfigError(f"{option} {output} is there already: name another file, or use --overwrite to replace it")
