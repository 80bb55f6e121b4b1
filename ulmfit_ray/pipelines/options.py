"""Options that the verbs on Ray share. Loads no Ray, so that --help is quick."""

from dataclasses import dataclass

from ulmfit_ray.config import ConfigError, OutputRun, operational


@dataclass(frozen=True, kw_only=True, slots=True)
class RayOptions:
    """Where the job runs."""

    address: str | None = operational(None)
    """Address of a running cluster ("auto", "ray://host:10001"; default: RAY_ADDRESS, else a new local session)."""
    num_cpus: int | None = operational(None)
    """CPU cores of a local session (default: all)."""
    wait_seconds: int = operational(900)
    """Seconds to wait until the cluster has the CPUs and GPUs that the job needs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RayRun(OutputRun):
    """Options of every job that runs on Ray."""

    ray: RayOptions = operational(default_factory=RayOptions)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scaling:
    """How many workers train, and with what; the result is the same up to the order of summation."""

    num_workers: int = operational(1)
    """Number of workers, which share the rows of the global batch; it changes nothing but the time."""
    use_gpu: bool = operational(False)
    """Train on GPUs, one for each worker."""
    num_cpus: int | None = operational(None)
    """CPU cores of each worker (default: all cores divided by the number of workers; 1 with --scaling.use-gpu)."""

    def __post_init__(self) -> None:
        if self.num_workers < 1 or (self.num_cpus is not None and self.num_cpus < 1):
            raise ConfigError("--scaling.num-workers and --scaling.num-cpus must be at least 1")

    def check(self, global_batch_size: int) -> None:
        """Raise ConfigError if a worker would have no row of the global batch (0: not chosen yet)."""
        if 0 < global_batch_size < self.num_workers:
            raise ConfigError(
                f"--training.global-batch-size {global_batch_size} has fewer rows than there are workers"
                f" (--scaling.num-workers {self.num_workers})"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Actors:
    """The pool of actors (Ray worker processes) that encode documents."""

    min: int = operational(1)
    """Number of actors at the start."""
    max: int | None = operational(None)
    """Largest number of actors (default: as many as the cluster has CPUs and GPUs for)."""
    num_cpus: int = operational(1)
    """CPU cores of each actor; also its number of threads."""
    num_gpus: float | None = operational(None)
    """GPUs of each actor, fractions allowed (default: 1 if the cluster has any, else 0)."""

    def __post_init__(self) -> None:
        if self.min < 1 or self.num_cpus < 1:
            raise ConfigError("--actors.min and --actors.num-cpus must be at least 1")
        if self.max is not None and self.max < self.min:
            raise ConfigError(f"--actors.max {self.max} is less than --actors.min {self.min}")
