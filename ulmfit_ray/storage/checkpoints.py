"""Checkpoints of a training run: `checkpoints/step-0000123/`, with checkpoint.json written last.

A folder without checkpoint.json, or with files whose hashes differ from it, is skipped, and an older one is used.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ulmfit_ray.storage.folder import Folder, sha256_file

FOLDER = "checkpoints"
KEPT = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """What checkpoint.json says."""

    step: int
    is_last: bool
    """Whether training is over with this step."""
    is_stopped: bool = False
    """Whether it was written because somebody asked the training to stop."""
    world_size: int
    facts: dict[str, Any] = field(default_factory=dict)
    """What the worker found out when it built its task; "precision" is always among them."""
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each file beside it."""

    @property
    def name(self) -> str:
        """Return the checkpoint's folder."""
        return f"{FOLDER}/step-{self.step:07d}"


def publish_checkpoint(folder: Folder, checkpoint: Checkpoint, files: Mapping[str, Path]) -> None:
    """Publish local files as a checkpoint; older ones than the last two go (rank 0 only)."""
    for file_name, path in files.items():
        folder.publish(path, f"{checkpoint.name}/{file_name}")
    hashes = {file_name: sha256_file(path) for file_name, path in files.items()}
    folder.publish_json(asdict(checkpoint) | {"files": hashes}, f"{checkpoint.name}/checkpoint.json")
    for old in _names(folder)[:-KEPT]:
        folder.delete(f"{FOLDER}/{old}")


def newest_checkpoint(folder: Folder) -> Checkpoint | None:
    """Return the newest checkpoint that is whole, or None."""
    for step in reversed(_names(folder)):
        name = f"{FOLDER}/{step}"
        if not folder.exists(f"{name}/checkpoint.json"):
            continue
        checkpoint = Checkpoint(**folder.read_json(f"{name}/checkpoint.json"))
        if all(
            folder.exists(f"{name}/{file}") and folder.sha256(f"{name}/{file}") == digest
            for file, digest in checkpoint.files.items()
        ):
            return checkpoint
    return None


def _names(folder: Folder) -> list[str]:
    return [name for name in folder.names(FOLDER) if name.startswith("step-")]
