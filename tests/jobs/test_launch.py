"""The scripts in jobs/, as `ray job submit` starts them."""

import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

JOBS = Path(__file__).parents[2] / "jobs"
SCRIPTS = sorted(path.name for path in JOBS.glob("*.py") if "launch(" in path.read_text() and path.name != "launch.py")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_shows_the_help_of_its_verb(script: str) -> None:
    found = run(str(JOBS / script), "--help")
    assert found.returncode == 0
    assert "usage: ulmfit-ray" in found.stdout


def test_no_script_is_named_like_a_module_of_python_or_of_a_package() -> None:
    # A script's folder comes first on sys.path, in the driver and, as Ray has it, in every worker.
    names = {path.stem for path in JOBS.glob("*.py")}
    assert not names & {*sys.stdlib_module_names, *packages_distributions()}


def test_a_python_without_our_packages_is_named_in_one_line() -> None:
    # -S leaves out what is installed beside the standard library, as another python on the PATH does.
    found = run("-S", str(JOBS / "embed_corpus.py"), "--help")
    assert found.returncode == 1
    assert found.stderr.startswith("error: No module named ")
    assert f"{sys.executable} lacks a package of ulmfit-ray: see cluster/README.md" in found.stderr
    assert len(found.stderr.splitlines()) == 1
