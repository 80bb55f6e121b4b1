"""The types of kept columns, by name, and which values fit them."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

_SCALARS = {str: "string", bool: "bool", int: "int64", float: "double"}


def fits(value: Any, kind: str) -> bool:
    """Tell whether a column of type `kind` can hold the value as it came."""
    if value is None:
        return True
    if kind.startswith("list<"):
        return isinstance(value, list) and all(fits(item, kind[5:-1]) for item in value)
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


def arrow_type(kind: str) -> pa.DataType:
    """Return the Arrow type of a name that `type_name` gave."""
    if kind.startswith("list<"):
        return pa.list_(arrow_type(kind[5:-1]))
    return {"string": pa.string(), "int64": pa.int64(), "double": pa.float64(), "bool": pa.bool_()}[kind]
