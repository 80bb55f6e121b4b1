"""Lengths and duplicates of a corpus in shards, against counting all documents in one place."""

import random
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from ulmfit_ray.text import census as census_module
from ulmfit_ray.text.census import PERCENTILES, Census, CorpusCensus, checksums

Shards = Sequence[Sequence[str]]


def census_of(texts: Sequence[str]) -> Census:
    lengths = np.array([len(text.split()) for text in texts], np.int64)
    return Census.of(lengths, checksums([text] for text in texts))


def added_up(shards: Shards) -> CorpusCensus:
    corpus = CorpusCensus()
    for shard in shards:
        corpus.add(census_of(shard))
    return corpus


def num_duplicates(shards: Shards) -> tuple[int, int]:
    """Count the documents that equal an earlier one: of their shard, and of the corpus."""
    in_shards = sum(len(shard) - len(set(shard)) for shard in shards)
    texts = [text for shard in shards for text in shard]
    return in_shards, len(texts) - len(set(texts))


def cut(texts: Sequence[str], num_shards: int) -> Shards:
    cuts = np.linspace(0, len(texts), num_shards + 1).astype(int).tolist()
    return [texts[start:stop] for start, stop in pairwise(cuts)]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """4,000 texts of all lengths, 391 of which occur 2 to 9 times."""
    draw = random.Random(0)
    found = [f"{number} " + "w " * int(draw.lognormvariate(3, 1.5)) for number in range(3000)]
    found += draw.choices(draw.sample(found, 400), k=1000)
    draw.shuffle(found)
    return found


@pytest.mark.parametrize("num_shards", [1, 3, 40])
def test_lengths_are_those_of_all_documents(texts: list[str], num_shards: int) -> None:
    lengths = [len(text.split()) for text in texts]
    found = added_up(cut(texts, num_shards)).length_percentiles()
    expected = {f"{p}%": np.percentile(lengths, p, method="inverted_cdf") for p in PERCENTILES}
    assert found == {"min": min(lengths), **expected, "max": max(lengths), "mean": round(np.mean(lengths), 2)}


@pytest.mark.parametrize("num_documents", [1, 2, 19, 20, 21, 100, 101])
def test_a_percentile_of_few_documents_is_the_length_of_one_of_them(num_documents: int) -> None:
    found = added_up([["w " * number for number in range(num_documents)]]).length_percentiles()
    for percent in PERCENTILES:
        assert found[f"{percent}%"] == np.percentile(range(num_documents), percent, method="inverted_cdf")


@pytest.mark.parametrize("num_shards", [1, 4, 40])
def test_duplicates_of_shards_that_are_known_whole_are_counted_exactly(texts: list[str], num_shards: int) -> None:
    assert added_up(cut(texts, num_shards)).duplicates() == (*num_duplicates(cut(texts, num_shards)), 0)


def test_of_large_shards_the_duplicates_within_are_counted_exactly_and_those_across_estimated(
    texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(census_module, "SHARD_SAMPLE", 100)
    shards = cut(texts, 10)
    in_shards, over_corpus = num_duplicates(shards)
    found = added_up(shards).duplicates()
    assert found[0] == in_shards
    assert 0 < abs(found[1] - over_corpus) <= found[2] < over_corpus / 2


@pytest.mark.parametrize("copied", [0.0, 0.003, 0.1, 0.6])
@pytest.mark.parametrize(("shard_sample", "corpus_sample"), [(60, 1 << 17), (200, 300)])
def test_the_stated_error_holds_for_about_19_of_20_corpora(
    monkeypatch: pytest.MonkeyPatch, copied: float, shard_sample: int, corpus_sample: int
) -> None:
    monkeypatch.setattr(census_module, "SHARD_SAMPLE", shard_sample)
    monkeypatch.setattr(census_module, "CORPUS_SAMPLE", corpus_sample)
    draw, num_held, num_corpora = random.Random(1), 0, 120
    for number in range(num_corpora):
        distinct = [f"{number} {text}" for text in range(1500)]
        # Some texts are copied often, as boilerplate is.
        often = draw.sample(distinct, 20)
        texts = distinct + [draw.choice(draw.choice([often, distinct])) for _ in range(int(copied * len(distinct)))]
        draw.shuffle(texts)
        shards = cut(texts, 6)
        in_shards, found, error = added_up(shards).duplicates()
        assert in_shards == num_duplicates(shards)[0]
        num_held += abs(found - num_duplicates(shards)[1]) <= error
    assert num_held >= 0.92 * num_corpora


def test_the_order_of_the_shards_and_how_many_wait_at_a_time_change_nothing(
    texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = list(cut(texts, 20))
    monkeypatch.setattr(census_module, "SHARD_SAMPLE", 50)
    expected = added_up(shards).figures()
    assert added_up(shards[::-1]).figures() == expected
    monkeypatch.setattr(census_module, "CORPUS_SAMPLE", 700)
    some = added_up(shards)
    assert added_up(shards[::-1]).figures() == some.figures()
    assert some.figures()["num_duplicates_error"] >= expected["num_duplicates_error"]


def test_a_census_is_the_same_when_it_comes_out_of_its_table(texts: list[str]) -> None:
    for shard in (texts, texts[:1], []):
        written = census_of(shard)
        read = Census.from_table(written.to_table())
        assert read.lengths.tolist() == written.lengths.tolist() == sorted({len(text.split()) for text in shard})
        assert dict(zip(read.lengths.tolist(), read.documents.tolist(), strict=True)) == Counter(
            len(text.split()) for text in shard
        )
        assert (read.num_distinct, read.sample.tolist()) == (len(set(shard)), written.sample.tolist())
        assert read.limit == written.limit


def test_checksums_tell_texts_fields_and_their_borders_apart() -> None:
    documents = [["a b"], ["a", "b"], ["b", "a"], ["ab", ""], ["", "ab"], ["a\u00e9"], ["ae\u0301"], [""]]
    found = checksums(documents)
    assert len(set(found.tolist())) == len(documents)
    assert checksums(reversed(documents)).tolist() == found[::-1].tolist()


def test_checksums_are_spread_evenly() -> None:
    found = checksums([str(number)] for number in range(16_000))
    counts = np.bincount((found >> np.uint64(60)).astype(np.int64), minlength=16)
    # Four standard deviations of a binomial distribution.
    assert np.abs(counts - 1000).max() < 4 * np.sqrt(1000)
