"""The tokenize job on a real Ray session, against a plain loop in this process."""

import csv
import gzip
import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ulmfit_ray.commands import verify
from ulmfit_ray.commands.verify import VerifyConfig
from ulmfit_ray.config import ConfigError
from ulmfit_ray.lifecycle import LAYOUT, claim_output
from ulmfit_ray.pipelines.tokenize.config import TokenizeConfig
from ulmfit_ray.pipelines.tokenize.job import run
from ulmfit_ray.storage.folder import Folder, sha256_file
from ulmfit_ray.storage.manifest import IncompleteDatasetError, Manifest
from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.text.tokenizers.kinds import TokenizerSettings, make_tokenizer
from ulmfit_ray.text.types import document_tokens
from ulmfit_ray.text.vocab import Vocab

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


def tokenized(config: TokenizeConfig) -> Manifest:
    manifest = run(config)
    assert manifest is not None
    return manifest


def shard_hashes(output: str) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in sorted(Path(output, "shards").iterdir())}


def documents(output: str) -> dict[str, list[str]]:
    dataset = TokenDataset(output)
    itos = dataset.folder.read_json("vocab.json")["tokens"]
    return {
        row["doc_id"]: [itos[token_id] for token_id in row["tokens"]]
        for table in dataset.tables()
        for row in table.to_pylist()
    }


def test_documents_and_vocabulary_equal_those_of_a_plain_loop(tokens: str, abstracts: list[dict[str, str]]) -> None:
    tokenizer = make_tokenizer(TokenizerSettings())
    expected = {row["_id"]: document_tokens(tokenizer, [row["title"], row["text"]]) for row in abstracts}
    assert documents(tokens) == expected
    counts = Counter(token for document in expected.values() for token in document)
    vocab = Vocab.from_json(Folder(tokens).read_json("vocab.json"))
    found = dict(zip(vocab.itos, vocab.counts.tolist(), strict=True))
    assert {token: count for token, count in found.items() if count} == counts
    words = [(-count, token) for token, count in found.items() if token not in vocab.itos[:9]]
    assert words == sorted(words)
    assert vocab.num_tokens == sum(counts.values())


def test_the_manifest_says_what_a_plain_loop_counts(abstracts: list[dict[str, str]], tmp_path: Path) -> None:
    texts = [row["text"] for row in abstracts] + [abstracts[number]["title"] for number in (5, 5, 7)]
    files = [texts[:100], texts[100:], [abstracts[7]["title"], texts[150]]]
    (tmp_path / "in").mkdir()
    for number, lines in enumerate(files):
        content = "".join(json.dumps({"text": text}) + "\n" for text in lines)
        (tmp_path / f"in/{number}.jsonl").write_text(content)
    figures = tokenized(TokenizeConfig(input=(str(tmp_path / "in"),), output=str(tmp_path / "out"))).figures
    tokenizer = make_tokenizer(TokenizerSettings())
    tokens = [document_tokens(tokenizer, [text]) for lines in files for text in lines]
    counts = Counter(token for document in tokens for token in document)
    num_unknown = sum(count for token, count in counts.items() if count < 3 and not token.startswith("xx"))
    assert figures["num_types"] == len(counts)
    assert (figures["num_unknown"], figures["unknown_rate"]) == (
        num_unknown,
        pytest.approx(num_unknown / counts.total(), abs=1e-6),
    )
    expected = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:20]
    assert list(figures["most_frequent_tokens"].items()) == expected
    lengths = [len(document) for document in tokens]
    assert figures["document_lengths"]["95%"] == np.percentile(lengths, 95, method="inverted_cdf")
    assert figures["document_lengths"]["mean"] == pytest.approx(np.mean(lengths), abs=0.01)
    # Small files share a shard.
    assert [figures[f"num_duplicates{suffix}"] for suffix in ("_in_shards", "", "_error")] == [3, 3, 0]
    verify.run(VerifyConfig(input=str(tmp_path / "out")))


