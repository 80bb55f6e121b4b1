"""Groups and outcomes of shard-wise work, in this process; what Ray does with them is tested with the jobs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from ulmfit_ray.lifecycle import Outcome
from ulmfit_ray.pipelines import shards
from ulmfit_ray.pipelines.attempts import Phase
from ulmfit_ray.pipelines.shards import PhaseResult, grouped, outcomes_table, run_phase
from ulmfit_ray.storage import receipts
from ulmfit_ray.storage.commit import commit_shard
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.plan import PlannedUnit, whole_units
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
        plan="p",
        shard="a",
        num_documents=1,
        num_tokens=2,
        quarantined={"bad": 3},
        num_unknown=4,
        num_bytes=5,
        num_text_bytes=6,
        num_unknown_bytes=7,
        num_repeated=9,
        seconds=8.0,
        last=True,
        files={"f": "hash"},
    )
    assert all(getattr(receipt, item.name) != item.default for item in fields(Receipt)), "a field is not tried"
    found = [Outcome(shard="a", receipt=receipt, began=1.5, ended=2.5), Outcome(shard="b", receipt=None, problem="why")]
    rows = outcomes_table(found).to_pylist(maps_as_pydicts="strict")
    back = [Outcome(**row | {"receipt": None if row["receipt"] is None else Receipt(**row["receipt"])}) for row in rows]
    assert back == found
    assert outcomes_table([]).schema == shards.OUTCOMES_SCHEMA


def test_a_group_tried_again_leaves_its_finished_shards_alone(phase: Phase) -> None:
    calls: list[str] = []
    other = Phase(job="embed", stage="s", output=phase.output, plan="another")
    make(other, calls, "c")
    calls.clear()
    for shards_of_group in (["a"], ["a", "b", "c"]):
        group = pa.table({"shard": shards_of_group})
        table = shards._work_on_group(group, phase=phase, work=partial(make, phase, calls))
    assert calls == ["a", "b", "c"]
    assert [row["receipt"]["plan"] for row in table.to_pylist()] == ["p", "p", "p"]


def run(phase: Phase, dataflow: Callable[[str], Outcome | None], names: Sequence[str] = ("a", "b")) -> PhaseResult:
    """Run a phase whose dataflow gives what `dataflow` says of each pending shard."""

    def flow(pending: Sequence[PlannedUnit], receipts: dict[str, Receipt]) -> Iterator[Outcome]:
        yield from filter(None, (dataflow(unit.stem) for unit in pending))

    return run_phase(phase, whole_units(names), flow, lambda unit: f"source of {unit.stem}")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The receipts that were read, in order."""
    names: list[str] = []
    original = receipts.read_receipt

    def note(folder: Folder, shard: str, where: str) -> Receipt:
        names.append(shard)
        return original(folder, shard, where)

    monkeypatch.setattr(receipts, "read_receipt", note)
    return names


def test_a_phase_reads_the_receipts_it_finds_and_none_that_an_outcome_brought(phase: Phase, read: list[str]) -> None:
    found = make(phase, [], "a")
    result = run(phase, lambda shard: Outcome(shard=shard, receipt=make(phase, [], shard)))
    assert read == ["a"]
    assert (result.receipts[0], [receipt.shard for receipt in result.receipts]) == (found, ["a", "b"])
    assert result.num_found == 1


def test_a_receipt_whose_outcome_was_lost_is_read_at_the_end(phase: Phase, read: list[str]) -> None:
    def lose(shard: str) -> None:
        make(phase, [], shard)

    assert [receipt.shard for receipt in run(phase, lose).receipts] == ["a", "b"]
    assert read == ["a", "b"]


def test_an_outcome_whose_receipt_is_not_there_does_not_count(phase: Phase) -> None:
    receipt = make(phase, [], "a")
    Folder(phase.output).delete("done/a.json")
    with pytest.raises(RuntimeError, match=r"1 units failed.*\n    a \(from source of a\)"):
        run(phase, lambda shard: Outcome(shard=shard, receipt=receipt), ["a"])


def test_tracebacks_of_an_earlier_run_go_when_their_shards_are_made(phase: Phase) -> None:
    folder = Folder(phase.output)
    for shard in ("a", "b"):
        folder.publish_bytes(b"old", f"failed/{shard}.txt")
    with pytest.raises(RuntimeError, match="1 units failed"):
        run(phase, lambda shard: Outcome(shard=shard, receipt=make(phase, [], shard)) if shard == "a" else None)
    assert folder.names("failed") == ["b.txt"]


def test_what_is_lost_with_nodes_is_run_again_as_long_as_others_are_made(phase: Phase) -> None:
    calls: list[str] = []

    def one_in_each_pass(pending: Sequence[PlannedUnit], receipts: dict[str, Receipt]) -> Iterator[Outcome]:
        yield Outcome(shard=pending[-1].stem, receipt=make(phase, calls, pending[-1].stem))

    names = [f"part-{number:07d}" for number in range(9)]
    result = run_phase(phase, whole_units(names), one_in_each_pass, lambda unit: unit.stem)
    assert [receipt.shard for receipt in result.receipts] == names
    assert calls == names[::-1]


def test_a_unit_is_given_up_when_it_has_failed_twice_or_nothing_is_made_any_more(phase: Phase) -> None:
    tried: list[str] = []

    def fail_or_lose(shard: str) -> Outcome | None:
        tried.append(shard)
        return Outcome(shard="failing-00001", receipt=None, problem="broken") if shard == "failing" else None

    with pytest.raises(RuntimeError, match="2 units failed") as caught:
        run(phase, fail_or_lose, ["failing", "lost"])
    assert "failing-00001 (from source of failing): broken" in str(caught.value)
    assert "lost (from source of lost): no reason is known" in str(caught.value)
    # Three passes in which it ends its worker, and one in which that is said.
    assert (tried.count("failing"), tried.count("lost")) == (2, 4)
