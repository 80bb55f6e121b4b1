"""Claim, resume or refuse an output directory before any work, and tally its shards afterwards.

Every job that makes an output directory calls `claim_output`, which writes config.json before any other file.
"""

import fnmatch
import itertools
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from ulmfit_ray.config import ConfigError, OutputRun, command_line, defaults, differences, to_dict
from ulmfit_ray.reporting.launching import finish_report, launch, launch_begins
from ulmfit_ray.reporting.progress import Bar
from ulmfit_ray.storage.folder import Folder, absolute_uri
from ulmfit_ray.storage.job_record import JobRecord, find_job
from ulmfit_ray.storage.lease import FILE as LEASE_FILE
from ulmfit_ray.storage.lease import LeaseHeldError, held_lease
from ulmfit_ray.storage.manifest import Manifest, read_manifest
from ulmfit_ray.storage.receipts import Receipt
from ulmfit_ray.storage.store_errors import StoreLostError

LAYOUT = (
    *("manifest.json", "shards.parquet", "done", "work/done", "work", "checkpoints", "plan.json", "plan.arrow"),
    *("started", "shards", "census", "quarantine", "failed", "vocab.json", "tokenizer.json", "tokenizer.model"),
    *("model.safetensors", "training_log.jsonl", "curves.png", "tensorboard", "lr_find.csv", "lr_find.png"),
    *("index.faiss", "vectors.npy", "moments.npy", "bm25", "groups.parquet", "map.parquet", "map.png", "map.html"),
    *("projection.npz", "trials", "ray-tune", "sweep.parquet", "sweep.csv", "sweep.png", "README.md"),
    *("launches.json", "report.html", "config.json"),
)
"""Every name that a job of ours writes into its output; --overwrite deletes these and nothing else, in this order.
A file that declares others complete is deleted before them, and config.json, which marks the folder as ours, last."""
MIN_DOCUMENTS_JUDGED = 10_000
"""--max-bad-fraction is checked while a phase runs once it has this many documents; with fewer, only at its end."""
NAMED_FAILURES = 10
STORE_LOST_SECONDS = 45
"""Without a finished shard, when a worker gives up a store: it is lost to all, not to one node. Half of a worker's
patience."""


@contextmanager
def output_lease(verb: str, config: Any) -> Iterator[str]:
    """Keep other jobs from writing the output of this one while the block runs; gives the lease's id ("": no lease).

    Raises:
        ConfigError: another job is writing it at this moment, or nothing can be written there.
    """
    folder = Folder(config.output)
    is_finished = folder.exists("manifest.json") and not config.overwrite
    is_foreign = bool(set(folder.names()) - {LEASE_FILE}) and find_job(folder) is None
    # What is only looked at, or will be refused, is not touched.
    if config.dry_run or is_finished or is_foreign:
        yield ""
        return
    with ExitStack() as stack:
        try:
            folder.check_writable()
            run_id = stack.enter_context(held_lease(folder, command_line(verb, config)))
        except LeaseHeldError as error:
            raise ConfigError(str(error)) from error
        except OSError as error:
            raise ConfigError(f"output {folder.uri} cannot be written: {error}") from error
        stack.enter_context(launch(folder, command_line(verb, config), _where(config)))
        yield run_id


def _where(config: Any) -> str:
    """Return what a job runs on, "" if not on Ray."""
    options = getattr(config, "ray", None)
    if options is None:
        return ""
    address = options.address or os.environ.get("RAY_ADDRESS")
    return f"cluster {address}" if address else "a session of its own"


def claim_output(
    verb: str, config: Any, *, inputs: Mapping[str, str] | None = None, facts: Mapping[str, Any] | None = None
) -> tuple[Folder, Manifest | None]:
    """Return the output folder, and its manifest if this job has already finished (else None).

    Writes config.json (the resolved config, fingerprints of `inputs`, and `facts`) if the folder is new. With
    --overwrite the files of an earlier job are deleted first. A dry run changes nothing.

    Raises:
        ConfigError: the folder holds something else, or the output of another config or of other inputs.
    """
    assert isinstance(config, OutputRun)
    folder = Folder(config.output)  # type: ignore[attr-defined]
    job = JobRecord(verb, command_line(verb, config), to_dict(config) | dict(facts or {}), dict(inputs or {}))
    if folder.exists("config.json"):
        previous = find_job(folder)
        if previous is None:
            raise ConfigError(f"output {folder.uri} holds a config.json that is not of ulmfit-ray: name another output")
        if not config.overwrite:
            _refuse_another(folder, job, config, previous)
            manifest = _finished(folder, config.dry_run)
            if manifest is None and not config.dry_run:
                launch_begins(folder)
            return folder, manifest
        if not config.dry_run:
            for name in LAYOUT:
                folder.delete(name)
    elif set(folder.names()) - {LEASE_FILE}:
        raise ConfigError(f"output {folder.uri} is not empty and not an output of ulmfit-ray: name another output")
    if not config.dry_run:
        folder.publish_json({"job": job.to_json()}, "config.json")
        launch_begins(folder)
    return folder, None


def _refuse_another(folder: Folder, job: JobRecord, config: Any, previous: JobRecord) -> None:
    if previous.verb != job.verb:
        raise ConfigError(f"output {folder.uri} belongs to `{previous.verb}`: name another output, or use --overwrite")
    identity = to_dict(config, identity_only=True) | {"inputs": job.inputs}
    changed = differences(previous.to_json(), identity, defaults(config))
    if changed:
        raise ConfigError(
            f"output {folder.uri} belongs to another config ({'; '.join(changed)}):\n"
            "    name another output, or use --overwrite to start afresh"
        )


