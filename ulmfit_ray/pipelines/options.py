"""Options that the verbs on Ray share. Loads no Ray, so that --help is quick."""

from dataclasses import dataclass, fields
from typing import Literal

from ulmfit_ray.config import ConfigError, OutputRun, flag, operational
from ulmfit_ray.corpus.formats.options import ReadingOptions, encoding_name


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
class CorpusRun(RayRun):
    """Options of every job that reads raw text."""

    input: tuple[str, ...]
    """Files, folders, globs, URIs of a file system (s3://, gs://, hdfs://) or http(s)://; compressed files too."""
    output: str = operational()
    """Directory or URI of the data set that is made."""
    format: Literal["auto", "txt", "lines", "csv", "tsv", "jsonl", "json", "parquet", "wikitext"] = "auto"
    """auto: by extension. A document is a file (txt), a line, a row, an object (json, jsonl), or an article."""
    encoding: str = "utf-8"
    """Encoding of the text, such as latin-1, cp1252, gb18030 or shift_jis."""
    delimiter: str | None = None
    """Character between the cells of a csv row (default: a comma); a tab may be written \\t."""
    quoting: Literal["auto", "yes", "no"] = "auto"
    """Whether a quote at the front of a cell (csv, tsv) quotes it; auto: in csv yes, in tsv no."""
    header: bool = True
    """The first row (csv, tsv) names the columns; else they are 0, 1, 2 ..., and `label` if there is a classes.txt."""
    text_columns: tuple[str, ...] = ("text",)
    """Columns with text, each cleaned and tokenized by itself, joined in this order."""
    id_column: str | None = None
    """Column with the document's id (default: <file name>#<byte offset>; of a Parquet file the row's number)."""
    keep_columns: tuple[str, ...] = ()
    """Columns to copy into the output unchanged; of txt files `label`, the name of the file's folder."""
    limit: int = 0
    """Only the first so many documents, bad ones counted, for a trial; what lies behind them is not read (0: all)."""
    max_bad_fraction: float = operational(0.01)
    """Largest fraction of documents, 0 to 1, that may be unreadable; with more the job stops."""

    def __post_init__(self) -> None:
        if self.limit < 0:
            raise ConfigError(f"--limit must not be negative (0 means all documents), not {self.limit}")
        if not 0 <= self.max_bad_fraction <= 1:
            raise ConfigError("--max-bad-fraction must lie between 0 and 1")
        try:
            self.reading_options()
        except ValueError as error:
            raise ConfigError(str(error)) from error

    def reading_options(self) -> ReadingOptions:
        """Return what decides how files are read."""
        return ReadingOptions(
            columns=(*self.text_columns, *([self.id_column] if self.id_column else []), *self.keep_columns),
            encoding=encoding_name(self.encoding),
            delimiter="\t" if self.delimiter == "\\t" else self.delimiter,
            quoting={"auto": None, "yes": True, "no": False}[self.quoting],
            header=self.header,
        )

    def about_text(self) -> list[str]:
        """Return the options given that say something of raw text, as a person writes them."""
        others = {"input", "output", *RayRun.__dataclass_fields__}
        ways = [item for item in fields(CorpusRun) if item.name not in others]
        given = [item.name for item in ways if getattr(self, item.name) != item.default]
        return [flag("header", False) if name == "header" else f"--{name.replace('_', '-')}" for name in given]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scaling:
    """How many workers train, and with what; the result is the same up to the order of summation."""

    num_workers: int = operational(1)
    """Number of workers, which share the rows of the global batch; it changes nothing but the time."""
    use_gpu: bool = operational(False)
    """Train on GPUs, one for each worker."""
    num_cpus: int | None = operational(None)
    """CPU cores of each worker (default: all cores divided by the number of workers; 1 with --scaling.use-gpu)."""
    min_workers: int | None = operational(None)
    """Number of workers that is enough to begin, or to go on when nodes are lost (default: all)."""
    resize_seconds: int = operational(60)
    """With fewer workers than there could be: how often to look whether there is room for more. Then all start again
    from the newest checkpoint."""

    def __post_init__(self) -> None:
        if self.num_workers < 1 or (self.num_cpus is not None and self.num_cpus < 1):
            raise ConfigError("--scaling.num-workers and --scaling.num-cpus must be at least 1")
        if not 1 <= self.least_workers <= self.num_workers:
            raise ConfigError(
                f"--scaling.min-workers {self.min_workers} must lie between 1 and"
                f" --scaling.num-workers {self.num_workers}"
            )
        if self.resize_seconds < 1:
            raise ConfigError("--scaling.resize-seconds must be at least 1")

    @property
    def least_workers(self) -> int:
        """Return the number of workers that is enough."""
        return self.num_workers if self.min_workers is None else self.min_workers

    @property
    def is_elastic(self) -> bool:
        """Tell whether the number of workers may change."""
        return self.least_workers < self.num_workers

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
