"""`manifest VERB`: a verb and its options as a RayJob, which KubeRay runs in a cluster of its own.

What is refused here would fail, or wait for ever, in the middle of the night: paths that pods do not share, workers
that no pod has room for.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from ulmfit_ray.config import Config, ConfigError, flatten, to_dict
from ulmfit_ray.pipelines.cluster.command import entrypoint
from ulmfit_ray.pipelines.cluster.manifest_config import VOLUME, CpuPods, GpuPods, Kubernetes, ManifestConfig
from ulmfit_ray.pipelines.cluster.ray_job import as_yaml, ray_job
from ulmfit_ray.places import PLACES


def run(manifest: ManifestConfig, verb: str, config: Any) -> None:
    """Print the RayJob of a verb."""
    kubernetes = manifest.kubernetes
    _check(kubernetes, config)
    _check_places(kubernetes, config)
    needs = _needs(config)
    config = _with_cpus_of_workers(kubernetes, config, needs)
    _check_room(kubernetes, _needs(config))
    content = ray_job(
        kubernetes,
        name=kubernetes.name or verb.replace(" ", "-"),
        entrypoint=entrypoint(verb, config),
        with_gpus=needs.gpus > 0,
        is_on_ray=hasattr(config, "ray"),
    )
    print(as_yaml(content), end="")


def _check(kubernetes: Kubernetes, config: Any) -> None:
    if kubernetes.image is None:
        raise ConfigError("name the pods' image with --kubernetes.image; cluster/Dockerfile makes one")
    if getattr(config, "dry_run", False):
        raise ConfigError("--dry-run looks at the plan: run the verb itself with it, without `manifest`")
    if getattr(config, "overwrite", False):
        raise ConfigError("--overwrite in a RayJob would delete, at each retry, what was made before it")
    if hasattr(config, "ray") and config.ray.address is not None:
        raise ConfigError("--ray.address: a RayJob brings its own cluster; `ulmfit-ray submit` uses one that is there")


def _places(config: Any) -> Iterator[tuple[str, str]]:
    """Yield each path and URI of a config with its option."""
    for name, value in flatten(to_dict(config)).items():
        if name.rpartition(".")[2] in PLACES and value is not None:
            for place in value if isinstance(value, list) else [value]:
                yield f"--{name.replace('_', '-')}", place


def _check_places(kubernetes: Kubernetes, config: Any) -> None:
    """Raise ConfigError if a place is a path that the pods do not share."""
    mounts = [match["path"] for match in map(VOLUME.fullmatch, kubernetes.volume) if match]
    for option, place in _places(config):
        path = PurePosixPath(place.removeprefix("file://"))
        is_local = "://" not in place or place.startswith("file://")
        if is_local and not any(path.is_relative_to(mount) for mount in mounts):
            raise ConfigError(
                f"{option} {place} is a path of one machine, and each pod has files of its own: name a URI, or mount a"
                f" volume that all pods share, --kubernetes.volume CLAIM:{path.parent}"
            )


class Needs(NamedTuple):
    """What the workers or actors of a verb ask for."""

    num_workers: int
    """How many there must be at once."""
    cpus: int | None
    """CPU cores of each; None: as many as there are."""
    gpus: float
    """GPUs of each."""
    options: str
    """Where a person says so."""


def _needs(config: Any) -> Needs:
    if hasattr(config, "scaling"):
        scaling = config.scaling
        return Needs(scaling.num_workers, scaling.num_cpus, float(scaling.use_gpu), "--scaling")
    if hasattr(config, "actors"):
        actors = config.actors
        return Needs(actors.min, actors.num_cpus, actors.num_gpus or 0.0, "--actors")
    return Needs(1, 1, 0.0, "")


def _with_cpus_of_workers(kubernetes: Kubernetes, config: Config, needs: Needs) -> Config:
    """Return the config with the cores of each worker chosen, where a person has not.

    Training by itself shares out all cores that are there when it begins: here that is chance, and a worker of more
    cores than a pod has would never start.
    """
    if needs.cpus is not None:
        return config
    workers_of_a_pod = math.ceil(needs.num_workers / kubernetes.cpu.max)
    num_cpus = 1 if needs.gpus else max(1, kubernetes.cpu.cpus // workers_of_a_pod)
    return replace(config, scaling=replace(config.scaling, num_cpus=num_cpus))  # type: ignore[attr-defined,type-var]


def _check_room(kubernetes: Kubernetes, needs: Needs) -> None:
    """Raise ConfigError if the largest cluster has no room for all workers at once: they would wait for ever."""
    pods: CpuPods | GpuPods = kubernetes.gpu if needs.gpus else kubernetes.cpu
    table = "gpu" if needs.gpus else "cpu"
    places = pods.cpus // (needs.cpus or 1)
    if isinstance(pods, GpuPods):
        # A fraction is a part of one GPU; what is left of it is of no use to another that asks for more.
        of_a_gpu = math.floor(1 / needs.gpus) if needs.gpus <= 1 else 1 / math.ceil(needs.gpus)
        places = min(places, int(pods.gpus * of_a_gpu))
    if places * pods.max < needs.num_workers:
        raise ConfigError(
            f"{needs.options} asks for {needs.num_workers} x {needs.cpus} CPUs and {needs.gpus:g} GPUs;"
            f" {pods.max} pods have room for {places} each: change --kubernetes.{table}.max, .cpus or .gpus,"
            " or ask for less"
        )
