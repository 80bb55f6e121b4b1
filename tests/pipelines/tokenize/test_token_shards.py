"""One shard of a token dataset, made in this process: text -> local ids -> global ids, and what stops it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pytest

from ulmfit_ray.corpus.columns import Columns
from ulmfit_ray.corpus.formats.options import ReadingOptions
from ulmfit_ray.corpus.reading import StreamedText
from ulmfit_ray.corpus.units import CorpusFacts, Piece, Unit
from ulmfit_ray.pipelines.tokenize.token_shards import (
    WORK_RECEIPTS,
    TokenizeJob,
    numericalize_shard,
    tokenize_shard,
)
from ulmfit_ray.storage.folder import Folder, sha256_file
from ulmfit_ray.storage.receipts import Receipt, read_receipt
from ulmfit_ray.storage.token_dataset import read_census
from ulmfit_ray.text.census import Census
from ulmfit_ray.text.tokenizers.kinds import Kind, TokenizerSettings, make_tokenizer
from ulmfit_ray.text.vocab import Vocab, build_vocab

STEM = "part-0000000"


@pytest.fixture(scope="module")
def fingerprint() -> str:
    return make_tokenizer(TokenizerSettings()).fingerprint


@pytest.fixture
def job(tmp_path: Path, fingerprint: str) -> TokenizeJob:
    facts = CorpusFacts(
        format="jsonl",
        options=ReadingOptions(),
        columns=Columns(keep=("n",), keep_types=("int64",)),
        num_files=1,
        num_bytes=0,
        text_bytes=0,
        unit_bytes=1 << 20,
    )
    output = str(tmp_path / "out")
    return TokenizeJob(
        output=output, plan="p", corpus=facts, settings=TokenizerSettings(), tokenizer_fingerprint=fingerprint
    )


def unit_of(path: Path, lines: list[dict], stop: int | None = None) -> Unit:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Unit(0, (Piece(str(path), path.name, 0, stop or path.stat().st_size),))


def counted(job: TokenizeJob, tmp_path: Path) -> Receipt:
    lines = [{"text": "One two two", "n": 1}, {"text": None}, {"text": "two", "n": 2}]
    return tokenize_shard(job, unit_of(tmp_path / "in.jsonl", lines), None, STEM)


def vocab_of(job: TokenizeJob) -> Vocab:
    with Folder(job.output).open(f"work/{STEM}.types.parquet") as source:
        types = pa.parquet.read_table(source)
    vocab = build_vocab([types], max_vocab=100, min_freq=1, num_documents=2, num_tokens=7)
    Folder(job.output).publish_json(vocab.to_json(), "vocab.json")
    return vocab


def test_a_counted_shard_has_ids_of_its_own_types_and_a_receipt_that_says_so(job: TokenizeJob, tmp_path: Path) -> None:
    receipt = counted(job, tmp_path)
    assert (receipt.num_documents, receipt.num_tokens, receipt.quarantined) == (2, 7, {"null text": 1})
    assert receipt.num_bytes == (tmp_path / "in.jsonl").stat().st_size
    assert list(receipt.files) == [
        f"quarantine/{STEM}.jsonl",
        f"census/{STEM}.parquet",
        f"work/{STEM}.arrow",
        f"work/{STEM}.types.parquet",
    ]
    assert all(sha256_file(Path(job.output, name)) == digest for name, digest in receipt.files.items())
    assert read_receipt(Folder(job.output), STEM, WORK_RECEIPTS) == receipt
    table = pa.ipc.open_file(f"{job.output}/work/{STEM}.arrow").read_all()
    assert table["tokens"].to_pylist() == [[0, 1, 2, 3, 3], [0, 3]]
    assert table["n"].to_pylist() == [1, 2]


def test_a_numericalized_shard_has_the_vocabularys_ids_and_keeps_the_rest(job: TokenizeJob, tmp_path: Path) -> None:
    before = counted(job, tmp_path)
    vocab = vocab_of(job)
    receipt = numericalize_shard(job, vocab.fingerprint, STEM)
    table = pa.ipc.open_file(f"{job.output}/shards/{STEM}.arrow").read_all()
    words = [[vocab.itos[token_id] for token_id in ids] for ids in table["tokens"].to_pylist()]
    assert words == [["xxbos", "xxmaj", "one", "two", "two"], ["xxbos", "two"]]
    assert table.schema.field("tokens").type == pa.list_(pa.uint16())
    assert table["n"].to_pylist() == [1, 2]
    assert set(receipt.files) == {f"quarantine/{STEM}.jsonl", f"census/{STEM}.parquet", f"shards/{STEM}.arrow"}
    assert receipt.quarantined == before.quarantined
    assert receipt.seconds > before.seconds


def test_with_a_given_vocabulary_a_shard_is_made_in_one_phase_and_has_the_same_bytes(
    job: TokenizeJob, tmp_path: Path
) -> None:
    counted(job, tmp_path)
    vocab = vocab_of(job)
    in_two = numericalize_shard(job, vocab.fingerprint, STEM)
    Folder(str(tmp_path / "other")).publish_json(vocab.to_json(), "vocab.json")
    at_once = counted(replace(job, output=str(tmp_path / "other"), vocab=vocab.fingerprint), tmp_path)
    assert replace(at_once, seconds=0) == replace(in_two, seconds=0)
    assert not (tmp_path / "other/work").exists()
    assert read_receipt(Folder(str(tmp_path / "other")), STEM) == at_once


def test_a_shard_has_the_bytes_of_its_cleaned_text_and_of_the_words_that_are_unknown(
    job: TokenizeJob, tmp_path: Path
) -> None:
    receipt = counted(job, tmp_path)
    assert receipt.num_text_bytes == len("one two two\ntwo\n")
    assert receipt.num_unknown_bytes is None
    itos = ["xxunk", "xxpad", "xxbos", "xxmaj", "one"]
    zeros = np.zeros(len(itos), np.int64)
    vocab = Vocab(itos, zeros, zeros, 0, 0)
    Folder(job.output).publish_json(vocab.to_json(), "vocab.json")
    written = numericalize_shard(job, vocab.fingerprint, STEM)
    assert (written.num_unknown, written.num_unknown_bytes) == (3, len("two" * 3))
    assert written.num_text_bytes == receipt.num_text_bytes


@pytest.mark.parametrize("kind", ["spacy", "whitespace", "characters"])
@pytest.mark.parametrize(("rules", "size"), [("none", len("Don't  &lt;\n")), ("fastai-v2", len("don't <\n"))])
def test_all_kinds_of_tokenizers_count_the_same_bytes(
    job: TokenizeJob, tmp_path: Path, kind: Kind, rules: str, size: int
) -> None:
    settings = TokenizerSettings(kind=kind, rules=(rules,))
    job = replace(job, settings=settings, tokenizer_fingerprint=make_tokenizer(settings).fingerprint)
    receipt = tokenize_shard(job, unit_of(tmp_path / "in.jsonl", [{"text": "Don't  &lt;"}]), None, STEM)
    assert receipt.num_text_bytes == size


def test_the_census_of_a_shard_counts_lengths_in_tokens_and_whole_texts(job: TokenizeJob, tmp_path: Path) -> None:
    texts = ["One two two", "two", "two", "Two", "", "two ", None, "One two two"]
    tokenize_shard(job, unit_of(tmp_path / "in.jsonl", [{"text": text} for text in texts]), None, STEM)
    census = Census.from_table(read_census(Folder(job.output), STEM))
    # xxbos counts: 1 is the empty text, 5 is "xxbos xxmaj one two two".
    assert dict(zip(census.lengths.tolist(), census.documents.tolist(), strict=True)) == {1: 1, 2: 3, 3: 1, 5: 2}
    assert census.num_distinct == len({text for text in texts if text is not None})


def test_two_attempts_at_a_shard_write_the_same_bytes(job: TokenizeJob, tmp_path: Path) -> None:
    first = counted(job, tmp_path)
    vocab = vocab_of(job)
    written = numericalize_shard(job, vocab.fingerprint, STEM)
    assert counted(job, tmp_path).files == first.files
    assert numericalize_shard(job, vocab.fingerprint, STEM).files == written.files


def test_a_shard_of_a_streamed_file_is_read_from_the_text_it_brings(job: TokenizeJob, tmp_path: Path) -> None:
    unit = Unit(0, (Piece("/nowhere/in.jsonl.gz", "in.jsonl.gz", 0, 10),), is_streamed=True)
    streamed = StreamedText(3, 500, [], b'{"text": "one"}\n{"text": "two"}\n', True)
    receipt = tokenize_shard(job, unit, streamed, f"{STEM}-00003")
    assert (receipt.shard, receipt.last, receipt.num_bytes) == (f"{STEM}-00003", True, len(streamed.text))
    table = pa.ipc.open_file(f"{job.output}/work/{STEM}-00003.arrow").read_all()
    assert table["doc_id"].to_pylist() == ["in.jsonl.gz#500", "in.jsonl.gz#516"]


def test_a_file_that_shrank_after_planning_is_not_taken_for_whole(job: TokenizeJob, tmp_path: Path) -> None:
    unit = unit_of(tmp_path / "in.jsonl", [{"text": "one two"}] * 10, stop=999)
    with pytest.raises(OSError, match=r"in.jsonl has 200 bytes, 999 were planned"):
        tokenize_shard(job, unit, None, STEM)
    assert Folder(job.output).names(WORK_RECEIPTS) == []


def test_a_quarantine_file_of_an_earlier_attempt_goes_when_nothing_is_bad(job: TokenizeJob, tmp_path: Path) -> None:
    Folder(job.output).publish_bytes(b"old\n", f"quarantine/{STEM}.jsonl")
    tokenize_shard(job, unit_of(tmp_path / "in.jsonl", [{"text": "one"}]), None, STEM)
    assert not Path(job.output, f"quarantine/{STEM}.jsonl").exists()


def test_a_worker_with_another_tokenizer_than_the_driver_refuses(job: TokenizeJob, tmp_path: Path) -> None:
    other = TokenizeJob(**{**vars(job), "tokenizer_fingerprint": "another"})
    with pytest.raises(RuntimeError, match="this worker's tokenizer differs"):
        tokenize_shard(other, unit_of(tmp_path / "in.jsonl", [{"text": "one"}]), None, STEM)


def test_work_that_does_not_have_what_its_receipt_says_is_not_made_into_a_shard(
    job: TokenizeJob, tmp_path: Path
) -> None:
    counted(job, tmp_path)
    vocab = vocab_of(job)
    path = Path(job.output, WORK_RECEIPTS, f"{STEM}.json")
    path.write_text(path.read_text().replace('"num_tokens": 7', '"num_tokens": 8'))
    with pytest.raises(RuntimeError, match=r"has \(2, 7\) documents and tokens, its receipt says \(2, 8\)"):
        numericalize_shard(job, vocab.fingerprint, STEM)
    assert not Path(job.output, f"shards/{STEM}.arrow").exists()


def test_ids_beyond_16_bits_make_a_wider_column(job: TokenizeJob, tmp_path: Path) -> None:
    counted(job, tmp_path)
    itos = [*(f"word{number}" for number in range(70_000)), "xxbos", "two"]
    zeros = np.zeros(len(itos), np.int64)
    vocab = Vocab(itos, zeros, zeros, 0, 0)
    Folder(job.output).publish_json(vocab.to_json(), "vocab.json")
    numericalize_shard(job, vocab.fingerprint, STEM)
    table = pa.ipc.open_file(f"{job.output}/shards/{STEM}.arrow").read_all()
    assert table.schema.field("tokens").type == pa.list_(pa.uint32())
    assert table["tokens"].to_pylist()[1] == [70_000, 70_001]


def test_a_document_that_the_tokenizer_refuses_is_put_aside_with_its_place(job: TokenizeJob, tmp_path: Path) -> None:
    settings = TokenizerSettings(lang="pt")
    fingerprint = make_tokenizer(settings).fingerprint
    portuguese = replace(job, settings=settings, tokenizer_fingerprint=fingerprint)
    lines = [{"text": "um", "n": 1}, {"text": "(" * 2_000, "n": 2}, {"text": "dois", "n": 3}]
    receipt = tokenize_shard(portuguese, unit_of(tmp_path / "in.jsonl", lines), None, STEM)
    assert (receipt.num_documents, receipt.quarantined) == (2, {"word too long": 1})
    row = json.loads((tmp_path / f"out/quarantine/{STEM}.jsonl").read_text())
    assert (row["path"], row["offset"]) == ("in.jsonl", len(json.dumps(lines[0])) + 1)
