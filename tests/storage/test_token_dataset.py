"""Token shards are read as they were written, whatever their size and id type."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.manifest import IncompleteDatasetError
from ulmfit_ray.storage.token_dataset import TokenDataset, flat_tokens, token_schema, write_arrow

MakeTokenDataset = Callable[..., TokenDataset]


@pytest.mark.parametrize("token_id_type", [pa.uint16(), pa.uint32()])
def test_documents_come_back_with_ids_tokens_and_fields(
    make_token_dataset: MakeTokenDataset, token_id_type: pa.DataType
) -> None:
    shards = [[("a", [[5, 6], [7]]), ("b", [[], []])], [], [("c", [[9], [65_535]])]]
    dataset = make_token_dataset(shards, ("title", "text"), token_id_type)
    tables = list(dataset.tables())
    assert [table["doc_id"].to_pylist() for table in tables] == [["a", "b"], [], ["c"]]
    assert [table["tokens"].to_pylist() for table in tables] == [[[2, 5, 6, 7], [2]], [], [[2, 9, 65_535]]]
    assert tables[0]["field_starts"].to_pylist() == [[1, 3], [1, 1]]
    assert tables[0]["field_ends"].to_pylist() == [[3, 4], [1, 1]]
    assert all(table.schema.field("tokens").type == pa.list_(token_id_type) for table in tables)
    assert dataset.text_columns == ["title", "text"]
    assert dataset.manifest.vocab == "v" * 64
    assert dataset.manifest.counts.num_documents == 3
    assert dataset.manifest.counts.num_tokens == 8


def test_a_shard_is_memory_mapped_where_it_is_local(make_token_dataset: MakeTokenDataset) -> None:
    dataset = make_token_dataset([[("a", [list(range(5000))])]])
    before = pa.total_allocated_bytes()
    table = dataset.read("part-0000000")
    assert pa.total_allocated_bytes() - before < 5000
    assert table["tokens"][0].as_py()[1:] == list(range(5000))


def test_a_data_set_without_manifest_is_refused(make_token_dataset: MakeTokenDataset, tmp_path: Path) -> None:
    dataset = make_token_dataset([[("a", [[5]])]])
    dataset.folder.publish_json({"job": {"verb": "tokenize", "command": "again"}}, "config.json")
    dataset.folder.delete("manifest.json")
    with pytest.raises(IncompleteDatasetError):
        TokenDataset(dataset.folder.uri)
    with pytest.raises(FileNotFoundError):
        TokenDataset(str(tmp_path / "nowhere"))


def test_schema_has_field_places_for_several_text_columns_only() -> None:
    one = token_schema(1, [pa.field("n", pa.int64())], pa.uint16(), {"unit": "part-1"})
    two = token_schema(2, [], pa.uint16(), {})
    assert one.names == ["doc_id", "tokens", "n"]
    assert one.field("n").type == pa.int64()
    assert two.names == ["doc_id", "tokens", "field_starts", "field_ends"]
    assert one.metadata == {b"format_version": b"1", b"unit": b"part-1"}


def test_equal_tables_are_written_as_equal_bytes(tmp_path: Path) -> None:
    column = [1, 2, 3, 4]
    write_arrow(pa.table({"a": column}), tmp_path / "one")
    write_arrow(pa.table({"a": pa.chunked_array([column[:1], column[1:]])}), tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("rows", [[], [[]], [[], []], [[1], [], [2, 3]]])
def test_flat_tokens_are_the_values_between_their_offsets(rows: list[list[int]]) -> None:
    array = pa.array(rows, pa.list_(pa.uint16()))
    values, offsets = flat_tokens(pa.chunked_array([array]))
    assert [values[start:stop].tolist() for start, stop in pairwise(offsets)] == rows
    assert len(offsets) == len(rows) + 1


def test_flat_tokens_join_the_chunks_of_a_column_and_mind_a_slice() -> None:
    whole = pa.array([[1, 2], [3], [4, 5, 6], []], pa.list_(pa.uint16()))
    for column in (pa.chunked_array([whole[:1], whole[1:]]), pa.chunked_array([whole])[1:]):
        values, offsets = flat_tokens(column)
        found = [values[start:stop].tolist() for start, stop in pairwise(offsets)]
        assert found == column.to_pylist()


def test_an_empty_column_without_chunks_has_no_documents() -> None:
    values, offsets = flat_tokens(pa.chunked_array([], pa.list_(pa.uint16())))
    assert (len(values), offsets.tolist()) == (0, [0])


def test_a_shard_of_another_place_opens_without_memory_map(make_token_dataset: MakeTokenDataset) -> None:
    dataset = make_token_dataset([[("a", [[5]])]])
    dataset.folder = Folder(dataset.folder.uri)
    dataset.folder.is_local = False
    assert dataset.read("part-0000000")["tokens"].to_pylist() == [[2, 5]]


@pytest.mark.parametrize("is_local", [True, False])
def test_a_shard_is_read_only_if_it_is_the_file_that_was_written(
    make_token_dataset: MakeTokenDataset, is_local: bool
) -> None:
    dataset = make_token_dataset([[("a", [[5, 6]])], [("b", [[7]])]])
    dataset.folder = Folder(dataset.folder.uri)
    dataset.folder.is_local = is_local
    assert dataset.read_checked("part-0000000").equals(dataset.read("part-0000000"))
    path = Path(dataset.folder.root, "shards/part-0000001.arrow")
    whole = path.read_bytes()
    place = whole.index(np.array([2, 7], np.uint16).tobytes())
    # Another word, which opens as if nothing were wrong; and a file that is cut off.
    for content in (whole[: place + 2] + b"\x08" + whole[place + 3 :], whole[:-30]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"part-0000001\.arrow of .* is not the file that was written"):
            dataset.read_checked("part-0000001")
    assert dataset.read_checked("part-0000000").num_rows == 1
