"""One shard of raw text as each model sees it, in this process, against plain loops."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from classifiers import SENTIMENT, random_classifier, write_classifier

from ulmfit_ray.corpus.columns import Columns
from ulmfit_ray.corpus.formats.options import ReadingOptions
from ulmfit_ray.corpus.reading import StreamedText
from ulmfit_ray.corpus.units import CorpusFacts, Piece, Unit
from ulmfit_ray.document_encoder import DocumentEncoder
from ulmfit_ray.lifecycle import Outcome
from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.pipelines.attempts import Phase
from ulmfit_ray.pipelines.encode import over_text, tokenizing
from ulmfit_ray.pipelines.encode.config import ClassifyConfig
from ulmfit_ray.pipelines.encode.text_shards import TextJob, TokenizedShard, tokenize_text, wording_of
from ulmfit_ray.pipelines.reading import TEXTS_SCHEMA
from ulmfit_ray.pipelines.shard_text import ShardText
from ulmfit_ray.storage.folder import Folder, sha256_file
from ulmfit_ray.storage.model_directory import ModelDirectory
from ulmfit_ray.storage.receipts import Receipt, read_receipt
from ulmfit_ray.text.presets import NONE
from ulmfit_ray.text.rules import SPECIAL_TOKENS
from ulmfit_ray.text.tokenizers.kinds import TokenizerSettings, make_tokenizer
from ulmfit_ray.text.vocab import Vocab

WORDS, OTHER_WORDS = ["the", "a", "cat", "1", "2"], ["The", "cat"]
MARKED, SPLIT = TokenizerSettings(mark_fields=True), TokenizerSettings(kind="whitespace", rules=NONE)
LINES = b"""{"title": "The", "text": "a cat", "n": 1}
{"title": null, "text": null}
{"title": "", "text": "The dog", "n": 2}
"""
FIELDS = [["The", "a cat"], ["", "The dog"]]


def write(place: Path, settings: TokenizerSettings, words: list[str]) -> str:
    itos = [*SPECIAL_TOKENS, *words]
    ones = np.ones(len(itos), np.int64)
    shape = Architecture(vocab_size=len(itos), embedding_dim=4, hidden_size=6, num_layers=1)
    vocab, tokenizer = Vocab(itos, ones, ones, num_documents=9, num_tokens=99), make_tokenizer(settings)
    return write_classifier(place, random_classifier(SENTIMENT, shape), vocab, tokenizer.to_json())


@pytest.fixture
def models(tmp_path: Path) -> list[str]:
    return [write(tmp_path / "marked", MARKED, WORDS), write(tmp_path / "split", SPLIT, OTHER_WORDS)]


def job_of(models: Sequence[str], mark_fields: bool | None = None) -> TextJob:
    facts = CorpusFacts(
        format="jsonl",
        options=ReadingOptions(columns=("title", "text", "n")),
        columns=Columns(("title", "text"), keep=("n",), keep_types=("int64",)),
        num_files=1,
        num_bytes=0,
        text_bytes=0,
        unit_bytes=1 << 20,
    )
    wordings = tuple(wording_of(ModelDirectory(uri), mark_fields) for uri in models)
    return TextJob(plan="p", corpus=facts, wordings=wordings)


def unit_of(path: Path, content: bytes = LINES) -> Unit:
    path.write_bytes(content)
    return Unit(7, (Piece(str(path), path.name, 0, len(content)),))


def tables_of(found: TokenizedShard) -> list[pa.Table]:
    return [pa.ipc.open_file(table).read_all() for table in found.tables]


def test_each_model_gets_the_ids_that_its_document_encoder_makes_of_the_fields(
    models: list[str], tmp_path: Path
) -> None:
    found = tokenize_text(job_of(models), ShardText(unit_of(tmp_path / "in.jsonl")))
    first, second = tables_of(found)
    assert first.schema.names == ["doc_id", "tokens", "n"]
    assert first.drop(["tokens"]).to_pylist() == [{"doc_id": "in.jsonl#0", "n": 1}, {"doc_id": "in.jsonl#72", "n": 2}]
    for uri, table in zip(models, (first, second), strict=True):
        expected = DocumentEncoder.load(uri, "cpu").numericalize(FIELDS)
        assert table["tokens"].to_pylist() == [ids.tolist() for ids in expected]
    itos = [*SPECIAL_TOKENS, *WORDS]
    marked = ["xxbos", "xxfld", "1", "xxmaj", "the", "xxfld", "2", "a", "cat"]
    assert [itos[token_id] for token_id in first["tokens"][0].as_py()] == marked
    receipt = found.receipt
    assert (receipt.plan, receipt.shard, receipt.num_documents, receipt.last) == ("p", "part-0000007", 2, None)
    assert (receipt.num_tokens, receipt.num_unknown, receipt.num_bytes) == (9 + 8, 1, len(LINES))
    assert receipt.quarantined == {"null text": 1}
    assert found.quarantine.count(b"\n") == 1


@pytest.mark.parametrize(
    ("mark_fields", "are_marked"), [(None, [True, False]), (True, [True] * 2), (False, [False] * 2)]
)
def test_fields_are_marked_as_the_model_is_used_to_or_as_one_says(
    models: list[str], tmp_path: Path, mark_fields: bool | None, are_marked: list[bool]
) -> None:
    found = tokenize_text(job_of(models, mark_fields), ShardText(unit_of(tmp_path / "in.jsonl")))
    field = SPECIAL_TOKENS.index("xxfld")
    assert [field in table["tokens"][0].as_py() for table in tables_of(found)] == are_marked


def test_a_shard_of_a_streamed_file_comes_with_its_text_and_may_have_no_document(
    models: list[str], tmp_path: Path
) -> None:
    unit = Unit(7, (Piece("/nowhere/in.jsonl.gz", "in.jsonl.gz", 0, 10),), is_streamed=True)
    job = job_of(models)
    found = tokenize_text(job, ShardText(unit, StreamedText(3, 500, [], LINES, False)))
    assert tables_of(found)[0]["doc_id"].to_pylist() == ["in.jsonl.gz#500", "in.jsonl.gz#572"]
    assert (found.receipt.shard, found.receipt.last) == ("part-0000007-00003", False)
    empty = tokenize_text(job, ShardText(unit, StreamedText(4, 900, [], b"", True)))
    assert [table.num_rows for table in tables_of(empty)] == [0, 0]
    assert [table.schema for table in tables_of(empty)] == [table.schema for table in tables_of(found)]
    assert (empty.receipt.num_documents, empty.receipt.num_tokens, empty.receipt.last) == (0, 0, True)


def phase_of(tmp_path: Path) -> Phase:
    return Phase(job="classify", stage="classify", output=str(tmp_path / "out"), plan="p")


def test_text_that_ended_its_worker_three_times_is_not_tokenized_again(models: list[str], tmp_path: Path) -> None:
    phase, text = phase_of(tmp_path), ShardText(unit_of(tmp_path / "in.jsonl"))
    Folder(phase.output).publish_json({"starts": 2}, "started/part-0000007-tokenizer.json")
    assert isinstance(tokenizing._tokenized(phase, job_of(models), text), TokenizedShard)
    Folder(phase.output).publish_json({"starts": 3}, "started/part-0000007-tokenizer.json")
    outcome = tokenizing._tokenized(phase, job_of(models), text)
    assert isinstance(outcome, Outcome)
    assert "it ended its worker 3 times" in outcome.problem
    assert "it ended its worker 3 times" in Path(phase.output, "failed/part-0000007.txt").read_text()


def test_a_file_that_cannot_be_read_is_a_problem_of_its_unit(models: list[str], tmp_path: Path) -> None:
    phase = phase_of(tmp_path)
    unit = Unit(7, (Piece("/nowhere/in.jsonl.gz", "in.jsonl.gz", 0, 10),), is_streamed=True)
    outcome = tokenizing._tokenized(phase, job_of(models), ShardText(unit, problem="OSError: gone"))
    assert outcome == Outcome(shard="part-0000007", receipt=None, problem="OSError: gone")


def test_an_actor_passes_problems_on_and_commits_the_rest(models: list[str], tmp_path: Path) -> None:
    phase, text = phase_of(tmp_path), ShardText(unit_of(tmp_path / "in.jsonl"))
    rows = list(tokenizing.tokenize_texts(texts_table(text, replace(text, problem="why")), phase, job_of(models)))
    assert [table.num_rows for table in rows] == [1, 1]
    config = ClassifyConfig(model=tuple(models), input=("in",), output=phase.output)
    actor = over_text._TextActor(phase, partial(over_text.OverText, lambda: made, config, [0, 1, 0], "done"))
    good, bad = actor(pa.concat_tables(rows)).to_pylist(maps_as_pydicts="strict")
    assert (bad["receipt"], bad["problem"]) == (None, "why")
    receipt = Receipt(**good["receipt"])
    files = [f"quarantine/{text.shard}.jsonl", f"shards/{text.shard}.parquet"]
    assert list(receipt.files) == files
    assert all(sha256_file(Path(phase.output, name)) == digest for name, digest in receipt.files.items())
    assert read_receipt(Folder(phase.output), text.shard) == receipt
    table = pq.read_table(Path(phase.output, files[1]))
    assert table.to_pylist() == [{"n": 1, "lengths": [9, 4, 9]}, {"n": 2, "lengths": [8, 3, 8]}]


def made(tokens: pa.Table, num_tokens: np.ndarray, documents: Sequence[Sequence[np.ndarray]]) -> pa.Table:
    lengths = np.array([list(map(len, own)) for own in documents])
    assert lengths[0].tolist() == num_tokens.tolist()
    return pa.table({"n": tokens["n"], "lengths": lengths.T.tolist()})


def texts_table(*texts: ShardText) -> pa.Table:
    return pa.Table.from_pylist([asdict(text) for text in texts], schema=TEXTS_SCHEMA)


def test_a_tokenizers_process_does_without_torch() -> None:
    # spaCy's thinc would import it, if it were not kept from that.
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from ulmfit_ray.pipelines.encode.tokenizing import tokenize_texts\n"
        "from ulmfit_ray.text.tokenizers.kinds import TokenizerSettings, make_tokenizer\n"
        "make_tokenizer(TokenizerSettings())('some text')"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
