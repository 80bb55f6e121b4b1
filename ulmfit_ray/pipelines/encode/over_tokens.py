"""Token dataset -> data set of Parquet shards: one token shard, one shard."""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from ulmfit_ray.lifecycle import Outcome
from ulmfit_ray.pipelines.attempts import Phase
from ulmfit_ray.pipelines.encode.actors import ShardMaker, actor_pool
from ulmfit_ray.pipelines.encode.config import EncodingRun
from ulmfit_ray.pipelines.encode.verb import EncodingVerb, MakeRows
from ulmfit_ray.pipelines.planning import plan_over_shards
from ulmfit_ray.pipelines.shards import map_shards_in_actors
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.plan import Plan, PlannedUnit, PlannedUnits
from ulmfit_ray.storage.receipts import Receipt, Receipts
from ulmfit_ray.storage.token_dataset import TokenDataset, flat_tokens


class TokenSource:
    """The shards of a token dataset."""

    def __init__(self, config: EncodingRun, tokens: TokenDataset) -> None:
        self._config, self._tokens = config, tokens
        self.inputs: Mapping[str, str] = {"tokens": tokens.fingerprint}
        self.vocab, self.tokenizer = tokens.manifest.vocab, tokens.manifest.tokenizer

    def work(self, folder: Folder) -> str:
        """Return how much there is to do."""
        counts = self._tokens.manifest.counts
        return f"{counts.num_shards:,} shards, {counts.num_tokens:,} tokens"

    def claimed_plan(self, folder: Folder, inputs: Mapping[str, str]) -> Plan:
        """Return the plan that is there, or write one."""
        return plan_over_shards(self._config, folder, self._tokens.shards, inputs)

    def place_of(self, plan: Plan, unit: PlannedUnit) -> str:
        """Return the token shard that a shard is made from."""
        return f"{self._tokens.folder.uri}/shards/{unit.stem}.arrow"

    def outcomes(
        self, phase: Phase, verb: EncodingVerb, plan: Plan, pending: PlannedUnits, receipts: Receipts
    ) -> Iterator[Outcome]:
        """Run the missing shards through the actors."""
        pool = actor_pool(self._config, len(pending))
        yield from map_shards_in_actors(
            phase,
            pending,
            partial(
                OverTokens,
                verb.load_unchanged,
                self._config,
                tokens=self._tokens.folder.uri,
                fingerprint=self._tokens.fingerprint,
                plan=plan.fingerprint,
                where=phase.where,
            ),
            pool=pool.strategy,
            num_cpus=pool.num_cpus,
            num_gpus=pool.num_gpus,
        )

    def check(self, receipts: Receipts) -> None:
        """Raise RuntimeError unless all documents are there."""
        if receipts.total("num_documents") != self._tokens.manifest.counts.num_documents:
            output = self._config.output
            raise RuntimeError(
                f"{output} does not have the documents of {self._tokens.folder.uri}; start afresh with --overwrite"
            )

    def figures(self, receipts: Receipts) -> dict[str, Any]:
        """Return nothing: the token dataset says it."""
        return {}


class OverTokens:
    """The work of an actor."""

    def __init__(
        self,
        load: Callable[[], MakeRows],
        config: EncodingRun,
        *,
        tokens: str,
        fingerprint: str,
        plan: str,
        where: str,
    ) -> None:
        self._plan, self._tokens = plan, TokenDataset(tokens)
        self._has_changed = self._tokens.fingerprint != fingerprint
        self._maker = ShardMaker(load, config, where)

    def __call__(self, shard: str) -> Receipt:
        """Make and commit the shard of one token shard.

        Raises:
            RuntimeError: the token dataset has been made again since the job began.
            ValueError: the token shard is not the one that was written.
        """
        if self._has_changed:
            raise RuntimeError(
                f"tokens {self._tokens.folder.uri} have changed since this job began; --overwrite starts afresh"
            )
        began = time.monotonic()
        table = self._tokens.read_checked(shard)
        num_tokens = len(flat_tokens(table["tokens"])[0])
        receipt = Receipt(plan=self._plan, shard=shard, num_documents=table.num_rows, num_tokens=num_tokens)
        return self._maker.commit(receipt, [table], began=began)
