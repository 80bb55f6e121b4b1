"""The life of an output directory: claimed, resumed or refused before any work; rows of work counted; told about.

Every job begins with `claim_output`, which writes the resolved config down before anything else happens.
"""

import fnmatch
import itertools
import json
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from ulmfit_ray.config import ConfigError, OutputRun, command_line, differences, to_dict
from ulmfit_ray.reporting.progress import Bar
from ulmfit_ray.storage.folder import Folder, absolute_uri
from ulmfit_ray.storage.receipts import Receipt

LAYOUT = (
    *("manifest.json", "shards.parquet", "done", "work/done", "work", "checkpoints", "plan.json", "plan.arrow"),
    *("shards", "quarantine", "failed", "vocab.json", "tokenizer.json", "model.safetensors", "training_log.jsonl"),
    *("README.md", "config.json"),
)
"""Every name that a job of ours writes into its output; --overwrite deletes these and nothing else. What vouches for
other files goes before them, and config.json, which says that the folder is ours, last."""
ATTEMPTS = 3
MIN_DOCUMENTS_JUDGED = 10_000


def claim_output(
    verb: str, config: Any, *, inputs: dict[str, str] | None = None, facts: dict[str, Any] | None = None
) -> tuple[Folder, dict[str, Any] | None]:
    """Return the output folder and, when this very job has finished already, its manifest.

    Writes config.json if the folder is new: the resolved config, fingerprints of `inputs`, and `facts`.

    Raises:
        ConfigError: the folder holds something else, or the output of another config or of other inputs.
    """
    assert isinstance(config, OutputRun)
    folder = Folder(config.output)  # type: ignore[attr-defined]
    identity = to_dict(config, identity_only=True) | {"inputs": inputs or {}}
    resolved = {"verb": verb, "command": command_line(verb, config)} | to_dict(config) | identity | (facts or {})
    if folder.exists("config.json"):
        previous = folder.read_json("config.json").get("job", {})
        if "verb" not in previous:
            raise ConfigError(f"output {folder.uri} holds a config.json that is not of ulmfit-ray: name another output")
        if not config.overwrite:
            _refuse_another(folder, verb, identity, previous)
            return folder, _finished(folder, config.dry_run)
        if not config.dry_run:
            for name in LAYOUT:
                folder.delete(name)
    elif folder.names():
        raise ConfigError(f"output {folder.uri} is not empty and not an output of ulmfit-ray: name another")
    if not config.dry_run:
        folder.publish_json({"job": resolved}, "config.json")
    return folder, None


def _refuse_another(folder: Folder, verb: str, identity: dict[str, Any], previous: dict[str, Any]) -> None:
    if previous["verb"] != verb:
        raise ConfigError(f"output {folder.uri} belongs to `{previous['verb']}`: name another, or use --overwrite")
    changed = differences(previous, identity)
    if changed:
        raise ConfigError(
            f"output {folder.uri} belongs to another config ({'; '.join(changed)}):\n"
            "    name another output, or use --overwrite to start afresh"
        )


def _finished(folder: Folder, dry_run: bool) -> dict[str, Any] | None:
    """Return the manifest if there is one; clear away what a kill right after it was written has left."""
    if not folder.exists("manifest.json"):
        return None
    for name in () if dry_run else ("work", "checkpoints"):
        folder.delete(name)
    manifest: dict[str, Any] = folder.read_json("manifest.json")
    return manifest


def print_dry_run(config: Any, plan: str) -> None:
    """Print a job's resolved config and a line about what it would do."""
    print(json.dumps(to_dict(config), indent=2))
    print(f"plan: {plan}")


def refuse_output_inside(output: str, inputs: Iterable[str]) -> None:
    """Raise ConfigError if the output lies in an input folder: a second run would read the first one's results."""
    out = absolute_uri(output)
    places = list(itertools.accumulate(out.split("/"), "{}/{}".format))
    for given in map(absolute_uri, inputs):
        if given.rstrip("/") in places or any(fnmatch.fnmatchcase(place, given) for place in places):
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
