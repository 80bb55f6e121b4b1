"""Defaults < TOML file < command line, and strict."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from job_config import Job, Scale, parsed

from ulmfit_ray.config import ConfigError, OutputRun, operational, parse_config, toml_arguments

REQUIRED = ["--input", "/a", "--output", "/o"]


def toml(tmp_path: Path, content: str) -> str:
    path = tmp_path / "job.toml"
    path.write_text(content, encoding="utf-8")
    return str(path)


def test_defaults_stand_where_nothing_is_said() -> None:
    assert parsed(*REQUIRED) == Job(input=("/a",), output="/o")


def test_a_toml_file_stands_before_the_typed_arguments(tmp_path: Path) -> None:
    path = toml(tmp_path, 'max-size = 20\nmode = "slow"\ninput = ["/a"]\n[inner]\nrate = 0.25\nlimit = 3\n')
    config = parsed(path, "--output", "/o", "--max-size", "30", "--inner.rate", "1.5")
    assert (config.max_size, config.mode, config.inner.rate, config.inner.limit) == (30, "slow", 1.5, 3)


def test_a_typed_list_replaces_the_files_list(tmp_path: Path) -> None:
    path = toml(tmp_path, 'input = ["/a", "/b"]\ncolumns = ["title", "text"]\n')
    assert parsed(path, "--output", "/o").input == ("/a", "/b")
    assert parsed(path, "--output", "/o", "--input", "/c").input == ("/c",)
    assert parsed(path, "--output", "/o", "--columns", "body").columns == ("body",)


def test_keys_of_toml_may_have_underscores_or_dashes(tmp_path: Path) -> None:
    for key in ("max_size", "max-size"):
        assert parsed(toml(tmp_path, f"{key} = 7"), *REQUIRED).max_size == 7


@pytest.mark.parametrize(
    ("content", "expected"),
    [("marks = true", (True, True)), ("marks = false", (False, True)), ("[inner]\ndeep = false", (False, False))],
)
def test_truth_values_of_toml_become_flags(tmp_path: Path, content: str, expected: tuple[bool, bool]) -> None:
    config = parsed(toml(tmp_path, content), *REQUIRED)
    assert (config.marks, config.inner.deep) == expected


def test_a_typed_flag_overrides_the_files(tmp_path: Path) -> None:
    path = toml(tmp_path, "marks = true\n[inner]\ndeep = false")
    config = parsed(path, *REQUIRED, "--no-marks", "--inner.deep")
    assert (config.marks, config.inner.deep) == (False, True)


def test_toml_becomes_arguments_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = toml(tmp_path, 'input = ["a", "b c"]\nmarks = true\n[inner]\nrate = 0.5\ndeep = false\n[scale]\nworkers = 2')
    assert toml_arguments(path, Job) == [
        *("--input", "a", "b c", "--marks"),
        *("--inner.rate", "0.5", "--inner.no-deep", "--scale.workers", "2"),
    ]


@pytest.mark.parametrize(
    ("option", "nearest"),
    [
        ("--max-siz", "did you mean --max-size?"),
        ("--inner.rat=3", "did you mean --inner.rate?"),
        ("--colums", "did you mean --columns?"),
        ("--no-mark", "did you mean --no-marks?"),
        ("--inner.no-dep", "did you mean --inner.no-deep?"),
        ("--dep", "did you mean --inner.deep?"),
        ("--limit", "did you mean --inner.limit?"),
        ("--worker", "did you mean --scale.workers?"),
        ("--inner.max-size", "did you mean --max-size?"),
        ("--hel", "did you mean --help?"),
    ],
)
def test_an_unknown_option_is_refused_with_the_nearest_one(option: str, nearest: str) -> None:
    with pytest.raises(ConfigError) as error:
        parsed(*REQUIRED, option, "3")
    assert f"unknown option {option.partition('=')[0]}: {nearest}" in str(error.value)


def test_an_option_like_no_other_is_refused_without_a_guess() -> None:
    with pytest.raises(ConfigError, match=r"^unknown option --qqqqqqqq: `job --help` lists them all$"):
        parsed(*REQUIRED, "--qqqqqqqq")


@pytest.mark.parametrize("option", ["--no-max-size", "--no-name", "--inner.no-limit", "--no-input", "--no-help"])
def test_only_truth_values_have_an_option_that_switches_them_off(option: str) -> None:
    with pytest.raises(ConfigError, match=f"^unknown option {option}: "):
        parsed(*REQUIRED, option)


@pytest.mark.parametrize("option", ["--mark", "--nomarks", "--inner.dee", "--noname"])
def test_an_option_that_switches_off_is_suggested_only_to_who_typed_one(option: str) -> None:
    with pytest.raises(ConfigError) as error:
        parsed(*REQUIRED, option)
    assert "no-" not in str(error.value)


def test_an_option_that_stands_in_several_tables_is_suggested_with_each() -> None:
    @dataclass(frozen=True, kw_only=True, slots=True)
    class Two(OutputRun):
        one: Scale = operational(default_factory=Scale)
        other: Scale = operational(default_factory=Scale)

    with pytest.raises(ConfigError, match=r"--workers: did you mean --one\.workers or --other\.workers\?"):
        parse_config(Two, ["--workers", "3"], "job")
    with pytest.raises(ConfigError, match=r"--other\.worker: did you mean --other\.workers\?"):
        parse_config(Two, ["--other.worker", "3"], "job")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[inner]\nrat = 3", "[inner] has no key rat; did you mean rate?"),
        ("max_siz = 3", "there is no key max_siz; did you mean max_size?"),
        ("max-siz = 3", "there is no key max-siz; did you mean max-size?"),
        ("limit = 3", "there is no key limit; did you mean limit in [inner]?"),
        ("[scale]\ndeep = true", "[scale] has no key deep; did you mean deep in [inner]?"),
        ("[inner]\nmax_size = 3", "[inner] has no key max_size; did you mean max_size at the top of the file?"),
        ("[iner]\nrate = 3", "there is no table iner; did you mean [inner]?"),
        ("[scale]\nqqqqqqq = 3", "[scale] has no key qqqqqqq; known are workers"),
        ('max_size = "many"', "max_size is 'many': expected a whole number"),
        ("max_size = 1.5", "max_size is 1.5: expected a whole number"),
        ("max_size = true", "max_size is True: expected a whole number"),
        ('[inner]\nrate = "high"', "[inner] rate is 'high': expected a number"),
        ("[inner]\nlimit = []", "[inner] limit is []: expected a whole number"),
        ('[inner]\ndeep = "yes"', "[inner] deep is 'yes': expected true or false"),
        ('mode = "other"', "mode is 'other': expected one of 'fast', 'slow'"),
        ("output = 7", "output is 7: expected text in quotes"),
        ('columns = ["a", 1]', "columns is ['a', 1]: expected a list, each item text in quotes"),
        ("inner = 3", "inner is 3: expected a table, [inner] with its keys below it"),
        ("[[inner]]\nrate = 3", "inner is [{'rate': 3}]: expected a table, [inner] with its keys below it"),
        ("[max_size]\nrate = 3", "max_size is a table: expected a whole number"),
        ("[inner.rate]\nx = 3", "[inner] rate is a table: expected a number"),
    ],
)
def test_a_mistake_in_a_toml_file_names_the_file_the_table_and_the_key(
    tmp_path: Path, content: str, message: str
) -> None:
    path = toml(tmp_path, content)
    with pytest.raises(ConfigError) as error:
        parsed(path, *REQUIRED)
    assert str(error.value) == f"{path}: {message}"


def test_a_whole_number_is_a_number_and_one_text_is_a_list_of_one(tmp_path: Path) -> None:
    config = parsed(toml(tmp_path, 'columns = "body"\n[inner]\nrate = 3\n'), *REQUIRED)
    assert (config.columns, config.inner.rate) == (("body",), 3.0)


def test_a_key_of_a_file_is_checked_even_if_an_option_replaces_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="max_size is 'many'"):
        parsed(toml(tmp_path, 'max_size = "many"'), *REQUIRED, "--max-size", "3")


def test_a_missing_toml_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config file .*missing\.toml does not exist"):
        parsed(str(tmp_path / "missing.toml"), *REQUIRED)


def test_a_file_that_is_not_toml_is_named_with_the_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"job\.toml is not valid TOML: .*line 2"):
        parsed(toml(tmp_path, "max-size = 3\nmarks = ?\n"), *REQUIRED)


@pytest.mark.parametrize("arguments", [["--max-size", "many"], ["--mode", "other"], ["--output", "/o"]])
def test_a_value_of_another_type_or_a_missing_one_ends_with_status_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    given = arguments if arguments[0] == "--output" else [*REQUIRED, *arguments]
    with pytest.raises(SystemExit) as error:
        parsed(*given)
    assert error.value.code == 2
    assert "Traceback" not in capsys.readouterr().err
