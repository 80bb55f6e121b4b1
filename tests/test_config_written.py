"""A config written down: as the command that gives it again, as JSON, and as what of it changes the result."""

import shlex
from typing import Any

import pytest
from job_config import Inner, Job, Scale, parsed

from ulmfit_ray.config import command_line, defaults, differences, flatten, option_names, to_dict

CONFIGS = [
    Job(input=("/a",), output="/o"),
    Job(input=("/a b", "/c'd", "/e*"), output="/o", marks=True, max_size=3, mode="slow", name="two words"),
    Job(input=("/a",), output="/o", inner=Inner(rate=1e-5, deep=False, limit=0, threads=4), scale=Scale(workers=8)),
    Job(input=("/a",), output="s3://b/o", columns=("title", "text")),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_the_command_line_of_a_config_gives_that_config_again(config: Job) -> None:
    words = shlex.split(command_line("job", config))
    assert words[:2] == ["ulmfit-ray", "job"]
    assert parsed(*words[2:]) == config


def test_the_command_line_names_only_what_is_not_default() -> None:
    assert command_line("job", CONFIGS[0]) == "ulmfit-ray job --input /a --output /o"


def test_the_command_line_never_repeats_overwrite_debug_or_dry_run() -> None:
    config = Job(input=("/a",), output="/o", overwrite=True, dry_run=True, debug=True)
    assert command_line("job", config) == "ulmfit-ray job --input /a --output /o"


def test_identity_leaves_out_what_does_not_change_the_result() -> None:
    identity = to_dict(CONFIGS[2], identity_only=True)
    assert sorted(identity) == ["columns", "inner", "input", "marks", "max_size", "mode", "name"]
    assert identity["inner"] == {"rate": 1e-5, "deep": False, "limit": 0}


def test_a_config_is_written_down_whole_as_json_types() -> None:
    written = to_dict(CONFIGS[2])
    assert written["scale"] == {"workers": 8}
    assert written["inner"]["threads"] == 4
    assert written["input"] == ["/a"]
    assert {"dry_run", "overwrite", "debug", "output"} <= set(written)


def test_differences_name_each_field_with_both_values() -> None:
    old, new = ({"a": 1, "same": [1]} | more for more in ({"b": {"c": 2}}, {"b": {"c": 3, "d": None}, "e": "x"}))
    assert differences(old, new) == ["b.c: 2 -> 3", "e: None -> 'x'"]
    assert differences(old, old) == []


def test_a_field_that_an_earlier_version_did_not_have_was_at_its_default() -> None:
    written = to_dict(CONFIGS[2])
    del written["mode"], written["inner"]["rate"]
    identity = to_dict(CONFIGS[2], identity_only=True)
    assert differences(written, identity, defaults(CONFIGS[2])) == ["inner.rate: 0.5 -> 1e-05"]


def test_configs_that_differ_in_how_they_run_have_the_same_identity() -> None:
    other = Job(input=("/a",), output="/elsewhere", overwrite=True, scale=Scale(workers=3), inner=Inner(threads=9))
    assert differences(to_dict(CONFIGS[0], identity_only=True), to_dict(other, identity_only=True)) == []
    changed = Job(input=("/a",), output="/o", max_size=11)
    assert differences(to_dict(CONFIGS[0], identity_only=True), to_dict(changed, identity_only=True)) == [
        "max_size: 10 -> 11"
    ]


def test_flattened_tables_have_dotted_names() -> None:
    content: dict[str, Any] = {"a": {"b": {"c": 1}}, "d": [2], "empty": {}}
    assert flatten(content) == {"a.b.c": 1, "d": [2]}


def test_option_names_are_all_options_with_dots() -> None:
    names = set(option_names(Job))
    assert {"dry-run", "max-size", "inner.deep", "inner.limit", "scale.workers"} <= names
    assert not any("_" in name for name in names)
