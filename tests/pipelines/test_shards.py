"""Groups and outcomes of shard-wise work, in this process; what Ray does with them is tested with the jobs."""

from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from ulmfit_ray.lifecycle import Outcome
from ulmfit_ray.pipelines import shards
from ulmfit_ray.pipelines.attempts import Phase
from ulmfit_ray.pipelines.shards import grouped, outcomes_table
from ulmfit_ray.storage.commit import commit_shard
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.receipts import Receipt


@pytest.fixture
def phase(tmp_path: Path) -> Phase:
    return Phase(job="embed", stage="2 stage", output=str(tmp_path), plan="p")


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
