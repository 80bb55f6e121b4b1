"""What a schema cannot judge in cluster/kuberay/: each RayJob is what its command prints, and its parts fit."""

import math
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import Command

from ulmfit_ray.cli import VERBS, _named
from ulmfit_ray.config import parse_config, to_dict

KUBERAY = Path(__file__).parents[2] / "cluster/kuberay"
CONFIGS = sorted(KUBERAY.glob("*.toml"))
RAY_JOBS = [path.with_suffix(".yaml") for path in CONFIGS]
RAY_CLUSTERS = [*RAY_JOBS, KUBERAY / "raycluster.yaml"]


def cluster_of(path: Path) -> dict[str, Any]:
    content = yaml.safe_load(path.read_text())
    return content["spec"] if content["kind"] == "RayCluster" else content["spec"]["rayClusterSpec"]


def pods_of(path: Path) -> list[dict[str, Any]]:
    cluster = cluster_of(path)
    return [group["template"]["spec"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_committed_rayjob_is_what_its_command_prints(command: Command, path: Path) -> None:
    outcome = command("manifest", path.stem, str(path))
    assert outcome.status == 0, outcome.err
    assert outcome.out == path.with_suffix(".yaml").read_text(), "run `make manifests`"


def test_every_stage_of_the_road_has_a_rayjob() -> None:
    stages = {"tokenize", "pretrain", "finetune", "train-classifier", "train-retriever", "embed", "classify"}
    assert {path.stem for path in CONFIGS} >= stages


@pytest.mark.parametrize("path", RAY_JOBS, ids=lambda path: path.stem)
def test_the_entrypoint_is_a_command_of_ours_whose_workers_fit_their_pods(path: Path) -> None:
    words = shlex.split(yaml.safe_load(path.read_text())["spec"]["entrypoint"])
    assert words[:4] == ["python", "-m", "ulmfit_ray.cli", path.stem]
    config = to_dict(parse_config(_named(VERBS[path.stem].config), words[4:], "entrypoint"))
    worker = config.get("scaling") or config.get("actors") or {}
    num_gpus = worker.get("num_gpus") or float(worker.get("use_gpu", False))
    groups = {group["groupName"]: group for group in cluster_of(path)["workerGroupSpecs"]}
    assert set(groups) == ({"cpu", "gpu"} if num_gpus else {"cpu"})
    group = groups["gpu" if num_gpus else "cpu"]
    has = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    places = int(has["cpu"]) // (worker.get("num_cpus") or 1)
    if num_gpus:
        places = min(places, math.floor(int(has["nvidia.com/gpu"]) / num_gpus))
    assert places * group["maxReplicas"] >= (worker.get("num_workers") or worker.get("min") or 1)


@pytest.mark.parametrize("path", RAY_CLUSTERS, ids=lambda path: path.stem)
def test_workers_come_when_they_are_asked_for_and_no_task_runs_on_the_head(path: Path) -> None:
    cluster = cluster_of(path)
    assert cluster["enableInTreeAutoscaling"] is True
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in cluster["workerGroupSpecs"]:
        assert (group["minReplicas"], group["replicas"]) == (0, 0)
        pod = group["template"]["spec"]
        (label,) = pod["nodeSelector"].items()
        assert label in [(taint["key"], taint.get("value")) for taint in pod["tolerations"]]


@pytest.mark.parametrize("path", RAY_CLUSTERS, ids=lambda path: path.stem)
def test_the_cluster_demands_a_token_and_its_pods_are_nobody_in_particular(path: Path) -> None:
    assert cluster_of(path)["authOptions"] == {"mode": "token"}
    for pod in pods_of(path):
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["resources"]["requests"] == container["resources"]["limits"]


@pytest.mark.parametrize("path", RAY_CLUSTERS, ids=lambda path: path.stem)
def test_credentials_are_named_and_never_written(path: Path) -> None:
    assert not re.search(r"SECRET_ACCESS_KEY\s*:|ACCESS_KEY_ID\s*:|value:.*(?i:secret)", path.read_text())
    for pod in pods_of(path):
        assert pod["containers"][0]["envFrom"] == [{"secretRef": {"name": "object-store"}}]
        assert "env" not in pod["containers"][0]


def test_the_network_policy_knows_the_pods_of_every_cluster() -> None:
    policy = yaml.safe_load((KUBERAY / "networkpolicy.yaml").read_text())["spec"]
    label = policy["podSelector"]["matchLabels"].items()
    for path in RAY_CLUSTERS:
        cluster = cluster_of(path)
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
            assert label <= group["template"]["metadata"]["labels"].items()
