"""Raw text -> data set of Parquet shards, as one stream: readers | tokenizers | actors with the models.

Tokenizers hand each shard over as one row, so that a shard is scored and committed as a whole; Ray holds the tokenizers
back while the rows that wait take too much memory. No token is written. A row is about half as large as its text.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import ray.data
from ray.data import TaskPoolStrategy

from ulmfit_ray.corpus.units import CorpusFacts
from ulmfit_ray.lifecycle import Outcome
from ulmfit_ray.pipelines.attempts import Phase, attempt
from ulmfit_ray.pipelines.encode.actors import Pool, ShardMaker, actor_pool, first_cpus
from ulmfit_ray.pipelines.encode.config import EncodingRun
from ulmfit_ray.pipelines.encode.text_shards import TextJob, Wording, wording_of
from ulmfit_ray.pipelines.encode.tokenizing import tokenize_texts
from ulmfit_ray.pipelines.encode.verb import EncodingVerb, MakeRows
from ulmfit_ray.pipelines.planning import claimed_plan, look_at_input, planned_work
from ulmfit_ray.pipelines.reading import blocks_of, read_texts
from ulmfit_ray.pipelines.runtime import cluster_cpus, is_on_cluster, watched_resources
from ulmfit_ray.pipelines.shards import FOR_EVER, outcomes, outcomes_table
from ulmfit_ray.reporting.logs import configure_logging
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.model_directory import ModelDirectory
from ulmfit_ray.storage.plan import Plan, PlannedUnit, PlannedUnits
from ulmfit_ray.storage.receipts import Receipt, Receipts, unknown_figures

BLOCK_BYTES = 64 << 10
"""Less than a row with a shard's text or its ids, so that each is a block, and goes on when it is ready."""
ANY_NUMBER = 1_000_000
"""Tokenizers at once, at most: as many as there are CPUs for. Ray runs two stages in one process, the models', unless
their strategies have different sizes."""


