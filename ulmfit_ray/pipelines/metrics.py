"""What Prometheus may ask of a running job: counters and gauges through Ray's metrics, tagged with verb and stage.

Ray's agent on each node serves them, with `ray_` before each name; cluster/grafana-dashboard.json draws them all. The
tag is not called `job`, because Prometheus calls its own scrape jobs so and would rename ours. What a driver counts, it
hands on every few seconds: a job of many small units finishes thousands of them in one. A worker would lose what it
has counted: Ray's agent hears of it every ten seconds, and an idle worker ends before that. Actors live longer.
"""

import collections
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from ulmfit_ray.lifecycle import Outcome
from ulmfit_ray.reporting.logs import known_context

if TYPE_CHECKING:
    # runtime.py must come before anything of Ray's, so it is imported where it is used.
    from ray.util.metrics import Metric

Result = TypeVar("Result")
TAGS = ("verb", "stage")
COUNTERS = {
    "ulmfit_documents_total": "Documents of finished units, or of training steps.",
    "ulmfit_tokens_total": "Tokens of finished units, or of training steps.",
    "ulmfit_quarantined_total": "Documents that could not be read.",
    "ulmfit_units_done_total": "Units that were finished.",
    "ulmfit_units_failed_total": "Attempts at units that failed; a unit is given up after the second.",
}
GAUGES = {
    "ulmfit_tokens_per_second": "Tokens per second of a stage in the last seconds, by the driver's clock.",
    "ulmfit_queue_depth": "Units of a stage that are not finished yet.",
    "ulmfit_device_busy_share": "Part of the time, 0 to 1, in which an actor's device encoded, since the unit before.",
    "ulmfit_loss": "Training loss, nats.",
}
HISTOGRAMS = {"ulmfit_unit_seconds": "Seconds that a worker took for a unit."}
BOUNDARIES = [0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000]
FLUSH_SECONDS = 2.0


@cache
def _metric(name: str) -> "Metric":
    """Return a metric, made when this process first has something to say."""
    from ray.util.metrics import Counter, Gauge, Histogram

    if name in COUNTERS:
        return Counter(name, COUNTERS[name], TAGS)
    if name in GAUGES:
        return Gauge(name, GAUGES[name], TAGS)
    return Histogram(name, HISTOGRAMS[name], BOUNDARIES, TAGS)


def _say(name: str, value: float, tags: Mapping[str, str]) -> None:
    """Count, set or observe a value; without effect where Ray does not run."""
    if "ray" not in sys.modules or not sys.modules["ray"].is_initialized():
        return
    from ray.util.metrics import Counter, Gauge, Histogram

    metric = _metric(name)
    if isinstance(metric, Counter):
        if value > 0:
            metric.inc(value, dict(tags))
    elif isinstance(metric, Gauge):
        metric.set(value, dict(tags))
    elif isinstance(metric, Histogram):
        metric.observe(value, dict(tags))


class StageMetrics:
    """The outcomes of one stage, added up on the driver and handed to Ray every few seconds."""

    def __init__(self, verb: str, stage: str) -> None:
        self._tags = {"verb": verb, "stage": stage}
        self._counts: collections.Counter[str] = collections.Counter()
        self._seconds: list[float] = []
        self._num_waiting = 0
        self._flushed = time.monotonic()

    def wait_for(self, num_units: int) -> None:
        """Say how many units are still to be finished."""
        self._num_waiting = num_units
        _say("ulmfit_queue_depth", num_units, self._tags)

    def add(self, outcome: Outcome) -> None:
        """Count what became of one attempt at a unit."""
        receipt = outcome.receipt
        if receipt is None:
            self._counts["ulmfit_units_failed_total"] += 1
        else:
            self._counts["ulmfit_units_done_total"] += 1
            self._counts["ulmfit_documents_total"] += receipt.num_documents
            self._counts["ulmfit_tokens_total"] += receipt.num_tokens
            self._counts["ulmfit_quarantined_total"] += receipt.num_quarantined
            self._num_waiting -= 1
            self._seconds += [outcome.ended - outcome.began] if outcome.ended else []
        if time.monotonic() - self._flushed >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Hand on what was counted since the last time."""
        seconds = time.monotonic() - self._flushed
        _say("ulmfit_tokens_per_second", self._counts["ulmfit_tokens_total"] / max(seconds, 1e-9), self._tags)
        # A streamed file has more shards than were waited for.
        _say("ulmfit_queue_depth", max(0, self._num_waiting), self._tags)
        for name, value in self._counts.items():
            _say(name, value, self._tags)
        for unit_seconds in self._seconds:
            _say("ulmfit_unit_seconds", unit_seconds, self._tags)
        self._counts.clear()
        self._seconds.clear()
        self._flushed = time.monotonic()


@contextmanager
def stage_metrics(verb: str, stage: str) -> Iterator[StageMetrics]:
    """Give what counts a stage; at its end nothing is fast and nothing waits any more."""
    metrics = StageMetrics(verb, stage)
    try:
        yield metrics
    finally:
        metrics.flush()
        metrics.wait_for(0)
        _say("ulmfit_tokens_per_second", 0, {"verb": verb, "stage": stage})


def training_row(stage: str, row: Mapping[str, float]) -> None:
    """Say what a row of a training's log says: the mean of some steps (not of a validation)."""
    tags = {"verb": stage, "stage": stage}
    _say("ulmfit_tokens_total", row["tokens"], tags)
    _say("ulmfit_documents_total", row.get("documents", 0), tags)
    _say("ulmfit_loss", row["loss"], tags)
    if row.get("seconds"):
        _say("ulmfit_tokens_per_second", row["tokens"] / row["seconds"], tags)


class DeviceClock:
    """How much of its time a device works, from the end of one unit to that of the next; of one thread."""

    def __init__(self) -> None:
        self._ended = time.monotonic()

    def timed(self, work: Callable[[], Result]) -> tuple[Result, float]:
        """Return what the work gives, and the share of the time since the last work ended that it took."""
        began = time.monotonic()
        result = work()
        before, self._ended = self._ended, time.monotonic()
        return result, (self._ended - began) / max(self._ended - before, 1e-9)


def device_busy(share: float) -> None:
    """Say how busy the device of this actor was; the stage is that of the log's context."""
    known = known_context()
    tags = {"verb": known.get("job", ""), "stage": known.get("stage", "")}
    _say("ulmfit_device_busy_share", share, tags)
