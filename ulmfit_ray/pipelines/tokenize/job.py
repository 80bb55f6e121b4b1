"""Raw text -> token dataset, on Ray Data.

    plan -> count (read | tokenize, per shard) -> vocabulary (group by token) -> number (per shard) -> manifest

A restart enters the first phase that is incomplete and does only the shards that have no receipt.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import pyarrow as pa
import ray.data

from ulmfit_ray.config import ConfigError, operational, to_dict
from ulmfit_ray.corpus.documents import Columns
from ulmfit_ray.corpus.listing import detect_format, list_inputs, resolve_columns
from ulmfit_ray.lifecycle import Tally, attempt, claim_output, print_dry_run, refuse_output_inside
from ulmfit_ray.pipelines.runtime import RayRun, ray_session, rows_as_they_come
from ulmfit_ray.pipelines.tokenize.counting import count_shards
from ulmfit_ray.pipelines.tokenize.token_shards import (
    TokenizeTask,
    numericalize_shard,
)
from ulmfit_ray.pipelines.tokenize.vocabulary import count_vocabulary
from ulmfit_ray.reporting.progress import Bar, print_summary
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.manifest import read_manifest, write_dataset_manifest
from ulmfit_ray.storage.model_directory import JOBS as MODEL_JOBS
from ulmfit_ray.storage.plan import (
    Plan,
    check_inputs,
    cut_into_units,
    read_plan,
    text_plan_table,
    unit_bytes,
    write_plan,
)
from ulmfit_ray.storage.receipts import Receipt, pending_units, read_receipts, shards_of
from ulmfit_ray.text.rules import SPECIAL_TOKENS
from ulmfit_ray.text.tokenizers.spacy_words import SpacyTokenizer, TokenizerSettings
from ulmfit_ray.text.vocab import Vocab


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizeConfig(RayRun):
    """Turn raw text into a token dataset: cleaned, tokenized, counted and numericalized."""

    input: tuple[str, ...]
    """Files, globs, folders, or URIs of a file system (s3://, gs://, hdfs://); compressed files too."""
    output: str = operational()
    """Directory or URI of the token dataset."""
    format: Literal["auto", "txt", "lines", "csv", "jsonl"] = "auto"
    """auto: by extension; txt: a document per file; lines: a document per line."""
    text_columns: tuple[str, ...] = ("text",)
    """Columns with text (csv, jsonl), each cleaned and tokenized by itself, joined in this order."""
    id_column: str | None = None
    """Column with the document's id (default: path#offset)."""
    keep_columns: tuple[str, ...] = ()
    """Columns passed through as they are."""
    lang: str = "en"
    """Language of spaCy's blank pipeline."""
    rules: Literal["fastai-v2", "none"] = "fastai-v2"
    """Cleaning rules."""
    mark_fields: Literal["auto", "yes", "no"] = "auto"
    """Put `xxfld n` in front of each field (auto: when there are several text columns)."""
    vocab: str | None = None
    """Use the vocabulary of this token dataset or model instead of counting one."""
    max_vocab: int = 60_000
    """Size of the vocabulary, the nine special tokens included."""
    min_freq: int = 3
    """Keep tokens that occur at least this often."""
    max_bad_fraction: float = operational(0.01)
    """Stop when more than this part of the documents cannot be read."""

    def __post_init__(self) -> None:
        if self.max_vocab <= len(SPECIAL_TOKENS):
            raise ConfigError(f"--max-vocab must be over {len(SPECIAL_TOKENS)}, the number of special tokens")
        if not 0 <= self.max_bad_fraction <= 1:
            raise ConfigError("--max-bad-fraction must lie between 0 and 1")

    def tokenizer_settings(self) -> TokenizerSettings:
        """Return what decides how texts are cut."""
        marks = len(self.text_columns) > 1 if self.mark_fields == "auto" else self.mark_fields == "yes"
        return TokenizerSettings(lang=self.lang, rules=self.rules, mark_fields=marks)


def run(config: TokenizeConfig) -> dict[str, Any]:
    """Tokenize the corpus, or what is missing of it, and return the manifest."""
    refuse_output_inside(config.output, config.input)
    is_finished = Folder(config.output).exists("manifest.json") and not config.overwrite
    # A finished output does not need its input any more.
    plan_facts = None if is_finished else _look_at_input(config)
    tokenizer = _tokenizer(config)
    given_vocab = _given_vocab(config)
    folder, manifest = claim_output("tokenize", config)
    if manifest is not None or plan_facts is None:
        assert manifest is not None
        print_summary("complete, nothing to do", _summary(folder, manifest))
        return manifest
    plan = _plan(config, folder, *plan_facts)
    if config.dry_run:
        done = len(read_receipts(folder, plan.fingerprint)) if plan.fingerprint else 0
        facts = plan.facts
        text = f"{facts['num_files']:,} files in {facts['num_units']:,} units, {done:,} shards written"
        print_dry_run(config, f"{text}; disk while it runs: about three times the result")
        return {}
    _claim_tokenizer(folder, tokenizer)
    facts = plan.facts
    task = TokenizeTask(
        output=folder.uri,
        plan=plan.fingerprint,
        file_format=facts["format"],
        columns=Columns.from_json(facts["columns"]),
        settings=tokenizer.settings,
        tokenizer_fingerprint=tokenizer.fingerprint,
        unit_bytes=facts["unit_bytes"],
    )
    with ray_session(config.ray):
        found = {"tokenized": len(read_receipts(folder, plan.fingerprint, "work/done"))}
        found["written"] = len(read_receipts(folder, plan.fingerprint))
        counted = _count(config, folder, plan, task)
        vocab = _vocabulary(config, folder, counted, given_vocab)
        written = _number(config, folder, task, counted, vocab)
    manifest = _finish(folder, plan, counted, written, tokenizer, vocab)
    print_summary("tokenize", _summary(folder, manifest, found))
    return manifest


def _look_at_input(config: TokenizeConfig) -> tuple[list[Any], str, Columns]:
    """List the files, tell their format, check the columns; everything a person can get wrong is found here."""
    try:
        files = list_inputs(config.input)
        file_format = detect_format(files, config.format)
        columns = resolve_columns(
            files, file_format, text=config.text_columns, id_column=config.id_column, keep=config.keep_columns
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return files, file_format, columns


def _tokenizer(config: TokenizeConfig) -> SpacyTokenizer:
    try:
        return SpacyTokenizer(config.tokenizer_settings())
    except ImportError as error:
        raise ConfigError(
            f"--lang {config.lang}: spaCy has no such language, or lacks what it needs ({error})"
        ) from error


def _claim_tokenizer(folder: Folder, tokenizer: SpacyTokenizer) -> None:
    """Write tokenizer.json, or refuse to go on with another tokenizer than the one that made the first shards."""
    if not folder.exists("tokenizer.json"):
        folder.publish_json(tokenizer.to_json(), "tokenizer.json")
    before = folder.read_json("tokenizer.json")
    if before["fingerprint"] != tokenizer.fingerprint:
        raise ConfigError(
            f"{folder.uri} was begun with another tokenizer (spaCy {before['versions']['spacy']}):"
            " install that version, or use --overwrite to start afresh"
        )


def _given_vocab(config: TokenizeConfig) -> Vocab | None:
    if config.vocab is None:
        return None
    read_manifest(Folder(config.vocab), ["tokenize", *MODEL_JOBS])
    return Vocab.from_json(Folder(config.vocab).read_json("vocab.json"))


def _plan(config: TokenizeConfig, folder: Folder, files: list[Any], file_format: str, columns: Columns) -> Plan:
    """Return the plan that is there, checked against the input, or write one."""
    plan = read_plan(folder) if folder.exists("config.json") and not config.overwrite else None
    if plan is None:
        units = list(cut_into_units(files, file_format))
        facts = {
            "identity": to_dict(config, identity_only=True),
            "format": file_format,
            "columns": asdict(columns),
            "num_units": len(units),
            "num_files": len(files),
            "num_bytes": sum(file.size for file in files),
            "unit_bytes": unit_bytes(files),
        }
        table = text_plan_table(units, files)
        return Plan(facts | {"fingerprint": ""}, table) if config.dry_run else write_plan(folder, table, facts)
    added = check_inputs(plan, files)
    if added:
        print(f"left out: {len(added)} files added since the plan was made ({', '.join(added[:3])} ...)")
    return plan


def _count(config: TokenizeConfig, folder: Folder, plan: Plan, task: TokenizeTask) -> list[Receipt]:
    """Phase 1: tokenize every shard that has no receipt in work/done; return the receipts of all."""
    receipts = read_receipts(folder, plan.fingerprint, "work/done")
    units = list(plan.units())
    pending = pending_units(units, receipts)
    total = None if any(unit.streamed for unit in pending) else len(units)
    with Bar("1 tokenize", total, "shards", done=len(receipts)) as bar:
        tally = Tally(bar, config.max_bad_fraction, receipts.values())
        for row in count_shards(task, pending, set(receipts)):
            tally.add(row)
        tally.finish(folder)
    receipts = read_receipts(folder, plan.fingerprint, "work/done")
    stems = [shards_of(unit, receipts) for unit in units]
    missing = [unit.stem for unit, shards in zip(units, stems, strict=True) if shards is None]
    if missing:
        raise RuntimeError(f"units {', '.join(missing[:10])} are not complete: run the same command again")
    return [receipts[stem] for shards in stems for stem in shards or ()]


def _vocabulary(config: TokenizeConfig, folder: Folder, counted: list[Receipt], given: Vocab | None) -> Vocab:
    """Phase 2: write vocab.json, unless it is there."""
    if folder.exists("vocab.json"):
        return Vocab.from_json(folder.read_json("vocab.json"))
    with Bar("2 vocabulary", len(counted), "shards") as bar:
        vocab = given or count_vocabulary(folder, counted, max_vocab=config.max_vocab, min_freq=config.min_freq)
        bar.advance(len(counted), note=f"{len(vocab):,} entries")
    folder.publish_json(vocab.to_json(), "vocab.json")
    return vocab


def _number(
    config: TokenizeConfig, folder: Folder, task: TokenizeTask, counted: list[Receipt], vocab: Vocab
) -> list[Receipt]:
    """Phase 3: write every shard that has no receipt in done/; return the receipts of all."""
    receipts = read_receipts(folder, task.plan)
    pending = [receipt.shard for receipt in counted if receipt.shard not in receipts]
    with Bar("3 number", len(counted), "shards", done=len(receipts)) as bar:
        tally = Tally(bar, config.max_bad_fraction, receipts.values())
        if pending:
            numbering = ray.data.from_items(
                [{"shard": shard} for shard in pending], override_num_blocks=len(pending)
            ).map_batches(
                partial(_number_rows, task=task, vocab_fingerprint=vocab.fingerprint), batch_size=1, max_retries=3
            )
            for row in rows_as_they_come(numbering):
                tally.add(row)
        tally.finish(folder)
    receipts = read_receipts(folder, task.plan)
    return [receipts[receipt.shard] for receipt in counted]


def _number_rows(batch: dict[str, Any], task: TokenizeTask, vocab_fingerprint: str) -> pa.Table:
    folder = Folder(task.output)
    rows = []
    for shard in map(str, batch["shard"]):
        counted = Receipt(**folder.read_json(f"work/done/{shard}.json"))
        rows.append(attempt(folder, shard, partial(numericalize_shard, task, vocab_fingerprint, counted)))
    return pa.Table.from_pylist(rows)


def _finish(
    folder: Folder,
    plan: Plan,
    counted: Iterable[Receipt],
    written: list[Receipt],
    tokenizer: SpacyTokenizer,
    vocab: Vocab,
) -> dict[str, Any]:
    """Check that nothing was lost on the way, write the manifest, and clear away what it makes superfluous."""
    if [receipt.num_tokens for receipt in counted] != [receipt.num_tokens for receipt in written]:
        raise RuntimeError(f"{folder.uri}: shards and counts disagree; start afresh with --overwrite")
    facts = {
        "vocab": vocab.fingerprint,
        "vocab_size": len(vocab),
        "tokenizer": tokenizer.fingerprint,
        "num_bytes": plan.facts["num_bytes"],
        "seconds": round(sum(receipt.seconds for receipt in written), 3),
    }
    manifest = write_dataset_manifest(folder, "tokenize", written, "arrow", facts)
    folder.delete("work")
    for name in ("", "shards", "done", "quarantine"):
        folder.sweep(name)
    return manifest


def _summary(folder: Folder, manifest: dict[str, Any], found: dict[str, int] | None = None) -> dict[str, Any]:
    names = ("num_documents", "num_tokens", "vocab_size", "num_quarantined", "num_shards")
    summary: dict[str, Any] = {name.removeprefix("num_"): manifest[name] for name in names}
    summary |= {f"shards found {what}": count for what, count in (found or {}).items()}
    seconds = manifest["seconds"]
    return summary | {
        "tokenizer seconds": seconds,
        "tokens per second and core": manifest["num_tokens"] / max(seconds, 1e-9),
        "output": folder.uri,
    }