class TextSource:
    """Raw text, cut by each model's own tokenizer; models that see text alike share their tokens."""

    def __init__(self, config: EncodingRun, models: Sequence[ModelDirectory]) -> None:
        self._config = config
        facts = {"tokenizer": [m.manifest.tokenizer for m in models], "vocab": [m.manifest.vocab for m in models]}
        self.inputs: Mapping[str, str] = {name: "+".join(values) for name, values in facts.items()}
        self.vocab, self.tokenizer = models[0].manifest.vocab, models[0].manifest.tokenizer
        is_finished = Folder(config.output).exists("manifest.json") and not config.overwrite
        # A finished output does not need its input any more.
        self._corpus = None if is_finished else look_at_input(config)
        self._wordings: list[Wording] = []
        self._of_models: list[int] = []
        if not is_finished:
            self._see(models)

    def _see(self, models: Sequence[ModelDirectory]) -> None:
        """Find out how the models see text."""
        marks = {"auto": None, "yes": True, "no": False}[self._config.mark_fields]
        alike: dict[tuple[str, str], int] = {}
        for model in models:
            key = model.manifest.tokenizer, model.manifest.vocab
            if key not in alike:
                alike[key] = len(alike)
                self._wordings.append(wording_of(model, marks))
            self._of_models.append(alike[key])
        self.tokenizer = self._wordings[0].tokenizer

    def work(self, folder: Folder) -> str:
        """Return how much there is to do."""
        assert self._corpus is not None
        return planned_work(self._config, folder, self._corpus)

    def claimed_plan(self, folder: Folder, inputs: Mapping[str, str]) -> Plan:
        """Return the plan that is there, checked against the input, or write one."""
        assert self._corpus is not None
        return claimed_plan(self._config, folder, self._corpus, inputs)

    def place_of(self, plan: Plan, unit: PlannedUnit) -> str:
        """Return the (first) file that a unit is read from."""
        path: str = plan.rows(unit)["path"][0].as_py()
        return path

    def outcomes(
        self, phase: Phase, verb: EncodingVerb, plan: Plan, pending: PlannedUnits, receipts: Receipts
    ) -> Iterator[Outcome]:
        """Run the texts of the missing shards through tokenizers and actors."""
        assert plan.facts.corpus is not None
        corpus = CorpusFacts.from_json(plan.facts.corpus)
        job = TextJob(plan=plan.fingerprint, corpus=corpus, wordings=tuple(self._wordings))
        tokenizer_cpus = _tokenizer_cpus(self._config)
        # How many shards a streamed file has is not known before its end.
        num_shards = max(len(pending), corpus.text_bytes // corpus.unit_bytes)
        pool = actor_pool(self._config, num_shards, tokenizer_cpus=tokenizer_cpus)
        make_work = partial(OverText, verb.load_unchanged, self._config, self._of_models, phase.where)
        with (
            blocks_of(BLOCK_BYTES),
            watched_resources(
                self._config.ray,
                num_cpus=first_cpus(self._config) + tokenizer_cpus,
                num_gpus=pool.num_gpus * self._config.actors.min,
                what="the encoder pool and a tokenizer",
            ),
        ):
            texts = read_texts(phase, corpus, plan, pending, receipts, per_task=1)
            yield from _dataflow(phase, job, texts, make_work, pool, tokenizer_cpus)

    def check(self, receipts: Receipts) -> None:
        """Raise RuntimeError if there is no document at all. Which are missing, receipts say."""
        if not receipts.total("num_documents"):
            raise RuntimeError("the input holds no document that can be read: nothing to encode")

    def figures(self, receipts: Receipts) -> dict[str, Any]:
        """Return what the manifest says of the text."""
        assert self._corpus is not None
        return {"num_bytes": self._corpus.facts.num_bytes, **unknown_figures(receipts)}


def _tokenizer_cpus(config: EncodingRun) -> int:
    """Return the CPUs of a tokenizer: 1, or 0 in a session of this machine where the first actors take all cores.

    There, on a machine of one core say, one tokenizer works beside them: it needs a tenth of the time or less, and one
    that waited for a core would wait for ever. A cluster is asked for one CPU more than the actors need.
    """
    if is_on_cluster(config.ray) or cluster_cpus() > first_cpus(config):
        return 1
    print("the actors have all cores: one tokenizer works beside them", flush=True)
    return 0


def _dataflow(
    phase: Phase,
    job: TextJob,
    texts: ray.data.Dataset,
    make_work: Callable[[], "OverText"],
    pool: Pool,
    tokenizer_cpus: int,
) -> Iterator[Outcome]:
    """(read) | tokenize | score: yield an outcome for each missing shard, as they come.

    Ray must not retry a tokenizer, for then it does not make rows again that are lost with a node either: the actors
    that wait for such rows may have all CPUs that are left. Shards that are lost come in the next pass.
    """
    yield from outcomes(
        texts.map_batches(
            partial(tokenize_texts, phase=phase, job=job),
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=tokenizer_cpus,
            compute=TaskPoolStrategy(ANY_NUMBER if tokenizer_cpus else 1),
            max_retries=0,
        ).map_batches(
            _TextActor,
            fn_constructor_kwargs={"phase": phase, "make_work": make_work},
            # Ray wants a number here when it is asked for GPUs.
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=pool.num_cpus,
            num_gpus=pool.num_gpus or None,
            compute=pool.strategy,
            max_task_retries=FOR_EVER,
        )
    )


class _TextActor:
    """An actor that loads the models once, and then takes shard after shard."""

    def __init__(self, phase: Phase, make_work: Callable[[], "OverText"]) -> None:
        self._phase, self._work = phase, make_work()

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Make and commit the shards of some rows."""
        configure_logging()
        return outcomes_table(self._outcome(rows, number) for number in range(rows.num_rows))

    def _outcome(self, rows: pa.Table, number: int) -> Outcome:
        shard, problem = rows["shard"][number].as_py(), rows["problem"][number].as_py()
        if problem is not None:
            return Outcome(shard=shard, receipt=None, problem=problem)
        return attempt(self._phase, shard, partial(self._work, rows.slice(number, 1)))


class OverText:
    """The work of an actor."""

    def __init__(self, load: Callable[[], MakeRows], config: EncodingRun, of_models: Sequence[int], where: str) -> None:
        self._of_models, self._maker = of_models, ShardMaker(load, config, where)

    def __call__(self, row: pa.Table) -> Receipt:
        """Make and commit one tokenized shard."""
        began = time.monotonic()
        receipt = Receipt(**row["receipt"][0].as_py(maps_as_pydicts="strict"))
        # Not as Python's bytes, which would be a copy.
        files = [row["tables"][0].values[number].as_buffer() for number in range(len(row["tables"][0]))]
        tables = [pa.ipc.open_file(file).read_all() for file in files]
        return self._maker.commit(receipt, tables, self._of_models, row["quarantine"][0].as_py(), began=began)
