"""The Dockerfile: what it copies is let into the build, and its user is the one that the manifests ask for."""

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

from ulmfit_ray.pipelines.cluster.ray_job import POD_SECURITY

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "cluster/Dockerfile").read_text()
IGNORED = (ROOT / "cluster/Dockerfile.dockerignore").read_text()


def is_sent(path: str) -> bool:
    """Tell whether docker sends a path to the build: the last line that fits it decides."""
    sent = True
    for line in IGNORED.splitlines():
        pattern = line.removeprefix("!").removeprefix("**/")
        parts = [path.partition("/")[0], path] + ([path.rpartition("/")[2]] if "**/" in line else [])
        if line and not line.startswith("#") and any(fnmatch(part, pattern) for part in parts):
            sent = line.startswith("!")
    return sent


def test_what_is_copied_is_there_and_is_sent_and_nothing_else_of_any_size_is() -> None:
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    sources = [word for words in copied for word in words.split()]
    assert {"constraints.txt", "pyproject.toml", "README.md", "ulmfit_ray"} == set(sources)
    assert all((ROOT / source).exists() and is_sent(source) for source in sources)
    assert is_sent("ulmfit_ray/cli.py")
    for other in (".git/HEAD", ".venv/bin/python", "build/quickstart", "tests/test_cli.py", "jobs/sample"):
        assert not is_sent(other)
    assert not is_sent("ulmfit_ray/__pycache__")


def test_the_image_runs_as_the_user_of_the_manifests() -> None:
    user, group = POD_SECURITY["runAsUser"], POD_SECURITY["runAsGroup"]
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE) == [f"{user}:{group}"]
    assert f"--uid {user} --gid {group}" in DOCKERFILE


def test_python_is_one_that_the_package_takes_and_every_package_is_the_pinned_one() -> None:
    (version,) = re.findall(r"^ARG PYTHON=3\.(\d+)$", DOCKERFILE, re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert int(version) >= int(project["requires-python"].removeprefix(">=3."))
    installs = re.findall(r"pip install (?:.|\\\n)*?(?=&&|\n\n|\n[A-Z#])", DOCKERFILE)
    assert len(installs) == 2
    assert all("constraints.txt" in install for install in installs)
