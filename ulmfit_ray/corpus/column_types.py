"""The types of kept columns, by name, and which values fit them.

Names are those of Arrow's types. Four of them are found from values (string, bool, int64, double), and the values are
checked one by one; columns of a Parquet file have a type of their own. Both may be lists.
"""

import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

_SCALARS = {str: "string", bool: "bool", int: "int64", float: "double"}
_INTEGERS = (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())
_FLOATS = (pa.float16(), pa.float32(), pa.float64())
_TIMES = (pa.date32(), pa.date64(), *(pa.timestamp(unit) for unit in ("s", "ms", "us", "ns")))
_TYPES = {str(one): one for one in (pa.string(), pa.bool_(), *_INTEGERS, *_FLOATS, *_TIMES)}
_WITH_ZONE = re.compile(r"timestamp\[(s|ms|us|ns), tz=(.+)\]")


def fits(value: Any, kind: str) -> bool:
    """Tell whether a column of type `kind` can hold the value as it came."""
    if value is None:
        return True
    if kind.startswith("list<"):
        return isinstance(value, list) and all(fits(item, kind[5:-1]) for item in value)
    if kind not in _SCALARS.values():
        # The file that the value comes from has a column of this very type.
        return True
    if type(value) is int:
        # A double holds integers exactly up to 2**53; Arrow refuses larger ones.
        return -(2**63) <= value < 2**63 if kind == "int64" else kind == "double" and abs(value) <= 2**53
    return _SCALARS.get(type(value)) == kind


def type_name(values: Sequence[Any]) -> str:
    """Return the type that holds all of `values` (Nones apart): string, int64, double, bool or a list of one.

    Raises:
        ValueError: they have no common type, or one that cannot be kept.
    """
    present = [value for value in values if value is not None]
    if any(isinstance(value, list) for value in present):
        if not all(isinstance(value, list) for value in present):
            raise ValueError("lists and single values in one column")
        return f"list<{type_name([item for value in present for item in value])}>"
    kinds = {_SCALARS.get(type(value), type(value).__name__) for value in present}
    if any(type(value) is int and not -(2**63) <= value < 2**63 for value in present):
        raise ValueError("an integer that needs more than 64 bits")
    if not kinds:
        return "string"
    if kinds == {"int64", "double"}:
        return "double"
    if len(kinds) > 1 or not kinds <= set(_SCALARS.values()):
        raise ValueError(f"values of type {' and '.join(sorted(kinds))}")
    return kinds.pop()


def kept_type(column_type: pa.DataType) -> str:
    """Return the type in which a column of a file is kept: its own, however its strings and lists are laid out.

    Raises:
        ValueError: it cannot be kept.
    """
    if pa.types.is_dictionary(column_type):
        return kept_type(column_type.value_type)
    if pa.types.is_list(column_type) or pa.types.is_large_list(column_type) or pa.types.is_fixed_size_list(column_type):
        return f"list<{kept_type(column_type.value_type)}>"
    if pa.types.is_large_string(column_type) or pa.types.is_string_view(column_type) or pa.types.is_null(column_type):
        return "string"
    if str(column_type) not in _TYPES and not _WITH_ZONE.fullmatch(str(column_type)):
        raise ValueError(
            f"values of type {column_type}, and not text, numbers, truth values, dates, timestamps, or lists of these"
        )
    return str(column_type)


def arrow_type(kind: str) -> pa.DataType:
    """Return the Arrow type of a name that `type_name` or `kept_type` gave."""
    if kind.startswith("list<"):
        return pa.list_(arrow_type(kind[5:-1]))
    with_zone = _WITH_ZONE.fullmatch(kind)
    return pa.timestamp(*with_zone.groups()) if with_zone else _TYPES[kind]


def plain_values(column: pa.Array) -> list[Any]:
    """Return the values of a column, of which `pa.array` makes the same column again.

    Dates and timestamps are their numbers: Python's are too short for nanoseconds and for years over 9999.
    """
    return column.cast(_as_numbers(arrow_type(kept_type(column.type)))).to_pylist()


def _as_numbers(column_type: pa.DataType) -> pa.DataType:
    if pa.types.is_list(column_type):
        return pa.list_(_as_numbers(column_type.value_type))
    if pa.types.is_date32(column_type):
        return pa.int32()
    return pa.int64() if pa.types.is_temporal(column_type) else column_type
