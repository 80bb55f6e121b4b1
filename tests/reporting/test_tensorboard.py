"""Event files: every row of the log once, whatever was interrupted, on a disk and in a bucket."""

import pytest
from event_files import events, points

from ulmfit_ray.reporting import tensorboard
from ulmfit_ray.reporting.tensorboard import EventFiles
from ulmfit_ray.reporting.training_log import Row
from ulmfit_ray.storage.folder import Folder


def row(step: int) -> Row:
    return {"step": step, "epoch": 1, "loss": 10 - step, "tokens": 600, "learning_rate": 0.5, "seconds": 2.0}


VALIDATION: Row = {"step": 3, "epoch": 1, "loss": 2.5, "perplexity": 12.25, "accuracy": 0.25, "seconds": 1.0}


@pytest.fixture(params=["local", "bucket"])
def output(request: pytest.FixtureRequest, folder: Folder) -> Folder:
    if request.param == "local":
        return folder
    uri: str = request.getfixturevalue("bucket")
    return Folder(f"{uri}/output")


def losses(output: Folder) -> list[tuple[int, float]]:
    return [(step, value) for tag, step, value in points(output) if tag == "train/loss"]


def test_each_row_gives_its_figures_under_names_of_their_kind(output: Folder) -> None:
    with EventFiles(output) as files:
        files.begin([])
        files.add(row(3))
        files.add(VALIDATION)
    assert points(output) == [
        *(("train/loss", 3, 7.0), ("train/learning_rate", 3, 0.5), ("train/tokens_per_second", 3, 300.0)),
        *(("validation/loss", 3, 2.5), ("validation/perplexity", 3, 12.25), ("validation/accuracy", 3, 0.25)),
    ]


def test_what_was_trained_again_after_a_checkpoint_has_one_point(output: Folder) -> None:
    with EventFiles(output) as files:
        files.begin([])
        for step in (1, 2, 3):
            files.add(row(step))
    # Killed after step 3, with a checkpoint of step 2. Then the workers are lost, too, and Ray begins again.
    with EventFiles(output) as files:
        files.begin([row(1), row(2)])
        files.add(row(3))
        files.begin([row(1), row(2)])
        files.add(row(3))
        files.add(row(4))
    assert losses(output) == [(1, 9), (2, 8), (3, 7), (4, 6)]


def test_a_training_begun_without_event_files_is_shown_from_its_first_step_in_its_own_time(output: Folder) -> None:
    with EventFiles(output) as files:
        files.begin([row(1), row(2), row(3)])
    times = [event.wall_time for event in events(output) if event.summary.value]
    assert [round(later - times[0], 3) for later in times] == [0, 2, 4]


def test_local_files_can_be_read_while_the_training_goes_on(folder: Folder) -> None:
    with EventFiles(folder) as files:
        files.begin([row(1)])
        files.add(row(2))
        files.flush()
        assert losses(folder) == [(1, 9), (2, 8)]


def test_a_bucket_is_given_the_file_anew_after_half_a_minute(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(tensorboard.time, "monotonic", lambda: now[0])
    output = Folder(f"{bucket}/output")
    with EventFiles(output) as files:
        files.begin([row(1)])
        files.flush()
        assert losses(output) == [(1, 9)]
        now[0] += 29
        files.add(row(2))
        files.flush()
        assert losses(output) == [(1, 9)]
        now[0] += 1
        files.flush()
        assert losses(output) == [(1, 9), (2, 8)]


def test_a_training_that_ends_before_its_first_row_leaves_no_event_file(output: Folder) -> None:
    with EventFiles(output):
        pass
    assert output.names("tensorboard") == []
