"""report.html: one file that a person reads in a browser, on a telephone too; it has no script and asks no server.

Whatever comes from a corpus, a config or an error passes through `shown` or `escaped`.
"""

import html
import importlib.metadata
import math
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from typing import Any

import numpy as np

from ulmfit_ray.config import flatten
from ulmfit_ray.reporting.progress import duration
from ulmfit_ray.reporting.report_facts import BadExample, Report
from ulmfit_ray.reporting.report_highlights import highlights, status_of
from ulmfit_ray.reporting.report_units import UnitFacts
from ulmfit_ray.reporting.tables import format_number
from ulmfit_ray.storage.launches import Launch, now

FILE = "report.html"
BINS = 40
SLOWEST = 10
ROWS_OF_FIGURE = 15
"""A figure that is a table shows so many rows."""
LONGEST_VALUE = 300


def report_page(report: Report) -> str:
    """Return the page; every part of it stands alone, and one that has nothing to say is left out."""
    status, said = status_of(report)
    style = (resources.files("ulmfit_ray.reporting") / "report.css").read_text(encoding="utf-8")
    parts = [
        *_head(report, status, said),
        *_trouble(report, status),
        *_pictures(report.pictures),
        *_units(report.units),
        *_quarantine(report),
        *_failures(report),
        *_figures(report),
        *_what_ran(report),
        f"<footer>Written {escaped(_moment(now()))} by ulmfit-ray {escaped(importlib.metadata.version('ulmfit-ray'))};"
        " the same figures are in manifest.json.</footer>",
    ]
    title = f"{report.job.verb}: {status}"
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escaped(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f"<style>\n{style}</style>\n</head>\n<body>\n<main>\n" + "\n".join(parts) + "\n</main>\n</body>\n</html>\n"
    )


def escaped(text: object) -> str:
    """Return a text as HTML shows it, as it is; what cannot be seen (control characters, marks that turn the direction
    of reading) becomes an escape like \\u202e."""
    visible = (
        letter if letter.isprintable() or letter == "\n" else letter.encode("unicode_escape").decode()
        for letter in str(text)
    )
    return html.escape("".join(visible))


def shown(value: object) -> str:
    """Return any value of a config or a manifest as a person reads it, escaped and of bounded length."""
    if isinstance(value, bool) or value is None:
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, list | tuple):
        text = ", ".join(format_number(item) for item in value) or "none"
    elif isinstance(value, Mapping):
        text = ", ".join(f"{name} {format_number(item)}" for name, item in value.items()) or "none"
    else:
        text = f"{value:.4g}" if isinstance(value, float) and abs(value) < 1 else format_number(value)
    return escaped(text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]} ...")


def _head(report: Report, status: str, said: str) -> Iterator[str]:
    kind = status.partition(",")[0]
    yield f'<h1>{escaped(report.job.verb)} <span class="status {kind}">{escaped(status)}</span></h1>'
    yield f'<p class="place">{escaped(report.uri)}</p>'
    if said:
        yield f'<p class="soft">{escaped(said)}</p>'
    cards = [f"<div><b>{escaped(value)}</b><span>{escaped(name)}</span></div>" for name, value in highlights(report)]
    if cards:
        yield f'<div class="figures">{"".join(cards)}</div>'


def _trouble(report: Report, status: str) -> Iterator[str]:
    """Say why the job has not finished, and how it goes on."""
    if report.manifest is not None or status == "running":
        return
    last = report.launches[-1] if report.launches else None
    reason = f"<pre>{escaped(last.reason)}</pre>" if last and last.reason else ""
    again = f"<p>The same command goes on from here:</p><pre>{escaped(report.job.command)}</pre>"
    yield _section("What happened", reason + again, kind="trouble")


def _pictures(pictures: Mapping[str, bytes]) -> Iterator[str]:
    figures = [
        f'<figure><img alt="{escaped(title)}" src="data:image/png;base64,{b64encode(picture).decode()}">'
        f"<figcaption>{escaped(title)}</figcaption></figure>"
        for title, picture in pictures.items()
    ]
    if figures:
        yield _section("Curves" if len(figures) > 1 else next(iter(pictures)).partition(" by ")[0], "".join(figures))


