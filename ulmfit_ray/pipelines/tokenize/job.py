"""Raw text -> token dataset, on Ray Data.

    plan -> tokenize (read | count, per shard) -> vocabulary (group by token) -> numericalize (per shard) -> manifest

Where pieces of words are wanted, their model comes first (subwords.py). A restart enters the first phase that is
incomplete and does only the shards that have no receipt. With a given vocabulary the first phase makes the finished
shards, and there is no other.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from ulmfit_ray.config import ConfigError
from ulmfit_ray.corpus.units import CorpusFacts
from ulmfit_ray.lifecycle import BadDocuments, Outcome, claim_output, output_lease, print_dry_run, refuse_output_inside
from ulmfit_ray.pipelines.attempts import Phase
from ulmfit_ray.pipelines.planning import Corpus, claimed_plan, look_at_input, planned_work
from ulmfit_ray.pipelines.runtime import ray_session, require_resources
from ulmfit_ray.pipelines.shards import PhaseResult, map_shards, run_phase
from ulmfit_ray.pipelines.tokenize.census import corpus_census
from ulmfit_ray.pipelines.tokenize.config import TokenizeConfig
from ulmfit_ray.pipelines.tokenize.counting import count_shards
from ulmfit_ray.pipelines.tokenize.subwords import claimed_model, given_model
from ulmfit_ray.pipelines.tokenize.token_shards import WORK_RECEIPTS, TokenizeJob, numericalize_shard
from ulmfit_ray.pipelines.tokenize.vocabulary import CountedTypes, count_types
from ulmfit_ray.reporting.corpus import corpus_rows, print_corpus, warn_of_unknown
from ulmfit_ray.reporting.progress import Bar, duration
from ulmfit_ray.reporting.tables import print_summary
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.manifest import Manifest, read_manifest, write_dataset_manifest
from ulmfit_ray.storage.model_directory import JOBS as MODEL_JOBS
from ulmfit_ray.storage.plan import Plan, PlannedUnits, whole_units
from ulmfit_ray.storage.receipts import Receipts, unknown_figures
from ulmfit_ray.text.tokenizers.kinds import WITH_MODEL, Tokenizer, TokenizerSettings, make_tokenizer
from ulmfit_ray.text.vocab import Vocab

COUNTED_TYPES = "work/types.json"
"""What phase 2 counted and vocab.json does not say."""


@dataclass(frozen=True, slots=True)
class _Given:
    """What the config names and the job need not make: a vocabulary, the content of a tokenizer.model."""

    vocab: Vocab | None
    model: bytes | None


def run(config: TokenizeConfig) -> Manifest | None:
    """Tokenize the corpus, or what is missing of it, and return the manifest (None after --dry-run)."""
    refuse_output_inside(config.output, config.input)
    is_finished = Folder(config.output).exists("manifest.json") and not config.overwrite
    # A finished output does not need its input any more.
    corpus = None if is_finished else look_at_input(config)
    given = _Given(None, None) if is_finished else _Given(_given_vocab(config), given_model(config))
    # What must be trained first comes later; a mistake in all else is found now.
    waits = config.tokenizer.kind in WITH_MODEL and given.model is None
    tokenizer = None if waits else make_tokenizer(config.tokenizer_settings(), given.model)
    with output_lease("tokenize", config):
        return _run(config, corpus, given, tokenizer)


def _run(config: TokenizeConfig, corpus: Corpus | None, given: _Given, tokenizer: Tokenizer | None) -> Manifest | None:
    folder, manifest = claim_output("tokenize", config)
    if manifest is not None:
        print_summary("complete, nothing to do", _summary(folder, manifest))
        return manifest
    assert corpus is not None
    if config.dry_run:
        disk = "" if config.vocab else "; disk while it runs: about three times the result"
        print_dry_run(config, planned_work(config, folder, corpus) + disk)
        return None
    plan = claimed_plan(config, folder, corpus)
    model = claimed_model(config, folder, plan, given.model)
    tokenizer = tokenizer or make_tokenizer(config.tokenizer_settings(), model)
    _claim_tokenizer(folder, tokenizer)
    with ray_session(config.ray):
        require_resources(config.ray, num_cpus=1, what="a tokenizer")
        manifest, found, bad = _run_phases(config, folder, plan, tokenizer, given.vocab)
    print_corpus(manifest)
    print_summary("tokenize", _summary(folder, manifest, found))
    _warn(config, folder, manifest, bad)
    return manifest


def _warn(config: TokenizeConfig, folder: Folder, manifest: Manifest, bad: BadDocuments) -> None:
    """Say so if documents could not be read, or if the vocabulary does not suit the text."""
    bad.warn(folder, manifest.counts.num_documents)
    remedy = "count one of its own (without --vocab)" if config.vocab else "raise --max-vocab or lower --min-freq"
    warn_of_unknown(manifest.figures["unknown_rate"], remedy)


def _run_phases(
    config: TokenizeConfig, folder: Folder, plan: Plan, tokenizer: Tokenizer, given_vocab: Vocab | None
) -> tuple[Manifest, dict[str, object], BadDocuments]:
    """Run what is incomplete; return the manifest, how many shards each phase found done, and what was unreadable."""
    assert plan.facts.corpus is not None
    job = TokenizeJob(
        output=folder.uri,
        plan=plan.fingerprint,
        corpus=CorpusFacts.from_json(plan.facts.corpus),
        settings=tokenizer.settings,
        tokenizer_fingerprint=tokenizer.fingerprint,
        vocab=None if given_vocab is None else given_vocab.fingerprint,
    )
    if given_vocab is not None:
        _claim_vocab(folder, given_vocab)
    counted = _count(config, job, plan)
    if not counted.receipts.total("num_documents"):
        raise RuntimeError("the input holds no document that can be read: nothing to tokenize")
    waited = _waited(plan, counted)
    if given_vocab is not None:
        manifest = _finish(folder, job, counted.receipts, counted.receipts, CountedTypes(given_vocab))
        return (
            manifest,
            {"shards found written": counted.num_found} | waited,
            BadDocuments(counted.receipts.with_bad_documents()),
        )
    types = _count_types(config, folder, counted.receipts)
    written = _numericalize(job, counted.receipts, types.vocab)
    manifest = _finish(folder, job, counted.receipts, written.receipts, types)
    found = {"shards found tokenized": counted.num_found, "shards found written": written.num_found}
    return manifest, found | waited, BadDocuments(written.receipts.with_bad_documents())


def _waited(plan: Plan, counted: PhaseResult) -> dict[str, object]:
    """Return, for the summary, how long cores had no shard to make while files were read from the front."""
    busy, seconds = counted.core_seconds
    if not seconds or not plan.units.any_streamed:
        return {}
    return {"cores waited for the reader": f"{duration(seconds - busy)} of {duration(seconds)}"}


def _claim_tokenizer(folder: Folder, tokenizer: Tokenizer) -> None:
    """Write tokenizer.json, or refuse to go on with another tokenizer than the one that made the first shards."""
    if not folder.exists("tokenizer.json"):
        folder.publish_json(tokenizer.to_json(), "tokenizer.json")
    before = folder.read_json("tokenizer.json")
    if before["fingerprint"] != tokenizer.fingerprint:
        versions = ", ".join(f"{name} {version}" for name, version in before["versions"].items())
        raise ConfigError(
            f"{folder.uri} was begun with another tokenizer ({versions}):"
            " install these versions, or use --overwrite to start afresh"
        )


def _claim_vocab(folder: Folder, given: Vocab) -> None:
    """Write vocab.json, or refuse to go on with another vocabulary than the first shards have."""
    if not folder.exists("vocab.json"):
        folder.publish_json(given.to_json(), "vocab.json")
    elif Vocab.from_json(folder.read_json("vocab.json")).fingerprint != given.fingerprint:
        raise ConfigError(f"{folder.uri} was begun with another vocabulary than --vocab has now: use --overwrite")


def _given_vocab(config: TokenizeConfig) -> Vocab | None:
    if config.vocab is None:
        return None
    read_manifest(Folder(config.vocab), ["tokenize", *MODEL_JOBS])
    theirs = TokenizerSettings.from_json(Folder(config.vocab).read_json("tokenizer.json"))
    ours = config.tokenizer_settings()
    differing = [name for name in ("kind", "lang", "rules") if getattr(ours, name) != getattr(theirs, name)]
    if differing:
        said = ", ".join(
            f"{name} {getattr(theirs, name)!r} there and {getattr(ours, name)!r} here" for name in differing
        )
        raise ConfigError(
            f"the words of --vocab {config.vocab} were cut otherwise ({said}): tokenize with the same"
            " --tokenizer.kind, --lang and --rules, or leave out --vocab"
        )
    return Vocab.from_json(Folder(config.vocab).read_json("vocab.json"))


def _count(config: TokenizeConfig, job: TokenizeJob, plan: Plan) -> PhaseResult:
    """Phase 1: tokenize every shard that has no receipt in work/done, or in done/ with a given vocabulary."""
    phase = Phase(
        job="tokenize",
        stage="1 tokenize" if job.vocab is None else "tokenize",
        output=job.output,
        plan=job.plan,
        where=WORK_RECEIPTS if job.vocab is None else "done",
        max_bad_fraction=config.max_bad_fraction,
    )
    flow = partial(count_shards, phase, job, plan)
    return run_phase(phase, plan.units, flow, lambda unit: plan.rows(unit)["path"][0].as_py())


def _count_types(config: TokenizeConfig, folder: Folder, counted: Receipts) -> CountedTypes:
    """Phase 2: add up the types and write vocab.json, unless that is done."""
    if folder.exists("vocab.json") and folder.exists(COUNTED_TYPES):
        return CountedTypes(Vocab.from_json(folder.read_json("vocab.json")), **folder.read_json(COUNTED_TYPES))
    with Bar("2 vocabulary", len(counted), "shards") as bar:
        types = count_types(folder, counted, max_vocab=config.max_vocab, min_freq=config.min_freq)
        bar.advance(len(counted), note=f"{len(types.vocab):,} entries")
    folder.publish_json(types.figures(), COUNTED_TYPES)
    folder.publish_json(types.vocab.to_json(), "vocab.json")
    return types


def _numericalize(job: TokenizeJob, counted: Receipts, vocab: Vocab) -> PhaseResult:
    """Phase 3: write every shard that has no receipt in done/."""
    phase = Phase(job="tokenize", stage="3 numericalize", output=job.output, plan=job.plan)
    units = whole_units(counted.shards)
    work = partial(numericalize_shard, job, vocab.fingerprint)

    def numericalizing(pending: PlannedUnits, receipts: Receipts) -> Iterator[Outcome]:
        return map_shards(phase, pending, work, job.corpus.unit_bytes)

    return run_phase(phase, units, numericalizing, lambda unit: f"{job.output}/work/{unit.stem}.arrow")


def _finish(folder: Folder, job: TokenizeJob, counted: Receipts, written: Receipts, types: CountedTypes) -> Manifest:
    """Check that nothing was lost on the way, write the manifest, and clear away what it makes superfluous."""
    if not counted.table["num_tokens"].equals(written.table["num_tokens"]):
        raise RuntimeError(f"{folder.uri}: phases 1 and 3 counted different tokens; start afresh with --overwrite")
    manifest = Manifest(
        job="tokenize",
        vocab=types.vocab.fingerprint,
        tokenizer=job.tokenizer_fingerprint,
        plan=job.plan,
        files={name: folder.sha256(name) for name in ("tokenizer.model",) if folder.exists(name)},
        figures={
            "vocab_size": len(types.vocab),
            "num_bytes": job.corpus.num_bytes,
            "seconds": round(written.seconds(), 3),
            **types.figures(),
            **unknown_figures(written),
            **_text_bytes(written),
            **corpus_census(folder, written).figures(),
        },
    )
    manifest = write_dataset_manifest(folder, written, "arrow", manifest)
    for name in ("work", "started"):
        folder.delete(name)
    for name in ("", "shards", "done", "census", "quarantine"):
        folder.sweep(name)
    return manifest


def _text_bytes(written: Receipts) -> dict[str, int]:
    """Return the bytes of cleaned text, and of its unknown words; nothing if an earlier version made a shard."""
    names = ("num_text_bytes", "num_unknown_bytes")
    return {name: written.total(name) for name in names} if all(map(written.has_all, names)) else {}


def _summary(folder: Folder, manifest: Manifest, found: dict[str, object] | None = None) -> dict[str, object]:
    counts, seconds = manifest.counts, float(manifest.figures["seconds"])
    return {
        **corpus_rows(manifest),
        "shards": counts.num_shards,
        **(found or {}),
        "tokenizer seconds": seconds,
        "tokens per second and core": counts.num_tokens / max(seconds, 1e-9),
        "output": folder.uri,
    }
