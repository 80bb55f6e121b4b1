"""Check a directory: hash its files and recount its shards, and compare with its manifest and receipts."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tyro

from ulmfit_ray.commands.shards import DamagedError
from ulmfit_ray.commands.verify_sample import WrongVectorError, check_sample
from ulmfit_ray.config import ConfigError, Run
from ulmfit_ray.reporting.progress import Bar
from ulmfit_ray.reporting.tables import print_summary
from ulmfit_ray.storage.embedding_dataset import EmbeddingDataset, vectors_of
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.job_record import read_job
from ulmfit_ray.storage.manifest import Manifest, ShardRow, read_manifest, read_shards
from ulmfit_ray.storage.plan import read_plan
from ulmfit_ray.storage.prediction_dataset import PredictionDataset, PredictionScheme, numbers_of
from ulmfit_ray.storage.receipts import Receipt, find_receipt, read_receipts
from ulmfit_ray.storage.token_dataset import TokenDataset, census_file, flat_tokens, read_census
from ulmfit_ray.text.census import Census, CorpusCensus
from ulmfit_ray.text.vocab import PAD_ID, UNK_ID, Vocab

COUNTED = ("num_documents", "num_tokens", "num_quarantined")
SHOWN_PROBLEMS = 20
SUM_TOLERANCE = 1e-5
"""How far the probabilities of a document may add up to another number than 1: they are rounded to float32."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyConfig(Run):
    """Check a finished token dataset, model, embeddings or predictions against its manifest and receipts."""

    input: Annotated[str, tyro.conf.Positional]
    """The directory."""
    model: tuple[str, ...] = ()
    """Of embeddings: the models that they were made with; they encode a sample of the documents again, each alone and
    all in another order."""
    sample: int = 200
    """Documents that are encoded again."""
    tokens: str | None = None
    """Token dataset of the documents (default: the one that the embeddings were made from)."""

    def __post_init__(self) -> None:
        if self.sample < 1:
            raise ConfigError(f"--sample must be at least 1, not {self.sample}")
        if not self.model and self.tokens is not None:
            raise ConfigError("--tokens is for encoding a sample again: name --model, too")


def run(config: VerifyConfig) -> dict[str, Any]:
    """Check everything, print what was found, and raise DamagedError if anything disagrees."""
    folder = Folder(config.input)
    manifest = read_manifest(folder)
    embeddings = EmbeddingDataset(config.input) if config.model else None
    problems = list(_changed_files(folder, manifest.files))
    found: dict[str, Any] = {"files": len(manifest.files)}
    if manifest.totals is not None:
        check = _ShardCheck(folder, manifest)
        problems += check.problems()
        found = {"shards": manifest.totals.num_shards} | check.totals
        found["equal document ids"] = sum(count - 1 for count in check.doc_ids.values())
    if folder.exists("vocab.json"):
        vocab = Vocab.from_json(folder.read_json("vocab.json"))
        if vocab.fingerprint != manifest.vocab:
            problems.append("vocab.json does not have the fingerprint that the manifest names")
        elif manifest.job == "tokenize" and not problems and read_job(folder).config.get("vocab") is None:
            problems += _recounted(TokenDataset(config.input), vocab)
    if embeddings is not None and not problems:
        try:
            found |= check_sample(embeddings, config.model, config.sample, config.tokens)
        except WrongVectorError as error:
            problems.append(str(error))
    if problems:
        shown = "\n".join(f"    {problem}" for problem in problems[:SHOWN_PROBLEMS])
        raise DamagedError(f"{folder.uri} is damaged: {len(problems)} problems\n{shown}")
    print_summary(f"{manifest.job}: everything agrees", found | {"output": folder.uri})
    return found


def _changed_files(folder: Folder, files: dict[str, str]) -> Iterator[str]:
    for name, digest in files.items():
        if not folder.exists(name):
            yield f"{name} is missing"
        elif folder.sha256(name) != digest:
            yield f"{name} has changed: its SHA-256 is not the recorded one"


