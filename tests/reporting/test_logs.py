"""A log line says where the work stands, and being configured twice changes nothing."""

import logging
from collections.abc import Iterator

import pytest

from ulmfit_ray.reporting.logs import configure_logging, log_context


@pytest.fixture(autouse=True)
def _without_handlers() -> Iterator[None]:
    logger = logging.getLogger("ulmfit_ray")
    before, level = list(logger.handlers), logger.level
    logger.handlers.clear()
    yield
    logger.handlers[:] = before
    logger.setLevel(level)


def test_a_line_carries_job_stage_and_shard(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    logger = logging.getLogger("ulmfit_ray.some.module")
    with log_context(job="embed", stage="embed"), log_context(shard="part-0000003"):
        logger.warning("attempt %d failed", 1)
    logger.info("outside")
    inside, outside = capsys.readouterr().err.splitlines()
    assert inside.endswith(
        "WARNING ulmfit_ray.some.module [job=embed stage=embed shard=part-0000003]: attempt 1 failed"
    )
    assert outside.endswith("INFO ulmfit_ray.some.module: outside")


def test_configuring_twice_prints_once_at_the_last_level(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    configure_logging(logging.WARNING)
    logging.getLogger("ulmfit_ray").info("too low")
    logging.getLogger("ulmfit_ray").warning("once")
    assert capsys.readouterr().err.count("\n") == 1


def test_other_libraries_loggers_are_left_alone() -> None:
    root = list(logging.getLogger().handlers)
    configure_logging()
    assert logging.getLogger().handlers == root
