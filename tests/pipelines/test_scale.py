"""The benchmark of a job over a million units, at a hundredth of its size: what it counts, not what it takes."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import scale

from ulmfit_ray.corpus import contents, listing

NUM_UNITS = 10_000


@pytest.fixture(autouse=True)
def few_files_are_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (contents, listing):
        monkeypatch.setattr(module, "MAX_FILES_OPENED", 100)


def test_a_unit_for_each_file_is_planned_and_its_outcomes_are_counted_in_both_phases() -> None:
    figures = scale.whole_job(NUM_UNITS, with_ray=False, seconds=0)
    assert set(figures) > {"planning from a listing", "phase 1", "phase 3", "manifest"}


def test_large_files_are_planned_as_the_same_units_again() -> None:
    assert scale.huge_files(2_000, seconds=0)["files"] == 1000


def test_a_resumed_phase_reads_the_receipts_that_are_there() -> None:
    assert scale.resume(1_000, seconds=0)["receipts"] == 1_000