def test_fields_lie_where_the_dataset_says(tokens: str, abstracts: list[dict[str, str]]) -> None:
    tokenizer = make_tokenizer(TokenizerSettings())
    titles = {row["_id"]: row["title"] for row in abstracts}
    dataset = TokenDataset(tokens)
    itos = dataset.folder.read_json("vocab.json")["tokens"]
    for table in dataset.tables():
        assert str(table.schema.field("tokens").type) == "list<item: uint16>"
        for row in table.to_pylist():
            title = row["tokens"][row["field_starts"][0] : row["field_ends"][0]]
            assert [itos[token_id] for token_id in title] == tokenizer(titles[row["doc_id"]])
            assert row["title"] == titles[row["doc_id"]]
            assert row["field_ends"][1] == len(row["tokens"])


def test_a_compressed_file_is_cut_into_shards_with_the_same_documents(
    abstracts: list[dict[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json.dumps({"text": row["text"]}) + "\n" for row in abstracts] * 12
    (tmp_path / "plain.jsonl").write_text("".join(lines))
    with gzip.open(tmp_path / "packed.jsonl.gz", "wt") as file:
        file.writelines(lines)
    for name in ("plain.jsonl", "packed.jsonl.gz"):
        run(TokenizeConfig(input=(str(tmp_path / name),), output=str(tmp_path / f"{name}.tokens")))
        # One reader alone can be too slow for many cores: then the summary shows it.
        assert ("cores waited for the reader" in capsys.readouterr().out) == name.endswith(".gz")
    plain, packed = documents(f"{tmp_path}/plain.jsonl.tokens"), documents(f"{tmp_path}/packed.jsonl.gz.tokens")
    assert len(shard_hashes(f"{tmp_path}/packed.jsonl.gz.tokens")) > 2
    assert [doc_id.removeprefix("plain.jsonl") for doc_id in plain] == [
        doc_id.removeprefix("packed.jsonl.gz") for doc_id in packed
    ]
    assert list(plain.values()) == list(packed.values())


def test_lost_shards_are_made_again_with_the_same_bytes(tokens: str, corpus: Path, tmp_path: Path) -> None:
    output = str(tmp_path / "tokens")
    shutil.copytree(tokens, output)
    before = shard_hashes(output)
    for name in ("manifest.json", "done/part-0000001.json", "shards/part-0000001.arrow", "vocab.json"):
        Path(output, name).unlink()
    Path(output, "shards/part-0000002.arrow").write_bytes(b"half a shard")
    Path(output, "done/part-0000002.json").unlink()
    with pytest.raises(IncompleteDatasetError, match=r"2 of 4 units done, 2 missing.*\n.*ulmfit-ray tokenize --input"):
        TokenDataset(output)
    inputs = TokenDataset(tokens).job.config["input"]
    manifest = tokenized(
        TokenizeConfig(
            input=tuple(inputs),
            output=output,
            text_columns=("title", "text"),
            id_column="_id",
            keep_columns=("title",),
            mark_fields="no",
            min_freq=1,
        )
    )
    assert shard_hashes(output) == before
    assert manifest.counts.num_documents == 200
    assert not Path(output, "work").exists()


def test_a_finished_output_is_left_alone_and_another_config_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("one two three")
    config = {"input": (str(tmp_path / "in.txt"),), "output": str(tmp_path / "out")}
    first = run(TokenizeConfig(**config, min_freq=1))
    written = (tmp_path / "out/manifest.json").stat().st_mtime_ns
    assert run(TokenizeConfig(**config, min_freq=1, max_bad_fraction=0.5)) == first
    assert (tmp_path / "out/manifest.json").stat().st_mtime_ns == written
    with pytest.raises(ConfigError, match="min_freq: 1 -> 2"):
        run(TokenizeConfig(**config, min_freq=2))
    assert tokenized(TokenizeConfig(**config, min_freq=2, overwrite=True)).figures["vocab_size"] == 9


def test_broken_documents_are_quarantined_with_place_and_reason_and_the_rest_goes_on(tmp_path: Path) -> None:
    broken = [b'{"text": \n', b'{"text": "\xff"}\n', b'{"text": null}\n']
    lines = [b'{"text": "good"}\n', *broken, b'{"text": "also good"}']
    (tmp_path / "in.jsonl").write_bytes(b"".join(lines))
    manifest = tokenized(
        TokenizeConfig(input=(str(tmp_path / "in.jsonl"),), output=str(tmp_path / "out"), max_bad_fraction=0.9)
    )
    assert manifest.counts.num_documents == 2
    assert manifest.counts.quarantined == {"invalid UTF-8": 1, "malformed JSON": 1, "null text": 1}
    rows = [json.loads(line) for line in (tmp_path / "out/quarantine/part-0000000.jsonl").read_text().splitlines()]
    assert [row["offset"] for row in rows] == [17, 27, 41]
    assert list(documents(str(tmp_path / "out"))) == ["in.jsonl#0", "in.jsonl#56"]
    assert verify.run(VerifyConfig(input=str(tmp_path / "out")))["num_quarantined"] == 3


def test_too_many_broken_documents_stop_the_job_and_nothing_looks_finished(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "good"}\n' * 9 + "broken\n")
    config = TokenizeConfig(input=(str(tmp_path / "in.jsonl"),), output=str(tmp_path / "out"))
    with pytest.raises(RuntimeError, match=r"1 of 10 documents cannot be read.*max-bad-fraction 0.01"):
        run(config)
    assert not (tmp_path / "out/manifest.json").exists()


def test_a_damaged_compressed_file_costs_what_stands_behind_the_damage(tmp_path: Path) -> None:
    good, bad = tmp_path / "in/a.jsonl.gz", tmp_path / "in/b.jsonl.gz"
    good.parent.mkdir()
    whole = gzip.compress(b"".join(b'{"text": "some words and %d"}\n' % number for number in range(5000)))
    good.write_bytes(whole)
    bad.write_bytes(whole[: len(whole) // 2])
    output = str(tmp_path / "out")
    manifest = tokenized(TokenizeConfig(input=(str(tmp_path / "in"),), output=output))
    assert manifest.counts.quarantined == {"corrupt file": 1}
    assert 6_000 < manifest.counts.num_documents < 9_000
    (line,) = (tmp_path / "out/quarantine/part-0000000.jsonl").read_text().splitlines()
    row = json.loads(line)
    assert (row["path"], row["reason"], row["detail"][:9]) == ("b.jsonl.gz", "corrupt file", "EOFError:")
    assert verify.run(VerifyConfig(input=output))["num_quarantined"] == 1


def test_an_input_that_was_only_touched_is_gone_on_with_and_a_changed_one_is_not(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "one two three"}\n')
    config = TokenizeConfig(input=(str(source),), output=str(tmp_path / "out"), min_freq=1)
    tokenized(config)
    (tmp_path / "out/manifest.json").unlink()
    os.utime(source, (0, 0))
    assert tokenized(config).counts.num_documents == 1
    (tmp_path / "out/manifest.json").unlink()
    source.write_text('{"text": "one two FOUR!"}\n')
    with pytest.raises(ValueError, match=r"in\.jsonl has changed since the plan was made"):
        run(config)


def test_a_given_vocabulary_is_used_as_it_is(tokens: str, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("the cells qwertyuiop")
    manifest = tokenized(TokenizeConfig(input=(str(tmp_path / "in.txt"),), output=str(tmp_path / "out"), vocab=tokens))
    assert manifest.vocab == TokenDataset(tokens).manifest.vocab
    assert documents(str(tmp_path / "out")) == {"in.txt#0": ["xxbos", "the", "cells", "xxunk"]}
    assert manifest.figures["num_unknown"] == 1
    # There is one phase, which adds up no types.
    assert "num_types" not in manifest.figures


def test_a_vocabulary_of_words_that_were_cut_otherwise_is_refused(tokens: str, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("the cells")
    config = TokenizeConfig(
        input=(str(tmp_path / "in.txt"),), output=str(tmp_path / "out"), vocab=tokens, lang="de", rules=("none",)
    )
    with pytest.raises(ConfigError, match=r"were cut otherwise \(lang 'en' there and 'de' here, rules .*'none'"):
        run(config)
    assert not (tmp_path / "out").exists()


def test_a_finished_output_needs_its_given_vocabulary_no_more(tokens: str, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("the cells")
    shutil.copytree(tokens, tmp_path / "vocab")
    config = TokenizeConfig(
        input=(str(tmp_path / "in.txt"),), output=str(tmp_path / "out"), vocab=str(tmp_path / "vocab")
    )
    first = tokenized(config)
    shutil.rmtree(tmp_path / "vocab")
    assert tokenized(config) == first


def test_a_file_that_is_added_later_is_left_out_whatever_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/b.jsonl").write_text('{"text": "one two"}\n')
    config = TokenizeConfig(input=(str(tmp_path / "in"),), output=str(tmp_path / "out"), min_freq=1)
    tokenized(config)
    (tmp_path / "out/manifest.json").unlink()
    (tmp_path / "in/a.jsonl").write_text('{"title": "no text here"}\n')
    (tmp_path / "in/README.md").write_text("notes")
    assert tokenized(config).counts.num_documents == 1
    assert "left out: 2 files added since the plan was made" in capsys.readouterr().out


def test_an_output_begun_with_another_vocabulary_is_not_gone_on_with(tokens: str, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("the cells qwertyuiop")
    config = TokenizeConfig(input=(str(tmp_path / "in.txt"),), output=str(tmp_path / "out"), vocab=tokens)
    tokenized(config)
    (tmp_path / "out/manifest.json").unlink()
    vocab = Folder(config.output).read_json("vocab.json")
    Folder(config.output).publish_json(vocab | {"tokens": vocab["tokens"][:-1]}, "vocab.json")
    with pytest.raises(ConfigError, match="was begun with another vocabulary than --vocab has now"):
        run(config)


def test_a_corpus_without_documents_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,text\n")
    with pytest.raises(ConfigError, match=r"in\.csv has a header and no rows"):
        run(TokenizeConfig(input=(str(tmp_path / "in.csv"),), output=str(tmp_path / "out"), id_column="id"))
    assert not (tmp_path / "out").exists()


def test_a_corpus_of_which_no_document_can_be_read_is_an_error_whatever_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": null}\n')
    config = TokenizeConfig(input=(str(tmp_path / "in.jsonl"),), output=str(tmp_path / "out"), max_bad_fraction=1.0)
    with pytest.raises(RuntimeError, match="no document that can be read"):
        run(config)
    assert not (tmp_path / "out/manifest.json").exists()


def test_a_column_that_a_later_file_lacks_fails_that_file_by_name(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").write_text("title,text\none,two\n")
    (tmp_path / "in/b.csv").write_text("name,text\none,two\n")
    config = TokenizeConfig(
        input=(str(tmp_path / "in"),), output=str(tmp_path / "out"), text_columns=("title", "text"), min_freq=1
    )
    message = r"part-0000000 \(from .*a\.csv\): ValueError: .*b\.csv has no column title; its columns are"
    with pytest.raises(RuntimeError, match=message):
        run(config)


def test_a_run_begun_with_another_tokenizer_is_not_mixed_with_this_one(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("one two three")
    config = TokenizeConfig(input=(str(tmp_path / "in.txt"),), output=str(tmp_path / "out"), min_freq=1)
    claim_output("tokenize", config)
    other = make_tokenizer(config.tokenizer_settings()).to_json() | {"fingerprint": "another"}
    Folder(config.output).publish_json(other, "tokenizer.json")
    with pytest.raises(ConfigError, match="begun with another tokenizer"):
        run(config)


def test_what_a_kill_after_the_manifest_left_is_cleared_by_the_next_run(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("one two three")
    config = TokenizeConfig(input=(str(tmp_path / "in.txt"),), output=str(tmp_path / "out"), min_freq=1)
    run(config)
    (tmp_path / "out/work").mkdir()
    (tmp_path / "in.txt").unlink()
    run(config)
    assert not (tmp_path / "out/work").exists()


def test_overwriting_that_is_interrupted_can_be_begun_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in.txt").write_text("one two three")
    config = TokenizeConfig(input=(str(tmp_path / "in.txt"),), output=str(tmp_path / "out"), min_freq=1, overwrite=True)
    run(config)
    for last in LAYOUT:
        delete = Folder.delete

        def interrupted(folder: Folder, name: str, last: str = last, delete: Any = delete) -> None:
            delete(folder, name)
            if name == last:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Folder, "delete", interrupted)
            with pytest.raises(KeyboardInterrupt):
                claim_output("tokenize", config)
        left = {path.name for path in (tmp_path / "out").iterdir()}
        assert "config.json" in left or not left
        assert "shards" in left or "done" not in left
    assert tokenized(config).counts.num_documents == 1


def write_as(path: Path, rows: list[dict[str, str]]) -> None:
    """Write rows in the format that the file's name says."""
    match path.suffix:
        case ".csv":
            with open(path, "w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
        case ".tsv":
            lines = ["\t".join(rows[0]), *("\t".join(row.values()) for row in rows)]
            path.write_text("\n".join(lines))
        case ".json":
            path.write_text(json.dumps(rows, indent=1))
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=7)


def test_other_formats_give_the_same_documents(abstracts: list[dict[str, str]], tmp_path: Path) -> None:
    rows = abstracts[:40]
    tokenizer = make_tokenizer(TokenizerSettings())
    expected = {row["_id"]: document_tokens(tokenizer, [row["text"]]) for row in rows}
    for name in ("in.tsv", "in.json", "in.parquet"):
        write_as(tmp_path / name, rows)
        output = str(tmp_path / f"{name}.tokens")
        run(TokenizeConfig(input=(str(tmp_path / name),), output=output, id_column="_id", min_freq=1))
        assert documents(output) == expected


def test_a_large_csv_file_is_read_in_ranges_with_the_documents_of_its_compressed_self(
    abstracts: list[dict[str, str]], tmp_path: Path
) -> None:
    rows = [row | {"text": f'{row["text"]}\n"{number}"'} for number in range(12) for row in abstracts]
    write_as(tmp_path / "in.csv", rows)
    (tmp_path / "packed.csv.gz").write_bytes(gzip.compress((tmp_path / "in.csv").read_bytes()))
    for name in ("in.csv", "packed.csv.gz"):
        run(TokenizeConfig(input=(str(tmp_path / name),), output=str(tmp_path / f"{name}.tokens")))
    plain, packed = documents(f"{tmp_path}/in.csv.tokens"), documents(f"{tmp_path}/packed.csv.gz.tokens")
    assert [name.count("-") for name in shard_hashes(f"{tmp_path}/in.csv.tokens")] == [1] * 4
    assert [name.count("-") for name in shard_hashes(f"{tmp_path}/packed.csv.gz.tokens")] == [2] * 4
    assert [doc_id.removeprefix("in.csv") for doc_id in plain] == [
        doc_id.removeprefix("packed.csv.gz") for doc_id in packed
    ]
    assert list(plain.values()) == list(packed.values())


def test_labels_are_kept_by_the_names_that_stand_beside_the_file_and_must_stay(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text('"2","Wall St. Bears"\n"1","Talks end"\n"3","no class"\n')
    (tmp_path / "classes.txt").write_text("World\nBusiness\n")
    output = tmp_path / "out"
    config = TokenizeConfig(
        input=(str(tmp_path / "train.csv"),),
        output=str(output),
        header=False,
        text_columns=("1",),
        keep_columns=("label",),
        min_freq=1,
        max_bad_fraction=0.5,
    )
    assert tokenized(config).counts.quarantined == {"no such class": 1}
    (table,) = TokenDataset(str(output)).tables()
    assert table["label"].to_pylist() == ["Business", "World"]
    (output / "manifest.json").unlink()
    (tmp_path / "classes.txt").write_text("World\nSports\n")
    with pytest.raises(ConfigError, match=r"classes\.txt has changed since the plan was made: put it back"):
        run(config)
