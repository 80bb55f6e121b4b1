"""The tokenize job gives the same documents whatever format they come in."""

import csv
import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from token_datasets import documents, shard_hashes, tokenized

from ulmfit_ray.config import ConfigError
from ulmfit_ray.pipelines.tokenize.config import TokenizeConfig
from ulmfit_ray.pipelines.tokenize.job import run
from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.text.tokenizers.kinds import TokenizerSettings, make_tokenizer
from ulmfit_ray.text.types import document_tokens

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


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
