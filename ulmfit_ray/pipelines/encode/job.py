"""The road of `embed` and `classify`: token dataset, or raw text -> data set of Parquet shards, by actors on Ray Data.

A verb says what rows it makes of documents (verb.py); over_tokens.py and over_text.py bring the documents.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ulmfit_ray.config import ConfigError
from ulmfit_ray.corpus.web import is_on_the_web
from ulmfit_ray.lifecycle import (
    BadDocuments,
    Outcome,
    claim_output,
    output_lease,
    print_dry_run,
    refuse_output_inside,
)
from ulmfit_ray.pipelines.attempts import Phase
from ulmfit_ray.pipelines.encode.config import EncodingRun
from ulmfit_ray.pipelines.encode.over_text import TextSource
from ulmfit_ray.pipelines.encode.over_tokens import TokenSource
from ulmfit_ray.pipelines.encode.verb import EncodingVerb, Source
from ulmfit_ray.pipelines.runtime import ray_session
from ulmfit_ray.pipelines.shards import PhaseResult, run_phase
from ulmfit_ray.reporting.corpus import quarantined, unknown_tokens, warn_of_unknown
from ulmfit_ray.reporting.tables import print_summary
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.job_record import find_job
from ulmfit_ray.storage.manifest import Manifest, write_dataset_manifest
from ulmfit_ray.storage.model_directory import ModelDirectory
from ulmfit_ray.storage.plan import Plan, PlannedUnits
from ulmfit_ray.storage.receipts import Receipts
from ulmfit_ray.storage.token_dataset import TokenDataset


def run_encoding(config: EncodingRun, verb: EncodingVerb, tokens: TokenDataset | None) -> Manifest | None:
    """Make the shards, or what is missing of them, and return the manifest (None after --dry-run).

    `tokens` is the input if it is a token dataset; see `token_input`.
    """
    refuse_output_inside(config.output, config.input)
    source: Source = TextSource(config, verb.models) if tokens is None else TokenSource(config, tokens)
    with output_lease(verb.name, config):
        return _run(config, verb, source)


def token_input(config: EncodingRun, models: Sequence[ModelDirectory]) -> TokenDataset | None:
    """Return the input if it is a token dataset, which has the vocabulary of these models; None if it is raw text.

    Raises:
        ConfigError: it is a token dataset and something else, or options say how to read it as text.
        ValueError: it is another data set of ours, is not finished, or does not have the models' vocabulary.
    """
    ours = [place for place in config.input if _is_ours(place)]
    if not ours:
        return None
    if len(config.input) > 1:
        raise ConfigError(f"--input {ours[0]} is a data set of ulmfit-ray: name it alone, or name raw text")
    if config.about_text():
        raise ConfigError(f"{config.about_text()[0]} is for raw text, and --input {ours[0]} is not: leave it out")
    tokens = TokenDataset(ours[0])
    if len({model.manifest.vocab for model in models}) > 1:
        raise ConfigError(
            f"--input {ours[0]} has the tokens of one vocabulary, and these models have several: give the raw text"
        )
    for model in models:
        model.check_tokens(tokens.manifest.vocab, ours[0], or_text=True)
    return tokens


def _is_ours(place: str) -> bool:
    """Tell whether a place is the output of a job of ours; a glob or the address of a web page is none."""
    if is_on_the_web(place):
        return False
    # Another's config.json may be no JSON.
    with suppress(ValueError):
        return find_job(Folder(place)) is not None
    return False


def _run(config: EncodingRun, verb: EncodingVerb, source: Source) -> Manifest | None:
    inputs = {**source.inputs, **verb.inputs}
    folder, manifest = claim_output(verb.name, config, inputs=inputs, facts=verb.facts)
    if manifest is not None:
        print_summary("complete, nothing to do", _summary(folder, manifest))
        return manifest
    if config.dry_run:
        print_dry_run(config, source.work(folder))
        return None
    plan = source.claimed_plan(folder, inputs)
    of_second: Mapping[str, Any] = {}
    with ray_session(config.ray):
        made = encoded = _make_shards(config, verb, source, folder, plan)
        source.check(made.receipts)
        if verb.second is not None:
            made, of_second = verb.second(plan, encoded)
    manifest = Manifest(
        job=verb.name,
        vocab=source.vocab,
        tokenizer=source.tokenizer,
        plan=plan.fingerprint,
        model="+".join(model.fingerprint for model in verb.models),
        pooling=verb.pooling,
        files={name: folder.sha256(name) for name in verb.files},
        figures={
            "tokens_per_second": round(encoded.tokens_per_second, 1),
            **source.figures(made.receipts),
            **verb.measured(folder, made.receipts),
            **of_second,
        },
    )
    manifest = write_dataset_manifest(folder, made.receipts, "parquet", manifest)
    for name in ("started", "work"):
        folder.delete(name)
    for name in ("", "shards", "done", "quarantine"):
        folder.sweep(name)
    found = {"shards found done": encoded.num_found}
    print_summary(verb.name, _summary(folder, manifest, found, verb.rows(folder, manifest)))
    _warn(folder, manifest, made.receipts)
    shards = f"{folder.uri}/shards"
    print(f'open it: pandas.read_parquet("{shards}") or polars.read_parquet("{shards}/*.parquet")')
    return manifest


def _make_shards(config: EncodingRun, verb: EncodingVerb, source: Source, folder: Folder, plan: Plan) -> PhaseResult:
    """Make every shard that has no receipt."""
    phase = Phase(
        job=verb.name,
        stage=verb.name,
        output=folder.uri,
        plan=plan.fingerprint,
        where=verb.where,
        max_bad_fraction=config.max_bad_fraction,
    )

    def dataflow(pending: PlannedUnits, receipts: Receipts) -> Iterator[Outcome]:
        return source.outcomes(phase, verb, plan, pending, receipts)

    return run_phase(phase, plan.units, dataflow, lambda unit: source.place_of(plan, unit))


def _warn(folder: Folder, manifest: Manifest, receipts: Receipts) -> None:
    """Say so if documents could not be read, or if the model does not know their words."""
    BadDocuments(receipts.with_bad_documents()).warn(folder, manifest.counts.num_documents)
    remedy = "the model was trained on text of another kind or language"
    warn_of_unknown(manifest.figures.get("unknown_rate", 0.0), remedy)


def _summary(
    folder: Folder,
    manifest: Manifest,
    found: Mapping[str, object] | None = None,
    of_verb: Mapping[str, object] | None = None,
) -> dict[str, object]:
    counts, figures = manifest.counts, manifest.figures
    of_text: dict[str, object] = {}
    if "unknown_rate" in figures:
        of_text = {"quarantined": quarantined(counts), "unknown tokens": unknown_tokens(figures)}
    return {
        "documents": counts.num_documents,
        "tokens": counts.num_tokens,
        **of_text,
        "shards": counts.num_shards,
        **(found or {}),
        **(of_verb or {}),
        "tokens per second": figures["tokens_per_second"],
        "output": folder.uri,
    }
