"""Of what type a kept column is."""

from typing import Any

import pyarrow as pa
import pytest

from ulmfit_ray.corpus.column_types import arrow_type, type_name


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], "string"),
        ([None], "string"),
        (["a", None], "string"),
        ([1, 2], "int64"),
        ([1, 2.5], "double"),
        ([True, False], "bool"),
        ([["a"], []], "list<string>"),
        ([[1], [2.5], None], "list<double>"),
        ([[]], "list<string>"),
    ],
)
def test_type_of_a_column_holds_all_its_values(values: list[Any], expected: str) -> None:
    assert type_name(values) == expected
    assert pa.array(values, arrow_type(expected)).to_pylist() == values


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["a", 1], "int64 and string"),
        ([True, 1], "bool and int64"),
        ([["a"], "a"], "lists and single values"),
        ([{"a": 1}], "type dict"),
        ([2**63], "more than 64 bits"),
        ([[{}]], "type dict"),
    ],
)
def test_a_column_without_one_type_is_refused(values: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        type_name(values)