def _recounted(dataset: TokenDataset, vocab: Vocab) -> Iterator[str]:
    """Count each entry of a vocabulary that was made from these very shards, and yield what disagrees."""
    counts = np.zeros(len(vocab), np.int64)
    documents = np.zeros(len(vocab), np.int64)
    for table in dataset.tables():
        values, offsets = flat_tokens(table["tokens"])
        counts += np.bincount(values, minlength=len(vocab))
        document = np.repeat(np.arange(table.num_rows), np.diff(offsets))
        pairs = np.unique(document * len(vocab) + values.astype(np.int64))
        documents += np.bincount(pairs % len(vocab), minlength=len(vocab))
    for name, said, counted in (("counts", vocab.counts, counts), ("documents", vocab.documents, documents)):
        # xxunk and xxpad (0 and 1) have no counts of their own.
        wrong = np.flatnonzero(said[PAD_ID + 1 :] != counted[PAD_ID + 1 :]) + PAD_ID + 1
        if len(wrong):
            first = int(wrong[0])
            yield (
                f"vocab.json has wrong {name} of {len(wrong):,} entries: of {vocab.itos[first]!r} it says"
                f" {said[first]:,}, the shards have {counted[first]:,}"
            )
    if vocab.num_tokens != int(counts.sum()):
        yield f"vocab.json says {vocab.num_tokens:,} tokens, the shards have {int(counts.sum()):,}"
    yield from _wrong_types(dataset.manifest, vocab, counts)


def _wrong_types(manifest: Manifest, vocab: Vocab, counts: np.ndarray) -> Iterator[str]:
    """Yield what the manifest says wrongly of the types; of the unknown ones the shards know the occurrences only."""
    said = manifest.figures.get("num_types")
    known, unknown = int(np.count_nonzero(counts[PAD_ID + 1 :])), int(counts[UNK_ID])
    if said is not None and not known + bool(unknown) <= said <= known + unknown:
        yield f"the manifest says {said:,} types, the shards have {known:,} known ones and {unknown:,} unknown tokens"
    for token, times in manifest.figures.get("most_frequent_tokens", {}).items():
        token_id = vocab.stoi.get(token, UNK_ID)
        if token_id > PAD_ID and counts[token_id] != times:
            yield f"the manifest says {token!r} {times:,} times, counted {int(counts[token_id]):,}"


