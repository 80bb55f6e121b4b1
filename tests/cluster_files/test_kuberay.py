"""The files in cluster/kuberay/, and whatever `manifest` prints, against KubeRay's published schemas."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import Command

pytestmark = pytest.mark.data
ROOT = Path(__file__).parents[2]
FILES = [path for path in sorted((ROOT / "cluster/kuberay").glob("*.yaml")) if "ray.io/v1" in path.read_text()]
Faults = Callable[[dict[str, Any]], list[str]]
EVERYTHING = [
    *("--kubernetes.image", "a/b:1", "--kubernetes.name", "all-of-it", "--kubernetes.namespace", "research"),
    *(
        "--kubernetes.pull-secret",
        "registry",
        "--kubernetes.secret",
        "s3",
        "more",
        "--kubernetes.service-account",
        "me",
    ),
    *("--kubernetes.volume", "corpus:/data", "corpus:/other", "models:/models", "--kubernetes.spot", "kind=spot"),
    *("--kubernetes.suspend", "--kubernetes.retries", "0", "--kubernetes.gpu.image", "a/c:2"),
]


def test_there_are_files_to_look_at() -> None:
    assert {"raycluster.yaml", "tokenize.yaml", "embed.yaml"} <= {path.name for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_committed_file_is_as_kuberay_wants_it(path: Path, faults: Faults) -> None:
    assert faults(yaml.safe_load(path.read_text())) == []


@pytest.mark.parametrize("more", [(), ("--kubernetes.queue", "night")])
def test_a_manifest_with_every_option_is_as_kuberay_wants_it(
    command: Command, faults: Faults, more: tuple[str, ...]
) -> None:
    embed = ["--model", "s3://b/m", "--input", "/data/t", "--output", "s3://b/e", "--actors.num-gpus", "1"]
    outcome = command("manifest", "embed", *embed, *EVERYTHING, *more)
    assert outcome.status == 0, outcome.err
    assert faults(yaml.safe_load(outcome.out)) == []


def test_a_misspelt_field_a_missing_one_and_one_of_another_type_are_found(faults: Faults) -> None:
    manifest = yaml.safe_load((ROOT / "cluster/kuberay/embed.yaml").read_text())
    manifest["spec"]["backoffLimits"] = manifest["spec"].pop("backoffLimit")
    manifest["spec"]["suspend"] = "no"
    container = manifest["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    del container["name"]
    container["securityContext"]["runAsNobody"] = True
    found = " ".join(faults(manifest))
    for word in ("backoffLimits", "'no' is not of type 'boolean'", "'name' is a required", "runAsNobody"):
        assert word in found
