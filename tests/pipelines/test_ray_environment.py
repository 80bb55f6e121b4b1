"""A job's own session answers only those who show its token, and leaves no token behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ulmfit_ray.pipelines.ray_environment import settle

SESSION = """
from ulmfit_ray.pipelines.options import RayOptions
from ulmfit_ray.pipelines.runtime import ray_session
import ray
with ray_session(RayOptions(num_cpus=1)):
    print(ray.get_runtime_context().gcs_address, flush=True)
    input()
"""
STRANGER = """
import sys
from ray._raylet import GcsClient
print(GcsClient(address=sys.argv[1]).internal_kv_keys(b"", None, timeout=5))
"""


def without_ray(home: Path) -> dict[str, str]:
    """Return the environment of a person who has never heard of Ray."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return kept | {"HOME": str(home)}


def ask(address: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", STRANGER, address]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.ray
def test_a_local_session_refuses_whoever_does_not_know_its_token_and_writes_none(tmp_path: Path) -> None:
    environment = without_ray(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", SESSION], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as session:
        assert session.stdin is not None
        assert session.stdout is not None
        address = session.stdout.readline().strip()
        for own in ({"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}):
            stranger = ask(address, environment | own)
            assert stranger.returncode != 0
            assert "token" in stranger.stderr
        # Its own token is in the memory of its processes alone.
        of_session = Path(f"/proc/{session.pid}/environ").read_bytes()
        assert b"RAY_AUTH_TOKEN" not in of_session
        session.communicate("\n", timeout=60)
    assert session.returncode == 0
    assert [path for path in tmp_path.rglob("*") if "token" in path.name] == []


@pytest.mark.ray
def test_who_has_imported_ray_before_has_a_session_without_a_token(tmp_path: Path) -> None:
    command = [sys.executable, "-c", f"import ray\n{SESSION}"]
    ended = subprocess.run(
        command, env=without_ray(tmp_path), input="\n", capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr


def test_a_token_of_the_environment_or_of_this_machine_is_used_and_another_mode_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("0" * 64)
    cases = [
        ({}, "token", None),
        ({"RAY_AUTH_TOKEN": "mine"}, "token", "mine"),
        ({"RAY_AUTH_TOKEN_PATH": str(file)}, "token", ""),
        ({"RAY_AUTH_MODE": "disabled"}, "disabled", ""),
    ]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    for given, mode, token in cases:
        for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
            monkeypatch.delenv(name, raising=False)
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        settle()
        assert os.environ["RAY_AUTH_MODE"] == mode
        found = os.environ.get("RAY_AUTH_TOKEN", "")
        assert (found == token) if token is not None else (len(found) == 64)
