"""What a person sees of a running job, on a terminal of 80 columns and without one."""

import io
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import pytest
from rich.console import Console

from ulmfit_ray.reporting import progress
from ulmfit_ray.reporting.progress import Bar, duration

Lines = Callable[[], list[str]]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock whose time the test sets."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Lines:
    """A function that returns the lines printed since it was last asked."""

    def lines() -> list[str]:
        return capsys.readouterr().out.splitlines()

    return lines


def test_the_first_advance_is_shown_at_once_and_then_a_line_every_ten_seconds(
    printed: Lines, clock: list[float]
) -> None:
    with Bar("1 tokenize", 10, "shards", done=2) as bar:
        clock[0] += 5
        bar.advance(1, documents=10, tokens=1_000)
        assert printed() == ["1 tokenize: 3 of 10 shards, 10 documents, 1,000 tokens, 200 tokens/s, 35 s left"]
        clock[0] += 6
        bar.advance(1, documents=10, tokens=1_200)
        assert printed() == []
        clock[0] += 4
        bar.advance(1, documents=10, tokens=800)
        assert printed() == ["1 tokenize: 5 of 10 shards, 30 documents, 3,000 tokens, 200 tokens/s, 25 s left"]
    assert printed() == ["1 tokenize: 5 of 10 shards, 30 documents, 3,000 tokens, 200 tokens/s"]


def test_without_a_total_nothing_is_said_of_the_time_left(printed: Lines, clock: list[float]) -> None:
    with Bar("verify", None, "shards") as bar:
        clock[0] += 11
        bar.advance(1, note="all well")
    assert printed() == ["verify: 1 shards, all well"] * 2


def test_a_total_that_was_guessed_too_small_is_not_shown(printed: Lines, clock: list[float]) -> None:
    with Bar("1 tokenize", 1, "shards", done=6) as bar:
        clock[0] += 1
        bar.advance(1)
        assert printed() == ["1 tokenize: 7 shards"]
        clock[0] += 10
        bar.advance(1, total=10)
    assert printed()[0] == "1 tokenize: 8 of 10 shards, 11 s left"


def test_steps_of_fifteen_seconds_have_a_rate_and_a_time_left_from_the_first_on(
    printed: Lines, clock: list[float]
) -> None:
    bar = Bar("pretrain", 100, "steps")
    lines = []
    for _ in range(8):
        clock[0] += 15
        bar.advance(1, note="loss 5.1", tokens=70_000)
        lines += printed()
    assert [line.partition("4,667 tokens/s, loss 5.1, ")[2] for line in lines] == [
        *("25 min left", "24 min left", "24 min left", "24 min left"),
        *("24 min left", "24 min left", "23 min left", "23 min left"),
    ]


def test_the_rate_is_of_the_last_thirty_seconds(printed: Lines, clock: list[float]) -> None:
    bar = Bar("1 tokenize", 1000, "shards")
    for tokens in [1_000] * 61 + [4_000] * 30:
        clock[0] += 1
        bar.advance(1, tokens=tokens)
    rates = [line.split(", ")[2] for line in printed()]
    assert rates[1:] == [f"{rate} tokens/s" for rate in ("1,000", *["1,000"] * 5, "2,000", "3,000", "4,000")]


def test_bytes_give_a_rate_beside_that_of_tokens(printed: Lines, clock: list[float]) -> None:
    with Bar("1 tokenize", 10, "shards") as bar:
        clock[0] += 5
        bar.advance(1, num_bytes=12_000_000, documents=10, tokens=1000)
        assert printed() == [
            "1 tokenize: 1 of 10 shards, 10 documents, 1,000 tokens, 200 tokens/s, 2.4 MB/s, 45 s left"
        ]


def test_the_rate_is_of_two_advances_at_least_however_long_they_took(printed: Lines, clock: list[float]) -> None:
    bar = Bar("1 tokenize", None, "shards")
    for seconds, tokens in ((60, 600_000), (60, 6_000), (40, 2_000)):
        clock[0] += seconds
        bar.advance(1, tokens=tokens)
    assert printed()[-1].endswith(", 80 tokens/s")


def test_the_last_line_has_the_rate_of_the_whole_run(printed: Lines, clock: list[float]) -> None:
    with Bar("1 tokenize", None, "shards") as bar:
        for tokens in [1_000] * 60 + [3_000] * 60:
            clock[0] += 1
            bar.advance(1, tokens=tokens)
    assert [line.rpartition(", ")[2] for line in printed()[-2:]] == ["3,000 tokens/s", "2,000 tokens/s"]


def test_the_time_left_follows_a_rate_that_has_changed(printed: Lines, clock: list[float]) -> None:
    bar = Bar("1 tokenize", 1000, "shards")
    for seconds in [0.5] * 100 + [2] * 20:
        clock[0] += seconds
        bar.advance(1)
    assert printed()[-1] == "1 tokenize: 116 of 1,000 shards, 29 min left"


def test_shards_that_end_in_bursts_are_judged_by_the_whole_run(printed: Lines, clock: list[float]) -> None:
    bar = Bar("1 tokenize", 100, "shards")
    for number in range(16):
        clock[0] += 0 if number % 2 else 100
        bar.advance(1)
    assert printed()[-1].endswith("15 of 100 shards, 76 min left")


