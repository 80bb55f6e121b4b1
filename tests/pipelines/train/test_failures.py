"""An error on one worker ends the training at once, or makes all workers start again; nobody waits for anybody."""

from pathlib import Path

import pytest
import ray.train
import torch
import toy_training
from ray.exceptions import RayActorError, RayTaskError
from toy_training import Mishap

from ulmfit_ray.pipelines.train import failures
from ulmfit_ray.pipelines.train.failures import Failures, RepeatableError, in_words, repeatable_errors_named
from ulmfit_ray.pipelines.train.workers import _load
from ulmfit_ray.storage.checkpoints import Checkpoint, newest_checkpoint, publish_checkpoint
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.store_errors import StoreLostError
from ulmfit_ray.training.loop import NotFiniteError


class Letters:
    """Stands for the mailbox."""

    def __init__(self) -> None:
        self.messages: list[dict[str, object]] = []

    def put(self, message: dict[str, object]) -> None:
        self.messages.append(message)


@pytest.fixture
def letters() -> Letters:
    return Letters()


def checkpoint(folder: Folder, tmp_path: Path, step: int) -> None:
    (tmp_path / "state").write_text("state")
    publish_checkpoint(folder, Checkpoint(step=step, is_last=False, world_size=2), {"state": tmp_path / "state"})


def test_an_error_that_would_be_repeated_names_the_worker_and_ends_the_training(letters: Letters, tmp_path: Path):
    with pytest.raises(RepeatableError) as raised, repeatable_errors_named(1, 2):
        raise FileNotFoundError("part-7 is not there")
    callback = Failures(str(tmp_path), letters)
    with pytest.raises(RuntimeError, match=r"^worker 1 of 2, on node [\d.]+: part-7 is not there$"):
        callback.after_exception(None, {0: OSError("connection closed"), 1: raised.value})
    assert letters.messages == []


@pytest.mark.parametrize(
    ("error", "world_size"), [(NotFiniteError("nan"), 2), (FileNotFoundError("nan"), 1), (StoreLostError("nan"), 1)]
)
def test_what_concerns_all_workers_names_none(error: Exception, world_size: int):
    with pytest.raises(RepeatableError, match=r"^nan$"), repeatable_errors_named(0, world_size):
        raise error


@pytest.mark.parametrize("kind", [OSError, ConnectionError, RuntimeError])
def test_an_error_of_the_surroundings_passes_as_it_is(kind: type[Exception]):
    with pytest.raises(kind, match="broken pipe") as raised, repeatable_errors_named(1, 2):
        raise kind("broken pipe")
    assert not isinstance(raised.value, RepeatableError)


def test_of_a_mistake_in_the_program_the_kind_is_named_too():
    with pytest.raises(RepeatableError, match=r"^KeyError: 'hidden'$"), repeatable_errors_named(0, 1):
        raise KeyError("hidden")


def test_other_failures_are_told_to_the_driver_and_end_the_training_only_without_progress(
    letters: Letters, folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(failures, "MAX_FAILURES", 2)
    callback = Failures(folder.uri, letters)
    error = {1: OSError("broken pipe\nand more")}
    for step in (0, 0, 40, 40):
        if step:
            checkpoint(folder, tmp_path, step)
        callback.after_exception(None, error)
    assert letters.messages == [{"failed": "worker 1: OSError: broken pipe", "step": step} for step in (0, 0, 40, 40)]
    with pytest.raises(RuntimeError, match=r"worker 1: OSError: broken pipe\n.*failure 3 without a new checkpoint"):
        callback.after_exception(None, error)


def test_a_worker_that_is_gone_is_named_and_not_one_that_waited_for_it(letters: Letters, folder: Folder):
    callback = Failures(folder.uri, letters)
    callback.after_exception(None, {0: RuntimeError("Connection closed by peer"), 1: RayActorError()})
    assert (
        letters.messages[0]["failed"] == "worker 1: its process is gone: killed, out of memory, or lost with its node"
    )


@pytest.mark.parametrize(
    "raised",
    [
        ray.train.ControllerError(RuntimeError("no such file")),
        ray.train.ControllerError(RayTaskError("start", "Traceback (most recent call last)", OSError("no such file"))),
        OSError("no such file"),
    ],
)
def test_of_what_ray_raises_a_person_reads_the_reason_alone(raised: Exception):
    assert in_words(raised) == "no such file"


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_a_file_that_one_worker_does_not_see_ends_the_job_at_once_although_the_other_waits_for_it(tmp_path: Path):
    mishap = Mishap(tmp_path / "attempts", rank=1, step=-1, error=FileNotFoundError("part-7 is not there"))
    with pytest.raises(RuntimeError, match=r"^worker 1 of 2, on node [\d.]+: part-7 is not there$"):
        toy_training.train(tmp_path / "lm", mishap=mishap)
    assert mishap.happened() == 1


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_another_error_on_one_worker_makes_both_start_again_from_the_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    mishap = Mishap(tmp_path / "attempts", rank=1, step=11, error=OSError("the disk has gone"), times=1)
    state = toy_training.train(tmp_path / "lm", mishap=mishap)
    assert mishap.happened() == 1
    said = capsys.readouterr().err
    assert "worker 1: OSError: the disk has gone\n    All workers start again from step 8.\n" in said
    assert "Traceback" not in said
    assert int(state["step"]) == 40


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_a_loss_that_is_not_a_number_stops_once_and_leaves_the_last_good_checkpoint(tmp_path: Path):
    attempts = Mishap(tmp_path / "attempts", rank=0, step=-1, error=None, times=0)
    with pytest.raises(RuntimeError, match=r"^the loss is nan at step 14: lower --training.learning-rate$"):
        toy_training.train(tmp_path / "lm", num_workers=1, mishap=attempts, loss_at=(13, float("nan")))
    folder = Folder(str(tmp_path / "lm"))
    found = newest_checkpoint(folder)
    assert found is not None
    assert found.step == 8
    state, log = _load(folder, found)
    assert all(bool(tensor.isfinite().all()) for tensor in state.values())
    assert [row["step"] for row in log] == [1, 5]
    assert torch.equal(state["step"], torch.tensor(8))
