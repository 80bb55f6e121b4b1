"""A job's config: defaults < TOML file < command line -> one frozen dataclass, strict and written down.

The settings of a TOML file become command-line arguments in front of the typed ones, so tyro checks both.
Every field is *identity* (it changes the result) unless it is marked *operational*; only identity fields are
compared when a job resumes an output.
"""

import difflib
import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import tyro

from ulmfit_ray.storage.folder import absolute_uri

Config = TypeVar("Config")
PLACES = ("input", "output", "tokens", "valid", "model", "vocab", "embeddings", "queries", "qrels")
"""Fields that are paths or URIs, in whichever config they stand: an option keeps one name in all verbs."""


class ConfigError(Exception):
    """The command or its config is wrong; the message says what, where, and what to do.

    Not a ValueError, because tyro catches those and prints them in its own format.
    """


def operational(default: Any = MISSING, *, default_factory: Any = MISSING) -> Any:
    """Declare a field that says how a job runs and not what comes out."""
    return field(default=default, default_factory=default_factory, metadata={"operational": True})


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """How a command is run; nothing here changes its result."""

    debug: bool = operational(False)
    """Show the traceback of an error, and log messages of level INFO."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputRun(Run):
    """How a command that makes an output directory is run."""

    dry_run: bool = operational(False)
    """Print the resolved config and the plan, then stop."""
    overwrite: bool = operational(False)
    """Delete what an earlier ulmfit-ray job wrote into the output, and start from the beginning."""


def option_names(config_class: type) -> Iterator[str]:
    """Yield every option of a config class without the leading dashes, nested ones with dots."""
    hints = get_type_hints(config_class)
    for item in fields(config_class):
        name = item.name.replace("_", "-")
        if is_dataclass(hints[item.name]):
            yield from (f"{name}.{inner}" for inner in option_names(hints[item.name]))
        else:
            yield name


def toml_arguments(path: str) -> list[str]:
    """Return the command-line arguments that a TOML file stands for.

    Raises:
        ConfigError: the file is missing or is not TOML.
    """
    try:
        content = tomllib.loads(Path(path).read_text())
    except FileNotFoundError as error:
        raise ConfigError(f"config file {path} does not exist") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"config file {path} is not valid TOML: {error}") from error
    return list(_arguments(content))


def _arguments(content: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in content.items():
        name = prefix + key.replace("_", "-")
        if isinstance(value, Mapping):
            yield from _arguments(value, f"{name}.")
        elif isinstance(value, bool):
            *parents, last = name.split(".")
            yield "--" + ".".join([*parents, last if value else f"no-{last}"])
        else:
            yield f"--{name}"
            yield from map(str, value if isinstance(value, list) else [value])


def parse_config(config_class: type[Config], arguments: Sequence[str], program: str) -> Config:
    """Parse `[config.toml] [--option value ...]`; tyro prints help and its own errors and exits.

    Raises:
        ConfigError: an unknown option, or a value that the config refuses.
    """
    arguments = list(arguments)
    if arguments and arguments[0].endswith(".toml"):
        arguments[:1] = toml_arguments(arguments[0])
    _refuse_unknown(arguments, config_class, program)
    try:
        return absolute_places(tyro.cli(config_class, args=arguments, prog=program))
    except ValueError as error:
        raise ConfigError(str(error)) from error


def absolute_places(config: Config) -> Config:
    """Return the config with its local paths made absolute: workers have other working directories."""
    changes: dict[str, Any] = {}
    for item in fields(config):  # type: ignore[arg-type]
        value = getattr(config, item.name)
        if item.name in PLACES and value is not None:
            changes[item.name] = tuple(map(absolute_uri, value)) if isinstance(value, tuple) else absolute_uri(value)
    return replace(config, **changes)  # type: ignore[type-var]


def _refuse_unknown(arguments: Sequence[str], config_class: type, program: str) -> None:
    known = {"help", *option_names(config_class)}
    known |= {".".join([*name.split(".")[:-1], "no-" + name.split(".")[-1]]) for name in known}
    for argument in arguments:
        name = argument.removeprefix("--").split("=")[0].replace("_", "-")
        if argument.startswith("--") and " " not in argument and name not in known:
            close = difflib.get_close_matches(name, known, 1, 0.5)
            hint = f"did you mean --{close[0]}? " if close else ""
            raise ConfigError(f"unknown option --{name}: {hint}`{program} --help` lists them all")


def to_dict(config: Any, *, identity_only: bool = False) -> dict[str, Any]:
    """Return a config as JSON types; with `identity_only` without what does not change the result."""
    result = {}
    for item in fields(config):
        if identity_only and item.metadata.get("operational"):
            continue
        value = getattr(config, item.name)
        if is_dataclass(value):
            value = to_dict(value, identity_only=identity_only)
            if identity_only and not value:
                continue
        result[item.name] = list(value) if isinstance(value, tuple) else value
    return result


def flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested tables as one, keys joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def differences(previous: Mapping[str, Any], identity: Mapping[str, Any]) -> list[str]:
    """Return "field: old -> new" for each identity field that differs from a previous job's resolved config."""
    before = flatten(previous)
    return [
        f"{name}: {before.get(name)!r} -> {value!r}"
        for name, value in sorted(flatten(identity).items())
        if before.get(name) != value
    ]


def command_line(verb: str, config: Any) -> str:
    """Return the shortest command that gives this config: what a person types to run the job again."""
    return shlex.join(["ulmfit-ray", verb, *_typed(config)])


def _typed(config: Any, prefix: str = "") -> Iterator[str]:
    for item in fields(config):
        value = getattr(config, item.name)
        default = item.default if item.default_factory is MISSING else item.default_factory()
        name = item.name.replace("_", "-")
        if is_dataclass(value):
            yield from _typed(value, f"{prefix}{name}.")
        elif value != default and name not in ("dry-run", "overwrite", "debug"):
            if isinstance(value, bool):
                yield f"--{prefix}{name if value else 'no-' + name}"
            else:
                yield f"--{prefix}{name}"
                yield from map(str, value if isinstance(value, tuple) else [value])
