"""What config.json says of a job is found again, and nobody else's config is taken for it."""

import json
from typing import Any

import pytest

from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.job_record import JobRecord, find_job, read_job

JOB = JobRecord(
    verb="embed",
    command="ulmfit-ray embed tokens",
    config={"output": "o", "text_columns": ["title", "text"], "pooling": None, "blocks": []},
    inputs={"tokens": "00", "weights": "11"},
)
FOREIGN: list[Any] = [[], ["job"], {}, {"architectures": ["BertModel"]}, {"job": "cook"}, {"job": {"title": "cook"}}, 3]


def test_json_gives_the_job_back() -> None:
    assert JobRecord.from_json(json.loads(json.dumps(JOB.to_json()))) == JOB


def test_the_configs_fields_stand_beside_the_others() -> None:
    assert JOB.to_json() == {
        "verb": "embed",
        "command": "ulmfit-ray embed tokens",
        "output": "o",
        "text_columns": ["title", "text"],
        "pooling": None,
        "blocks": [],
        "inputs": {"tokens": "00", "weights": "11"},
    }


def test_a_job_is_found_beside_what_else_config_json_says(folder: Folder) -> None:
    folder.publish_json({"job": JOB.to_json(), "model": {"kind": "lm"}}, "config.json")
    assert find_job(folder) == read_job(folder) == JOB


@pytest.mark.parametrize("content", FOREIGN, ids=json.dumps)
def test_a_foreign_config_is_no_job(folder: Folder, content: Any) -> None:
    folder.publish_json(content, "config.json")
    assert find_job(folder) is None
    with pytest.raises(
        FileNotFoundError, match=r"output is not an output of ulmfit-ray: its config\.json names no job"
    ):
        read_job(folder)


def test_a_folder_without_config_has_no_job(folder: Folder) -> None:
    assert find_job(folder) is None
    with pytest.raises(FileNotFoundError, match="is not an output of ulmfit-ray"):
        read_job(folder)
