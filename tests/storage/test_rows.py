"""Rows in columns are read as the objects they were."""

from dataclasses import dataclass

import pyarrow as pa
import pytest

from ulmfit_ray.storage import rows
from ulmfit_ray.storage.rows import Rows


@dataclass(frozen=True)
class Place:
    name: str
    number: int | None


class Places(Rows[Place]):
    row_type = Place
    schema = pa.schema([("name", pa.string()), ("number", pa.int64())])


PLACES = [Place(name, number) for name, number in (("c", 0), ("a", None), ("d", 2), ("b", 3))]


@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_rows_come_back_as_they_were_however_many_are_objects_at_once(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(rows, "ROWS_AT_ONCE", at_once)
    places = Places.of(iter(PLACES))
    assert list(places) == PLACES
    assert places == PLACES
    assert places != PLACES[1:]
    assert places != [*PLACES[:3], Place("b", 4)]
    assert [places[0], places[-1], *places[1:3]] == [PLACES[0], PLACES[-1], *PLACES[1:3]]
    assert (len(places[3:9]), len(places[4:]), len(places[2:1])) == (1, 0, 0)
    with pytest.raises(IndexError):
        places[4]


def test_rows_that_are_in_columns_stay_as_they_are() -> None:
    places = Places.of(PLACES)
    assert Places.of(places) is places
    assert Places.of(()) == []


def test_rows_are_chosen_and_ordered_by_their_columns() -> None:
    places = Places.of(PLACES)
    assert [place.name for place in places.sorted_by("name")] == ["a", "b", "c", "d"]
    assert places.take(pa.array([3, 0])) == [PLACES[3], PLACES[0]]
    assert places.filter(pa.array([True, False, True, False])) == [PLACES[0], PLACES[2]]
