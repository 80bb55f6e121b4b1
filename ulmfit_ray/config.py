"""A job's config: defaults < TOML file < command line -> one frozen dataclass, strict and written down.

The settings of a TOML file become command-line arguments in front of the typed ones, so tyro checks both.
Every field is *identity* (it changes the result) unless it is marked *operational*; only identity fields are
compared when a job resumes an output.
"""

import difflib
import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, make_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import tyro

Config = TypeVar("Config")
VALUES = {str: "text in quotes", int: "a whole number", float: "a number", bool: "true or false"}
"""What a TOML file may hold for a field of each of these types."""


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
    log_format: Literal["text", "json"] = operational("text")
    """json: progress, warnings and errors, those of workers too, as lines of JSON with job, stage and unit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputRun(Run):
    """How a command that makes an output directory is run."""

    dry_run: bool = operational(False)
    """Print the resolved config and the plan, then stop."""
    overwrite: bool = operational(False)
    """Delete what an earlier ulmfit-ray job wrote into the output, and start from the beginning."""


def joined(own: type, verb: type) -> type[Any]:
    """Return the config class with a verb's fields and those of what is done with it (`submit VERB`).

    The fields of `own` are tables: their help stands in the tables' classes. A field that both have is the verb's.
    """
    hints, known = get_type_hints(own), {item.name for item in fields(verb)}
    added = [(item.name, hints[item.name], item) for item in fields(own) if item.name not in known]
    names = {"__doc__": own.__doc__, "__module__": own.__module__}
    return make_dataclass(
        f"{own.__name__}Of{verb.__name__}", added, bases=(verb,), namespace=names, frozen=True, kw_only=True
    )


def part(config: Any, config_class: type[Config]) -> Config:
    """Return what a joined config says of one of its classes."""
    return config_class(**{item.name: getattr(config, item.name) for item in fields(config_class)})  # type: ignore[arg-type]


def option_names(config_class: type) -> Iterator[str]:
    """Yield every option of a config class without the leading dashes, nested ones with dots."""
    return (name for name, _ in options(config_class))


def options(config_class: type, *, identity_only: bool = False) -> Iterator[tuple[str, Any]]:
    """Yield the name and the type of every option; with `identity_only` of those that change the result."""
    hints = get_type_hints(config_class)
    for item in fields(config_class):
        if identity_only and item.metadata.get("operational"):
            continue
        name, hint = item.name.replace("_", "-"), hints[item.name]
        if is_dataclass(hint):
            inner_options = options(hint, identity_only=identity_only)  # type: ignore[arg-type]
            yield from ((f"{name}.{inner}", kind) for inner, kind in inner_options)
        else:
            yield name, hint


def toml_arguments(path: str, config_class: type) -> list[str]:
    """Return the command-line arguments that a TOML file stands for.

    Raises:
        ConfigError: the file is missing, is not TOML, or has a key or a value that the config class does not take.
    """
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"config file {path} does not exist") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"config file {path} is not valid TOML: {error}") from error
    try:
        _check_table(content, config_class, list(option_names(config_class)))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return list(_arguments(content))


def _check_table(content: Mapping[str, Any], config_class: type, known: Sequence[str], table: str = "") -> None:
    """Raise ConfigError at the first key of a table that its config class has not, or whose value is of another type.

    `known` are the options of all tables.
    """
    hints = get_type_hints(config_class)
    for key, value in content.items():
        name, dotted = key.replace("-", "_"), f"{table}.{key}".lstrip(".")
        place = f"[{table}] {key}" if table else key
        if name not in hints:
            where = f"[{table}] has" if table else "there is"
            what = "table" if isinstance(value, Mapping) else "key"
            close = _suggested_key(key, value, known, table)
            more = f"did you mean {close}?" if close else f"known are {', '.join(hints)}"
            raise ConfigError(f"{where} no {what} {key}; {more}")
        hint = hints[name]
        if is_dataclass(hints[name]):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{place} is {value!r:.80}: expected a table, [{dotted}] with its keys below it")
            _check_table(value, hint, known, dotted)
        elif not _fits(value, hint):
            given = "a table" if isinstance(value, Mapping) else f"{value!r:.80}"
            raise ConfigError(f"{place} is {given}: expected {_expected(hint)}")


def _suggested_key(key: str, value: Any, known: Sequence[str], table: str) -> str:
    """Return what may be meant by an unknown key of a TOML table, with dashes only if the person uses them, or ""."""
    table = table.replace("_", "-")
    if isinstance(value, Mapping):
        known = sorted({name.rpartition(".")[0] for name in known if "." in name})
    found = nearest(f"{table}.{key.replace('_', '-')}".lstrip("."), known)
    suggestions = []
    for parent, _, last in (name.rpartition(".") for name in found):
        where = "" if parent == table else f" in [{parent}]" if parent else " at the top of the file"
        suggestions.append(f"[{last}]" if isinstance(value, Mapping) else last + where)
    text = " or ".join(suggestions)
    return text if "-" in key else text.replace("-", "_")


def _fits(value: Any, hint: Any) -> bool:
    """Tell whether a field of type `hint` takes a value of TOML; types that are not listed here are left to tyro."""
    kind = get_origin(hint)
    if kind in (Union, UnionType):
        return any(_fits(value, option) for option in get_args(hint) if option is not NoneType)
    if kind is Literal:
        return value in get_args(hint)
    if kind is tuple:
        return all(_fits(item, get_args(hint)[0]) for item in (value if isinstance(value, list) else [value]))
    if hint is float:
        return type(value) in (int, float)
    return hint not in VALUES or type(value) is hint


def _expected(hint: Any) -> str:
    """Return what a field of type `hint` takes, in words."""
    kind, inner = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        return " or ".join(_expected(option) for option in inner if option is not NoneType)
    if kind is Literal:
        return f"one of {', '.join(map(repr, inner))}"
    return f"a list, each item {_expected(inner[0])}" if kind is tuple else VALUES.get(hint, str(hint))


def _arguments(content: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in content.items():
        name = prefix + key.replace("_", "-")
        if isinstance(value, Mapping):
            yield from _arguments(value, f"{name}.")
        elif isinstance(value, bool):
            yield flag(name, value)
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
        arguments[:1] = toml_arguments(arguments[0], config_class)
    _refuse_unknown(arguments, config_class, program)
    for name in getattr(config_class, "repeatable", ()):
        arguments = _gathered(arguments, name)
    try:
        return tyro.cli(config_class, args=arguments, prog=program)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _gathered(arguments: Sequence[str], name: str) -> list[str]:
    """Return the arguments with all values of a repeated option behind one."""
    values: list[str] = []
    rest: list[str] = []
    is_value = False
    for argument in arguments:
        option, has_value, value = argument.partition("=")
        if option == f"--{name}":
            is_value = True
            values += [value] if has_value else []
            continue
        is_value = is_value and not argument.startswith("--")
        (values if is_value else rest).append(argument)
    return [*rest, f"--{name}", *values] if values else rest


def _refuse_unknown(arguments: Sequence[str], config_class: type, program: str) -> None:
    known = dict(options(config_class))
    negatives = [_negative(name) for name, hint in known.items() if hint is bool]
    for argument in arguments:
        name = argument.removeprefix("--").split("=")[0].replace("_", "-")
        if argument.startswith("--") and " " not in argument and name not in ("help", *known, *negatives):
            is_negative = _last(name).startswith("no-")
            close = nearest(name, ["help", *known, *(negatives if is_negative else ())])
            hint = f"did you mean {' or '.join(f'--{one}' for one in close)}? " if close else ""
            raise ConfigError(f"unknown option --{name}: {hint}`{program} --help` lists them all")


def nearest(name: str, known: Sequence[str]) -> list[str]:
    """Return the known dotted names that a person may have meant by `name`: at most three, or none.

    Only the last parts are compared: a name of another table is found, too. One of the same table is preferred.
    """
    close = difflib.get_close_matches(_last(name), sorted({_last(other) for other in known}), 1)
    found = [other for other in known if _last(other) in close]
    beside = [other for other in found if other.rpartition(".")[0] == name.rpartition(".")[0]]
    return (beside or found)[:3]


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _negative(name: str) -> str:
    """Return the form of a truth value's option that switches it off."""
    return ".".join([*name.split(".")[:-1], f"no-{_last(name)}"])


