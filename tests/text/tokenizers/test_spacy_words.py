"""Our tokens against fastai's own (tests/golden), and what a tokenizer's fingerprint promises."""

import gzip
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ulmfit_ray.text.rules import SPECIAL_TOKENS
from ulmfit_ray.text.tokenizers.kinds import TokenizerSettings
from ulmfit_ray.text.tokenizers.spacy_words import SpacyTokenizer
from ulmfit_ray.text.types import document_tokens

TESTS = Path(__file__).parents[2]
GOLDEN = json.loads((TESTS / "golden/fastai_tokens.json").read_text())
SAMPLE = TESTS.parent / "jobs/sample/scifact/corpus.jsonl.gz"


@pytest.mark.parametrize("row", GOLDEN, ids=range(len(GOLDEN)))
def test_tokens_are_those_of_fastai_one_for_one(tokenizer: SpacyTokenizer, row: dict) -> None:
    assert document_tokens(tokenizer, [row["text"]]) == row["tokens"]


def test_tokens_do_not_depend_on_what_the_tokenizer_saw_before(tokenizer: SpacyTokenizer) -> None:
    fresh = SpacyTokenizer(TokenizerSettings())
    for row in reversed(GOLDEN):
        assert document_tokens(fresh, [row["text"]]) == row["tokens"] == document_tokens(tokenizer, [row["text"]])


def test_golden_file_holds_every_kind_of_text_it_should() -> None:
    texts = [row["text"] for row in GOLDEN]
    assert len(texts) == len(set(texts)) >= 100
    assert {"", "    ", "\n \n", ":O(((", "2) :O(((", "back'' ''Return", "xxbos XXUP"} <= set(texts)
    assert any("\n\u2581" in row["tokens"] for row in GOLDEN if "\u2581" not in row["text"])


def test_special_tokens_in_a_text_stay_whole(tokenizer: SpacyTokenizer) -> None:
    assert tokenizer(" ".join(SPECIAL_TOKENS)) == list(SPECIAL_TOKENS)


def test_text_over_a_million_characters_is_tokenized_whole(tokenizer: SpacyTokenizer) -> None:
    text = "ab cd " * 200_000
    assert len(text) > 1_000_000
    assert tokenizer(text) == ["ab", "cd"] * 200_000


def test_ids_of_a_text_are_those_of_its_tokens_each_asked_for_once_in_order(tokenizer: SpacyTokenizer) -> None:
    asked: list[str] = []

    def id_of(token: str) -> int:
        asked.append(token)
        return len(asked) - 1

    numericalize = tokenizer.numericalizer(id_of)
    for text in ("Some words, some\n more words", "more words, and others", ""):
        ids = numericalize(text)
        assert [asked[token_id] for token_id in ids] == tokenizer(text)
        assert len(ids) == len(tokenizer(text))
    assert asked == ["xxmaj", "some", "words", ",", "\n\u2581", "more", "and", "others"]


def test_each_shard_asks_for_its_tokens_anew(tokenizer: SpacyTokenizer) -> None:
    shards: list[dict[str, int]] = [{"a": 0, "b": 1}, {"a": 8, "b": 7}]
    ids = [tokenizer.numericalizer(shard.__getitem__)("b a b") for shard in shards]
    assert ids == [[1, 0, 1], [7, 8, 7]]


def test_forgetting_strings_changes_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    own = SpacyTokenizer(TokenizerSettings())
    text = "xxbos Zyzzyva qwertzuiop don't"
    before = own(text)
    monkeypatch.setattr("ulmfit_ray.text.tokenizers.spacy_words.MAX_STRINGS", 0)
    own.forget()
    assert own(text) == before


def test_fingerprint_is_the_same_under_another_hash_seed(tokenizer: SpacyTokenizer) -> None:
    program = (
        "import sys; sys.modules['torch'] = None;"
        "from ulmfit_ray.text.tokenizers.kinds import TokenizerSettings, make_tokenizer;"
        "print(hash('a'), make_tokenizer(TokenizerSettings()).fingerprint)"
    )
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    environment = os.environ | {"PYTHONHASHSEED": seed}
    output = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    other_hash, fingerprint = output.stdout.split()
    assert int(other_hash) != hash("a")
    assert fingerprint == tokenizer.fingerprint


@pytest.mark.parametrize("change", [{"lang": "de"}, {"rules": "none"}, {"mark_fields": True}])
def test_fingerprint_changes_with_every_setting(tokenizer: SpacyTokenizer, change: dict) -> None:
    assert SpacyTokenizer(replace(TokenizerSettings(), **change)).fingerprint != tokenizer.fingerprint


@pytest.mark.slow
def test_title_and_text_of_the_sample_corpus_have_the_published_number_of_tokens(tokenizer: SpacyTokenizer) -> None:
    with gzip.open(SAMPLE, "rt", encoding="utf-8") as lines:
        documents = [json.loads(line) for line in lines]
    assert sum(len(document_tokens(tokenizer, [row["title"], row["text"]])) for row in documents) == 1_465_813
