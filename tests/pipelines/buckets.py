"""What tests of jobs on buckets share: files copied there, a corpus tokenized there, hashes of what was made."""

from pathlib import Path

from ulmfit_ray.pipelines.tokenize import job as tokenize
from ulmfit_ray.pipelines.tokenize.config import TokenizeConfig
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.manifest import Manifest


def copy(source: Path, target: Folder) -> None:
    for path in source.rglob("*"):
        if path.is_file():
            target.publish(path, str(path.relative_to(source)))


def tokenized(place: str, name: str) -> Manifest:
    """Tokenize `name` in `place` into `tokens` beside it."""
    manifest = tokenize.run(
        TokenizeConfig(
            input=(f"{place}/{name}",),
            output=f"{place}/tokens",
            text_columns=("title", "text"),
            id_column="_id",
            keep_columns=("title",),
            mark_fields="no",
            min_freq=1,
        )
    )
    assert manifest is not None
    return manifest


def files(place: str) -> dict[str, str]:
    """Return the SHA-256 of each file that does not hold times and places."""
    folder = Folder(place)
    names = [f"{where}/{name}" for where in ("shards", "quarantine") for name in folder.names(where)]
    return {name: folder.sha256(name) for name in [*names, *(n for n in folder.names() if n == "vocab.json")]}
