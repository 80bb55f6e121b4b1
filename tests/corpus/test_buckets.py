"""A corpus in a bucket is the same corpus as on a local disk, and a connection that breaks is not a damaged file."""

import bz2
import gzip
import json
import lzma
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3 import Fault, Proxy

from ulmfit_ray.corpus import open_text
from ulmfit_ray.corpus.columns import Columns
from ulmfit_ray.corpus.contents import check_contents
from ulmfit_ray.corpus.damage import DamagedFileError, open_checked
from ulmfit_ray.corpus.documents import BadDocument, Document
from ulmfit_ray.corpus.formats.table import make_format
from ulmfit_ray.corpus.listing import InputFile, hashes_of_ends, list_inputs
from ulmfit_ray.corpus.reading import documents_of, stream_shards
from ulmfit_ray.corpus.units import cut_into_units
from ulmfit_ray.storage.folder import Folder

JSONL = make_format("jsonl")
RECORDS = [json.dumps({"text": random.Random(n).randbytes(100).hex()}) + "\n" for n in range(2000)]
CONTENT = "".join(RECORDS).encode()
FILES = {
    "a.jsonl": CONTENT,
    "b.jsonl.gz": gzip.compress(CONTENT),
    "sub/c d#1?.jsonl.bz2": bz2.compress(CONTENT),
    "sub/deep/e.jsonl.xz": lzma.compress(CONTENT),
    "_hidden/f.jsonl": CONTENT,
    ".g": b"hidden",
}
STORED_BYTES = 20_000


@pytest.fixture(autouse=True)
def _several_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a file take several requests to be read."""
    monkeypatch.setattr(open_text, "STORED_BYTES", STORED_BYTES)


@pytest.fixture
def corpora(tmp_path: Path, bucket: str) -> tuple[str, str]:
    """One corpus in a local folder and in a bucket."""
    places = (str(tmp_path / "corpus"), f"{bucket}/corpus")
    for place in places:
        for name, content in FILES.items():
            Folder(place).publish_bytes(content, name)
    return places


@pytest.fixture
def packed(bucket: str) -> InputFile:
    """A compressed file in a bucket."""
    Folder(bucket).publish_bytes(FILES["b.jsonl.gz"], "b.jsonl.gz")
    (file,) = list_inputs([f"{bucket}/b.jsonl.gz"])
    return file


def documents(files: list[InputFile]) -> Iterator[tuple[str, list[str]]]:
    """Read a corpus as the workers do: the id and the text of each document."""
    for unit in cut_into_units(files, JSONL):
        shards = stream_shards(unit.pieces[0], JSONL, Columns(), 100_000) if unit.is_streamed else [None]
        for streamed in shards:
            for found in documents_of(unit, streamed, JSONL, Columns()):
                assert isinstance(found, Document), found
                yield found.doc_id, found.fields


def test_a_corpus_is_listed_and_read_like_a_local_one(corpora: tuple[str, str]) -> None:
    local, stored = (list_inputs([place]) for place in corpora)
    assert [(file.name, file.size) for file in stored] == [(file.name, file.size) for file in local]
    assert [file.path for file in stored] == [f"{corpora[1]}/{file.name}" for file in stored]
    check_contents(stored, JSONL)
    assert list(hashes_of_ends(stored).values()) == list(hashes_of_ends(local).values())
    found = list(documents(stored))
    assert found == list(documents(local))
    assert len(found) == 4 * len(RECORDS)


def test_a_file_and_a_folder_with_a_final_slash_are_named_like_local_ones(corpora: tuple[str, str]) -> None:
    for name in ("/b.jsonl.gz", "/sub/c d#1?.jsonl.bz2", "/sub/"):
        local, stored = (list_inputs([f"{place}{name}"]) for place in corpora)
        assert [file.name for file in stored] == [file.name for file in local]


def test_an_input_that_is_not_there_matches_no_file(bucket: str) -> None:
    with pytest.raises(ValueError, match=rf"input {bucket}/nothing matches no file"):
        list_inputs([f"{bucket}/nothing"])


@pytest.mark.parametrize("after_bytes", [0, 1, 5_000, STORED_BYTES - 1])
def test_a_connection_that_breaks_once_is_not_noticed(packed: InputFile, proxy: Proxy, after_bytes: int) -> None:
    fault = Fault(where="GET /", what="cut", after_bytes=after_bytes, times=1)
    proxy.faults = [fault]
    assert [texts for _, texts in documents([packed])] == [[json.loads(record)["text"]] for record in RECORDS]
    assert fault.count == 1


def test_a_connection_that_breaks_again_and_again_is_an_error_and_no_damage(
    packed: InputFile, proxy: Proxy, impatient: None
) -> None:
    proxy.faults = [Fault(where="GET /", what="cut", after_bytes=5_000)]
    with pytest.raises(OSError, match=r"b.jsonl.gz: for 0 seconds all in vain: .*does not answer"):
        list(documents([packed]))


def test_a_file_that_is_cut_off_in_the_bucket_is_damaged_where_the_local_one_is(bucket: str, tmp_path: Path) -> None:
    content = FILES["b.jsonl.gz"][:30_000]
    found = []
    for place in (str(tmp_path), bucket):
        Folder(place).publish_bytes(content, "b.jsonl.gz")
        with open_checked(f"{place}/b.jsonl.gz", len(content)) as stream, pytest.raises(DamagedFileError) as error:
            stream.read()
        found.append((error.value.offset, error.value.detail))
    assert found[0] == found[1]
    (file,) = list_inputs([f"{bucket}/b.jsonl.gz"])
    (unit,) = cut_into_units([file], JSONL)
    (*_, last) = stream_shards(unit.pieces[0], JSONL, Columns(), 100_000)
    (*_, bad) = documents_of(unit, last, JSONL, Columns())
    assert isinstance(bad, BadDocument)
    assert (bad.reason, bad.offset) == ("corrupt file", found[0][0])


def test_a_file_that_shrank_in_the_bucket_is_an_error(packed: InputFile, bucket: str) -> None:
    Folder(bucket).publish_bytes(FILES["b.jsonl.gz"][:30_000], "b.jsonl.gz")
    with pytest.raises(OSError, match=r"has 30,000 bytes, .* were planned"):
        list(documents([packed]))