class _ShardCheck:
    """Hashes and recounts every shard; compares receipts, censuses, shards.parquet and manifest with what is there."""

    def __init__(self, folder: Folder, manifest: Manifest) -> None:
        assert manifest.plan is not None
        self._folder, self._manifest = folder, manifest
        self._with_receipt = read_receipts(folder, manifest.plan).names()
        self._rows = read_shards(folder)
        self.totals = dict.fromkeys(COUNTED, 0)
        self.doc_ids: Counter[str] = Counter()
        self._census = CorpusCensus()

    @cached_property
    def _predictions(self) -> PredictionDataset:
        """The data set, if it is one of predictions."""
        return PredictionDataset(self._folder.uri)

    def problems(self) -> list[str]:
        """Return all that disagrees."""
        plan = read_plan(self._folder)
        problems = []
        if plan is None or plan.fingerprint != self._manifest.plan:
            problems.append("plan.json is not the one that the manifest was made with")
        if set(self._with_receipt) != {row.shard for row in self._rows}:
            problems.append("receipts and shards.parquet name different shards")
        with Bar("verify", len(self._rows), "shards") as bar:
            for row in self._rows:
                problems += self._problems_of(row)
                bar.advance(1)
        if not problems:
            problems += [
                f"the manifest says {name} {getattr(self._manifest.counts, name):,}, counted {total:,}"
                for name, total in self.totals.items()
                if getattr(self._manifest.counts, name) != total
            ]
            problems += self._wrong_figures()
        return problems

    def _wrong_figures(self) -> Iterator[str]:
        """Yield what the manifest says of lengths and duplicates and the censuses do not."""
        if not self._census.num_documents:
            return
        for name, counted in self._census.figures().items():
            said = self._manifest.figures.get(name)
            if said != counted:
                yield f"the manifest says {name} {said}, counted {counted}"

    def _problems_of(self, row: ShardRow) -> list[str]:
        receipt = find_receipt(self._folder, str(self._manifest.plan), row.shard)
        if receipt is None:
            return list(_changed_files(self._folder, {row.file: row.sha256}))
        # A file that has changed may not even open: it is hashed first, and not counted then.
        return list(_changed_files(self._folder, receipt.files)) or list(self._recount(receipt, row.file))

    def _recount(self, receipt: Receipt, file: str) -> Iterator[str]:
        """Yield what is wrong with a shard: impossible values, or counts that differ from its receipt."""
        table, num_tokens, impossible = self._read_tokens(file, receipt)
        if impossible:
            yield f"{file} {impossible}"
        quarantine = f"quarantine/{receipt.shard}.jsonl"
        has_quarantine = self._folder.exists(quarantine)
        num_quarantined = self._folder.read_bytes(quarantine).count(b"\n") if has_quarantine else 0
        for name, count in zip(COUNTED, (table.num_rows, num_tokens, num_quarantined), strict=True):
            self.totals[name] += count
            if getattr(receipt, name) != count:
                yield f"{file}: its receipt says {name} {getattr(receipt, name):,}, counted {count:,}"
        self.doc_ids.update(table["doc_id"].to_pylist())
        if census_file(receipt.shard) in receipt.files:
            yield from self._compare_census(receipt.shard, table)

    def _compare_census(self, shard: str, table: pa.Table) -> Iterator[str]:
        """Yield that a shard's census has other lengths than its documents, if so; else add the census to the sum."""
        census = Census.from_table(read_census(self._folder, shard))
        counted = np.unique(np.diff(flat_tokens(table["tokens"])[1]), return_counts=True)
        if np.array_equal([census.lengths, census.documents], counted):
            self._census.add(census)
        else:
            yield f"{census_file(shard)} has other lengths than the documents of the shard"

    def _read_tokens(self, file: str, receipt: Receipt) -> tuple[pa.Table, int, str]:
        """Return a shard, its number of tokens, and what is wrong with its values ("" if nothing)."""
        if self._manifest.job == "tokenize":
            table = TokenDataset(self._folder.uri).read(receipt.shard)
            values, _ = flat_tokens(table["tokens"])
            is_beyond = len(values) > 0 and int(values.max()) >= int(self._manifest.figures["vocab_size"])
            return table, len(values), "holds ids beyond the vocabulary" if is_beyond else ""
        with self._folder.filesystem.open_input_file(self._folder.path(file)) as source:
            table = pq.read_table(source)
        if self._manifest.job == "neighbours":
            return table, receipt.num_tokens, _wrong_neighbours(table, self._manifest)
        num_tokens = int(np.sum(table["num_tokens"].to_numpy()))
        if self._manifest.job == "classify":
            return table, num_tokens, _wrong_predictions(table, self._predictions)
        is_finite = np.isfinite(vectors_of(table)).all()
        return table, num_tokens, "" if is_finite else "holds vectors that are not finite"


def _wrong_neighbours(table: pa.Table, manifest: Manifest) -> str:
    """Return what is wrong with the lists of a shard ("" if nothing)."""
    rows, cosines = (table[name].combine_chunks().flatten().to_numpy() for name in ("rows", "cosines"))
    num_documents = manifest.counts.num_documents
    if len(rows) != table.num_rows * min(manifest.figures["k"], num_documents - 1):
        return "holds lists of another length than k"
    if ((rows < 0) | (rows >= num_documents)).any():
        return "holds rows beyond the documents"
    return "" if np.isfinite(cosines).all() else "holds cosines that are not finite"


def _wrong_predictions(table: pa.Table, dataset: PredictionDataset) -> str:
    """Return what is wrong with the numbers of a shard, or with what they are said to mean ("" if nothing)."""
    scheme, numbers = PredictionScheme.of_schema(table.schema), numbers_of(table)
    if (scheme.objective, scheme.labels) != (dataset.objective, dataset.labels):
        return "has other labels than config.json"
    if not np.isfinite(numbers).all():
        return "holds numbers that are not finite"
    if scheme.objective == "regression":
        return ""
    if ((numbers < 0) | (numbers > 1)).any():
        return "holds probabilities that are not between 0 and 1"
    if scheme.objective == "single-label" and (np.abs(numbers.sum(1, dtype=np.float64) - 1) > SUM_TOLERANCE).any():
        return "holds probabilities that do not add up to 1"
    is_same = table["prediction"].combine_chunks().equals(scheme.predictions(numbers))
    return "" if is_same else "holds predictions other than its probabilities make"
