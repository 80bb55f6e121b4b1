"""Which documents a classifier learns from and which it is judged by, and what cannot be learned."""

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pytest

from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.streams.labelled_parts import LabelOptions, labelled_parts

MakeTokens = Callable[..., TokenDataset]


@pytest.fixture
def make_tokens(make_token_dataset: Callable[..., TokenDataset]) -> MakeTokens:
    """Return a function that writes documents "0", "1", ... with these values of the column `label`."""

    def make(values: Sequence[Any], kind: pa.DataType | None = None, name: str = "tokens") -> TokenDataset:
        documents = [(f"{number}", [[number + 3]]) for number in range(len(values))]
        return make_token_dataset([documents], name=name, kept=[pa.array(values, kind or pa.string())])

    return make


def parts(tokens: TokenDataset, valid: TokenDataset | None = None, **options: Any) -> Any:
    return labelled_parts(tokens, valid, LabelOptions(**{"label": "label"} | options))


def ids(examples: Any) -> set[str]:
    return {doc_id for column in examples.doc_ids() for doc_id in column.to_pylist()}


def test_held_out_documents_are_not_learned_from_and_none_is_lost(make_tokens: MakeTokens) -> None:
    tokens = make_tokens(["neg", "pos", None, "pos"] * 50)
    found = parts(tokens, valid_fraction=0.3, seed=1)
    assert found.labels == ("neg", "pos")
    assert not ids(found.train) & ids(found.valid)
    assert len(found.train) + len(found.valid) == 150
    assert 20 < len(found.valid) < 70
    negative = sum(int(number) % 4 == 0 for number in ids(found.train))
    assert found.counts.tolist() == [negative, len(found.train) - negative]
    again = parts(tokens, valid_fraction=0.3, seed=1)
    assert ids(again.valid) == ids(found.valid)
    assert ids(parts(tokens, valid_fraction=0.3, seed=2).valid) != ids(found.valid)


def test_a_dataset_of_its_own_validates_and_then_nothing_is_held_out(make_tokens: MakeTokens) -> None:
    tokens, valid = make_tokens(["a", "b"] * 5), make_tokens(["b", "a", None], name="valid")
    found = parts(tokens, valid, valid_fraction=0.5)
    assert (len(found.train), len(found.valid)) == (10, 2)
    assert found.valid.targets.values.tolist() == [1, 0]


def test_few_labelled_documents_are_drawn_from_those_that_are_not_held_out(make_tokens: MakeTokens) -> None:
    tokens = make_tokens(["neg", "pos"] * 50)
    found = parts(tokens, valid_fraction=0.2, labelled_documents=10)
    assert found.counts.tolist() == [5, 5]
    assert ids(found.train) <= ids(parts(tokens, valid_fraction=0.2).train)
    assert len(found.valid) == len(parts(tokens, valid_fraction=0.2).valid)


def test_labels_are_ordered_as_they_are_given(make_tokens: MakeTokens) -> None:
    tokens = make_tokens(["neg", "pos"] * 5)
    assert parts(tokens, labels=("pos", "neg")).labels == ("pos", "neg")
    assert parts(make_tokens([10, 9, 2] * 4, pa.int64(), "numbers")).labels == ("2", "9", "10")


@pytest.mark.parametrize(
    ("values", "options", "problem"),
    [
        (["a"] * 9, {}, r"has one label only, 'a'"),
        ([None] * 9, {}, r"no training document has a label in column 'label'"),
        (["a", "a", "b"], {}, r"label 'b' of column 'label' has 1 training documents"),
        (["a", "a", "a", "7", "7", "7"], {}, r"labels of mixed types: '7' is a number, 'a' is not"),
        ([f"text {number}" for number in range(9)], {}, r"9 labels in 9 documents: is it a column of labels"),
        (["a", "b"] * 5, {"labels": ("a", "b", "c")}, r"label 'c' of column 'label' has 0 training documents"),
        (["a", "b"] * 5, {"labels": ("a", "a")}, r"--labels names 'a' twice"),
        (["a", "b", "c"] * 5, {"labelled_documents": 2}, r"^2 training documents .* are too few: each of the 3 "),
        (["a", "b", "c"] * 5, {"labelled_documents": 3}, r"^3 training documents .* are too few: each of the 3 "),
        (["1", "2"] * 5, {"objective": "regression", "labelled_documents": 1}, r"^1 training documents .* too few$"),
        (["a", "b"] * 5, {"label": "stars"}, r"no kept column 'stars' \(it has label\): .*--keep-columns stars"),
        (["3", "3", "3"], {"objective": "regression"}, r"holds the same number in all documents"),
        (["a", "b"] * 5, {"valid_fraction": 1e-9}, r"no validation document has a label"),
    ],
)
def test_what_cannot_be_learned_is_refused_in_a_line(
    make_tokens: MakeTokens, values: list[Any], options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem) as refused:
        parts(make_tokens(values), **options)
    assert "\n" not in str(refused.value)


def test_a_validation_column_of_another_type_is_read_as_the_training_one_is(make_tokens: MakeTokens) -> None:
    numbers = make_tokens([0.5, 1.5, 2.5, 3.5], pa.float64())
    whole = parts(numbers, make_tokens([1, 2, None], pa.int64(), "valid"))
    assert (whole.objective, whole.valid.targets.values.tolist()) == ("regression", [1, 2])
    stars = make_tokens([1, 2] * 5, pa.int64(), "stars")
    with pytest.raises(ValueError, match=r"validation documents: .* holds double, but single-label takes"):
        parts(stars, make_tokens([1.0, None], pa.float64(), "other"))


def test_a_validation_label_that_training_does_not_know_is_named(make_tokens: MakeTokens) -> None:
    tokens, valid = make_tokens(["a", "b"] * 5), make_tokens(["a", "c"], name="valid")
    with pytest.raises(
        ValueError, match=r"^validation documents: label 'c' of document '1' is not one of the 2 labels"
    ):
        parts(tokens, valid)
