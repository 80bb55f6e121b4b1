"""Word lists out of pickles, without what a pickle can run."""

import json
import pickle
from collections import Counter
from pathlib import Path

import pytest
from hostile import Hostile

from ulmfit_ray.text.pickled_words import read_words

WORDS = ["xxunk", "xxpad", "é\n", "\ud83d"]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickled_list_is_read(protocol: int) -> None:
    assert read_words(pickle.dumps(WORDS, protocol)) == WORDS


def test_a_list_in_json_is_read() -> None:
    assert read_words(json.dumps(WORDS).encode()) == WORDS


def test_a_hostile_pickle_is_refused_and_nothing_of_it_runs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"it asks for posix\.system"):
        read_words(pickle.dumps(["a", Hostile(tmp_path / "ran")]))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(Counter(WORDS)), "it asks for collections.Counter"),
        (pickle.dumps({"a": 1}), "it holds no list of words"),
        (pickle.dumps(["a", 1]), "it holds no list of words"),
        (pickle.dumps([]), "it holds no list of words"),
        (pickle.dumps(WORDS)[:-9], "it cannot be read as a list of words"),
        (b"", "it cannot be read as a list of words"),
        (b"[1, 2", "it cannot be read as a list of words"),
        (b"P12\n.", "it refers to something outside of it"),
    ],
)
def test_what_is_no_list_of_words_is_refused_in_words(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_words(content)