def _units(units: UnitFacts | None) -> Iterator[str]:
    if units is None or not units.rows.num_rows:
        return
    of = f" of {units.num_planned:,}" if units.num_planned else ""
    part = f"; the first {units.rows.num_rows:,} were looked at" if units.rows.num_rows < units.num_done else ""
    seconds = units.seconds
    said = f"{units.num_done:,}{of} done{part}; half of them in at most {np.median(seconds):.3g} s, all in at most"
    names = ["unit", "seconds", "tokens / s", "tokens", "documents", *(["from"] if units.sources else [])]
    rows = [
        [
            f'<span class="mono unit">{escaped(unit.name)}</span>',
            f"{unit.seconds:,.2f}",
            f"{unit.num_tokens / unit.seconds:,.0f}" if unit.seconds else "",
            f"{unit.num_tokens:,}",
            f"{unit.num_documents:,}",
            escaped(unit.source),
        ][: len(names)]
        for unit in units.slowest(SLOWEST)
    ]
    body = f'<p class="soft">{said} {seconds.max():.3g} s</p>{_histogram(seconds)}<h3>Slowest</h3>'
    yield _section("Units", body + _table(names, rows, right=("documents", "tokens", "seconds", "tokens / s")))


def _histogram(seconds: np.ndarray) -> str:
    """Return bars of how many units took how long; "" of a few units."""
    if len(seconds) < 4 or seconds.min() == seconds.max():
        return ""
    counts, edges = np.histogram(seconds, bins=min(BINS, max(8, math.isqrt(len(seconds)) * 2)))
    bars = "".join(
        f'<i style="height:{100 * count / counts.max():.1f}%" title="{count:,} units: {start:.3g} to {stop:.3g} s"></i>'
        for count, start, stop in zip(counts, edges[:-1], edges[1:], strict=True)
    )
    ends = f"<span>{edges[0]:.3g} s</span><span>seconds of a unit</span><span>{edges[-1]:.3g} s</span>"
    return f'<div class="histogram" role="img" aria-label="Units by seconds">{bars}</div><div class="ends">{ends}</div>'


def _quarantine(report: Report) -> Iterator[str]:
    reasons: Mapping[str, int] = report.units.quarantined if report.units else {}
    if report.manifest is not None and report.manifest.totals is not None:
        reasons = report.manifest.totals.quarantined
    reasons = {reason: number for reason, number in reasons.items() if number}
    if reasons:
        ordered = sorted(reasons.items(), key=lambda item: -item[1])
        rows = [
            [escaped(reason), f"{number:,}", _examples(report.quarantine.get(reason, []))] for reason, number in ordered
        ]
        said = '<p class="soft">Documents that could not be read; all of them are in quarantine/.</p>'
        yield _section("Quarantine", said + _table(["reason", "documents", "for example"], rows, right=("documents",)))


def _examples(examples: Sequence[BadExample]) -> str:
    lines = [f"{one.path} at {one.offset:,}: {one.detail[:LONGEST_VALUE]}" for one in examples]
    return "<br>".join(f'<span class="mono">{escaped(line)}</span>' for line in lines)


def _failures(report: Report) -> Iterator[str]:
    if report.num_failed:
        more = report.num_failed - len(report.failures)
        said = [
            f"<details><summary>{escaped(name)}: {escaped(text.partition(chr(10))[0])}</summary>"
            f"<pre>{escaped(text)}</pre></details>"
            for name, text in report.failures.items()
        ]
        said += [f'<p class="soft">... and {more:,} more in failed/</p>'] if more else []
        yield _section("Units that failed", "".join(said), kind="trouble")


