"""Kept columns as labels: names, counts and targets, against plain Python on the same values."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.streams.labels import LabelColumn, Targets, check_names, ordered
from ulmfit_ray.streams.selection import everything, select

MakeTokenDataset = Callable[..., TokenDataset]
MakeLabelled = Callable[..., TokenDataset]
TEXT, INTEGERS, TRUTH, NUMBERS = pa.string(), pa.int64(), pa.bool_(), pa.float64()
TEXTS = pa.list_(TEXT)


@pytest.fixture
def make_labelled(make_token_dataset: MakeTokenDataset) -> MakeLabelled:
    """Return a function that writes a data set with a kept column `label`: a list of values for each shard."""

    def make(shards: Sequence[Sequence[Any]], kind: pa.DataType) -> TokenDataset:
        documents = [[(f"{shard}-{row}", [[5]]) for row in range(len(values))] for shard, values in enumerate(shards)]
        return make_token_dataset(documents, kept=[pa.array(values, kind) for values in shards])

    return make


def targets_of(dataset: TokenDataset, column: LabelColumn, labels: Sequence[str] = ()) -> Targets:
    return Targets.joined([column.targets(table, labels) for table in dataset.tables()])


@pytest.mark.parametrize(
    ("kind", "options", "objective"),
    [
        (TEXT, {}, "single-label"),
        (INTEGERS, {}, "single-label"),
        (pa.uint8(), {}, "single-label"),
        (TRUTH, {}, "single-label"),
        (NUMBERS, {}, "regression"),
        (pa.float16(), {}, "regression"),
        (TEXTS, {}, "multi-label"),
        (pa.list_(INTEGERS), {}, "multi-label"),
        (TEXT, {"separator": "|"}, "multi-label"),
        (TEXT, {"objective": "multi-label", "separator": "|"}, "multi-label"),
        (TEXT, {"objective": "regression"}, "regression"),
        (INTEGERS, {"objective": "regression"}, "regression"),
        (INTEGERS, {"objective": "single-label"}, "single-label"),
    ],
)
def test_the_objective_follows_from_the_columns_type_unless_it_is_named(
    make_labelled: MakeLabelled, kind: pa.DataType, options: dict[str, str], objective: str
) -> None:
    assert LabelColumn(make_labelled([[None]], kind), "label", **options).objective == objective


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (NUMBERS, {"objective": "single-label"}, "'label' holds double, but single-label takes text, integers or"),
        (TRUTH, {"objective": "regression"}, "'label' holds bool, but regression takes numbers, or text that is"),
        (TEXT, {"objective": "multi-label"}, "but multi-label takes lists of .*, or text with a separator"),
        (TEXTS, {"objective": "single-label"}, r"'label' holds list<item: string>, but single-label takes text"),
        (pa.list_(NUMBERS), {}, r"holds list<item: double>: labels are text, integers .*; lists of .*; numbers, or"),
        (pa.date32(), {}, r"holds date32\[day\]: labels are text"),
        (pa.date32(), {"objective": "regression"}, r"holds date32\[day\], but regression takes numbers"),
        (TEXTS, {"separator": ","}, r"separator \(','\) is for several labels in a column of text.*list<item: string>"),
        (INTEGERS, {"separator": ","}, "is for several labels in a column of text: column 'label' holds int64"),
        (TEXT, {"separator": ",", "objective": "single-label"}, "and the objective is single-label"),
    ],
)
def test_a_column_of_another_type_is_refused_with_the_types_that_suit(
    make_labelled: MakeLabelled, kind: pa.DataType, options: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        LabelColumn(make_labelled([[None]], kind), "label", **options)


def test_a_column_that_was_not_kept_is_named_beside_those_that_were(
    make_labelled: MakeLabelled, make_token_dataset: MakeTokenDataset
) -> None:
    message = r"no kept column 'stars' \(it has label\): tokenize again with --keep-columns stars"
    with pytest.raises(ValueError, match=message):
        LabelColumn(make_labelled([["a"]], TEXT), "stars")
    with pytest.raises(ValueError, match=r"no kept column 'tokens' \(it has label\)"):
        LabelColumn(make_labelled([["a"]], TEXT), "tokens")
    two_fields = make_token_dataset([[("a", [[5], [6]])]], ("title", "text"), name="two")
    with pytest.raises(ValueError, match=r"no kept column 'label' \(it has none\)"):
        LabelColumn(two_fields, "label")


@pytest.mark.parametrize(
    ("kind", "separator", "shards", "names", "unlabelled"),
    [
        # csv has no null: an empty cell, or one of blanks, is one.
        (TEXT, "", [["b", None, ""], [], ["a", "b", " \t"]], {"b": 2, "a": 1}, 3),
        (INTEGERS, "", [[10, -2, None], [10]], {"10": 2, "-2": 1}, 1),
        (TRUTH, "", [[True, None], [False, True]], {"true": 2, "false": 1}, 1),
        (TEXTS, "", [[["a", "b", "a"], [], None], [["b", None]]], {"a": 1, "b": 2}, 1),
        (pa.list_(INTEGERS), "", [[[3, 4], [3]]], {"3": 2, "4": 1}, 0),
        (TEXT, "|", [["a| b|", None], ["b |a|b", "", " | "]], {"a": 2, "b": 2}, 1),
        (TEXT, ", ", [["a, b"], ["a,b"]], {"a": 1, "b": 1, "a,b": 1}, 0),
        (TEXT, "", [[None], []], {}, 1),
        (TEXTS, "", [[None, []]], {}, 1),
    ],
)
def test_each_label_is_counted_once_a_document_and_a_null_is_a_document_without_label(
    make_labelled: MakeLabelled,
    kind: pa.DataType,
    separator: str,
    shards: list[list[Any]],
    names: dict[str, int],
    unlabelled: int,
) -> None:
    dataset = make_labelled(shards, kind)
    found = LabelColumn(dataset, "label", separator=separator).names(everything(dataset))
    assert found == (Counter(names), unlabelled)


def test_names_are_those_of_the_selection_alone(make_labelled: MakeLabelled) -> None:
    random = np.random.default_rng(0)
    shards = [[None if draw == 5 else f"{draw}" for draw in random.integers(6, size=40)] for _ in range(3)]
    dataset = make_labelled(shards, TEXT)
    selection = select(dataset, fraction=0.3, seed=1, held_out=True)
    pairs = [
        zip(values, selection.takes(table), strict=True) for values, table in zip(shards, dataset.tables(), strict=True)
    ]
    expected = Counter(value for shard in pairs for value, taken in shard if taken)
    assert 0 < expected.total() < 120
    assert expected[None] > 0
    num_unlabelled = expected.pop(None)
    assert LabelColumn(dataset, "label").names(selection) == (expected, num_unlabelled)


def test_labels_are_in_the_order_of_their_numbers_or_else_of_their_code_points() -> None:
    assert ordered(["10", "9", "-1", "2.5", "1e1"]) == ("-1", "2.5", "9", "10", "1e1")
    assert ordered(["9007199254740993", "9007199254740992"]) == ("9007199254740992", "9007199254740993")
    assert ordered({"10": 3, "9": 1, "b": 1, "B": 1, "\u00e4": 1}) == ("10", "9", "B", "b", "\u00e4")
    assert ordered(["nan", "1", "inf"]) == ("1", "inf", "nan")
    assert ordered([]) == ()


def test_numbers_among_words_are_refused_by_one_of_each() -> None:
    for names in (["1", "2.5", "-3"], ["good", "", "nan"], ["a"], []):
        check_names("label", names)
    with pytest.raises(ValueError, match="column 'stars' has labels of mixed types: '1' is a number, 'good' is not"):
        check_names("stars", ["good", "2", "1", "ugly"])


def test_targets_of_single_labels_are_places_in_the_given_order(make_labelled: MakeLabelled) -> None:
    dataset = make_labelled([["b", None], [], ["a", "c", "b", ""]], TEXT)
    targets = targets_of(dataset, LabelColumn(dataset, "label"), ["a", "b", "c"])
    assert targets.values.tolist() == [1, -1, 0, 2, 1, -1]
    assert targets.values.dtype == np.int32
    assert targets.is_labelled().tolist() == [True, False, True, True, True, False]
    assert targets.dense(3).dtype == np.int64
    assert targets.take(np.array([4, 0, 2])).dense(3).tolist() == [1, 1, 0]
    truth = make_labelled([[True, False, None]], TRUTH)
    assert targets_of(truth, LabelColumn(truth, "label"), ["false", "true"]).values.tolist() == [1, 0, -1]


@pytest.mark.parametrize("separator", ["", ";"])
def test_targets_of_several_labels_are_those_of_a_table_of_zeros_and_ones(
    make_labelled: MakeLabelled, separator: str
) -> None:
    random, labels = np.random.default_rng(3), [f"label {number}" for number in range(7)]
    values = [None if random.random() < 0.2 else random.choice(labels, random.integers(5)).tolist() for _ in range(200)]
    stored = [None if names is None else "; ".join(names) for names in values] if separator else values
    dataset = make_labelled([stored[:90], [], stored[90:]], TEXT if separator else TEXTS)
    targets = targets_of(dataset, LabelColumn(dataset, "label", separator=separator), labels)
    table = np.array([[label in (names or ()) for label in labels] for names in values], np.float32)
    assert len(targets) == 200
    assert targets.is_labelled().tolist() == [names is not None for names in values]
    np.testing.assert_array_equal(targets.dense(7), table)
    assert targets.dense(7).dtype == np.float32
    for index in (random.permutation(200)[:50], np.array([3, 3, 199]), targets.is_labelled(), np.array([], np.int64)):
        taken = targets.take(index)
        assert len(taken) == len(table[index])
        np.testing.assert_array_equal(taken.dense(7), table[index])
        np.testing.assert_array_equal(taken.is_labelled(), targets.is_labelled()[index])


def test_targets_of_many_labels_take_memory_by_the_labels_that_documents_have() -> None:
    offsets, values = np.arange(1001), np.arange(1000, dtype=np.int32)
    targets = Targets("multi-label", values, offsets, np.ones(1000, bool))
    joined = Targets.joined([targets.take(np.array([number])) for number in range(999, -1, -1)])
    assert joined.values.nbytes == 4000
    np.testing.assert_array_equal(joined.dense(1_000_000)[0].nonzero(), [[999]])


@pytest.mark.parametrize(
    ("kind", "values", "numbers"),
    [
        (NUMBERS, [1.5, None, float("nan"), -2.0], [1.5, np.nan, np.nan, -2.0]),
        (pa.float16(), [0.5, None], [0.5, np.nan]),
        (INTEGERS, [3, None, 2**62], [3, np.nan, 2.0**62]),
        (TEXT, ["1.25", None, " -3 ", "+1e2", ".5", "", " "], [1.25, np.nan, -3, 100, 0.5, np.nan, np.nan]),
        # Numbers that single precision cannot tell apart.
        (INTEGERS, [1_700_000_001, None, 1_700_000_002], [1_700_000_001, np.nan, 1_700_000_002]),
    ],
)
def test_targets_of_numbers_are_the_numbers_and_nan_where_there_is_none(
    make_labelled: MakeLabelled, kind: pa.DataType, values: list[Any], numbers: list[float]
) -> None:
    dataset = make_labelled([values, []], kind)
    targets = targets_of(dataset, LabelColumn(dataset, "label", objective="regression"))
    np.testing.assert_array_equal(targets.values, numbers)
    assert targets.is_labelled().tolist() == [not np.isnan(number) for number in numbers]
    assert targets.dense(1).dtype == np.float64
    np.testing.assert_array_equal(targets.take(np.array([1, 0])).dense(1), [numbers[1], numbers[0]])


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        (TEXT, "3,5", "'3,5'"),
        (TEXT, "nan", "'nan'"),
        (TEXT, "1e999", "'1e999'"),
        (NUMBERS, -np.inf, "-inf"),
    ],
)
def test_what_is_no_number_is_refused_with_its_document(
    make_labelled: MakeLabelled, kind: pa.DataType, value: Any, shown: str
) -> None:
    first = "1" if kind == TEXT else 1.0
    dataset = make_labelled([[first, None, value, value]], kind)
    column = LabelColumn(dataset, "label", objective="regression")
    with pytest.raises(ValueError, match=f"label {shown} of document '0-2' is not a finite number, and regression tak"):
        targets_of(dataset, column)


@pytest.mark.parametrize(
    ("kind", "values", "separator"),
    [(TEXT, ["b", None, "x", "y"], ""), (TEXTS, [["b"], None, ["b", "x"]], ""), (TEXT, ["b", "", "b|x"], "|")],
)
def test_an_unknown_label_is_named_with_its_document_and_the_labels_that_are_known(
    make_labelled: MakeLabelled, kind: pa.DataType, values: list[Any], separator: str
) -> None:
    dataset = make_labelled([["a"] if kind == TEXT else [["a"]], values], kind)
    column = LabelColumn(dataset, "label", separator=separator)
    with pytest.raises(ValueError, match=r"label 'x' of document '1-2' is not one of the 2 labels: a, b$"):
        targets_of(dataset, column, ["a", "b"])
    many = ["a", "b", *(f"{number}" for number in range(11))]
    with pytest.raises(ValueError, match=r"of the 13 labels: a, b, 0, 1, 2, 3, 4, 5, 6, 7 and 3 more$"):
        targets_of(dataset, column, many)
