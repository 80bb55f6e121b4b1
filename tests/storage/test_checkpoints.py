"""The newest checkpoint that is whole is the one to go on from."""

from pathlib import Path

import pytest

from ulmfit_ray.storage import checkpoints
from ulmfit_ray.storage.checkpoints import Checkpoint, newest_checkpoint, publish_checkpoint
from ulmfit_ray.storage.folder import Folder


def publish(folder: Folder, tmp_path: Path, *steps: int) -> None:
    for step in steps:
        path = tmp_path / "state"
        path.write_text(f"state at {step}")
        checkpoint = Checkpoint(step=step, is_last=step == 10, world_size=2, facts={"precision": "float32"})
        publish_checkpoint(folder, checkpoint, {"state.safetensors": path, "copy": path})


def newest_step(folder: Folder) -> int | None:
    found = newest_checkpoint(folder)
    return found.step if found else None


def test_without_checkpoints_there_is_none(folder: Folder) -> None:
    assert newest_checkpoint(folder) is None


def test_a_checkpoint_has_its_files_hashes_and_facts(folder: Folder, tmp_path: Path) -> None:
    publish(folder, tmp_path, 5)
    found = newest_checkpoint(folder)
    assert found is not None
    assert found.name == "checkpoints/step-0000005"
    assert (found.step, found.world_size, sorted(found.files)) == (5, 2, ["copy", "state.safetensors"])
    assert (found.is_last, found.facts) == (False, {"precision": "float32"})
    assert found.files == {name: folder.sha256(f"{found.name}/{name}") for name in ("state.safetensors", "copy")}
    assert folder.read_bytes(f"{found.name}/state.safetensors") == b"state at 5"


def test_a_checkpoint_says_whether_training_is_over(folder: Folder, tmp_path: Path) -> None:
    for step in (9, 10):
        publish(folder, tmp_path, step)
        found = newest_checkpoint(folder)
        assert found is not None
        assert found.is_last == (step == 10)


def test_the_newest_of_whole_checkpoints_is_chosen(folder: Folder, tmp_path: Path) -> None:
    publish(folder, tmp_path, 9, 10)
    assert newest_step(folder) == 10


def test_a_run_that_goes_on_from_an_older_one_keeps_its_own_and_not_what_a_killed_run_left(
    folder: Folder, tmp_path: Path
) -> None:
    publish(folder, tmp_path, 1, 20)
    for begun in (7, 30):
        folder.publish_bytes(b"half of", f"checkpoints/step-{begun:07d}/state.safetensors")
    folder.delete("checkpoints/step-0000020/copy")
    assert newest_step(folder) == 1
    publish(folder, tmp_path, 9)
    assert folder.names("checkpoints") == ["step-0000001", "step-0000009"]
    assert newest_step(folder) == 9


def test_steps_are_compared_as_numbers_beyond_their_seven_digits(folder: Folder, tmp_path: Path) -> None:
    publish(folder, tmp_path, 9_999_999, 10_000_000)
    assert newest_step(folder) == checkpoints.newest_step(folder) == 10_000_000


def test_the_newest_step_is_that_of_a_checkpoint_with_its_json(folder: Folder, tmp_path: Path) -> None:
    assert checkpoints.newest_step(folder) == 0
    publish(folder, tmp_path, 3)
    folder.publish_bytes(b"half of", "checkpoints/step-0000005/state.safetensors")
    folder.publish_bytes(b"{}", "checkpoints/ray-train/launch-1/some.json")
    assert checkpoints.newest_step(folder) == 3


def test_the_last_two_are_kept(folder: Folder, tmp_path: Path) -> None:
    publish(folder, tmp_path, 1, 2, 3, 10)
    assert folder.names("checkpoints") == ["step-0000003", "step-0000010"]


@pytest.mark.parametrize("damage", ["checkpoint.json", "state.safetensors"])
def test_a_checkpoint_that_lacks_a_file_is_passed_over(folder: Folder, tmp_path: Path, damage: str) -> None:
    publish(folder, tmp_path, 1, 2)
    folder.delete(f"checkpoints/step-0000002/{damage}")
    assert newest_step(folder) == 1


def test_a_checkpoint_with_a_changed_file_is_passed_over(folder: Folder, tmp_path: Path) -> None:
    publish(folder, tmp_path, 1, 2)
    folder.publish_bytes(b"state at 3", "checkpoints/step-0000002/copy")
    assert newest_step(folder) == 1
    folder.publish_bytes(b"", "checkpoints/step-0000001/state.safetensors")
    assert newest_checkpoint(folder) is None


def test_checkpoint_json_is_written_last(folder: Folder, tmp_path: Path, published: list[str]) -> None:
    publish(folder, tmp_path, 1)
    names = ["state.safetensors", "copy", "checkpoint.json"]
    assert published == [f"checkpoints/step-0000001/{name}" for name in names]


def test_a_checkpoint_that_was_broken_off_is_replaced_by_its_repetition(folder: Folder, tmp_path: Path) -> None:
    publish(folder, tmp_path, 1)
    folder.publish_bytes(b"half of", "checkpoints/step-0000002/state.safetensors")
    assert newest_step(folder) == 1
    publish(folder, tmp_path, 2)
    assert newest_step(folder) == 2
