"""What the files of an output say of the job that made it, for its report; report_page.py lays it out.

Everything is read from the output itself, a bounded part of it: a report of 160,000 units costs no more than some
hundred requests to an object store.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ulmfit_ray.reporting.curves import training_curves
from ulmfit_ray.reporting.report_units import UnitFacts, read_units
from ulmfit_ray.reporting.training_log import Row
from ulmfit_ray.storage.checkpoints import newest_log
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.job_record import JobRecord, find_job
from ulmfit_ray.storage.launches import Launch, read_launches
from ulmfit_ray.storage.manifest import Manifest, read_manifest

PICTURES = {
    "curves.png": "Loss and learning rate by step",
    "lr_find.png": "Loss by learning rate",
    "sweep.png": "The settings of the sweep",
    "map.png": "The map",
}
LARGEST_PICTURE = 4 << 20
"""A map of very many documents is looked at in its own file."""
QUARANTINES_READ, LARGEST_QUARANTINE = 20, 16 << 20
EXAMPLES = 3
FAILURES_SHOWN = 20
LONGEST_FAILURE = 2000


@dataclass(frozen=True, kw_only=True, slots=True)
class BadExample:
    """A document that could not be read."""

    path: str
    offset: int
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """All that a page shows."""

    uri: str
    job: JobRecord
    launches: Sequence[Launch]
    manifest: Manifest | None
    """None: the job has not finished."""
    units: UnitFacts | None = None
    pictures: dict[str, bytes] = field(default_factory=dict)
    """PNG, by what they show."""
    log: Sequence[Row] = ()
    """Of a training."""
    quarantine: dict[str, list[BadExample]] = field(default_factory=dict)
    """Some bad documents of each reason."""
    failures: dict[str, str] = field(default_factory=dict)
    """What went wrong with some of the units that could not be made."""
    num_failed: int = 0


def gather(folder: Folder) -> Report:
    """Read what a report says.

    Raises:
        FileNotFoundError: the folder holds no output of ours.
    """
    job = find_job(folder)
    if job is None:
        raise FileNotFoundError(f"{folder.uri} is not an output of ulmfit-ray: its config.json names no job")
    launches = read_launches(folder)
    if launches and launches[-1].ending == "running":
        # What is there will change: the job is not kept waiting for a look at it.
        return Report(uri=folder.uri, job=job, launches=launches, manifest=None)
    manifest = read_manifest(folder) if folder.exists("manifest.json") else None
    units = read_units(folder, is_finished=manifest is not None)
    log = _training_log(folder)
    failed = [] if manifest else folder.names("failed")
    return Report(
        uri=folder.uri,
        job=job,
        launches=launches,
        manifest=manifest,
        units=units,
        pictures=_pictures(folder, log),
        log=log,
        quarantine=_quarantine(folder, units),
        failures={name.removesuffix(".txt"): _start_of(folder, f"failed/{name}") for name in failed[:FAILURES_SHOWN]},
        num_failed=len(failed),
    )


def _training_log(folder: Folder) -> list[Row]:
    """Return the log of a training, of its newest checkpoint if it has not finished; [] of any other job."""
    content = folder.read_bytes("training_log.jsonl") if folder.exists("training_log.jsonl") else newest_log(folder)
    return [json.loads(line) for line in content.splitlines()]


def _pictures(folder: Folder, log: Sequence[Row]) -> dict[str, bytes]:
    names = set(folder.names())
    pictures = {
        title: folder.read_bytes(name)
        for name, title in PICTURES.items()
        if name in names and folder.size(name) <= LARGEST_PICTURE
    }
    if "curves.png" not in names and any("learning_rate" in row for row in log):
        pictures[PICTURES["curves.png"]] = training_curves(log)
    return pictures


def _quarantine(folder: Folder, units: UnitFacts | None) -> dict[str, list[BadExample]]:
    """Return some bad documents of each reason, of the units that have most of them."""
    found: dict[str, list[BadExample]] = {}
    for row in _quarantined_rows(folder, units):
        examples = found.setdefault(str(row["reason"]), [])
        if len(examples) < EXAMPLES:
            examples.append(BadExample(path=str(row["path"]), offset=int(row["offset"]), detail=str(row["detail"])))
    return found


def _quarantined_rows(folder: Folder, units: UnitFacts | None) -> Iterator[dict[str, Any]]:
    for shard in units.most_quarantined(QUARANTINES_READ) if units else ():
        name = f"quarantine/{shard}.jsonl"
        if folder.exists(name) and folder.size(name) <= LARGEST_QUARANTINE:
            yield from map(json.loads, folder.read_bytes(name).splitlines())


def _start_of(folder: Folder, name: str) -> str:
    return folder.read_bytes(name)[:LONGEST_FAILURE].decode(errors="replace").strip()
