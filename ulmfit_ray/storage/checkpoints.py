"""Checkpoints of a training run: `checkpoints/step-0000123/`, with checkpoint.json written last.

A folder without it, or whose files do not have the hashes it names, is no checkpoint; the one before is used.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ulmfit_ray.storage.folder import Folder, sha256_file

FOLDER = "checkpoints"
KEPT = 2


def publish_checkpoint(folder: Folder, step: int, files: Mapping[str, Path], facts: dict[str, Any]) -> None:
    """Publish local files as the checkpoint of `step`; older ones than the last two go (rank 0 only)."""
    name = f"{FOLDER}/step-{step:07d}"
    for file_name, path in files.items():
        folder.publish(path, f"{name}/{file_name}")
    hashes = {file_name: sha256_file(path) for file_name, path in files.items()}
    folder.publish_json({"step": step, "files": hashes} | facts, f"{name}/checkpoint.json")
    for old in _names(folder)[:-KEPT]:
        folder.delete(f"{FOLDER}/{old}")


def newest_checkpoint(folder: Folder) -> tuple[str, dict[str, Any]] | None:
    """Return name and facts of the newest checkpoint that is whole, or None."""
    for step in reversed(_names(folder)):
        name = f"{FOLDER}/{step}"
        if not folder.exists(f"{name}/checkpoint.json"):
            continue
        facts: dict[str, Any] = folder.read_json(f"{name}/checkpoint.json")
        if all(
            folder.exists(f"{name}/{file}") and folder.sha256(f"{name}/{file}") == digest
            for file, digest in facts["files"].items()
        ):
            return name, facts
    return None


def _names(folder: Folder) -> list[str]:
    return [name for name in folder.names(FOLDER) if name.startswith("step-")]
