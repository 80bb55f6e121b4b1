"""Options of what is done with another verb on a cluster: `submit VERB`. Loads no Ray and no torch."""

from dataclasses import dataclass

from ulmfit_ray.config import ConfigError, operational


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """The cluster that runs the job."""

    address: str | None = operational(None)
    """Its job server (http://HEAD:8265) or itself (HEAD:6379); default: RAY_API_SERVER_ADDRESS, else RAY_ADDRESS."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """How the job gets to the cluster."""

    upload: bool = operational(True)
    """Send the package along that this command runs; without, nodes run the ulmfit-ray that is installed on them."""
    working_dir: str | None = operational(None)
    """Send this whole folder instead, less what its .gitignore and .rayignore name; its ulmfit_ray is what runs."""
    num_cpus: float = operational(0.0)
    """CPU cores kept for the job's driver, beside those of its workers (with none of these three it runs on the
    head)."""
    num_gpus: float = operational(0.0)
    """GPUs kept for the driver: for verbs that run in one process, as `evaluate` does."""
    memory_bytes: int = operational(0)
    """Memory kept for the driver, in bytes."""
    follow: bool = operational(True)
    """Print the job's log until it ends, and end with its exit status; without, end once it is submitted."""

    def __post_init__(self) -> None:
        for name in ("num_cpus", "num_gpus", "memory_bytes"):
            if getattr(self, name) < 0:
                raise ConfigError(f"--submit.{name.replace('_', '-')} must not be negative, not {getattr(self, name)}")
        if self.working_dir is not None and not self.upload:
            raise ConfigError(
                "--submit.working-dir names what is sent, --submit.no-upload sends nothing: leave one out"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmitConfig:
    """Run a verb as a job on a Ray cluster (--ray.address), print its log, and end with its exit status.

    Ctrl-C asks whether to stop the job or leave it; where nobody can be asked, the job is left running.
    """

    ray: Cluster = operational(default_factory=Cluster)
    submit: Submission = operational(default_factory=Submission)
