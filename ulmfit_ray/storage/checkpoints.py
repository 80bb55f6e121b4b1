"""Checkpoints of a training run: `checkpoints/step-0000123/`, with checkpoint.json written last.

A folder without checkpoint.json, or with files whose hashes differ from it, is skipped, and an older one is used.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ulmfit_ray.storage.folder import Folder, sha256_file

FOLDER, PREFIX = "checkpoints", "step-"


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
        return _name(self.step)


def publish_checkpoint(folder: Folder, checkpoint: Checkpoint, files: Mapping[str, Path]) -> None:
    """Publish local files as a checkpoint, and keep only the one before it beside it (rank 0 only).

    Those of later steps go, too: they are what a killed run began to write. A run that goes on from an older one need
    not make its checkpoints at the same steps, and would otherwise find its own among the oldest.
    """
    for file_name, path in files.items():
        folder.publish(path, f"{checkpoint.name}/{file_name}")
    hashes = {file_name: sha256_file(path) for file_name, path in files.items()}
    folder.publish_json(asdict(checkpoint) | {"files": hashes}, f"{checkpoint.name}/checkpoint.json")
    steps = _steps(folder)
    before = [step for step in steps if step < checkpoint.step and _is_declared(folder, step)]
    for step in set(steps) - {checkpoint.step, *before[-1:]}:
        folder.delete(_name(step))


def newest_checkpoint(folder: Folder) -> Checkpoint | None:
    """Return the newest checkpoint that is whole, or None."""
    for step in reversed(_steps(folder)):
        if not _is_declared(folder, step):
            continue
        checkpoint = Checkpoint(**folder.read_json(f"{_name(step)}/checkpoint.json"))
        if all(
            folder.exists(f"{checkpoint.name}/{file}") and folder.sha256(f"{checkpoint.name}/{file}") == digest
            for file, digest in checkpoint.files.items()
        ):
            return checkpoint
    return None


def newest_step(folder: Folder) -> int:
    """Return the step of the newest checkpoint, without a look at its files; 0 if there is none."""
    return max((step for step in _steps(folder) if _is_declared(folder, step)), default=0)


def newest_log(folder: Folder) -> bytes:
    """Return the training log of the newest checkpoint, without a look at its other files; b"" if there is none."""
    step = newest_step(folder)
    return folder.read_bytes(f"{_name(step)}/training_log.jsonl") if step else b""


def _steps(folder: Folder) -> list[int]:
    return sorted(int(name.removeprefix(PREFIX)) for name in folder.names(FOLDER) if name.startswith(PREFIX))


def _name(step: int) -> str:
    return f"{FOLDER}/{PREFIX}{step:07d}"


def _is_declared(folder: Folder, step: int) -> bool:
    return folder.exists(f"{_name(step)}/checkpoint.json")
