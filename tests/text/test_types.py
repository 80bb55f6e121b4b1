"""A shard's own dictionary against plain counters."""

from collections import Counter
from itertools import islice, pairwise

import numpy as np
import pytest

from ulmfit_ray.text.presets import NONE
from ulmfit_ray.text.tokenizers.kinds import Eos, Tokenizer, TokenizerSettings, make_tokenizer
from ulmfit_ray.text.types import TypeTable, document_tokens, field_prefixes, lines_of

DOCUMENTS = [
    ["A title", "The cat sat on the mat. The cat!"],
    ["", "Another cat,\n another mat"],
    ["Empty", ""],
    ["Two\n\nlines\n", "\n"],
    ["xxunk xxbos", "\u4f60\u597d \U0001f600\U0001f600\U0001f600 the"],
]


def numbered(types: TypeTable, documents: list[list[str]]) -> list[list[int]]:
    """Return the local ids of documents that all have equally many fields."""
    found = types.add(documents)
    return [found.ids[start:end].tolist() for start, end in pairwise(found.bounds)]


def test_fields_without_marks_are_tokenized_each_by_itself_behind_one_xxbos(tokenizer: Tokenizer) -> None:
    assert document_tokens(tokenizer, ["No no", "no Way"]) == ["xxbos", "xxmaj", "no", "no", "no", "xxmaj", "way"]
    assert document_tokens(tokenizer, ["", ""]) == ["xxbos"]


def test_fields_with_marks_are_numbered_from_one_and_empty_ones_keep_their_mark() -> None:
    marking = make_tokenizer(TokenizerSettings(mark_fields=True))
    assert document_tokens(marking, ["A title", "", "text"]) == (
        ["xxbos", "xxfld", "1", "a", "title", "xxfld", "2", "xxfld", "3", "text"]
    )


def test_a_fields_mark_has_its_number_as_a_token_of_its_own(tokenizer: Tokenizer) -> None:
    marking = make_tokenizer(TokenizerSettings(mark_fields=True))
    assert list(field_prefixes(marking, 2)) == [("xxfld", "1"), ("xxfld", "2")]
    assert list(field_prefixes(tokenizer, 2)) == [(), ()]


def test_eos_document_ends_each_document_behind_its_last_field() -> None:
    ending = make_tokenizer(TokenizerSettings(kind="whitespace", rules=NONE, eos="document"))
    assert document_tokens(ending, ["a b", "c\nd"]) == ["xxbos", "a", "b", "c", "d", "xxeos"]
    assert document_tokens(ending, ["", ""]) == ["xxbos", "xxeos"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b\nc", "a b xxeos c xxeos"),
        ("a b\nc\n", "a b xxeos c xxeos"),
        ("a\n\n b \n\n", "a xxeos xxeos b xxeos xxeos"),
        ("", "xxeos"),
        ("\n", "xxeos"),
        ("\n\n", "xxeos xxeos"),
        ("a\rb\u2028c\x0bd\r\n", "a b c d xxeos"),
    ],
)
def test_eos_line_ends_each_line_and_no_xxbos_begins_the_document(text: str, expected: str) -> None:
    ending = make_tokenizer(TokenizerSettings(kind="whitespace", rules=NONE, eos="line"))
    assert document_tokens(ending, [text]) == expected.split()


def test_each_line_is_cleaned_by_itself() -> None:
    ending = make_tokenizer(TokenizerSettings(eos="line"))
    assert document_tokens(ending, ["No no no\nno  \n\\n"]) == [
        "xxmaj",
        "no",
        "no",
        "no",
        "xxeos",
        "no",
        "xxeos",
        "xxeos",
    ]
    assert document_tokens(ending, ["a\na\na"]) == ["a", "xxeos", "a", "xxeos", "a", "xxeos"]


