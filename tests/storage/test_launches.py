"""launches.json keeps the first launch and the newest ones, and whatever else may lie there does not stop a job."""

from dataclasses import replace

import pytest

from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.launches import MOST_LAUNCHES, Launch, read_launches, write_launches

LAUNCH = Launch(command="ulmfit-ray x", host="h", pid=1, ray="", began="2026-03-01T09:00:00.000+00:00")


def test_launches_are_read_as_they_were_written(folder: Folder) -> None:
    ended = replace(LAUNCH, ended="2026-03-01T10:00:30.500+00:00", ending="failed", reason="why", versions={"ray": "2"})
    write_launches(folder, [LAUNCH, ended])
    assert read_launches(folder) == [LAUNCH, ended]
    assert [launch.seconds for launch in read_launches(folder)] == [None, 3630.5]


def test_of_very_many_launches_the_first_and_the_newest_are_kept(folder: Folder) -> None:
    launches = [replace(LAUNCH, pid=number) for number in range(MOST_LAUNCHES + 50)]
    write_launches(folder, launches)
    assert [launch.pid for launch in read_launches(folder)] == [0, *range(51, MOST_LAUNCHES + 50)]


@pytest.mark.parametrize("content", [{}, [], None, {"launches": [{"unknown": 1}]}, {"launches": 3}], ids=str)
def test_a_file_of_another_kind_counts_as_none(folder: Folder, content: object) -> None:
    assert read_launches(folder) == []
    folder.publish_json(content, "launches.json")
    assert read_launches(folder) == []
