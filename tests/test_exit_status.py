"""How the command ends when a job fails, whatever the job."""

import sys
from typing import NoReturn

import pytest
from command_line import Command

TOKENIZE = ["tokenize", "--output", "out", "--input"]


def test_debug_shows_the_traceback_too(command: Command) -> None:
    outcome = command(*TOKENIZE, "missing.txt", "--debug")
    assert outcome.status == 2
    assert "Traceback" in outcome.err
    assert "matches no file" in outcome.err


@pytest.mark.parametrize(
    ("error", "status"), [(RuntimeError("shards failed"), 1), (OSError("disk full"), 1), (KeyboardInterrupt(), 130)]
)
def test_a_job_that_fails_ends_with_1_and_one_that_is_interrupted_with_130(
    command: Command, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int
) -> None:
    from ulmfit_ray.pipelines.tokenize import job as tokenize

    def fail(config: object) -> NoReturn:
        raise error

    monkeypatch.setattr(tokenize, "run", fail)
    outcome = command(*TOKENIZE, "a.txt")
    assert outcome.status == status
    assert str(error) in outcome.err
    assert "Traceback" not in outcome.err


def test_a_missing_package_is_named_with_the_python_that_lacks_it(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ulmfit_ray.pipelines.tokenize import job as tokenize

    def fail(config: object) -> NoReturn:
        raise ModuleNotFoundError("No module named 'spacy'")

    monkeypatch.setattr(tokenize, "run", fail)
    outcome = command(*TOKENIZE, "a.txt")
    assert outcome.status == 1
    assert f"No module named 'spacy'; {sys.executable} lacks a package of ulmfit-ray" in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_an_error_without_words_is_named_by_its_kind(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from ulmfit_ray.pipelines.tokenize import job as tokenize

    def fail(config: object) -> NoReturn:
        raise MemoryError

    monkeypatch.setattr(tokenize, "run", fail)
    assert command(*TOKENIZE, "a.txt").err == "error: MemoryError\n"
