import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from ulmfit_ray.storage import scratch
from ulmfit_ray.storage.scratch import scratch_directory

HOLDER = """
import sys, time
from ulmfit_ray.storage.scratch import scratch_directory
with scratch_directory() as place:
    (place / "half").write_bytes(b"x" * 1000)
    print(place, flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder for temporary files of this test's own, which nobody has swept yet."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    scratch._sweep_once.cache_clear()


def started() -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def make_old(place: Path) -> None:
    then = time.time() - 2 * scratch.OLD_SECONDS
    os.utime(place, (then, then))


def killed(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_directory_is_gone_afterwards() -> None:
    with scratch_directory() as place:
        (place / "file").write_bytes(b"x")
    assert not place.exists()


def test_what_a_killed_process_has_left_goes_when_it_is_old() -> None:
    process, place = started()
    killed(process)
    assert (place / "half").exists()
    with scratch_directory():
        assert place.exists(), "it is young: its lock may not be taken yet"
    make_old(place)
    scratch._sweep_once.cache_clear()
    with scratch_directory() as own:
        assert not place.exists()
        assert own.exists()


def test_what_a_living_process_holds_stays_however_old() -> None:
    process, place = started()
    make_old(place)
    with scratch_directory():
        assert (place / "half").exists()
    killed(process)


def test_where_there_are_no_locks_nothing_is_deleted_and_all_else_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    process, place = started()
    killed(process)
    make_old(place)

    def without_locks(*args: object) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr(scratch.fcntl, "flock", without_locks)
    with scratch_directory() as own:
        assert own.exists()
        assert place.exists()


def test_others_files_are_left_alone(tmp_path: Path) -> None:
    others = [tmp_path / "somebody-elses", tmp_path / "ulmfit-ray-embeddings", tmp_path / f"{scratch.PREFIX}file"]
    others[0].mkdir()
    others[1].mkdir()
    others[2].write_bytes(b"x")
    for place in others:
        make_old(place)
    with scratch_directory():
        assert all(place.exists() for place in others)
