"""Before a job makes shards: its input as it is found, raw text or shards of another job, and the plan made of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import pyarrow as pa
import pyarrow.compute as pc

from ulmfit_ray.config import ConfigError, OutputRun, to_dict
from ulmfit_ray.corpus.classes import CLASSES, find_classes
from ulmfit_ray.corpus.columns import id_column_hint, resolve_columns
from ulmfit_ray.corpus.contents import check_contents
from ulmfit_ray.corpus.formats.csv_rows import LABEL
from ulmfit_ray.corpus.formats.table import detect_format
from ulmfit_ray.corpus.limit import first_units
from ulmfit_ray.corpus.listing import InputFiles, hashes_of_ends, list_inputs
from ulmfit_ray.corpus.units import CorpusFacts, Unit, check_inputs, cut_into_units, text_bytes, unit_bytes, units_table
from ulmfit_ray.pipelines.options import CorpusRun
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.manifest import ShardRows
from ulmfit_ray.storage.plan import Plan, read_plan, write_plan
from ulmfit_ray.storage.receipts import read_receipts

SHARDS_SCHEMA = pa.schema(
    [("shard", pa.string()), ("num_documents", pa.int64()), ("num_tokens", pa.int64()), ("sha256", pa.string())]
)
"""What plan.arrow says of each shard of another data set."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """The input as it was found: its files, its units, and what the plan will say of it."""

    files: InputFiles
    units: Iterable[Unit]
    """To be gone through once."""
    facts: CorpusFacts


def look_at_input(config: CorpusRun) -> Corpus:
    """List the files, tell their format, check the columns; everything a person can get wrong is found here."""
    # What is planned has been looked into, and its files are not read again unless they have changed.
    plan = None if config.overwrite else read_plan(Folder(config.output))
    # A plan that was made of another data set's shards is another job's, which is refused later.
    plan = None if plan is None or plan.facts.corpus is None else plan
    is_new = plan is None
    try:
        listed = list_inputs(config.input)
        # What was added since the plan was made is named later, and has no say in anything.
        files = listed if plan is None else _planned(listed, plan)
        options = config.reading_options()
        if not options.header and LABEL in options.columns:
            options = replace(options, classes=find_classes(files, options.encoding))
        file_format = detect_format(files, config.format, options)
        units: Iterable[Unit] = cut_into_units(files, file_format)
        if is_new and config.limit:
            # They are cut as all files are, and so are their shards.
            units = first_units(files, file_format, config.limit)
            paths = {piece.path for unit in units for piece in unit.pieces}
            files = files.among(pa.array(paths, pa.string()))
        elif is_new:
            check_contents(files, file_format)
        columns = resolve_columns(
            listed if is_new else files,
            file_format,
            text=config.text_columns,
            id_column=config.id_column,
            keep=config.keep_columns,
        )
        hint = id_column_hint(listed, file_format, columns) if is_new else None
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if hint:
        print(hint)
    facts = CorpusFacts(
        format=file_format.name,
        options=options,
        columns=columns,
        num_files=len(files),
        num_bytes=files.num_bytes,
        text_bytes=text_bytes(files),
        unit_bytes=unit_bytes(listed),
    )
    return Corpus(files if is_new else listed, units, facts)


def _planned(files: InputFiles, plan: Plan) -> InputFiles:
    return files.among(plan.table["path"]) or files


def claimed_plan(
    config: CorpusRun, folder: Folder, corpus: Corpus, inputs: Mapping[str, str] = MappingProxyType({})
) -> Plan:
    """Return the plan that is there, checked against the input, or write one.

    `inputs` are fingerprints of what else the result is made from.
    """
    plan = read_plan(folder)
    if plan is None:
        identity = to_dict(config, identity_only=True) | dict(inputs)
        table = units_table(corpus.units, corpus.files, hashes_of_ends(corpus.files))
        return write_plan(folder, table, identity=identity, corpus=corpus.facts.to_json())
    _check_classes(plan, corpus)
    added = check_inputs(plan, corpus.files)
    if added and not config.limit:
        print(f"left out: {len(added)} files added since the plan was made ({', '.join(added[:3])} ...)")
    return plan


def plan_over_shards(config: OutputRun, folder: Folder, shards: ShardRows, inputs: Mapping[str, str]) -> Plan:
    """Return the plan that is there, or write one: a unit for each shard of another data set.

    claim_output has checked that the inputs, whose fingerprints these are, have not changed since.
    """
    plan = read_plan(folder)
    if plan is not None:
        return plan
    identity = to_dict(config, identity_only=True) | dict(inputs)
    return write_plan(folder, shards.table.select(SHARDS_SCHEMA.names).combine_chunks(), identity=identity)


def _check_classes(plan: Plan, corpus: Corpus) -> None:
    assert plan.facts.corpus is not None
    if CorpusFacts.from_json(plan.facts.corpus).options.classes != corpus.facts.options.classes:
        raise ConfigError(f"{CLASSES} has changed since the plan was made: put it back, or use --overwrite")


def planned_work(config: CorpusRun, folder: Folder, corpus: Corpus) -> str:
    """Return how much there is to do, for --dry-run."""
    plan = None if config.overwrite else read_plan(folder)
    if plan is None:
        num_files, num_units, num_done = corpus.facts.num_files, sum(1 for _ in corpus.units), 0
    else:
        num_files = len(pc.unique(plan.table["path"]))
        num_units, num_done = len(plan.units), len(read_receipts(folder, plan.fingerprint))
    what = f"the first {config.limit:,} documents, of " if config.limit else ""
    return f"{what}{num_files:,} files in {num_units:,} units, {num_done:,} shards written"