def flag(name: str, value: bool) -> str:
    """Return the argument that gives a truth value."""
    return f"--{name if value else _negative(name)}"


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


def defaults(config: Any) -> dict[str, Any]:
    """Return what the fields of a config are unless they are given, nested as in `to_dict`."""
    result: dict[str, Any] = {}
    for item in fields(config):
        value = getattr(config, item.name)
        if is_dataclass(value):
            result[item.name] = defaults(value)
        elif item.default is not MISSING:
            result[item.name] = list(item.default) if isinstance(item.default, tuple) else item.default
    return result


def differences(
    previous: Mapping[str, Any], identity: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> list[str]:
    """Return "field: old -> new" for each identity field that differs from a previous job's resolved config.

    A field that the previous job did not know, because it was of an earlier version, had its default; and one value
    is the same as a list of it, as some fields take several values now.
    """
    before = flatten(defaults or {}) | flatten(previous)
    return [
        f"{name}: {before.get(name)!r} -> {value!r}"
        for name, value in sorted(flatten(identity).items())
        if before.get(name) != value and [before.get(name)] != value
    ]


def command_line(verb: str, config: Any) -> str:
    """Return the shortest command that gives this config: what a person types to run the job again."""
    return shlex.join(["ulmfit-ray", *verb.split(), *typed_arguments(config)])


def typed_arguments(config: Any, prefix: str = "") -> Iterator[str]:
    """Yield the fewest arguments that give this config; how it is looked at (--dry-run, --debug, --log-format) is
    left out."""
    hints = get_type_hints(type(config), include_extras=True)
    for item in fields(config):
        value = getattr(config, item.name)
        default = item.default if item.default_factory is MISSING else item.default_factory()
        name = item.name.replace("_", "-")
        if is_dataclass(value):
            yield from typed_arguments(value, f"{prefix}{name}.")
        elif value != default and name not in ("dry-run", "overwrite", "debug", "log-format"):
            if isinstance(value, bool):
                yield flag(prefix + name, value)
            else:
                if tyro.conf.Positional not in getattr(hints[item.name], "__metadata__", ()):
                    yield f"--{prefix}{name}"
                yield from map(str, value if isinstance(value, tuple) else [value])