def test_steps_are_judged_by_the_last_thirty_seconds_however_few_reports_these_had(
    printed: Lines, clock: list[float]
) -> None:
    bar = Bar("pretrain", 1000, "steps", comes_in_bursts=False)
    for seconds in [10] * 20 + [20] * 5:
        clock[0] += seconds
        bar.advance(20)
    assert printed()[-1].endswith("500 of 1,000 steps, 8 min left")


def test_an_advance_by_nothing_at_the_start_counts_what_was_done_before_without_a_rate(
    printed: Lines, clock: list[float]
) -> None:
    bar = Bar("pretrain", 100, "steps", done=10)
    bar.advance(0, note="loss 9.9", tokens=70_000)
    assert printed() == ["pretrain: 10 of 100 steps, 70,000 tokens, loss 9.9"]
    clock[0] += 15
    bar.advance(1, note="loss 9.8", tokens=7_500)
    assert printed() == ["pretrain: 11 of 100 steps, 77,500 tokens, 500 tokens/s, loss 9.8, 22 min left"]


def test_what_is_left_out_is_in_neither_the_rate_nor_the_time_left(printed: Lines, clock: list[float]) -> None:
    bar = Bar("pretrain", 100, "steps")
    for seconds, pause in ((10, 0), (10, 200), (10, 0)):
        clock[0] += seconds
        bar.advance(10, tokens=1_000)
        clock[0] += pause
        bar.leave_out(pause)
    assert [line.partition("tokens, ")[2] for line in printed()] == [
        *("100 tokens/s, 90 s left", "100 tokens/s, 80 s left", "100 tokens/s, 70 s left")
    ]


def test_to_leave_out_more_than_has_passed_makes_no_time_negative(printed: Lines, clock: list[float]) -> None:
    bar = Bar("pretrain", 100, "steps")
    clock[0] += 10
    bar.advance(10, tokens=1_000)
    bar.leave_out(50)
    clock[0] += 10
    bar.advance(10, tokens=1_000)
    assert printed()[-1].endswith("200 tokens/s, 40 s left")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal of 80 columns without colours."""
    screen = Terminal()
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stdout=screen))
    console = partial(Console, file=screen, force_terminal=True, width=80, color_system=None)
    monkeypatch.setattr(progress, "Console", console)
    return screen


def last_line(terminal: Terminal) -> str:
    """What stands on the terminal at the end, without the codes that move the cursor."""
    return terminal.getvalue().replace("\x1b[?25h", "").rstrip().rpartition("\r")[2].removeprefix("\x1b[2K").rstrip()


def seen(terminal: Terminal, bar: Bar) -> str:
    """The line that the terminal shows while the bar runs."""
    assert bar._bar is not None
    bar._bar.refresh()
    return last_line(terminal)


@pytest.mark.parametrize(
    ("total", "unit", "note", "seconds", "counts", "expected"),
    [
        (32, "shards", "", 3, {}, "3 of 32 shards, 87 s left"),
        (4_321, "steps", "loss 5.123", 15, {"tokens": 70_000}, "3 of 4,321 steps, 4,667 tokens/s, loss 5.123, 18 h"),
        (321, "steps", "loss 5.1, rate 0.004", 15, {"tokens": 70_000}, "4,667 tokens/s, loss 5.1, rate 0.004, 80 min"),
        (4_321, "steps", "loss 5.123, rate 0.004", 15, {"tokens": 70_000}, "4,667 tokens/s, loss 5.123, 18 h"),
        (
            *(160_000, "shards", "a long note about something", 20, {"documents": 781, "tokens": 3_000_000}),
            "3 of 160,000 shards, 150,000 tokens/s, 37 d 1 h left",
        ),
        (None, "shards", "", 5, {"documents": 781, "tokens": 50_000}, "3 shards, 2,343 documents, 150,000 tokens, 10,"),
    ],
)
def test_at_80_columns_the_rate_and_the_time_left_stand_in_one_line(
    terminal: Terminal,
    clock: list[float],
    total: int | None,
    unit: str,
    note: str,
    seconds: float,
    counts: dict[str, float],
    expected: str,
) -> None:
    with Bar("1 tokenize", total, unit) as bar:
        for _ in range(3):
            clock[0] += seconds
            bar.advance(1, note=note, **counts)
        line = seen(terminal, bar)
    assert line.startswith("1 tokenize ")
    assert expected in line
    assert line.endswith("left" if total else "tokens/s")
    assert len(line) <= 80


def test_the_bar_of_a_terminal_takes_the_room_that_is_left(terminal: Terminal, clock: list[float]) -> None:
    with Bar("verify", 32, "shards") as bar:
        clock[0] += 1
        bar.advance(16)
        line = seen(terminal, bar)
    assert len(line) == 80
    assert line.count("\u2501") > 15


def test_a_terminal_shows_no_total_that_was_guessed_too_small(terminal: Terminal, clock: list[float]) -> None:
    with Bar("1 tokenize", 1, "shards", done=6) as bar:
        clock[0] += 1
        bar.advance(1)
    assert last_line(terminal).endswith(" 7 shards")


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        *((0, "0 s"), (119.4, "119 s"), (120, "2 min"), (7_100, "118 min"), (7_200, "2 h 0 min")),
        *((40_000, "11 h 7 min"), (172_799, "2 d 0 h"), (400_000, "4 d 15 h")),
    ],
)
def test_a_time_is_said_in_the_units_that_fit_it(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected
