"""Groups, retries and outcomes of shard-wise work, in this process; what Ray does with them is tested with the jobs."""

import logging
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from ulmfit_ray.lifecycle import Outcome
from ulmfit_ray.pipelines import shards
from ulmfit_ray.pipelines.shards import Phase, attempt, grouped, outcomes_table
from ulmfit_ray.storage.commit import commit_shard
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.receipts import Receipt


@pytest.fixture
def phase(tmp_path: Path) -> Phase:
    return Phase(job="embed", stage="2 stage", output=str(tmp_path), plan="p")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards.time, "sleep", lambda seconds: None)


def make(phase: Phase, calls: list[str], shard: str) -> Receipt:
    calls.append(shard)
    receipt = Receipt(plan=phase.plan, shard=shard, num_documents=1, num_tokens=2, quarantined={"bad": 3})
    write = partial(Path.write_bytes, data=b"x")
    return commit_shard(Folder(phase.output), receipt, {f"shards/{shard}.bin": write}, began=0.0)


@pytest.mark.parametrize(("count", "groups", "largest"), [(0, 0, 0), (1, 1, 1), (2000, 2000, 1), (2001, 1001, 2)])
def test_up_to_2000_units_are_a_group_each_and_more_share_groups(count: int, groups: int, largest: int) -> None:
    found = [list(group) for group in grouped(range(count))]
    assert len(found) == groups
    assert max(map(len, found), default=0) == largest
    assert [unit for group in found for unit in group] == list(range(count))


def test_outcomes_cross_ray_and_come_back_as_they_were() -> None:
    receipt = Receipt(
        plan="p", shard="a", num_documents=1, num_tokens=2, quarantined={"bad": 3}, last=True, files={"f": "hash"}
    )
    found = [Outcome(shard="a", receipt=receipt, began=1.5, ended=2.5), Outcome(shard="b", receipt=None, problem="why")]
    rows = outcomes_table(found).to_pylist(maps_as_pydicts="strict")
    back = [Outcome(**row | {"receipt": None if row["receipt"] is None else Receipt(**row["receipt"])}) for row in rows]
    assert back == found
    assert outcomes_table([]).schema == shards.OUTCOMES_SCHEMA


def test_work_that_fails_twice_is_tried_a_third_time(phase: Phase, caplog: pytest.LogCaptureFixture) -> None:
    errors = [OSError("first"), OSError("second")]

    def work() -> Receipt:
        if errors:
            raise errors.pop(0)
        return make(phase, [], "a")

    with caplog.at_level(logging.WARNING, "ulmfit_ray"):
        outcome = attempt(phase, "a", work)
    assert outcome.receipt is not None
    assert [record.getMessage() for record in caplog.records] == [
        "attempt 1 of 3 failed: OSError: first",
        "attempt 2 of 3 failed: OSError: second",
    ]


def test_work_that_always_fails_is_an_outcome_with_a_reason_and_a_traceback(phase: Phase) -> None:
    def work() -> Receipt:
        raise ValueError("never")

    outcome = attempt(phase, "a", work)
    assert (outcome.receipt, outcome.problem) == (None, "ValueError: never")
    text = Path(phase.output, "failed/a.txt").read_text()
    assert text.startswith("ValueError: never\n\nTraceback")


def test_a_traceback_of_an_earlier_run_goes_when_the_shard_is_made(phase: Phase) -> None:
    Folder(phase.output).publish_bytes(b"old", "failed/a.txt")
    attempt(phase, "a", partial(make, phase, [], "a"))
    assert not Path(phase.output, "failed/a.txt").exists()


def test_a_group_tried_again_leaves_its_finished_shards_alone(phase: Phase) -> None:
    calls: list[str] = []
    make(phase, calls, "a")
    other = Phase(job="embed", stage="s", output=phase.output, plan="another")
    make(other, calls, "c")
    calls.clear()
    group = pa.table({"shard": ["a", "b", "c"]})
    table = shards._work_on_group(group, phase=phase, work=partial(make, phase, calls))
    assert calls == ["b", "c"]
    assert [row["receipt"]["plan"] for row in table.to_pylist()] == ["p", "p", "p"]
