"""launches.json: when a job was launched, where, with what, and how each launch ended.

No reader of an output asks for it and no hash covers it: a job that is run again has the same results, and one launch
more.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from ulmfit_ray.storage.folder import Folder

FILE = "launches.json"
MOST_LAUNCHES = 200
"""The first and the newest are kept: a job may be launched again every minute."""
Ending = Literal["running", "finished", "failed", "interrupted"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """One start of a job; one that is still "running" when another begins was killed."""

    command: str
    host: str
    pid: int
    ray: str
    """What it ran on: a local session, a cluster, or "" for a command without Ray."""
    began: str
    """ISO 8601 with the time zone, like `ended`."""
    ended: str = ""
    ending: Ending = "running"
    reason: str = ""
    """Why it failed or was interrupted."""
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def seconds(self) -> float | None:
        """Return how long it ran; None while it runs, or if it was killed."""
        if not self.ended:
            return None
        return (datetime.fromisoformat(self.ended) - datetime.fromisoformat(self.began)).total_seconds()


def now() -> str:
    """Return this moment as launches.json has it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def read_launches(folder: Folder) -> list[Launch]:
    """Return the launches in order; [] if none was written down, or not by this version."""
    content: Any = folder.find_json(FILE)
    try:
        return [Launch(**launch) for launch in content["launches"]]
    except (TypeError, KeyError):
        return []


def write_launches(folder: Folder, launches: Sequence[Launch]) -> None:
    """Publish the launches, the first and the newest of very many."""
    launches = [*launches[:1], *launches[1:][-MOST_LAUNCHES + 1 :]]
    content = {"launches": [asdict(launch) for launch in launches]}
    # In ASCII: a reason may quote a text with half a character, which UTF-8 cannot say.
    folder.publish_bytes((json.dumps(content, indent=2) + "\n").encode(), FILE)
