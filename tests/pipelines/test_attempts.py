"""What an attempt at a shard keeps of errors, and how often a shard may end its worker."""

import logging
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from ulmfit_ray.pipelines import attempts
from ulmfit_ray.pipelines.attempts import Company, Phase, WorkerEndedError, attempt, counted_start
from ulmfit_ray.storage.commit import commit_shard
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.receipts import Receipt
from ulmfit_ray.storage.store_errors import StoreLostError


@pytest.fixture
def phase(tmp_path: Path) -> Phase:
    return Phase(job="embed", stage="2 stage", output=str(tmp_path), plan="p", where="work/done")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts.time, "sleep", lambda seconds: None)


def make(phase: Phase, shard: str) -> Receipt:
    receipt = Receipt(plan=phase.plan, shard=shard, num_documents=1, num_tokens=2)
    write = partial(Path.write_bytes, data=b"x")
    return commit_shard(Folder(phase.output), receipt, {f"shards/{shard}.bin": write}, began=0.0, where=phase.where)


def test_work_that_fails_twice_is_tried_a_third_time(phase: Phase, caplog: pytest.LogCaptureFixture) -> None:
    errors = [OSError("first"), OSError("second")]

    def work() -> Receipt:
        if errors:
            raise errors.pop(0)
        return make(phase, "a")

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


def test_a_shard_that_was_begun_before_is_made_once_and_its_receipt_is_found(phase: Phase) -> None:
    calls: list[str] = []

    def work() -> Receipt:
        calls.append("a")
        return make(phase, "a")

    first, second = (attempt(phase, "a", work) for _ in range(2))
    assert calls == ["a"]
    assert second.receipt == first.receipt
    assert (second.began, second.ended) == (0, 0)


def test_a_receipt_of_another_plan_does_not_stand_for_a_shard_that_was_begun(phase: Phase) -> None:
    make(replace(phase, plan="another"), "a")
    die_in(phase)
    outcome = attempt(phase, "a", partial(make, phase, "a"))
    assert outcome.receipt is not None
    assert outcome.receipt.plan == "p"


def die_in(phase: Phase) -> None:
    """Begin shard a in another process, which is killed in the middle of it."""
    program = (
        "import os, signal\n"
        "from ulmfit_ray.pipelines.attempts import Phase, attempt\n"
        f"attempt({phase!r}, 'a', lambda: os.kill(os.getpid(), signal.SIGKILL))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], check=False)
    assert ended.returncode == -signal.SIGKILL


def test_a_shard_that_ended_three_workers_is_not_begun_again(phase: Phase) -> None:
    for _ in range(3):
        die_in(phase)
    calls: list[str] = []

    def work() -> Receipt:
        calls.append("a")
        return make(phase, "a")

    outcome = attempt(phase, "a", work)
    assert calls == []
    assert "it ended its worker 3 times (killed, out of memory, or crashed)" in outcome.problem
    assert Path(phase.output, "failed/a.txt").exists()


def test_a_count_goes_when_the_work_ends_well_or_badly(phase: Phase) -> None:
    with counted_start(phase, "a"):
        assert Folder(phase.output).read_json("work/started/a.json") == {"starts": 1}
    with pytest.raises(OSError, match="bad"), counted_start(phase, "a"):
        raise OSError("bad")
    assert not Path(phase.output, "work/started/a.json").exists()


def test_the_count_of_a_shard_goes_when_its_work_raises(phase: Phase) -> None:
    def work() -> Receipt:
        assert Folder(phase.output).read_json("work/started/a.json") == {"starts": 1}
        raise OSError("bad")

    for _ in range(4):
        assert attempt(phase, "a", work).problem == "OSError: bad"
    assert not Path(phase.output, "work/started/a.json").exists()


def test_one_shards_count_is_not_anothers(phase: Phase) -> None:
    Folder(phase.output).publish_json({"starts": 3}, "work/started/a.json")
    with pytest.raises(WorkerEndedError), counted_start(phase, "a"):
        pass
    assert attempt(phase, "b", partial(make, phase, "b")).receipt is not None


def test_what_was_begun_before_runs_alone_and_the_rest_side_by_side() -> None:
    company, together, log = Company(), threading.Barrier(2), []

    def beside(name: str) -> None:
        with company.joined(alone=False):
            # Both are inside at once, or this would wait for ever.
            together.wait(10)
            log.append(name)

    def by_itself() -> None:
        with company.joined(alone=True):
            log.append("alone begins")
            time.sleep(0.05)
            log.append("alone ends")

    first = [threading.Thread(target=beside, args=(name,)) for name in "ab"]
    for thread in first:
        thread.start()
    for thread in first:
        thread.join(10)
    assert sorted(log) == ["a", "b"]
    with company.joined(alone=False):
        waiting = threading.Thread(target=by_itself)
        waiting.start()
        while not company._num_waiting:
            pass
        # What comes later does not overtake what waits.
        later = [threading.Thread(target=beside, args=(name,)) for name in "cd"]
        for thread in later:
            thread.start()
        assert len(log) == 2
    for thread in (waiting, *later):
        thread.join(10)
    assert log[2:4] == ["alone begins", "alone ends"]
    assert sorted(log[4:]) == ["c", "d"]


def test_a_store_that_was_given_up_is_not_asked_three_times(phase: Phase) -> None:
    errors = [StoreLostError("s3://a/b: for 90 seconds all in vain")]

    def work() -> Receipt:
        raise errors.pop()

    assert attempt(phase, "a", work).problem == "StoreLostError: s3://a/b: for 90 seconds all in vain"


def test_a_shard_that_was_begun_before_is_tried_alone(phase: Phase, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    joined = attempts.COMPANY.joined
    monkeypatch.setattr(attempts.COMPANY, "joined", lambda *, alone: asked.append(alone) or joined(alone=alone))
    Folder(phase.output).publish_json({"starts": 1}, "work/started/b.json")
    for shard in "ab":
        assert attempt(phase, shard, partial(make, phase, shard)).receipt
    assert asked == [False, True]
