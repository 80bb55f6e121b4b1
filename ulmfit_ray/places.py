"""The paths and URIs in a config: made absolute, and looked at before any work."""

import os
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from ulmfit_ray.config import Config, ConfigError
from ulmfit_ray.storage.folder import absolute_uri, check_place

PLACES = (
    *("input", "output", "tokens", "valid", "model", "vocab", "embeddings", "queries", "qrels", "weights", "itos"),
    *("per_document", "per_query", "runs", "predictions", "train_tokens", "confusion", "index", "pairs_file"),
)
"""Fields that are paths or URIs, in whichever config they stand: an option keeps one name in all verbs."""
WITH_CONTAINER = ("abfs", "abfss")
"""In these URIs a container's name stands before the "@"; a key would stand behind a colon."""
SECRETS = re.compile(
    r"[?&#](access_key|secret_key|session_token|aws_\w+|x-amz-\w[\w-]*|awsaccesskeyid|x-goog-\w[\w-]*|signature|sig"
    r"|token|access_token|api_?key|password)=",
    re.IGNORECASE,
)
"""Parts of a URI's query that let in whoever knows them; a signed URL is made of them."""
SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set by Ray in the environment of a job's entrypoint, and nowhere else."""


def settled(config: Config, table: str = "") -> Config:
    """Return the config with its local paths made absolute, once each object store that it names has answered.

    Workers have other working directories. `table` stands in front of the names of its options ("tokenizer.").

    Raises:
        ConfigError: a path is relative in a submitted job, whose working directory Ray deletes; there is no such
            bucket, or we may not use it; or the output is also an input.
        ConnectionError: a store does not answer.
    """
    changes: dict[str, Any] = {}
    for item in fields(config):  # type: ignore[arg-type]
        value, name = getattr(config, item.name), f"{table}{item.name}"
        if is_dataclass(value):
            changes[item.name] = settled(value, f"{name}.")
        elif item.name in PLACES and isinstance(value, tuple):
            changes[item.name] = tuple(_settled_place(name, place) for place in value)
        elif item.name in PLACES and value is not None:
            changes[item.name] = _settled_place(name, value)
    if not table:
        _refuse_output_among(changes)
    return replace(config, **changes)  # type: ignore[type-var]


def _refuse_output_among(places: Mapping[str, Any]) -> None:
    """Raise ConfigError if the output is also something that is read: --overwrite would delete it."""
    for name, value in places.items():
        given = value if isinstance(value, tuple) else (value,)
        if name != "output" and places.get("output") in given:
            raise ConfigError(
                f"--output and --{name.replace('_', '-')} are both {places['output']}: name another output"
            )


def same_everywhere(config: Config, table: str = "") -> Config:
    """Return the config as it is, if each of its places is the same on every node.

    No object store is asked: the nodes have credentials of their own, this machine may have none.

    Raises:
        ConfigError: a local path is relative, or begins with ~, which is another folder for another user; or a URI
            holds a user, a password or a key.
    """
    for item in fields(config):  # type: ignore[arg-type]
        value, name = getattr(config, item.name), f"{table}{item.name}"
        if is_dataclass(value):
            same_everywhere(value, f"{name}.")
        elif item.name in PLACES and value is not None:
            for place in value if isinstance(value, tuple) else (value,):
                _refuse_what_differs(name.replace("_", "-"), place)
    return config


def _refuse_what_differs(name: str, place: str) -> None:
    """Raise ConfigError if a place is another one on another machine, or holds what a cluster would log."""
    try:
        refuse_secrets(place)
    except ValueError as error:
        raise ConfigError(f"--{name} {error}") from error
    if "://" not in place and not place.startswith("/"):
        what = "is in a home folder" if place.startswith("~") else "is relative"
        raise ConfigError(
            f"--{name} {place} {what}: the job runs on other machines; name an absolute path that all nodes see,"
            " or a URI"
        )


def refuse_secrets(place: str) -> None:
    """Refuse a URI with a user, a password or a key in it: it would stand in config.json, in logs and manifests.

    Raises:
        ValueError: it has; the message names no more than the scheme and the host.
    """
    scheme, separator, inside = place.partition("://")
    authority = re.split("[/?#]", inside, maxsplit=1)[0]
    user, sign, host = authority.rpartition("@")
    has_user = bool(sign) and (scheme.lower() not in WITH_CONTAINER or ":" in user)
    # A key that holds a "/" ends what seems to be the host; a port is a number.
    host, colon, port = host.partition(":")
    has_key = bool(colon) and not port.isdigit() and not host.startswith("[")
    if separator and (has_user or has_key or SECRETS.search(inside)):
        raise ValueError(
            f"{scheme}://...{'@' + host if sign else ''}: a user, a password or a key in a URI would be written into"
            " config.json and logs: leave it out, and set it in the environment of every node (for s3://"
            " AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, for hdfs:// HADOOP_USER_NAME)"
        )


def _settled_place(name: str, place: str) -> str:
    if SUBMITTED in os.environ and "://" not in place and not place.startswith(("/", "~")):
        raise ConfigError(
            f"--{name} {place} is relative: a submitted job runs in a folder of Ray's cache, which is deleted;"
            " name an absolute path or a URI that all nodes see"
        )
    try:
        refuse_secrets(place)
        check_place(place)
    except ConnectionError as error:
        raise ConnectionError(f"{name} {error}") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{name} {error}") from error
    return absolute_uri(place)
