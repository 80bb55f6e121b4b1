"""A grid of settings: `--grid` -> one config of the verb for each setting, all checked before anything runs.

A value goes through the parser of the command line, as if its option had been typed behind all others.
"""

import hashlib
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from types import NoneType
from typing import Any, get_args, get_origin

from ulmfit_ray.config import ConfigError, flag, flatten, nearest, options, parse_config, to_dict, typed_arguments
from ulmfit_ray.places import settled

NAME_LENGTH, VALUE_LENGTH = 200, 40
"""Longer folder names, and longer values in them, are cut and get a checksum: file systems take 255 bytes."""
TRUTH = {"true": True, "yes": True, "false": False, "no": False}
Values = dict[str, Any]
"""The values of a setting by field, named as in config.json."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One cell of a grid."""

    name: str
    """Its folder below the sweep's output; a function of the values alone, so that it is found again."""
    values: Values
    config: Any
    """The verb's own config."""


def settings_of(config: Any) -> list[Setting]:
    """Return all settings of a sweep's config, in the order of the grid, the last field changing fastest.

    Raises:
        ConfigError: a field that the verb has not, a value that it refuses, or two equal settings.
    """
    columns = [_column(config.verb_config, text) for text in config.grid]
    if not columns:
        raise ConfigError(
            "--grid names no field: say what is to be tried, as in --grid training.learning_rate=1e-3,4e-3"
        )
    names = [column[0][0] for column in columns]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"--grid has {twice} twice: give all its values at once, {twice}=A,B,C")
    base = base_config(config)
    settings: dict[str, Setting] = {}
    for cells in itertools.product(*columns):
        setting = _setting(base, config.verb, cells)
        if setting.name in settings:
            raise ConfigError(f"--grid has {setting.name} twice: leave one out")
        settings[setting.name] = setting
    return list(settings.values())


def base_config(config: Any) -> Any:
    """Return the verb's own config out of a sweep's: what holds where the grid says nothing."""
    values = {item.name: getattr(config, item.name) for item in fields(config.verb_config)}
    return config.verb_config(**values | {"dry_run": False, "overwrite": False})


def _column(config_class: type, text: str) -> list[tuple[str, list[str]]]:
    """Return for each value of "field=a,b" the option's name and the arguments that give it this value."""
    given, has_values, values = text.partition("=")
    name = given.strip().replace("_", "-")
    known = dict(options(config_class, identity_only=True))
    if name not in known:
        if name in dict(options(config_class)):
            raise ConfigError(f"--grid {given}: it does not change the result; the models would be the same")
        close = nearest(name, list(known))
        hint = f"did you mean {' or '.join(other.replace('-', '_') for other in close)}?" if close else "see --help"
        raise ConfigError(f"--grid {given}: there is no such field; {hint}")
    if not has_values or not all(value.strip() for value in values.split(",")):
        raise ConfigError(f"--grid {text}: give the values behind a = and commas between them, {given}=A,B,C")
    return [(name, list(_arguments(name, known[name], value.strip()))) for value in values.split(",")]


def _arguments(name: str, hint: Any, value: str) -> Iterator[str]:
    """Yield what one would type to give an option this value."""
    if hint is bool:
        if value.lower() not in TRUTH:
            raise ConfigError(f"--grid {name}={value}: expected true or false")
        yield flag(name, TRUTH[value.lower()])
        return
    yield f"--{name}"
    if get_origin(hint) is tuple:
        yield from value.split()
    else:
        yield "None" if NoneType in get_args(hint) and value.lower() == "none" else value


def _setting(base: Any, verb: str, cells: Sequence[tuple[str, list[str]]]) -> Setting:
    typed = [argument for _, arguments in cells for argument in arguments]
    try:
        config = parse_config(type(base), [*typed_arguments(base), *typed], f"ulmfit-ray sweep {verb}")
        config = settled(config)
    except ConfigError as error:
        raise ConfigError(f"--grid: the setting {' '.join(typed)} is refused: {error}") from error
    values = {name: flatten(to_dict(config))[name] for name in (option.replace("-", "_") for option, _ in cells)}
    name = setting_name(values)
    return Setting(name=name, values=values, config=replace(config, output=f"{base.output.rstrip('/')}/{name}"))


def setting_name(values: Values) -> str:
    """Return the folder's name of a setting, the same in whatever order its fields were given.

    >>> setting_name({"training.learning_rate": 1e-3, "architecture.dropout_scale": 0.5})
    'architecture.dropout_scale=0.5,training.learning_rate=0.001'
    """
    name = ",".join(f"{field}={_in_name(value)}" for field, value in sorted(values.items()))
    return name if len(name) <= NAME_LENGTH else f"{name[:NAME_LENGTH]}-{_checksum(name)}"


def _in_name(value: Any) -> str:
    text = "+".join(map(str, value)) if isinstance(value, list) else str(value)
    safe = re.sub(r"[^A-Za-z0-9_.+-]+", "-", text).strip("-")
    # Two values that become the same text here are told apart by the checksum.
    return text if safe == text and len(text) <= VALUE_LENGTH else f"{safe[-VALUE_LENGTH:]}-{_checksum(text)}"


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
