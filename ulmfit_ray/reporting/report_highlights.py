"""What stands at the head of a report: how the job stands, and the few figures that matter most."""

from collections.abc import Iterator

from ulmfit_ray.reporting.progress import duration
from ulmfit_ray.reporting.report_facts import Report
from ulmfit_ray.reporting.tables import format_number
from ulmfit_ray.reporting.training_log import is_training, tokens_per_second

OF_MODELS = (
    "perplexity",
    "loss",
    "accuracy",
    "f1",
    "rmse",
    "accuracy_all",
    "learning_rate",
    "num_steps",
    "num_parameters",
)
MOST_SHOWN = 5
"""Beside the time."""


def status_of(report: Report) -> tuple[str, str]:
    """Return how the job stands, in a word or two, and a sentence on when it ran."""
    launches = report.launches
    times = f"in {len(launches):,} launches" if len(launches) > 1 else ""
    known = [launch.seconds for launch in launches if launch.seconds is not None]
    took = duration(sum(known)) if known else ""
    said = " ".join(part for part in (f"{took} of work" if took else "", times) if part)
    if report.manifest is not None:
        return "finished", said
    if not launches:
        return "unfinished", said
    if launches[-1].ending == "running":
        # The report says so at the beginning, and nobody may be left to say more at the end.
        return "running", f"since {launches[-1].began[:19].replace('T', ' ')} UTC, or killed since then"
    ending = launches[-1].ending
    return ("unfinished" if ending == "finished" else f"{ending}, unfinished"), said


def highlights(report: Report) -> list[tuple[str, str]]:
    """Return up to six pairs of (name, value), the time last."""
    seconds = [launch.seconds for launch in report.launches if launch.seconds is not None]
    pairs = list(_of_data(report, sum(seconds)) if report.units else _of_model(report))[:MOST_SHOWN]
    if seconds:
        pairs.append(("time", duration(sum(seconds))))
    return pairs


def _of_data(report: Report, seconds: float) -> Iterator[tuple[str, str]]:
    """Yield the counts of a data set, of its finished units if there are more to come."""
    units = report.units
    assert units is not None
    totals = None if report.manifest is None else report.manifest.totals
    if totals is not None:
        num_documents, num_tokens, num_bad = totals.num_documents, totals.num_tokens, totals.num_quarantined
    else:
        columns = ("num_documents", "num_tokens", "num_quarantined")
        num_documents, num_tokens, num_bad = (int(units.rows[name].to_numpy().sum()) for name in columns)
    of = f" of {units.num_planned:,}" if units.num_planned and units.num_planned != units.num_done else ""
    yield "documents", f"{num_documents:,}"
    yield "tokens", f"{num_tokens:,}"
    figures = {} if report.manifest is None else report.manifest.figures
    speed = figures.get("tokens_per_second") or (num_tokens / seconds if seconds else 0)
    if speed:
        yield "tokens per second", f"{speed:,.0f}"
    yield "units done", f"{units.num_done:,}{of}"
    yield "quarantined", f"{num_bad:,}"


def _of_model(report: Report) -> Iterator[tuple[str, str]]:
    figures = {} if report.manifest is None else dict(report.manifest.figures)
    training = [row for row in report.log if is_training(row)]
    if not figures and training:
        last = training[-1]
        figures = {"loss": last["loss"], "num_steps": int(last["step"])}
    named = [name for name in OF_MODELS if isinstance(figures.get(name), int | float)]
    others = [name for name, value in figures.items() if isinstance(value, int | float) and name not in named]
    pairs = [(name.removeprefix("num_").replace("_", " "), _value(name, figures[name])) for name in named or others]
    speed = tokens_per_second(training)
    yield from pairs[:3]
    if speed:
        yield "tokens per second", f"{speed:,.0f}"
    yield from pairs[3:]


def _value(name: str, value: float) -> str:
    return f"{value:.1%}" if name.startswith("accuracy") else format_number(value)
