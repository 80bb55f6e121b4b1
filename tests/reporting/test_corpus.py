"""What a person reads about a corpus."""

from dataclasses import replace
from typing import Any

import pytest

from ulmfit_ray.reporting.corpus import corpus_rows, print_corpus
from ulmfit_ray.storage.manifest import Manifest, Totals


def manifest(**figures: Any) -> Manifest:
    """The manifest of a corpus of 5,000 documents, with other figures where they are given."""
    totals = Totals(
        num_shards=2,
        num_documents=5000,
        num_tokens=80_000,
        num_quarantined=3,
        quarantined={"null text": 2, "null id": 1},
    )
    usual = {
        "vocab_size": 900,
        "num_types": 1234,
        "num_unknown": 400,
        "unknown_rate": 0.005,
        "num_duplicates_in_shards": 12,
        "num_duplicates": 34,
        "num_duplicates_error": 0,
        "document_lengths": {"min": 1, "50%": 12, "max": 2345, "mean": 16.0},
        "most_frequent_tokens": {"the": 70_000, "\n\n": 600, "[b]": 5, "a": 4, "b": 3, "c": 2, "d": 1},
    }
    return Manifest(job="tokenize", vocab="v", tokenizer="t", files={}, totals=totals, figures=usual | figures)


def test_rows_say_how_many_and_what_part_and_why() -> None:
    assert corpus_rows(manifest()) == {
        "documents": 5000,
        "quarantined": "3 (2 x null text, 1 x null id)",
        "duplicates within a shard": 12,
        "duplicates in the corpus": "34",
        "tokens": 80_000,
        "types": 1234,
        "vocabulary": 900,
        "unknown tokens": "400 (0.50%)",
    }


def test_an_estimate_is_named_as_one_with_its_error() -> None:
    rows = corpus_rows(manifest(num_duplicates=1234, num_duplicates_error=56))
    assert rows["duplicates in the corpus"] == "about 1,234 (\u00b1 56)"


def test_a_dataset_of_an_earlier_version_is_shown_by_its_totals() -> None:
    before = replace(manifest(), figures={"vocab_size": 900})
    assert corpus_rows(before) == {"documents": 5000, "quarantined": 3, "tokens": 80_000}


def test_lengths_and_tokens_stand_in_tables_with_every_character_visible(capsys: pytest.CaptureFixture[str]) -> None:
    print_corpus(manifest())
    lines = capsys.readouterr().out.splitlines()
    rows = [line.replace("\u2502", " ").split() for line in lines]
    assert ["1", "12", "2,345", "16.00"] in rows
    assert ["the", "70,000", "c", "2"] in rows
    assert ["\\n\\n", "600", "d", "1"] in rows
    assert ["[b]", "5"] in rows
