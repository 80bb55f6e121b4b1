"""The life of an output directory: claimed, resumed or refused before any work; rows of work counted; told about.

Every job begins with `claim_output`, which writes the resolved config down before anything else happens.
"""

import itertools
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any, Protocol

from ulmfit_ray.config import ConfigError, Run, command_line, differences, to_dict
from ulmfit_ray.data.folder import Folder, absolute_uri
from ulmfit_ray.data.receipts import Receipt
from ulmfit_ray.pipelines.progress import Bar

LAYOUT = (
    *("manifest.json", "shards.parquet", "config.json", "plan.json", "plan.arrow", "vocab.json", "tokenizer.json"),
    *("shards", "done", "quarantine", "failed", "work", "checkpoints"),
    *("model.safetensors", "training_log.jsonl", "README.md"),
)
"""Every name that a job of ours writes into its output; --overwrite deletes these and nothing else."""
ATTEMPTS = 3
MIN_DOCUMENTS_JUDGED = 10_000


class JobConfig(Protocol):
    """What every job's config has."""

    @property
    def output(self) -> str:
        """The output directory's URI."""


def claim_output(verb: str, config: Any) -> tuple[Folder, dict[str, Any] | None]:
    """Return the output folder and, when this very job has finished already, its manifest.

    Writes config.json if the folder is new. Raises:
        ConfigError: the folder holds something else, or the output of another config.
    """
    assert isinstance(config, Run)
    folder = Folder(config.output)  # type: ignore[attr-defined]
    resolved = {"verb": verb, "command": command_line(verb, config)} | to_dict(config)
    if folder.exists("config.json"):
        previous = folder.read_json("config.json")["job"]
        if config.overwrite and not config.dry_run:
            for name in LAYOUT:
                folder.delete(name)
        elif not config.overwrite:
            _refuse_another(folder, verb, config, previous)
            return folder, folder.read_json("manifest.json") if folder.exists("manifest.json") else None
    elif folder.names():
        raise ConfigError(f"output {folder.uri} is not empty and not an output of ulmfit-ray: name another")
    if not config.dry_run:
        folder.publish_json({"job": resolved}, "config.json")
    return folder, None


def _refuse_another(folder: Folder, verb: str, config: Any, previous: dict[str, Any]) -> None:
    if previous["verb"] != verb:
        raise ConfigError(f"output {folder.uri} belongs to `{previous['verb']}`: name another, or use --overwrite")
    now = to_dict(config, identity_only=True)
    changed = differences(previous, now)
    if changed:
        raise ConfigError(
            f"output {folder.uri} belongs to another config ({'; '.join(changed)}):\n"
            "    name another output, or use --overwrite to start afresh"
        )


def refuse_output_inside(output: str, inputs: Iterable[str]) -> None:
    """Raise ConfigError if the output lies in an input folder: a second run would read the first one's results."""
    out = absolute_uri(output)
    for given in map(absolute_uri, inputs):
        if out == given or out.startswith(given.rstrip("/") + "/"):
            raise ConfigError(f"output {output} lies inside input {given}: name a place outside it")


def attempt(folder: Folder, shard: str, work: Callable[[], Receipt]) -> dict[str, Any]:
    """Run one shard's work up to three times; return its receipt as a row, or a row that says why not.

    The one place that catches everything: a shard that fails must not end the job, and is named at its end.
    """
    for number in itertools.count(1):
        try:
            receipt = work()
        except Exception as error:
            if number == ATTEMPTS:
                return failure(folder, shard, f"{type(error).__name__}: {error}", traceback.format_exc())
            time.sleep(0.5 * 2**number)
        else:
            folder.delete(f"failed/{shard}.txt")
            return _row(receipt, "")
    raise AssertionError("unreachable")


def failure(folder: Folder, shard: str, problem: str, details: str) -> dict[str, Any]:
    """Write failed/<shard>.txt and return the row that says that this shard was not made."""
    folder.publish_bytes(f"{problem}\n\n{details}\n".encode(), f"failed/{shard}.txt")
    return _row(Receipt(plan="", shard=shard, num_documents=0, num_tokens=0), problem)


def _row(receipt: Receipt, failed: str) -> dict[str, Any]:
    facts = asdict(receipt)
    names = ("shard", "num_documents", "num_tokens", "seconds")
    return {name: facts[name] for name in names} | {"num_quarantined": receipt.num_quarantined, "failed": failed}


class Tally:
    """Watches the rows of finished shards: moves the bar, keeps the failures, stops at too many bad documents."""

    def __init__(self, bar: Bar, max_bad_fraction: float = 1.0, before: Iterable[Receipt] = ()) -> None:
        self.failed: dict[str, str] = {}
        self._bar = bar
        self._max_bad_fraction = max_bad_fraction
        before = list(before)
        self._documents = sum(receipt.num_documents for receipt in before)
        self._bad = sum(receipt.num_quarantined for receipt in before)

    def add(self, row: dict[str, Any]) -> None:
        """Count one row that `attempt` gave."""
        if row["failed"]:
            self.failed[row["shard"]] = row["failed"]
            return
        self._bar.advance(1, documents=row["num_documents"], tokens=row["num_tokens"])
        self._documents += row["num_documents"]
        self._bad += row["num_quarantined"]
        if self._documents + self._bad >= MIN_DOCUMENTS_JUDGED:
            self._judge()

    def finish(self, folder: Folder) -> None:
        """Raise RuntimeError if shards failed or too many documents were bad."""
        if self.failed:
            named = "\n".join(f"    {shard}: {why}" for shard, why in itertools.islice(sorted(self.failed.items()), 10))
            raise RuntimeError(
                f"{len(self.failed)} shards failed; tracebacks are in {folder.uri}/failed/\n{named}\n"
                "    Run the same command again to try them once more."
            )
        self._judge()

    def _judge(self) -> None:
        if self._bad > self._max_bad_fraction * (self._documents + self._bad):
            raise RuntimeError(
                f"{self._bad:,} of {self._documents + self._bad:,} documents cannot be read, more than"
                f" --max-bad-fraction {self._max_bad_fraction:g} allows: see quarantine/ in the output"
            )
