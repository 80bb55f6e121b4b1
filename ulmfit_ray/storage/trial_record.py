"""What a sweep knows of each of its settings beside the model's own manifest: `trials/<setting>.json`.

Whether a setting is finished is said by its model directory alone; the record has what no manifest says: how long it
took over all runs, why it failed, and that it was stopped early on purpose.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ulmfit_ray.storage.folder import Folder

FOLDER = "trials"
State = Literal["finished", "stopped early", "failed", "unfinished"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialRecord:
    """One setting of a sweep."""

    name: str
    """The setting's folder in that of the sweep."""
    values: dict[str, Any]
    """Its fields, named as in config.json."""
    state: State = "unfinished"
    seconds: float = 0.0
    """Of all its runs that ended by themselves, waiting for workers included."""
    problem: str = ""
    """Why it failed."""
    epochs: list[list[float]] = field(default_factory=list)
    """[epoch, figure] at the epochs' ends: what early stopping compares."""


def write_trials(folder: Folder, records: Iterable[TrialRecord]) -> None:
    """Write records, each in one step."""
    for record in records:
        folder.publish_json(asdict(record), f"{FOLDER}/{record.name}.json")


def read_trials(folder: Folder) -> dict[str, TrialRecord]:
    """Return the records of all settings, those of earlier grids too, by name."""
    found = (folder.read_json(f"{FOLDER}/{name}") for name in folder.names(FOLDER) if name.endswith(".json"))
    return {record.name: record for record in (TrialRecord(**content) for content in found)}