def _figures(report: Report) -> Iterator[str]:
    figures = {} if report.manifest is None else report.manifest.figures
    plain = {name: value for name, value in figures.items() if not isinstance(value, Mapping)}
    tables = {name: value for name, value in figures.items() if isinstance(value, Mapping) and value}
    if not figures:
        return
    body = [_pairs({_words(name): value for name, value in plain.items()})] if plain else []
    for name, value in tables.items():
        body.append(f"<div><h3>{escaped(_words(name))}</h3>{_pairs(dict(list(value.items())[:ROWS_OF_FIGURE]))}</div>")
    yield _section("Figures", f'<div class="columns">{"".join(body)}</div>')


def _what_ran(report: Report) -> Iterator[str]:
    job, manifest = report.job, report.manifest
    body = [f"<pre>{escaped(job.command)}</pre>"]
    if report.launches:
        names = ["launch", "began", "ended", "took", "where"]
        last = len(report.launches)
        rows = [_launch(number, launch, number == last) for number, launch in enumerate(report.launches, 1)]
        if len(rows) > ROWS_OF_FIGURE:
            rows = [*rows[:1], *rows[-ROWS_OF_FIGURE + 1 :]]
        body.append(f"<h3>Launches</h3>{_table(names, rows, right=('took',))}")
        versions = report.launches[-1].versions
        body.append(
            f'<p class="soft">{escaped(", ".join(f"{name} {version}" for name, version in versions.items()))}</p>'
        )
    body.append(
        f"<details><summary>All options, as they were resolved</summary>{_pairs(flatten(job.config))}</details>"
    )
    prints: dict[str, Any] = {f"input: {name}": value for name, value in job.inputs.items()}
    if manifest is not None:
        own = {"vocabulary": manifest.vocab, "tokenizer": manifest.tokenizer, "plan": manifest.plan}
        prints |= {name: value for name, value in (own | {"model": manifest.model}).items() if value}
    if prints:
        body.append(f"<details><summary>Fingerprints (SHA-256)</summary>{_pairs(prints)}</details>")
    yield _section("What ran", "".join(body))


def _launch(number: int, launch: Launch, is_last: bool) -> list[str]:
    took = "" if launch.seconds is None else duration(launch.seconds)
    silent = "no word of its end: running, or killed" if is_last else "killed: it left no word of its end"
    ending = silent if launch.ending == "running" else launch.ending
    ended = f"{ending} {_moment(launch.ended)}" if launch.ended else ending
    place = f"{launch.host}, process {launch.pid}" + (f", Ray: {launch.ray}" if launch.ray else "")
    return [str(number), escaped(_moment(launch.began)), escaped(ended), took, escaped(place)]


def _section(title: str, body: str, kind: str = "") -> str:
    return f'<section class="{kind}">\n<h2>{escaped(title)}</h2>\n{body}\n</section>'


def _table(names: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()) -> str:
    """Return a table of cells that are HTML already."""
    kinds = ["right" if name in right else "long" if name in ("for example", "from", "where") else "" for name in names]
    head = "".join(f'<th class="{kind}">{escaped(name)}</th>' for name, kind in zip(names, kinds, strict=True))
    lines = ("".join(f'<td class="{kind}">{cell}</td>' for cell, kind in zip(row, kinds, strict=True)) for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{"".join(f"<tr>{line}</tr>" for line in lines)}</table></div>'


def _pairs(values: Mapping[str, Any]) -> str:
    """Return a table of names and values; one of numbers alone is narrow."""
    rows = (f'<tr><td class="name">{escaped(name)}</td><td>{shown(value)}</td></tr>' for name, value in values.items())
    kind = "pairs narrow" if all(isinstance(value, int | float) for value in values.values()) else "pairs"
    return f'<div class="wide"><table class="{kind}">{"".join(rows)}</table></div>'


def _words(name: str) -> str:
    return name.removeprefix("num_").replace("_", " ")


def _moment(moment: str) -> str:
    """Return an ISO time as a person reads it: 2026-11-23 19:03:03 UTC."""
    return moment[:19].replace("T", " ") + (" UTC" if moment.endswith("+00:00") else "")
