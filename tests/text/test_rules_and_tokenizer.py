"""Our tokens against fastai's own (tests/golden), and what a tokenizer's fingerprint promises."""

import gzip
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ulmfit_ray.text import rules
from ulmfit_ray.text.rules import PRESETS, SPECIAL_TOKENS, clean, rules_fingerprint
from ulmfit_ray.text.tokenizers.spacy_words import SpacyTokenizer, TokenizerSettings

TESTS = Path(__file__).parents[1]
GOLDEN = json.loads((TESTS / "golden/fastai_tokens.json").read_text())
SAMPLE = TESTS.parent / "jobs/sample/scifact/corpus.jsonl.gz"


@pytest.mark.parametrize("row", GOLDEN, ids=range(len(GOLDEN)))
def test_tokens_are_those_of_fastai_one_for_one(tokenizer: SpacyTokenizer, row: dict) -> None:
    assert tokenizer.document([row["text"]]) == row["tokens"]


def test_tokens_do_not_depend_on_what_the_tokenizer_saw_before(tokenizer: SpacyTokenizer) -> None:
    fresh = SpacyTokenizer(TokenizerSettings())
    for row in reversed(GOLDEN):
        assert fresh.document([row["text"]]) == row["tokens"] == tokenizer.document([row["text"]])


def test_golden_file_holds_every_kind_of_text_it_should() -> None:
    texts = [row["text"] for row in GOLDEN]
    assert len(texts) == len(set(texts)) >= 100
    assert {"", "    ", "\n \n", ":O(((", "2) :O(((", "back'' ''Return", "xxbos XXUP"} <= set(texts)
    assert any("\n\u2581" in row["tokens"] for row in GOLDEN if "\u2581" not in row["text"])


@pytest.mark.parametrize(
    ("rule", "text", "expected"),
    [
        (rules.fix_html, "a #39; b amp; c nbsp;d\\n e... @.@ f", "a ' b & c  d\n e \u2026.f"),
        (rules.replace_rep, "cccc dd", " xxrep 4 c  dd"),
        (rules.replace_wrep, "no no no, yes yes", " xxwrep 3 no , yes yes"),
        (rules.spec_add_spaces, "a/b#c\\d", "a / b # c \\ d"),
        (rules.rm_useless_spaces, "a   b  c\t\td", "a b c\t\td"),
        (rules.replace_all_caps, "NATO A aB C++", "xxup nato a aB xxup c++"),
        (rules.replace_maj, "Paris A iPhone MacBook", "xxmaj paris a iPhone MacBook"),
        (rules.lowercase, "  \u00c4B c ", "\u00e4b c"),
    ],
)
def test_each_rule_does_what_its_name_says(rule: object, text: str, expected: str) -> None:
    assert callable(rule)
    assert rule(text) == expected


def test_preset_none_leaves_the_text_as_it_is() -> None:
    text = "HELLO   &amp; cccc\n"
    assert clean(text, "none") == text
    assert clean(text, "fastai-v2") != text


def test_fingerprint_of_rules_covers_names_order_and_patterns(monkeypatch: pytest.MonkeyPatch) -> None:
    before = rules_fingerprint("fastai-v2")
    assert before != rules_fingerprint("none")
    with monkeypatch.context() as patch:
        patch.setitem(PRESETS, "fastai-v2", rules.FASTAI_V2[::-1])
        assert rules_fingerprint("fastai-v2") != before
    with monkeypatch.context() as patch:
        patch.setitem(rules.PATTERNS, "replace_rep", rules.PATTERNS["replace_maj"])
        assert rules_fingerprint("fastai-v2") != before
    with monkeypatch.context() as patch:
        patch.setattr(rules, "HTML_REPLACEMENTS", rules.HTML_REPLACEMENTS[1:])
        assert rules_fingerprint("fastai-v2") != before
    assert rules_fingerprint("fastai-v2") == before


def test_special_tokens_begin_every_vocabulary_in_fastai_v2_order() -> None:
    assert SPECIAL_TOKENS == ("xxunk", "xxpad", "xxbos", "xxeos", "xxfld", "xxrep", "xxwrep", "xxup", "xxmaj")


def test_special_tokens_in_a_text_stay_whole(tokenizer: SpacyTokenizer) -> None:
    assert tokenizer(" ".join(SPECIAL_TOKENS)) == list(SPECIAL_TOKENS)


def test_fields_without_marks_are_tokenized_each_by_itself_behind_one_xxbos(tokenizer: SpacyTokenizer) -> None:
    assert tokenizer.document(["No no", "no Way"]) == ["xxbos", "xxmaj", "no", "no", "no", "xxmaj", "way"]
    assert tokenizer.document(["", ""]) == ["xxbos"]


def test_fields_with_marks_are_numbered_from_one_and_empty_ones_keep_their_mark() -> None:
    marking = SpacyTokenizer(TokenizerSettings(mark_fields=True))
    assert marking.document(["A title", "", "text"]) == (
        ["xxbos", "xxfld", "1", "a", "title", "xxfld", "2", "xxfld", "3", "text"]
    )


def test_text_over_a_million_characters_is_tokenized_whole(tokenizer: SpacyTokenizer) -> None:
    text = "ab cd " * 200_000
    assert len(text) > 1_000_000
    assert tokenizer(text) == ["ab", "cd"] * 200_000


def test_spelled_hashes_resolve_to_the_same_tokens(tokenizer: SpacyTokenizer) -> None:
    text = "Some words, some\n more words"
    hashes = tokenizer.spell(text)
    assert [tokenizer.spelling(token_hash) for token_hash in hashes] == tokenizer(text)
    assert len(hashes) == len(tokenizer(text))


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
        "from ulmfit_ray.text.tokenizers.spacy_words import SpacyTokenizer, TokenizerSettings;"
        "print(hash('a'), SpacyTokenizer(TokenizerSettings()).fingerprint)"
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


def test_tokenizer_json_rebuilds_the_same_tokenizer() -> None:
    first = SpacyTokenizer(TokenizerSettings(mark_fields=True))
    second = SpacyTokenizer.from_json(json.loads(json.dumps(first.to_json())))
    assert (second.settings, second.fingerprint) == (first.settings, first.fingerprint)
    assert second.document(["One", "TWO"]) == first.document(["One", "TWO"])


def test_tokenizer_json_with_another_fingerprint_is_refused(tokenizer: SpacyTokenizer) -> None:
    with pytest.raises(ValueError, match=r"cuts text otherwise than the recorded one \(000000000000, spaCy 3\.0\)"):
        SpacyTokenizer.from_json(tokenizer.to_json() | {"fingerprint": "0" * 64, "versions": {"spacy": "3.0"}})


def test_tokenizer_json_of_an_unknown_kind_is_refused(tokenizer: SpacyTokenizer) -> None:
    with pytest.raises(ValueError, match="'sentencepiece' is not known"):
        SpacyTokenizer.from_json(tokenizer.to_json() | {"kind": "sentencepiece"})


def test_versions_are_recorded_but_not_part_of_the_fingerprint(tokenizer: SpacyTokenizer) -> None:
    assert SpacyTokenizer.from_json(tokenizer.to_json() | {"versions": {"spacy": "0.0"}}).fingerprint


@pytest.mark.slow
def test_title_and_text_of_the_sample_corpus_have_the_published_number_of_tokens(tokenizer: SpacyTokenizer) -> None:
    with gzip.open(SAMPLE, "rt", encoding="utf-8") as lines:
        documents = [json.loads(line) for line in lines]
    assert sum(len(tokenizer.document([row["title"], row["text"]])) for row in documents) == 1_465_813
