"""Who may write an output: the owner that is alive, else whoever comes next."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace

import pytest

from ulmfit_ray.storage import lease
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.lease import (
    Lease,
    LeaseHeldError,
    LeaseLostError,
    check_lease,
    held_lease,
    process_start,
)

HOLDER = """
import sys, time
from ulmfit_ray.storage import lease
from ulmfit_ray.storage.folder import Folder
lease.BEAT_SECONDS, lease.PATIENCE_SECONDS, lease.SETTLE_SECONDS = 0.1, 1.0, 0.01
with lease.held_lease(Folder(sys.argv[1]), "ulmfit-ray embed"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(lease, "PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr(lease, "SETTLE_SECONDS", 0.01)
    monkeypatch.setattr(lease, "LOOK_AGAIN_SECONDS", 0.05)


@pytest.fixture
def holder(folder: Folder) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lease of `folder`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, folder.uri], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def leased_by(folder: Folder) -> int:
    return int(folder.read_json("lease.json")["pid"])


def test_a_lease_names_its_owner_counts_and_goes_with_the_job(folder: Folder) -> None:
    with held_lease(folder, "ulmfit-ray embed"):
        content = folder.read_json("lease.json")
        assert (content["pid"], content["host"], content["command"]) == (
            os.getpid(),
            socket.gethostname(),
            "ulmfit-ray embed",
        )
        deadline = time.monotonic() + 30
        while folder.read_json("lease.json")["counter"] < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert not folder.exists("lease.json")


def test_a_second_job_is_refused_in_a_line_that_names_the_first(folder: Folder, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(LeaseHeldError) as error, held_lease(folder, "ulmfit-ray embed"):
        pass
    assert f"is being written by process {holder.pid} on {socket.gethostname()} (ulmfit-ray embed)" in str(error.value)
    assert leased_by(folder) == holder.pid


def test_the_successor_of_a_dead_owner_takes_over_at_once(
    folder: Folder, holder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    holder.kill()
    holder.wait()
    assert leased_by(folder) == holder.pid
    monkeypatch.setattr(lease, "PATIENCE_SECONDS", 3600.0)
    with held_lease(folder, "ulmfit-ray embed"):
        assert leased_by(folder) == os.getpid()


def test_a_process_that_has_the_number_of_a_dead_owner_does_not_hold_its_lease(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "PATIENCE_SECONDS", 3600.0)
    # This process is alive, and was not started when the owner was; an owner of before the last boot neither.
    boot, ticks = process_start(os.getpid()).split()
    for started in (f"{boot} {int(ticks) - 1}", f"another-boot {ticks}"):
        owner = Lease("abc", socket.gethostname(), os.getpid(), "ulmfit-ray embed", started=started)
        folder.publish_json(asdict(owner), "lease.json")
        with held_lease(folder, "ulmfit-ray embed"):
            assert folder.read_json("lease.json")["started"] == f"{boot} {ticks}"
    assert not Lease("abc", socket.gethostname(), os.getpid(), "", started=f"{boot} {ticks}").is_dead()
    assert not Lease("abc", socket.gethostname(), os.getpid(), "").is_dead()


def test_a_stopped_owner_loses_its_lease_and_ends_when_it_wakes(folder: Folder, holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGSTOP)
    with held_lease(folder, "ulmfit-ray embed"):
        holder.send_signal(signal.SIGCONT)
        assert holder.wait(timeout=60) == 1
        assert leased_by(folder) == os.getpid()
    assert holder.stderr is not None
    assert f"silent for too long, and process {os.getpid()} on" in holder.stderr.read()


def test_a_stopped_owner_that_wakes_when_its_successor_has_finished_writes_no_lease_into_its_output(
    folder: Folder, holder: subprocess.Popen[str]
) -> None:
    holder.send_signal(signal.SIGSTOP)
    with held_lease(folder, "ulmfit-ray embed"):
        pass
    holder.send_signal(signal.SIGCONT)
    assert holder.wait(timeout=60) == 1
    assert not folder.exists("lease.json")
    assert holder.stderr is not None
    assert "lease.json has gone: this job was silent for too long" in holder.stderr.read()


def test_a_worker_is_told_whether_the_lease_is_still_that_of_its_job(folder: Folder) -> None:
    with held_lease(folder, "ulmfit-ray embed") as own:
        check_lease(folder, own)
        other = Lease("abc", "another-machine", 1, "ulmfit-ray embed")
        folder.publish_json(asdict(other), "lease.json")
        with pytest.raises(LeaseLostError, match=r"process 1 on another-machine \(ulmfit-ray embed\) writes"):
            check_lease(folder, own)
        folder.publish_json(asdict(replace(other, run_id=own)), "lease.json")
    with pytest.raises(LeaseLostError, match="has gone"):
        check_lease(folder, own)


def test_an_owner_on_another_machine_is_watched_before_it_is_taken_over(folder: Folder) -> None:
    foreign = Lease("abc", "another-machine", 1, "ulmfit-ray embed")
    folder.publish_json(asdict(foreign), "lease.json")
    assert not foreign.is_dead()
    with held_lease(folder, "ulmfit-ray embed"):
        assert leased_by(folder) == os.getpid()


@pytest.mark.parametrize("content", ["", "{}", '{"pid": 3}', "[1]"])
def test_a_lease_that_cannot_be_read_is_as_good_as_none(folder: Folder, content: str) -> None:
    folder.publish_bytes(content.encode(), "lease.json")
    with held_lease(folder, "ulmfit-ray embed"):
        assert leased_by(folder) == os.getpid()