def _finished(folder: Folder, dry_run: bool) -> Manifest | None:
    """Return the manifest if there is one, else None.

    Also delete work/ and checkpoints/, which remain if the job was killed right after it wrote the manifest.
    """
    if not folder.exists("manifest.json"):
        return None
    for name in () if dry_run else ("work", "started", "checkpoints"):
        folder.delete(name)
    if not dry_run:
        finish_report(folder)
    return read_manifest(folder)


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of one attempt at a shard: its receipt, or the reason why there is none."""

    shard: str
    receipt: Receipt | None
    problem: str = ""
    began: float = 0.0
    """Seconds since 1970, like `ended`; both are 0 for a shard that failed or was found done."""
    ended: float = 0.0


class BadDocuments:
    """Counts the documents that could not be read, by reason."""

    def __init__(self, receipts: Iterable[Receipt] = ()) -> None:
        self._reasons: Counter[str] = Counter()
        self._examples: dict[str, str] = {}
        for receipt in receipts:
            self.add(receipt)

    def add(self, receipt: Receipt) -> None:
        """Count those of one shard."""
        for reason, number in receipt.quarantined.items():
            self._reasons[reason] += number
            self._examples.setdefault(reason, receipt.shard)

    def __len__(self) -> int:
        return self._reasons.total()

    def warn(self, folder: Folder, num_documents: int) -> None:
        """Say on standard error how many there are beside the good ones, if there are any."""
        if len(self):
            found = num_documents + len(self)
            print(f"warning: {len(self):,} of {found:,} documents cannot be read: see quarantine/", file=sys.stderr)
            print(self.named(folder), file=sys.stderr)

    def named(self, folder: Folder) -> str:
        """Return a line for each of the three most frequent reasons, with a place from the quarantine."""
        return "\n".join(
            f"    {number:,} x {reason}{self._example(folder, reason)}"
            for reason, number in self._reasons.most_common(3)
        )

    def _example(self, folder: Folder, reason: str) -> str:
        name = f"quarantine/{self._examples[reason]}.jsonl"
        lines = folder.read_bytes(name).splitlines() if folder.exists(name) else []
        row = next((row for row in map(json.loads, lines) if row["reason"] == reason), None)
        return "" if row is None else f", as in {row['path']} at byte {row['offset']:,}: {row['detail']:.80}"


class Tally:
    """Counts the outcomes of a phase: moves the bar, keeps the failures, stops at too many bad documents."""

    def __init__(self, bar: Bar, folder: Folder, before: Iterable[Receipt] = (), max_bad_fraction: float = 1.0) -> None:
        self._bar, self._folder = bar, folder
        self._max_bad_fraction = max_bad_fraction
        self._failed: dict[str, str] = {}
        self._finished_at = time.monotonic()
        self._documents = 0
        self._bad = BadDocuments()
        for receipt in before:
            self._count(receipt)

    def add(self, outcome: Outcome) -> None:
        """Count one outcome.

        Raises:
            StoreLostError: a worker has given up a store, and no other has finished a shard meanwhile.
        """
        if outcome.receipt is None:
            self._failed[outcome.shard] = outcome.problem
            kind, _, said = outcome.problem.partition(": ")
            if kind == StoreLostError.__name__ and time.monotonic() - self._finished_at > STORE_LOST_SECONDS:
                raise StoreLostError(said)
            return
        receipt = outcome.receipt
        self._finished_at = time.monotonic()
        self._bar.advance(1, num_bytes=receipt.num_bytes, documents=receipt.num_documents, tokens=receipt.num_tokens)
        self._count(receipt)
        if self._documents + len(self._bad) >= MIN_DOCUMENTS_JUDGED:
            self._judge()

    def _count(self, receipt: Receipt) -> None:
        self._documents += receipt.num_documents
        self._bad.add(receipt)

    def finish(self, folder: Folder, missing: Mapping[str, str]) -> None:
        """Raise RuntimeError if units are missing, or if too many documents were bad.

        `missing` has the file that each of them is made from. A failure counts only if its unit is still missing.
        """
        if missing:
            # A streamed unit, part-0000001, fails in one of its shards, part-0000001-00003.
            failed = {shard.rpartition("-")[0]: shard for shard in sorted(self._failed)}
            failed |= {shard: shard for shard in self._failed}
            lines = []
            for unit in sorted(missing)[:NAMED_FAILURES]:
                shard = failed.get(unit, unit)
                why = self._failed.get(shard, "no reason is known: the worker that held it was lost")
                lines.append(f"    {shard} (from {missing[unit]}): {why}")
            if len(missing) > NAMED_FAILURES:
                lines.append(f"    ... and {len(missing) - NAMED_FAILURES:,} more")
            raise RuntimeError(
                f"{len(missing):,} units failed; tracebacks are in {folder.uri}/failed/\n"
                + "\n".join([*lines, "    Run the same command again to try them once more."])
            )
        self._judge()

    def _judge(self) -> None:
        found = self._documents + len(self._bad)
        if len(self._bad) > self._max_bad_fraction * found:
            raise RuntimeError(
                f"{len(self._bad):,} of {found:,} documents cannot be read, more than"
                f" --max-bad-fraction {self._max_bad_fraction:g} allows: see quarantine/ in the output\n"
                f"{self._bad.named(self._folder)}"
            )
