"""What a person sees of a running job: a bar on a terminal, else a line every ten seconds."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

LINE_SECONDS = 10


class Bar:
    """Progress of one stage, counted in units of work, with what was done beside it.

    >>> with Bar("tokenize", total=32, unit="shards", done=5) as bar:
    ...     bar.advance(1, documents=781, tokens=230_000)
    """

    def __init__(self, stage: str, total: int | None, unit: str, done: int = 0) -> None:
        self.stage, self.total, self.unit, self.done = stage, total, unit, done
        self._done_before = done
        self._note = ""
        self._counts: dict[str, float] = {}
        self._began = self._last_line = time.monotonic()
        self._bar: Progress | None = None
        if sys.stdout.isatty():
            columns = (
                TextColumn("{task.description:<18}"),
                BarColumn(),
                TextColumn("{task.fields[text]}", markup=False),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=Console(highlight=False, markup=False))
            self._task = self._bar.add_task(stage, total=total, completed=done, text=self._text())

    def __enter__(self) -> "Bar":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.update(self._task, text=self._text())
            self._bar.stop()
        else:
            print(f"{self.stage}: {self._text()}", flush=True)

    def advance(self, steps: int, note: str = "", total: int | None = None, **counts: float) -> None:
        """Count `steps` more done; `counts` (documents=, tokens=) add up and give a rate for tokens."""
        self.done += steps
        self.total = total or self.total
        self._note = note
        for name, value in counts.items():
            self._counts[name] = self._counts.get(name, 0) + value
        if self._bar:
            self._bar.update(self._task, completed=self.done, total=self.total, text=self._text())
        elif time.monotonic() - self._last_line > LINE_SECONDS:
            self._last_line = time.monotonic()
            print(f"{self.stage}: {self._text()}{self._time_left()}", flush=True)

    def _text(self) -> str:
        of = f" of {self.total:,}" if self.total else ""
        parts = [f"{self.done:,}{of} {self.unit}"]
        parts += [f"{value:,.0f} {name}" for name, value in self._counts.items()]
        seconds = time.monotonic() - self._began
        if "tokens" in self._counts and seconds > 1:
            parts.append(f"{self._counts['tokens'] / seconds:,.0f} tokens/s")
        return ", ".join(parts + ([self._note] if self._note else []))

    def _time_left(self) -> str:
        done_here = self.done - self._done_before
        if not self.total or not done_here:
            return ""
        return f", {(time.monotonic() - self._began) * (self.total - self.done) / done_here:,.0f} s left"
