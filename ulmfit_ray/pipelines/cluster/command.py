"""The command that a job runs on the cluster: a verb with its resolved options.

A config file of this machine is not there, so what it says is on the command line. Everybody who may see the cluster
may read that line, in the job's log too: options hold no secrets.
"""

import shlex
from dataclasses import fields, replace
from typing import Any

from ulmfit_ray.config import ConfigError, flag, typed_arguments

LONGEST_BYTES = 128_000
"""Ray hands the command to a shell as one argument, and Linux takes none that is longer than 131,071 bytes."""


def entrypoint(verb: str, config: Any) -> str:
    """Return the shell command that runs `verb` on the cluster with this config.

    `python` is the one of the PATH of the node that runs it.

    Raises:
        ConfigError: the command is longer than a shell takes.
    """
    names = {item.name for item in fields(config)}
    if "ray" in names:
        # There, RAY_ADDRESS names the cluster.
        config = replace(config, ray=replace(config.ray, address=None))
    looked_at = [name for name in ("dry_run", "overwrite", "debug") if name in names and getattr(config, name)]
    flags = [flag(name.replace("_", "-"), True) for name in looked_at]
    command = shlex.join(["python", "-m", "ulmfit_ray.cli", *verb.split(), *typed_arguments(config), *flags])
    if len(command.encode()) > LONGEST_BYTES:
        raise ConfigError(
            f"the job's command has {len(command.encode()):,} bytes, and a shell takes {LONGEST_BYTES:,}: name folders"
            " or globs (in quotes) in place of single files"
        )
    return command
