"""Options of `manifest VERB`: the pods of a KubeRay RayJob. Loads no Ray and no torch."""

import re
from dataclasses import dataclass

from ulmfit_ray.config import ConfigError, operational

LONGEST_NAME = 47
"""KubeRay's limit for a RayJob, to which it adds what tells its clusters apart."""
NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
SIZE = re.compile(r"[0-9]+(\.[0-9]+)?([KMGT]i?)?")
VOLUME = re.compile(r"(?P<claim>[a-z0-9]([-a-z0-9]*[a-z0-9])?):(?P<path>/[^:]+)")
LABEL = re.compile(r"(?P<key>[-./A-Za-z0-9_]+)=(?P<value>[-.A-Za-z0-9_]+)")


def _check_size(table: str, cpus: int, memory: str) -> None:
    if cpus < 1:
        raise ConfigError(f"--kubernetes.{table}.cpus must be at least 1, not {cpus}")
    if not SIZE.fullmatch(memory):
        raise ConfigError(f"--kubernetes.{table}.memory {memory} is no size; write one such as 32Gi")


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """The pod that the driver runs in, and no task."""

    cpus: int = operational(4)
    """Its CPU cores."""
    memory: str = operational("16Gi")
    """Its memory."""

    def __post_init__(self) -> None:
        _check_size("head", self.cpus, self.memory)


@dataclass(frozen=True, kw_only=True, slots=True)
class CpuPods:
    """The pods without a GPU."""

    cpus: int = operational(8)
    """CPU cores of each."""
    memory: str = operational("32Gi")
    """Memory of each."""
    max: int = operational(10)
    """Largest number of them."""

    def __post_init__(self) -> None:
        _check_size("cpu", self.cpus, self.memory)
        if self.max < 1:
            raise ConfigError(f"--kubernetes.cpu.max must be at least 1, not {self.max}")


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuPods:
    """The pods with GPUs, of which there are none until the job asks for one (--scaling.use-gpu, --actors.num-gpus)."""

    cpus: int = operational(8)
    """CPU cores of each."""
    memory: str = operational("32Gi")
    """Memory of each."""
    gpus: int = operational(1)
    """GPUs of each."""
    max: int = operational(4)
    """Largest number of them."""
    image: str | None = operational(None)
    """Their image, where it is not that of the others."""

    def __post_init__(self) -> None:
        _check_size("gpu", self.cpus, self.memory)
        for name in ("gpus", "max"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--kubernetes.gpu.{name} must be at least 1, not {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Kubernetes:
    """The RayJob: its pods, what they may use, and when it is given up."""

    image: str | None = operational(None)
    """Image of the pods, with ulmfit-ray in it (cluster/Dockerfile)."""
    name: str | None = operational(None)
    """Name of the RayJob (default: the verb's)."""
    namespace: str | None = operational(None)
    """Its namespace (default: the one that kubectl is set to)."""
    pull_secret: str | None = operational(None)
    """Kubernetes secret with the registry's credentials."""
    secret: tuple[str, ...] = operational(())
    """Kubernetes secrets whose keys become environment variables of the pods, such as AWS_ACCESS_KEY_ID. Their values
    never stand in a manifest."""
    service_account: str | None = operational(None)
    """Service account of the pods: rights to buckets without any key."""
    volume: tuple[str, ...] = operational(())
    """CLAIM:/PATH : a persistent volume claim, shared by all pods, and where they see it. A local path of the job must
    lie in one."""
    spot: str | None = operational(None)
    """LABEL=VALUE of nodes that may be taken away, such as cloud.google.com/gke-spot=true: workers run on these alone,
    and tolerate a taint of the same name."""
    retries: int = operational(3)
    """How often a job that failed is run again, in a new cluster; it goes on where the one before it ended."""
    deadline_seconds: int = operational(7 * 24 * 3600)
    """Seconds after which the job is given up."""
    ttl_seconds: int = operational(600)
    """Seconds for which the pods stay when it is over, so that their logs can be read."""
    suspend: bool = operational(False)
    """Wait until somebody, or a queueing system, sets `suspend` to false."""
    queue: str | None = operational(None)
    """Queue of Kueue in which the job waits, suspended. Kueue counts pods that do not change in number: the cluster
    has the largest number of each from the start."""
    head: Head = operational(default_factory=Head)
    cpu: CpuPods = operational(default_factory=CpuPods)
    gpu: GpuPods = operational(default_factory=GpuPods)

    def __post_init__(self) -> None:
        if self.name is not None and (len(self.name) > LONGEST_NAME or not NAME.fullmatch(self.name)):
            raise ConfigError(
                f"--kubernetes.name {self.name}: a RayJob's name begins with a letter, has lower case letters, digits"
                f" and - in it, and is at most {LONGEST_NAME} characters long"
            )
        for volume in self.volume:
            if not VOLUME.fullmatch(volume):
                raise ConfigError(f"--kubernetes.volume {volume} must be a claim and a path, such as corpus:/data")
        if self.spot is not None and not LABEL.fullmatch(self.spot):
            raise ConfigError(f"--kubernetes.spot {self.spot} must be a label and its value, LABEL=VALUE")
        for name, least in (("retries", 0), ("deadline_seconds", 1), ("ttl_seconds", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"--kubernetes.{name.replace('_', '-')} must be at least {least}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestConfig:
    """Print a RayJob for KubeRay that runs a verb in a cluster of its own: pipe it into `kubectl apply -f -`."""

    kubernetes: Kubernetes = operational(default_factory=Kubernetes)
