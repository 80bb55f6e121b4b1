"""Raw text -> token dataset, on Ray Data.

    plan -> tokenize (read | count, per shard) -> vocabulary (group by token) -> numericalize (per shard) -> manifest

A restart enters the first phase that is incomplete and does only the shards that have no receipt.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from ulmfit_ray.config import ConfigError, to_dict
from ulmfit_ray.corpus.columns import id_column_hint, resolve_columns
from ulmfit_ray.corpus.contents import check_contents
from ulmfit_ray.corpus.formats.table import FORMATS, detect_format
from ulmfit_ray.corpus.listing import InputFile, hashes_of_ends, list_inputs
from ulmfit_ray.corpus.units import CorpusFacts, check_inputs, cut_into_units, unit_bytes, units_table
from ulmfit_ray.lifecycle import BadDocuments, Outcome, claim_output, output_lease, print_dry_run, refuse_output_inside
from ulmfit_ray.pipelines.attempts import Phase
from ulmfit_ray.pipelines.runtime import ray_session, require_resources
from ulmfit_ray.pipelines.shards import PhaseResult, map_shards, run_phase
from ulmfit_ray.pipelines.tokenize.config import TokenizeConfig
from ulmfit_ray.pipelines.tokenize.counting import count_shards
from ulmfit_ray.pipelines.tokenize.token_shards import WORK_RECEIPTS, TokenizeJob, numericalize_shard
from ulmfit_ray.pipelines.tokenize.vocabulary import count_vocabulary
from ulmfit_ray.reporting.progress import Bar
from ulmfit_ray.reporting.tables import print_summary
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.manifest import Manifest, read_manifest, write_dataset_manifest
from ulmfit_ray.storage.model_directory import JOBS as MODEL_JOBS
from ulmfit_ray.storage.plan import Plan, PlannedUnit, read_plan, whole_units, write_plan
from ulmfit_ray.storage.receipts import Receipt, read_receipts
from ulmfit_ray.text.tokenizers.kinds import Tokenizer, make_tokenizer
from ulmfit_ray.text.vocab import Vocab

UNKNOWN_WARNED = 0.2
"""Part of the tokens that may be unknown without a warning."""


@dataclass(frozen=True, slots=True)
class _Corpus:
    """The input as it was found: its files, and what the plan will say of it."""

    files: list[InputFile]
    facts: CorpusFacts


def run(config: TokenizeConfig) -> Manifest | None:
    """Tokenize the corpus, or what is missing of it, and return the manifest (None after --dry-run)."""
    refuse_output_inside(config.output, config.input)
    is_finished = Folder(config.output).exists("manifest.json") and not config.overwrite
    # A finished output does not need its input any more.
    corpus = None if is_finished else _look_at_input(config)
    tokenizer = make_tokenizer(config.tokenizer_settings())
    given_vocab = _given_vocab(config)
    with output_lease("tokenize", config):
        return _run(config, corpus, tokenizer, given_vocab)


def _run(
    config: TokenizeConfig, corpus: _Corpus | None, tokenizer: Tokenizer, given_vocab: Vocab | None
) -> Manifest | None:
    folder, manifest = claim_output("tokenize", config)
    if manifest is not None:
        print_summary("complete, nothing to do", _summary(folder, manifest))
        return manifest
    assert corpus is not None
    if config.dry_run:
        print_dry_run(config, _planned_work(config, folder, corpus))
        return None
    plan = _plan(config, folder, corpus)
    _claim_tokenizer(folder, tokenizer)
    with ray_session(config.ray):
        require_resources(config.ray, num_cpus=1, what="a tokenizer")
        manifest, found, bad = _run_phases(config, folder, plan, tokenizer, given_vocab)
    print_summary("tokenize", _summary(folder, manifest, found))
    _warn(config, folder, manifest, bad)
    return manifest


def _warn(config: TokenizeConfig, folder: Folder, manifest: Manifest, bad: BadDocuments) -> None:
    """Say so if documents could not be read, or if the vocabulary does not suit the text."""
    if len(bad):
        found = manifest.counts.num_documents + len(bad)
        print(f"warning: {len(bad):,} of {found:,} documents cannot be read: see quarantine/", file=sys.stderr)
        print(bad.named(folder), file=sys.stderr)
    unknown = int(manifest.figures["num_unknown"]) / max(1, manifest.counts.num_tokens)
    if unknown > UNKNOWN_WARNED:
        remedy = "count one of its own (without --vocab)" if config.vocab else "raise --max-vocab or lower --min-freq"
        print(f"warning: {unknown:.0%} of all tokens are not in the vocabulary: {remedy}", file=sys.stderr)


def _run_phases(
    config: TokenizeConfig, folder: Folder, plan: Plan, tokenizer: Tokenizer, given_vocab: Vocab | None
) -> tuple[Manifest, dict[str, int], BadDocuments]:
    """Run what is incomplete; return the manifest, how many shards each phase found done, and what was unreadable."""
    assert plan.facts.corpus is not None
    job = TokenizeJob(
        output=folder.uri,
        plan=plan.fingerprint,
        corpus=CorpusFacts.from_json(plan.facts.corpus),
        settings=tokenizer.settings,
        tokenizer_fingerprint=tokenizer.fingerprint,
    )
    counted = _count(config, job, plan)
    if not any(receipt.num_documents for receipt in counted.receipts):
        raise RuntimeError("the input holds no document that can be read: nothing to tokenize")
    vocab = _vocabulary(config, folder, counted.receipts, given_vocab)
    written = _numericalize(job, counted.receipts, vocab)
    manifest = _finish(folder, job, counted.receipts, written.receipts, vocab)
    found = {"shards found tokenized": counted.num_found, "shards found written": written.num_found}
    return manifest, found, BadDocuments(written.receipts)


def _look_at_input(config: TokenizeConfig) -> _Corpus:
    """List the files, tell their format, check the columns; everything a person can get wrong is found here."""
    # What is planned has been looked into, and its files are not read again unless they have changed.
    is_new = config.overwrite or not Folder(config.output).exists("plan.json")
    try:
        files = list_inputs(config.input)
        file_format = detect_format(files, config.format)
        if is_new:
            check_contents(files, file_format)
        columns = resolve_columns(
            files, file_format, text=config.text_columns, id_column=config.id_column, keep=config.keep_columns
        )
        hint = id_column_hint(files, file_format, columns) if is_new else None
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if hint:
        print(hint)
    facts = CorpusFacts(
        format=file_format.name,
        columns=columns,
        num_files=len(files),
        num_bytes=sum(file.size for file in files),
        unit_bytes=unit_bytes(files),
    )
    return _Corpus(files, facts)


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


def _given_vocab(config: TokenizeConfig) -> Vocab | None:
    if config.vocab is None:
        return None
    read_manifest(Folder(config.vocab), ["tokenize", *MODEL_JOBS])
    return Vocab.from_json(Folder(config.vocab).read_json("vocab.json"))


def _plan(config: TokenizeConfig, folder: Folder, corpus: _Corpus) -> Plan:
    """Return the plan that is there, checked against the input, or write one."""
    plan = read_plan(folder)
    if plan is None:
        units = cut_into_units(corpus.files, FORMATS[corpus.facts.format])
        identity = to_dict(config, identity_only=True)
        table = units_table(units, corpus.files, hashes_of_ends(corpus.files))
        return write_plan(folder, table, identity=identity, corpus=corpus.facts.to_json())
    added = check_inputs(plan, corpus.files)
    if added:
        print(f"left out: {len(added)} files added since the plan was made ({', '.join(added[:3])} ...)")
    return plan


def _planned_work(config: TokenizeConfig, folder: Folder, corpus: _Corpus) -> str:
    """Return what --dry-run says."""
    plan = None if config.overwrite else read_plan(folder)
    if plan is None:
        num_units = sum(1 for _ in cut_into_units(corpus.files, FORMATS[corpus.facts.format]))
        num_done = 0
    else:
        num_units, num_done = len(plan.units), len(read_receipts(folder, plan.fingerprint))
    work = f"{corpus.facts.num_files:,} files in {num_units:,} units, {num_done:,} shards written"
    return f"{work}; disk while it runs: about three times the result"


def _count(config: TokenizeConfig, job: TokenizeJob, plan: Plan) -> PhaseResult:
    """Phase 1: tokenize every shard that has no receipt in work/done."""
    phase = Phase(
        job="tokenize",
        stage="1 tokenize",
        output=job.output,
        plan=job.plan,
        where=WORK_RECEIPTS,
        max_bad_fraction=config.max_bad_fraction,
    )
    flow = partial(count_shards, phase, job, plan)
    return run_phase(phase, plan.units, flow, lambda unit: plan.rows(unit)["path"][0].as_py())


def _vocabulary(config: TokenizeConfig, folder: Folder, counted: list[Receipt], given: Vocab | None) -> Vocab:
    """Phase 2: write vocab.json, unless it is there."""
    if folder.exists("vocab.json"):
        return Vocab.from_json(folder.read_json("vocab.json"))
    with Bar("2 vocabulary", len(counted), "shards") as bar:
        vocab = given or count_vocabulary(folder, counted, max_vocab=config.max_vocab, min_freq=config.min_freq)
        bar.advance(len(counted), note=f"{len(vocab):,} entries")
    folder.publish_json(vocab.to_json(), "vocab.json")
    return vocab


def _numericalize(job: TokenizeJob, counted: list[Receipt], vocab: Vocab) -> PhaseResult:
    """Phase 3: write every shard that has no receipt in done/."""
    phase = Phase(job="tokenize", stage="3 numericalize", output=job.output, plan=job.plan)
    units = whole_units(receipt.shard for receipt in counted)
    work = partial(numericalize_shard, job, vocab.fingerprint)

    def numericalizing(pending: Sequence[PlannedUnit], receipts: dict[str, Receipt]) -> Iterator[Outcome]:
        return map_shards(phase, pending, work)

    return run_phase(phase, units, numericalizing, lambda unit: f"{job.output}/work/{unit.stem}.arrow")


def _finish(folder: Folder, job: TokenizeJob, counted: list[Receipt], written: list[Receipt], vocab: Vocab) -> Manifest:
    """Check that nothing was lost on the way, write the manifest, and clear away what it makes superfluous."""
    if [receipt.num_tokens for receipt in counted] != [receipt.num_tokens for receipt in written]:
        raise RuntimeError(f"{folder.uri}: phases 1 and 3 counted different tokens; start afresh with --overwrite")
    manifest = Manifest(
        job="tokenize",
        vocab=vocab.fingerprint,
        tokenizer=job.tokenizer_fingerprint,
        plan=job.plan,
        files={},
        figures={
            "vocab_size": len(vocab),
            "num_unknown": sum(receipt.num_unknown for receipt in written),
            "num_bytes": job.corpus.num_bytes,
            "seconds": round(sum(receipt.seconds for receipt in written), 3),
        },
    )
    manifest = write_dataset_manifest(folder, written, "arrow", manifest)
    for name in ("work", "started"):
        folder.delete(name)
    for name in ("", "shards", "done", "quarantine"):
        folder.sweep(name)
    return manifest


def _summary(folder: Folder, manifest: Manifest, found: dict[str, int] | None = None) -> dict[str, object]:
    counts, seconds = manifest.counts, float(manifest.figures["seconds"])
    return {
        "documents": counts.num_documents,
        "tokens": counts.num_tokens,
        "vocabulary": manifest.figures["vocab_size"],
        "unknown tokens": manifest.figures["num_unknown"],
        "quarantined": counts.num_quarantined,
        "shards": counts.num_shards,
        **(found or {}),
        "tokenizer seconds": seconds,
        "tokens per second and core": counts.num_tokens / max(seconds, 1e-9),
        "output": folder.uri,
    }
