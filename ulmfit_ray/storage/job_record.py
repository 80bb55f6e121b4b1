"""What config.json says of the job that made an output: written before any work, compared when a job resumes."""

from dataclasses import dataclass
from typing import Any

from ulmfit_ray.storage.folder import Folder


@dataclass(frozen=True, slots=True)
class JobRecord:
    """The "job" part of config.json."""

    verb: str
    command: str
    """What a person types to run the job again."""
    config: dict[str, Any]
    """The resolved config, by field."""
    inputs: dict[str, str]
    """Fingerprints of what the job reads."""

    def to_json(self) -> dict[str, Any]:
        """Return the content of config.json's "job"; the config's fields stand beside the others."""
        return {"verb": self.verb, "command": self.command, **self.config, "inputs": self.inputs}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "JobRecord":
        """Rebuild the record."""
        config = dict(content)
        verb, command, inputs = config.pop("verb"), config.pop("command"), config.pop("inputs", {})
        return cls(verb, command, config, inputs)


def find_job(folder: Folder) -> JobRecord | None:
    """Return the record of the job that made this output, or None when config.json is missing or not ours."""
    content = folder.find_json("config.json")
    job = content.get("job") if isinstance(content, dict) else None
    return JobRecord.from_json(job) if isinstance(job, dict) and {"verb", "command"} <= set(job) else None


def read_job(folder: Folder) -> JobRecord:
    """Return the record of the job that made this output.

    Raises:
        FileNotFoundError: there is none.
    """
    job = find_job(folder)
    if job is None:
        raise FileNotFoundError(f"{folder.uri} is not an output of ulmfit-ray: its config.json names no job")
    return job
