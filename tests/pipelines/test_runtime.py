"""What is said when a cluster is short of resources, and in which session; Ray's answers are made up."""

import time

import pytest
import ray

from ulmfit_ray.pipelines import runtime
from ulmfit_ray.pipelines.options import RayOptions

LACK = "waiting: the encoder pool needs 2 CPUs and 1 GPUs; there are 1 and 0"


def output_while_nodes_go(options: RayOptions, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> str:
    resources = {"CPU": 2.0, "GPU": 1.0}
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(runtime, "LINE_SECONDS", 0.01)
    monkeypatch.setattr(ray, "cluster_resources", lambda: resources)
    with runtime.watched_resources(options, num_cpus=2, num_gpus=1, what="the encoder pool"):
        time.sleep(0.1)
        assert capsys.readouterr().out == ""
        resources = {"CPU": 1.0}
        time.sleep(0.5)
        said: str = capsys.readouterr().out
        resources = {"CPU": 2.0, "GPU": 1.0}
        time.sleep(0.1)
        capsys.readouterr()
        time.sleep(0.1)
        assert capsys.readouterr().out == ""
    return said


def test_a_lack_is_said_on_a_cluster_while_it_lasts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    said = output_while_nodes_go(RayOptions(address="somewhere:6379"), monkeypatch, capsys)
    assert set(said.splitlines()) == {LACK}


def test_nothing_is_watched_in_a_session_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert output_while_nodes_go(RayOptions(), monkeypatch, capsys) == ""


GIB = 1 << 30


@pytest.mark.parametrize(
    ("num_cpus", "memory", "expected"),
    [(2, 8 * GIB, GIB), (8, 64 * GIB, GIB), (128, 512 * GIB, 16 * GIB), (128, 20 * GIB, 6 * GIB), (64, 2 * GIB, GIB)],
)
def test_two_texts_for_each_core_fit_into_the_object_store_as_far_as_memory_goes(
    num_cpus: int, memory: int, expected: int
) -> None:
    assert runtime.object_store_bytes(num_cpus, memory) == expected


def test_a_local_session_has_an_object_store_for_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(runtime, "_memory_bytes", lambda: 512 * GIB)
    monkeypatch.setattr(ray, "init", lambda **options: asked.update(options))
    runtime._connect(RayOptions(num_cpus=128))
    assert (asked["num_cpus"], asked["object_store_memory"]) == (128, 16 * GIB)


@pytest.mark.parametrize(
    ("address", "told"),
    [("head:6379", {"env_vars": {"RAY_ADDRESS": "head:6379"}}), ("ray://head:10001", None)],
)
def test_workers_of_a_cluster_are_told_where_they_are(
    address: str, told: dict[str, object] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, object] = {}
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(ray, "init", lambda **options: asked.update(options))
    runtime._connect(RayOptions())
    assert (asked["address"], asked["runtime_env"]) == (address, told)