@pytest.mark.parametrize("eos", ["none", "line", "document"])
@pytest.mark.parametrize("mark_fields", [False, True])
def test_ids_counts_and_document_counts_are_those_of_plain_counters(mark_fields: bool, eos: Eos) -> None:
    tokenizer = make_tokenizer(TokenizerSettings(mark_fields=mark_fields, eos=eos))
    types = TypeTable(tokenizer)
    ids = numbered(types, DOCUMENTS)
    table = types.to_table().to_pydict()
    tokens = [document_tokens(tokenizer, fields) for fields in DOCUMENTS]
    assert [[table["token"][token_id] for token_id in document] for document in ids] == tokens
    assert dict(zip(table["token"], table["count"], strict=True)) == Counter(t for document in tokens for t in document)
    assert dict(zip(table["token"], table["documents"], strict=True)) == Counter(
        t for document in tokens for t in set(document)
    )


def test_types_are_numbered_by_first_occurrence(tokenizer: Tokenizer) -> None:
    types = TypeTable(tokenizer)
    ids = numbered(types, [["b a b"], ["c a"]]) + numbered(types, [["d b"]])
    assert types.to_table()["token"].to_pylist() == ["xxbos", "b", "a", "c", "d"]
    assert ids == [[0, 1, 2, 1], [0, 3, 2], [0, 4, 1]]


def test_numbers_do_not_depend_on_what_the_tokenizer_saw_before() -> None:
    def all_of(tokenizer: Tokenizer) -> tuple[list[list[int]], dict]:
        types = TypeTable(tokenizer)
        return numbered(types, DOCUMENTS), types.to_table().to_pydict()

    used = make_tokenizer(TokenizerSettings())
    TypeTable(used).add([["zebra mat the cat"], ["on sat another"], ["a title , ."]])
    assert all_of(used) == all_of(make_tokenizer(TokenizerSettings()))


@pytest.mark.parametrize("sizes", [(5,), (1, 4), (1, 1, 1, 1, 1)])
def test_documents_may_come_in_blocks_of_any_size(tokenizer: Tokenizer, sizes: tuple[int, ...]) -> None:
    types, documents = TypeTable(tokenizer), iter(DOCUMENTS)
    ids = [ids for size in sizes for ids in numbered(types, list(islice(documents, size)))]
    table = types.to_table().to_pydict()
    whole = TypeTable(tokenizer)
    assert ids == numbered(whole, DOCUMENTS)
    assert table == whole.to_table().to_pydict()


@pytest.mark.parametrize("eos", ["none", "line", "document"])
def test_starts_and_ends_bound_each_fields_own_tokens_without_marks(eos: Eos) -> None:
    tokenizer = make_tokenizer(TokenizerSettings(mark_fields=True, eos=eos))
    types = TypeTable(tokenizer)
    found = types.add(DOCUMENTS)
    itos = types.to_table()["token"].to_pylist()
    for number, fields in enumerate(DOCUMENTS):
        ids = found.ids[found.bounds[number] : found.bounds[number + 1]]
        places = zip(found.field_starts[number], found.field_ends[number], strict=True)
        own = [[itos[token_id] for token_id in ids[start:end]] for start, end in places]
        if eos == "line":
            assert own == [[t for line in lines_of(text) for t in (*tokenizer(line), "xxeos")] for text in fields]
        else:
            assert own == [tokenizer(text) for text in fields]


def test_spaces_inside_a_token_and_their_visible_spelling_are_one_type() -> None:
    types = TypeTable(make_tokenizer(TokenizerSettings(rules=("none",))))
    ids = numbered(types, [[" \u2581 c\n d"]])
    assert types.to_table()["token"].to_pylist() == ["xxbos", "\u2581", "c", "\n\u2581", "d"]
    assert types.to_table()["count"].to_pylist() == [1, 2, 1, 1, 1]
    assert ids == [[0, 1, 1, 2, 3, 4]]


def test_ids_are_uint32(tokenizer: Tokenizer) -> None:
    assert TypeTable(tokenizer).add([["a b"]]).ids.dtype == np.uint32


def test_a_shard_without_documents_has_no_types(tokenizer: Tokenizer) -> None:
    table = TypeTable(tokenizer).to_table()
    assert table.num_rows == 0
    assert [str(kind) for kind in table.schema.types] == ["string", "int64", "int64"]
