"""The files for `ray up` against the schema that is in the ray package, and what it does not judge."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

LAUNCHER = Path(__file__).parents[2] / "cluster/launcher"
FILES = sorted(LAUNCHER.glob("*.yaml"))
NAMES = [path.stem for path in FILES]


def content_of(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())


def faults(content: dict[str, Any]) -> list[str]:
    # Found without importing Ray.
    spec = importlib.util.find_spec("ray")
    assert spec is not None
    assert spec.origin is not None
    schema = json.loads((Path(spec.origin).parent / "autoscaler/ray-schema.json").read_text())
    return [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(content)]


def test_there_is_a_file_for_each_cloud() -> None:
    assert NAMES == ["aws", "gcp"]


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_a_launcher_file_is_as_ray_wants_it(path: Path) -> None:
    content = content_of(path)
    assert faults(content) == []
    assert content["provider"]["type"] == path.stem
    content["available_node_types"]["cpu"]["max_worker"] = 3
    assert "max_worker" in " ".join(faults(content))


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_cpu_and_gpu_nodes_start_at_zero_on_machines_that_may_be_taken_away(path: Path) -> None:
    content = content_of(path)
    types = content["available_node_types"]
    head = types.pop(content["head_node_type"])
    assert head["resources"] == {"CPU": 0}
    assert {name: "GPU" in node["resources"] for name, node in types.items()} == {"cpu": False, "gpu": True}
    assert content["max_workers"] == sum(node["max_workers"] for node in types.values())
    for node in types.values():
        assert node["min_workers"] == 0
        spot = node["node_config"].get("InstanceMarketOptions", {}).get("MarketType") == "spot"
        assert spot or {"preemptible": True} in node["node_config"]["scheduling"]


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_every_node_demands_a_token_and_the_dashboard_is_on_loopback(path: Path) -> None:
    content = content_of(path)
    (token,) = content["file_mounts"]
    for commands in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={token} ray start" in content[commands][-1]
    assert "--dashboard-host=127.0.0.1" in content["head_start_ray_commands"][-1]
