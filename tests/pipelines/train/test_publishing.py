"""Checkpoints in a thread: training goes on meanwhile, none is lost, and none fails in silence."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ulmfit_ray.model.files import load_tensors
from ulmfit_ray.pipelines.train.failures import RepeatableError, repeatable_errors_named
from ulmfit_ray.pipelines.train.publishing import CheckpointPublisher
from ulmfit_ray.storage.checkpoints import Checkpoint, newest_checkpoint
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.lease import held_lease

SECONDS = 30


class SlowFolder(Folder):
    """A folder that publishes nothing until it is told to."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.begun, self.may_publish = threading.Event(), threading.Event()
        self.error: Exception | None = None

    def publish(self, local_file: Path, name: str) -> None:
        self.begun.set()
        assert self.may_publish.wait(SECONDS)
        if self.error is not None:
            raise self.error
        super().publish(local_file, name)


class Letters:
    """Stands for the mailbox."""

    def __init__(self) -> None:
        self.saved: list[int] = []

    def put(self, message: dict[str, int]) -> None:
        self.saved.append(message["saved"])


@pytest.fixture
def slow(tmp_path: Path) -> SlowFolder:
    return SlowFolder(str(tmp_path / "output"))


def checkpoint(step: int) -> Checkpoint:
    return Checkpoint(step=step, is_last=False, world_size=1)


def publish_and(go_on: Callable[[CheckpointPublisher], None], folder: Folder) -> None:
    """Publish one checkpoint and do something else before the end."""
    with CheckpointPublisher(folder, Letters()) as publisher:
        publisher.publish(checkpoint(1), {}, [])
        go_on(publisher)


def test_what_is_published_is_the_state_of_its_step_although_training_goes_on(slow: SlowFolder):
    weights, letters = torch.zeros(3), Letters()
    log = [{"step": 1.0}]
    with CheckpointPublisher(slow, letters) as publisher:
        publisher.publish(checkpoint(1), {"weights": weights}, log)
        assert slow.begun.wait(SECONDS)
        weights += 1
        log.append({"step": 2.0})
        publisher.check()
        assert newest_checkpoint(slow) is None
        slow.may_publish.set()
    found = newest_checkpoint(slow)
    assert found is not None
    assert torch.equal(load_tensors(Path(slow.path(f"{found.name}/state.safetensors")))["weights"], torch.zeros(3))
    assert slow.read_bytes(f"{found.name}/training_log.jsonl") == b'{"step": 1.0}\n'
    assert letters.saved == [1]


def test_a_checkpoint_waits_for_the_one_before_it(slow: SlowFolder):
    letters = Letters()
    with CheckpointPublisher(slow, letters) as publisher:
        publisher.publish(checkpoint(1), {}, [])
        threading.Timer(0.2, slow.may_publish.set).start()
        publisher.publish(checkpoint(2), {}, [])
        assert letters.saved[:1] == [1]
    assert letters.saved == [1, 2]


def test_the_error_of_a_checkpoint_is_raised_at_the_next_report_the_next_checkpoint_or_the_end(slow: SlowFolder):
    slow.error = OSError("no space left on device")
    slow.may_publish.set()

    def report_on(publisher: CheckpointPublisher) -> None:
        for _ in range(SECONDS * 100):
            publisher.check()
            threading.Event().wait(0.01)

    for go_on in (lambda _: None, lambda publisher: publisher.publish(checkpoint(2), {}, []), report_on):
        with pytest.raises(OSError, match="no space left"):
            publish_and(go_on, slow)
    assert newest_checkpoint(slow) is None


def test_workers_whose_job_has_lost_its_lease_publish_nothing_and_do_not_start_again(folder: Folder):
    with held_lease(folder, "ulmfit-ray pretrain") as lease:
        with CheckpointPublisher(folder, Letters(), lease) as publisher:
            publisher.publish(checkpoint(1), {}, [])
        with (
            pytest.raises(RepeatableError, match="silent for too long"),
            repeatable_errors_named(0, 1),
            CheckpointPublisher(folder, Letters(), "that of a driver that was stopped") as other,
        ):
            other.publish(checkpoint(2), {}, [])
    found = newest_checkpoint(folder)
    assert found is not None
    assert found.step == 1


def test_a_training_that_fails_still_ends_the_checkpoint_that_is_under_way_and_keeps_its_own_error(slow: SlowFolder):
    def fail(_: CheckpointPublisher) -> None:
        threading.Timer(0.2, slow.may_publish.set).start()
        raise ValueError("of the training")

    with pytest.raises(ValueError, match="of the training"):
        publish_and(fail, slow)
    found = newest_checkpoint(slow)
    assert found is not None
    assert found.step == 1
