"""What is printed where there is no terminal: a line every ten seconds, and one at the end."""

import pytest

from ulmfit_ray.reporting import progress
from ulmfit_ray.reporting.progress import Bar


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock whose time the test sets."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_line_comes_after_ten_seconds_with_rate_and_time_left(
    capsys: pytest.CaptureFixture[str], clock: list[float]
) -> None:
    with Bar("1 tokenize", 10, "shards", done=2) as bar:
        clock[0] += 5
        bar.advance(1, documents=10, tokens=1_000)
        assert capsys.readouterr().out == ""
        clock[0] += 6
        bar.advance(1, documents=10, tokens=1_200)
        assert capsys.readouterr().out == (
            "1 tokenize: 4 of 10 shards, 20 documents, 2,200 tokens, 200 tokens/s, 33 s left\n"
        )
    assert capsys.readouterr().out == "1 tokenize: 4 of 10 shards, 20 documents, 2,200 tokens, 200 tokens/s\n"


def test_without_a_total_nothing_is_said_of_the_time_left(
    capsys: pytest.CaptureFixture[str], clock: list[float]
) -> None:
    with Bar("verify", None, "shards") as bar:
        clock[0] += 11
        bar.advance(1, note="all well")
    assert capsys.readouterr().out == "verify: 1 shards, all well\n" * 2
