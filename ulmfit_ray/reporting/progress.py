"""What a person sees of a running job: a bar on a terminal, else a line every ten seconds.

The rate and the time left are computed here, from our own counts: rich forgets what is older than 30 seconds, and a
single step can take longer.
"""

import sys
import time
from collections import deque
from types import TracebackType
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from ulmfit_ray.reporting.logs import is_json, log_context, say_progress

LINE_SECONDS = 10
RECENT_SECONDS = 30
"""The rate is that of the last so many seconds, or of the last two advances if they took longer."""
ADVANCES_JUDGED = 10
"""The time left follows the recent past if that has so many advances, else the whole run: shards end in bursts. Steps
of a training do not: there it always follows the recent past."""


class _Sample(NamedTuple):
    """What was done at some moment."""

    seconds: float
    done: int
    tokens: float
    num_bytes: float


class Bar:
    """Progress of one stage, counted in units of work, with what was done beside it.

    >>> with Bar("tokenize", total=32, unit="shards", done=5) as bar:
    ...     bar.advance(1, documents=781, tokens=230_000)
    """

    def __init__(
        self, stage: str, total: int | None, unit: str, done: int = 0, *, comes_in_bursts: bool = True
    ) -> None:
        self.stage, self.total, self.unit, self.done = stage, total, unit, done
        self._advances_judged = ADVANCES_JUDGED if comes_in_bursts else 0
        self._note = ""
        self._counts: dict[str, float] = {}
        self._num_bytes = 0
        self._begin = _Sample(time.monotonic(), done, 0, 0)
        self._recent = deque([self._begin])
        self._last_line: float | None = None
        self._bar: Progress | None = None
        self._said = log_context(stage=stage)
        if sys.stdout.isatty() and not is_json():
            console = Console(highlight=False, markup=False)
            # Only the bar is elastic: a column that may not wrap keeps its width.
            columns = (
                TextColumn("{task.description}", table_column=Column(no_wrap=True)),
                BarColumn(bar_width=None, table_column=Column(ratio=1)),
                TextColumn("{task.fields[text]}", markup=False, table_column=Column(no_wrap=True)),
            )
            self._bar = Progress(*columns, console=console, expand=True)
            self._task = self._bar.add_task(stage, total=self._known_total(), completed=done, text=self._fitting(""))

    def __enter__(self) -> "Bar":
        self._said.__enter__()
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # At the end the rate is that of the whole run.
        rate = _rate(self._begin, self._recent[-1])
        if self._bar:
            self._bar.update(self._task, text=self._fitting(rate))
            self._bar.stop()
        else:
            self._say(rate)
        self._said.__exit__(kind, error, trace)

    def advance(
        self, steps: int, note: str = "", total: int | None = None, num_bytes: int = 0, **counts: float
    ) -> None:
        """Count `steps` more done; `counts` (documents=, tokens=) add up, and tokens and bytes give rates.

        An advance by 0 before any other shows what was done before the bar began: nothing is known of its time.
        """
        is_before = not steps and self.done == self._begin.done
        self.done += steps
        self.total = total or self.total
        self._note = note
        for name, value in counts.items():
            self._counts[name] = self._counts.get(name, 0) + value
        self._num_bytes += num_bytes
        now = _Sample(time.monotonic(), self.done, self._counts.get("tokens", 0), self._num_bytes)
        self._remember(now, is_before)
        rate, left = _rate(self._recent[0], self._recent[-1]), self._time_left()
        if self._bar:
            text = self._fitting(rate, left)
            self._bar.update(self._task, completed=self.done, total=self._known_total(), text=text)
        elif self._last_line is None or time.monotonic() - self._last_line >= LINE_SECONDS:
            self._last_line = time.monotonic()
            self._say(rate, left)

    def _say(self, rate: str, left: str = "") -> None:
        """Say in a line how far the stage is."""
        counts = {"done": self.done, "total": self._known_total()} | self._counts
        say_progress(f"{self.stage}: {', '.join(self._parts(rate, left))}", **counts)

    def leave_out(self, seconds: float) -> None:
        """Count the last `seconds` as no time: the stage did something else, which is not the speed of its units."""
        now = time.monotonic()
        self._begin, *recent = (
            sample._replace(seconds=min(now, sample.seconds + seconds)) for sample in (self._begin, *self._recent)
        )
        self._recent = deque(recent)

    def _remember(self, sample: _Sample, is_begin: bool) -> None:
        """Add a sample to the recent past, and forget those that are not needed to span it."""
        if is_begin:
            self._begin = sample
            self._recent.clear()
        self._recent.append(sample)
        while len(self._recent) > 3 and self._recent[1].seconds <= sample.seconds - RECENT_SECONDS:
            self._recent.popleft()

    def _known_total(self) -> int | None:
        """Return the total, or None if it is unknown or was guessed too small."""
        return self.total if self.total and self.total >= self.done else None

    def _parts(self, rate: str, left: str = "", *, with_counts: bool = True, note: str | None = None) -> list[str]:
        """Return what is said of the stage, part by part; the note as it is unless another is given."""
        total = self._known_total()
        of = f" of {total:,}" if total else ""
        counts = [f"{value:,.0f} {name}" for name, value in self._counts.items()] if with_counts else []
        parts = [f"{self.done:,}{of} {self.unit}", *counts, rate, self._note if note is None else note, left]
        return [part for part in parts if part]

    def _fitting(self, rate: str, left: str = "") -> str:
        """Return the text beside the bar; on a narrow terminal the counts give way, then the note, its end first."""
        assert self._bar is not None
        # A space on each side of the bar, and one column for the bar itself.
        width = self._bar.console.width - len(self.stage) - 3
        choices = ((True, self._note), (False, self._note), (False, self._note.partition(", ")[0]), (False, ""))
        texts = [", ".join(self._parts(rate, left, with_counts=one, note=other)) for one, other in choices]
        return next((text for text in texts if len(text) <= width), texts[-1])

    def _time_left(self) -> str:
        """Return how long the rest takes at the speed of the recent past or of the whole run; "" if none is known."""
        total, last = self._known_total(), self._recent[-1]
        first = self._recent[0] if len(self._recent) > self._advances_judged else self._begin
        if first.done == last.done:
            first = self._begin
        if total is None or first.done == last.done:
            return ""
        seconds = (last.seconds - first.seconds) * (total - last.done) / (last.done - first.done)
        return f"{duration(seconds)} left"


def _rate(first: _Sample, last: _Sample) -> str:
    """Return tokens and megabytes per second between two samples, or "" if too little is known."""
    seconds, tokens = last.seconds - first.seconds, last.tokens - first.tokens
    if seconds < 1 or not tokens:
        return ""
    megabytes = (last.num_bytes - first.num_bytes) / 1e6
    return f"{tokens / seconds:,.0f} tokens/s" + (f", {megabytes / seconds:,.1f} MB/s" if megabytes else "")


def duration(seconds: float) -> str:
    """Return a time as a person says it.

    >>> duration(95), duration(600), duration(40_000), duration(400_000)
    ('95 s', '10 min', '11 h 7 min', '4 d 15 h')
    """
    minutes = round(seconds / 60)
    if seconds < 120:
        return f"{seconds:.0f} s"
    if minutes < 120:
        return f"{minutes} min"
    hours = round(minutes / 60)
    return f"{minutes // 60} h {minutes % 60} min" if hours < 48 else f"{hours // 24:,} d {hours % 24} h"
